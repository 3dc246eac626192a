package consensus

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

const (
	// goneTimeout bounds the question whether a leader is gone, in addition to two
	// round trips. It is asked every goneInterval: the kernel closes the sockets of a process that ends one
	// after the other, and the listener may be the last.
	goneTimeout  = 250 * time.Millisecond
	goneInterval = 10 * time.Millisecond
	// headStart is how long each voter leaves to the one before it, at least: if
	// two stand at once, the second costs the first its term, and both wait for
	// raft's timers. An election takes two writes to the disk, a connection perhaps,
	// and an exchange.
	headStart = 250 * time.Millisecond
	// standTimeout bounds the start of an election.
	standTimeout = time.Second
)

// failover shortens the loss of a leader's process. A process that ends closes
// its connections: a follower that loses those of its leader, and finds that
// its port refuses connections, need not wait for missed heartbeats. It becomes
// a candidate in the way of a leadership transfer, so that the others vote
// although they have not noticed yet; the followers try one after the other.
// Elections are safe at any time; all uncertain cases are left to raft's
// timers.
type failover struct {
	instance *instance
	trans    *transport
	log      hclog.Logger
	// last is the last leader that run has seen.
	last string
	// votes is where raft keeps its votes.
	votes raft.StableStore
	trips *roundTrips
	// gone reports that a node's process has surely ended.
	gone func(ctx context.Context, id string) bool
	stop <-chan struct{}
}

// run acts on connections that have ended, until stop is closed.
func (f *failover) run() {
	tick := time.NewTicker(f.trips.timings.Heartbeat / 2)
	defer tick.Stop()
	var stuckSince time.Time
	for {
		if leader := f.instance.leader(); leader != "" {
			f.last = leader
		}
		select {
		case <-f.stop:
			return
		case now := <-tick.C:
			stuckSince = f.unblock(now, stuckSince)
		case id := <-f.trans.streams.ended:
			if f.followed(id) && f.instance.raft.State() == raft.Follower {
				f.succeed(id)
			}
		}
	}
}

// succeed becomes a candidate if the leader is gone and no other node does.
func (f *failover) succeed(leader string) {
	rank, voter := f.rank(leader)
	if !voter {
		return
	}

	term := f.instance.raft.CurrentTerm()
	took, gone := f.await(leader)
	if !gone {
		return
	}

	// If this node has voted for another meanwhile, it must not take the votes
	// from it: the term would have no leader, and the next one begins only with
	// raft's timers. If it has refused its vote, because the other one's log is
	// shorter, it stands all the same.
	overtaken := func() bool {
		now := f.instance.leader()
		return now != "" && now != leader || f.instance.raft.State() != raft.Follower ||
			f.instance.raft.CurrentTerm() != term && f.voted()
	}
	wait := time.Duration(rank) * max(headStart, 2*took)
	for end, asked := time.Now().Add(wait), term; !overtaken() && time.Now().Before(end); {
		if !f.pause(goneInterval) {
			return
		}
		// Another one asks for this node's vote, which is not written yet.
		if now := f.instance.raft.CurrentTerm(); now != asked {
			end, asked = time.Now().Add(headStart), now
		}
	}
	if overtaken() {
		return
	}

	f.log.Info("the leader's process is gone: standing for election", "leader", leader)
	f.stand()
}

// followed reports whether a node is the leader, or was the last one: raft forgets
// its leader when another node asks for a vote.
func (f *failover) followed(id string) bool {
	now := f.instance.leader()
	return now == id || now == "" && f.last == id
}

// voted reports whether this node has given its vote in the current term. If that
// cannot be read it has.
func (f *failover) voted() bool {
	term, err := f.votes.GetUint64([]byte(keyVoteTerm))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return false
	}
	return err != nil || term == f.instance.raft.CurrentTerm()
}

// unblock frees a candidate that refuses its vote to everyone. In raft, one that
// was made a candidate at once notes the leader that sends it entries meanwhile,
// and stays a candidate until its election times out; if that leader dies before,
// the candidate believes in it forever, and no other can be elected with its vote.
func (f *failover) unblock(now, since time.Time) (stuckSince time.Time) {
	leader := f.instance.leader()
	switch {
	case f.instance.raft.State() != raft.Candidate || leader == "":
		return time.Time{}
	case since.IsZero():
		return now
	case now.Sub(since) < 5*f.trips.election()/2: // longer than any election takes to time out
		return since
	}

	f.log.Warn("a candidate still believes in a leader that is gone: standing for election", "leader", leader)
	f.stand()
	return time.Time{}
}

// await reports whether the leader's process is gone, and how long its host took
// to say so.
func (f *failover) await(leader string) (took time.Duration, gone bool) {
	ctx, cancel := context.WithTimeout(context.Background(), goneTimeout+2*f.trips.longest())
	defer cancel()
	for ctx.Err() == nil && f.followed(leader) {
		asked := time.Now()
		if f.gone(ctx, leader) {
			return time.Since(asked), true
		}
		if !f.pause(goneInterval) {
			break
		}
	}
	return 0, false
}

// pause waits; it reports false if the node stops.
func (f *failover) pause(d time.Duration) bool {
	select {
	case <-f.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// rank is this node's position among the voters that may follow the leader.
func (f *failover) rank(leader string) (rank int, voter bool) {
	others, voter := otherVoters(f.instance.servers(), f.instance.id)
	for _, id := range others {
		if id != leader && id < f.instance.id {
			rank++
		}
	}
	return rank, voter
}

// elect makes the only voter of a cluster its leader at once, without waiting
// for missed heartbeats. If it fails, raft's own timers do the same.
func (f *failover) elect() {
	if others, voter := otherVoters(f.instance.servers(), f.instance.id); voter && len(others) == 0 && !f.instance.leads() {
		f.stand()
	}
}

// stand makes raft a candidate at once.
func (f *failover) stand() {
	ctx, cancel := context.WithTimeout(context.Background(), standTimeout)
	defer cancel()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(f.instance.id), Addr: []byte(f.instance.id)}
	if err := f.trans.inject(ctx, &raft.TimeoutNowRequest{RPCHeader: header}); err != nil {
		f.log.Debug("cannot speed up the election", "error", err)
	}
}
