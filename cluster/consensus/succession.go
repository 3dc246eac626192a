package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// goneTimeout bounds the question whether a leader is gone.
	goneTimeout = 250 * time.Millisecond
	// turn is how long each voter leaves to the one before it.
	turn = 20 * time.Millisecond
)

// watchEnds makes the death of a leader short. A process that dies takes its
// connections with it: a follower that loses those of its leader, and finds
// nobody listening there any more, need not wait for heartbeats to stay away.
// It stands for election in its turn, by the way of a leadership transfer, so
// that the others vote although they have not noticed yet. Elections are safe
// at any time; whatever cannot be told for sure is left to raft's timers.
func (n *Node) watchEnds() {
	for {
		select {
		case <-n.stop:
			return
		case id := <-n.streams.ended:
			if _, leader := n.raft.LeaderWithID(); string(leader) == id && n.raft.State() == raft.Follower {
				n.succeed(id)
			}
		}
	}
}

// succeed stands for election if the leader is gone and nobody else does.
func (n *Node) succeed(leader string) {
	rank, voter := n.rank(leader)
	if !voter {
		return
	}
	term := n.raft.CurrentTerm()
	ctx, cancel := context.WithTimeout(context.Background(), goneTimeout)
	defer cancel()
	if !n.cfg.Gone(ctx, leader) {
		return
	}
	select {
	case <-n.stop:
		return
	case <-time.After(time.Duration(rank) * turn):
	}
	if _, now := n.raft.LeaderWithID(); now != "" && string(now) != leader || n.raft.State() != raft.Follower {
		return
	}
	// Whoever has voted for another must not take the votes back from it: the
	// term would have no leader, and the next one begins with raft's timers.
	if n.raft.CurrentTerm() != term {
		return
	}
	n.log.Info("the leader's process is gone: standing for election", "leader", leader)
	n.stand(ctx)
}

// rank is this node's place among the voters that may follow the leader.
func (n *Node) rank(leader string) (rank int, voter bool) {
	for _, s := range n.Servers() {
		switch {
		case s.Suffrage != Voter || s.ID == leader:
		case s.ID == n.cfg.ID:
			voter = true
		case s.ID < n.cfg.ID:
			rank++
		}
	}
	return rank, voter
}

// stand makes raft a candidate at once.
func (n *Node) stand(ctx context.Context) {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.cfg.ID), Addr: []byte(n.cfg.ID)}
	if err := n.trans.inject(ctx, &raft.TimeoutNowRequest{RPCHeader: header}); err != nil {
		n.log.Debug("cannot speed up the election", "error", err)
	}
}
