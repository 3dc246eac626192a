package consensus

import (
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
	// maxElection and maxLease bound what follows from them. Another leader may be
	// elected Timings.Heartbeat after the voters have last heard of this one, and a
	// lock rests on a leader that stops within a second of that (docs/DESIGN.md).
	maxElection = 5 * time.Second
	maxLease    = 1500 * time.Millisecond
	// tripSamples is how many exchanges count: the shortest of them, as a busy
	// machine lengthens some.
	tripSamples = 5
	// tripInterval is how often another voter is asked if nothing else measures the
	// way to it; shortTripInterval if the way is slow.
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
	// trip is the longest way to another voter, in nanoseconds.
	trip atomic.Int64

	mu    sync.Mutex // guards following
	peers map[string]*way
}

// way is what is known of the way to another node.
type way struct {
	// took has the latest exchanges, in a ring.
	took []time.Duration
	next int
	// noted is when the latest was; asking is set while one is on its way.
	noted  time.Time
	asking bool
}

// trip is the shortest of the latest exchanges.
func (w *way) trip() time.Duration {
	shortest := time.Duration(0)
	for i, d := range w.took {
		if i == 0 || d < shortest {
			shortest = d
		}
	}
	return shortest
}

// election is how long a follower waits for its leader, and a candidate for votes.
func (r *roundTrips) election() time.Duration {
	return clamp(electionTrips*r.longest(), r.timings.Heartbeat, maxElection)
}

// lease is how long a leader that no majority has answered continues. It is raft's
// own as long as that is enough, and never longer than election.
func (r *roundTrips) lease() time.Duration {
	own := r.timings.raftLease()
	if r.election() <= r.timings.Heartbeat {
		return own
	}
	return clamp(own+leaseTrips*r.longest(), own, maxLease)
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
	w := r.peer(id)
	w.noted = time.Now()
	if len(w.took) < tripSamples {
		w.took = append(w.took, took)
		return
	}
	w.took[w.next] = took
	w.next = (w.next + 1) % tripSamples
}

// peer is what is known of a node; the caller holds the lock.
func (r *roundTrips) peer(id string) *way {
	if r.peers == nil {
		r.peers = map[string]*way{}
	}
	if r.peers[id] == nil {
		r.peers[id] = &way{}
	}
	return r.peers[id]
}

// measure asks the voters to which the way was not measured lately, and lets
// raft's timeouts follow. It does not wait.
func (r *roundTrips) measure() {
	servers, votes := r.instance.servers(), false
	for _, s := range servers {
		votes = votes || s.ID == r.instance.id && s.Suffrage == Voter
	}
	longest := time.Duration(0)
	r.mu.Lock()
	for _, s := range servers {
		if s.Suffrage != Voter || s.ID == r.instance.id || !votes {
			continue
		}
		w := r.peer(s.ID)
		longest = max(longest, w.trip())
		every := tripInterval
		if electionTrips*w.trip() > r.timings.Heartbeat {
			every = shortTripInterval
		}
		if !w.asking && time.Since(w.noted) >= every {
			w.asking = true
			r.wg.Go(func() { r.exchange(s.ID) }) // ends with the exchange, which the transport bounds
		}
	}
	r.mu.Unlock()
	r.trip.Store(int64(longest))
	r.reload()
}

// exchange asks a node. It may have to connect, so the first one counts only until
// the next.
func (r *roundTrips) exchange(id string) {
	began := time.Now()
	err := r.ask(id)
	took := time.Since(began)
	if err == nil {
		r.note(id, took)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.peer(id)
	w.asking = false
	if err != nil {
		w.noted = time.Now()
	}
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
