package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// goneTimeout bounds the question whether a leader is gone.
	goneTimeout = 250 * time.Millisecond
	// headStart is how long each voter leaves to the one before it.
	headStart = 20 * time.Millisecond
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
	// gone reports that a node's process has surely ended.
	gone func(ctx context.Context, id string) bool
	stop <-chan struct{}
}

// run acts on connections that have ended, until stop is closed.
func (f *failover) run() {
	for {
		select {
		case <-f.stop:
			return
		case id := <-f.trans.streams.ended:
			if f.instance.leader() == id && f.instance.raft.State() == raft.Follower {
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
	ctx, cancel := context.WithTimeout(context.Background(), goneTimeout)
	defer cancel()

	if !f.gone(ctx, leader) {
		return
	}

	select {
	case <-f.stop:
		return
	case <-time.After(time.Duration(rank) * headStart):
	}

	if now := f.instance.leader(); now != "" && now != leader || f.instance.raft.State() != raft.Follower {
		return
	}

	// If this node has voted for another meanwhile, it must not take the votes
	// from it: the term would have no leader, and the next one begins only with
	// raft's timers.
	if f.instance.raft.CurrentTerm() != term {
		return
	}

	f.log.Info("the leader's process is gone: standing for election", "leader", leader)
	f.stand(ctx)
}

// rank is this node's position among the voters that may follow the leader.
func (f *failover) rank(leader string) (rank int, voter bool) {
	for _, s := range f.instance.servers() {
		switch {
		case s.Suffrage != Voter || s.ID == leader:
		case s.ID == f.instance.id:
			voter = true
		case s.ID < f.instance.id:
			rank++
		}
	}
	return rank, voter
}

// elect makes the only voter of a cluster its leader at once, without waiting
// for missed heartbeats. If it fails, raft's own timers do the same.
func (f *failover) elect() {
	voters := 0
	for _, s := range f.instance.servers() {
		if s.Suffrage == Voter {
			if s.ID != f.instance.id {
				return
			}
			voters++
		}
	}

	if voters != 1 || f.instance.leads() {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	f.stand(ctx)
}

// stand makes raft a candidate at once.
func (f *failover) stand(ctx context.Context) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(f.instance.id), Addr: []byte(f.instance.id)}
	if err := f.trans.inject(ctx, &raft.TimeoutNowRequest{RPCHeader: header}); err != nil {
		f.log.Debug("cannot speed up the election", "error", err)
	}
}
