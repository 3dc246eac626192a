package consensus

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// electionTrips is how many round trips an election timeout lasts at least: an
	// election takes two, or four if it must connect first, and a lost packet costs
	// two more.
	electionTrips = 6
	// leaseTrips is how many round trips a leader's lease lasts in addition to
	// raft's own. When it is elected the votes are one old, and the first answers
	// to its heartbeats take another.
	leaseTrips = 3
	// maxElection and maxOverlap bound what follows from them. Another leader may be
	// elected Timings.Heartbeat after the last message of this one, and a lock rests
	// on a leader that stops within a second of that (docs/DESIGN.md).
	maxElection = 5 * time.Second
	maxOverlap  = time.Second
	// tripSamples is how many exchanges count: the shortest of them, as a busy
	// machine lengthens some.
	tripSamples = 5
	// tripInterval is how often another voter is asked if nothing else measures the
	// link to it; shortTripInterval if the link is slow.
	tripInterval      = 5 * time.Second
	shortTripInterval = 500 * time.Millisecond
	// rounding rounds timeouts up, so that they seldom change.
	rounding = 50 * time.Millisecond
)

// roundTrips lets raft's timeouts follow the round trips between the voters.
// Nodes in one building keep the timeouts that raft began with. It is safe for
// concurrent use.
type roundTrips struct {
	instance *instance
	timings  Timings
	// ask exchanges a message with a node that changes nothing.
	ask func(id string) error
	wg  sync.WaitGroup

	// reloading makes changes of raft's configuration exclude each other.
	reloading sync.Mutex
	// trip is the longest round trip to another voter, in nanoseconds.
	trip atomic.Int64

	mu    sync.Mutex // guards following
	peers map[string]*link
}

// link is what is known of the link to another node.
type link struct {
	// took has the latest exchanges, in a ring.
	took []time.Duration
	next int
	// noted is when the latest was; asking is set while one is under way.
	noted  time.Time
	asking bool
}

// trip is the shortest of the latest exchanges; 0 before the first.
func (l *link) trip() time.Duration {
	if len(l.took) == 0 {
		return 0
	}
	return slices.Min(l.took)
}

// election is how long a follower waits for its leader, and a candidate for votes.
func (r *roundTrips) election() time.Duration {
	return clamp(electionTrips*r.longest(), r.timings.Heartbeat, maxElection)
}

// lease is how long a leader that no majority has answered continues. It is raft's
// own as long as that is enough, and never longer than election or beyond maxOverlap.
func (r *roundTrips) lease() time.Duration {
	own := r.timings.raftLease()
	if r.election() <= r.timings.Heartbeat {
		return own
	}
	return clamp(own+leaseTrips*r.longest(), own, r.timings.Heartbeat+maxOverlap)
}

// longest is the longest round trip to another voter.
func (r *roundTrips) longest() time.Duration { return time.Duration(r.trip.Load()) }

// clamp rounds a duration up and keeps it within bounds.
func clamp(d, low, high time.Duration) time.Duration {
	return max(low, min(high, (d+rounding-1).Truncate(rounding)))
}

// note adds an exchange with a node.
func (r *roundTrips) note(id string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.peer(id)
	l.noted = time.Now()
	if len(l.took) < tripSamples {
		l.took = append(l.took, took)
		return
	}
	l.took[l.next] = took
	l.next = (l.next + 1) % tripSamples
}

// peer is what is known of a node; the caller holds the lock.
func (r *roundTrips) peer(id string) *link {
	if r.peers == nil {
		r.peers = map[string]*link{}
	}
	if r.peers[id] == nil {
		r.peers[id] = &link{}
	}
	return r.peers[id]
}

// measure asks the voters to which the link was not measured lately, and lets
// raft's timeouts follow. It does not wait.
func (r *roundTrips) measure() {
	voters, votes := otherVoters(r.instance.servers(), r.instance.id)
	if !votes {
		voters = nil
	}
	longest := time.Duration(0)
	r.mu.Lock()
	for _, id := range voters {
		l := r.peer(id)
		longest = max(longest, l.trip())
		every := tripInterval
		if electionTrips*l.trip() > r.timings.Heartbeat {
			every = shortTripInterval
		}
		if !l.asking && time.Since(l.noted) >= every {
			l.asking = true
			r.wg.Go(func() { r.exchange(id) }) // ends with the exchange, which the transport bounds
		}
	}
	r.mu.Unlock()
	r.trip.Store(int64(longest))
	r.reload()
}

// exchange asks a node, and once more at once if the answer came late: it had to
// connect, or the link was cut meanwhile and the message was sent again. After each cut
// the timeouts would follow how long that took, and the next loss of the leader would be
// noticed seconds later.
func (r *roundTrips) exchange(id string) {
	took, err := r.time(id)
	if err == nil && electionTrips*took > r.timings.Heartbeat {
		var again time.Duration
		if again, err = r.time(id); err == nil {
			took = min(took, again)
		}
	}
	if err == nil {
		r.note(id, took)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.peer(id)
	l.asking = false
	if err != nil {
		l.noted = time.Now()
	}
}

func (r *roundTrips) time(id string) (time.Duration, error) {
	began := time.Now()
	err := r.ask(id)
	return time.Since(began), err
}

// reload sets raft's timeouts. A leader sends its heartbeats at intervals that
// derive from the heartbeat timeout: they must be short for raft's lease, see
// heartbeats, so only followers wait longer for their leader.
func (r *roundTrips) reload() {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	now := r.instance.raft.ReloadableConfig()
	want := now
	want.ElectionTimeout, want.HeartbeatTimeout = r.election(), r.timings.Heartbeat
	if r.instance.raft.State() == raft.Follower {
		want.HeartbeatTimeout = want.ElectionTimeout
	}
	if want != now {
		_ = r.instance.raft.ReloadConfig(want) // valid: the lease is within both
	}
}
