package cluster

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// leaderAnswer is a node's answer to the question who leads.
type leaderAnswer struct {
	Cluster string             `json:"cluster"`
	Leader  pipeline.NodeID    `json:"leader,omitempty"`
	Term    uint64             `json:"term"`
	Servers []consensus.Server `json:"servers,omitempty"`
}

// errLostLog ends a voter whose log is gone. It would vote and acknowledge
// again what it has forgotten (reliability H14).
var errLostLog = errors.New("this node is a voter of the cluster and has lost raft's log: " +
	"remove the whole data directory; it then joins as a new node, and the old one is replaced")

// seeker asks other nodes who leads, over mutual TLS: gossip alone authorizes
// nothing, and raft's connections are admitted by what the seeker has found.
type seeker struct {
	view     *view
	identity *keys.Identity
	log      hclog.Logger
	// ask puts one of the cluster's own questions to a node.
	ask func(ctx context.Context, id, path string, out any) error
	// found is called when a member has named a new leader.
	found func()
	wake  chan struct{}
}

// clusterID is the id of this node's cluster, "" if it has none.
func (s *seeker) clusterID() string { return s.identity.Subject().Cluster }

// answer is what this node answers others that ask: the leader that its own raft
// follows. It does not pass on what others have said, or nodes without a part in raft
// would keep a leader alive among themselves that is long gone.
func (s *seeker) answer() leaderAnswer {
	a := leaderAnswer{Cluster: s.clusterID(), Servers: s.view.replica.servers()}
	if node := s.view.replica.get(); node != nil && s.view.replica.configured() {
		if id, term, ok := node.Leader(); ok {
			a.Leader, a.Term = pipeline.NodeID(id), term
		}
	}
	return a
}

// soon makes the node ask the others. It returns at once.
func (s *seeker) soon() { poke(s.wake) }

// run asks around whenever soon was called, at most every now and then. A node
// without a part in raft also asks from time to time, as gossip may be late.
func (s *seeker) run(ctx context.Context) error {
	const (
		pause    = 100 * time.Millisecond
		interval = 3 * time.Second
	)
	tick := time.NewTicker(interval)
	defer tick.Stop()

	for {
		wanted := true
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
			wanted = !s.confirmed(ctx)
		}

		if wanted && s.clusterID() != "" {
			if err := s.askAround(ctx); err != nil {
				return err
			}
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// confirmed reports whether there is no need to ask around: this node has a
// part in raft, or its leader confirms that it leads. One that denies it, or has
// failed, is forgotten: terms begin anew at a lower one if the data directories of
// the voters are restored from older copies.
func (s *seeker) confirmed(ctx context.Context) bool {
	if s.view.replica.configured() || s.clusterID() == "" {
		return true
	}
	id, term, ok := s.view.leader()
	if !ok {
		return false
	}
	var a leaderAnswer
	err := s.ask(ctx, string(id), pathLeader, &a)
	if err == nil && a.Leader == id && a.Term == term {
		return true
	}
	if m, _ := s.view.gossip.Member(string(id)); err == nil || m.Status != gossip.Alive {
		s.view.unname()
	}
	return false
}

// askAround asks a few members, those with a part in raft first, and keeps the
// answer with the highest term. The error is errLostLog.
func (s *seeker) askAround(ctx context.Context) error {
	const enough = 5
	members := s.view.gossip.Members()
	sort.SliceStable(members, func(i, j int) bool { return rank(members[i]) < rank(members[j]) })

	asked := 0
	for _, m := range members {
		if m.ID == string(s.view.self) || m.Status != gossip.Alive || m.Meta.Cluster != s.clusterID() || asked >= enough {
			continue
		}
		asked++

		var a leaderAnswer
		if err := s.ask(ctx, m.ID, pathLeader, &a); err != nil {
			s.log.Debug("cannot ask who leads", "node", m.Meta.Name, "error", err)
			continue
		}
		if a.Cluster != s.clusterID() || a.Leader == "" {
			continue
		}
		if s.lost(a) {
			return errLostLog
		}
		news := s.view.name(a)
		if string(a.Leader) == m.ID && s.view.replica.noteLeader(a.Term, a.Servers) {
			s.log.Warn("this node was removed from the cluster's configuration while it was away: it continues without a part in raft", "leader", m.Meta.Name)
			news = true
		}
		if news {
			s.found()
		}
	}
	return nil
}

// lost reports whether the cluster has this node for a voter although it has no
// log.
func (s *seeker) lost(a leaderAnswer) bool {
	node := s.view.replica.get()
	if node == nil || node.HasState() {
		return false
	}
	for _, server := range a.Servers {
		if server.ID == string(s.view.self) && server.Suffrage == consensus.Voter {
			return true
		}
	}
	return false
}

// unconfirmed reports whether this leader is to be asked about this node: raft waits
// for it to take the node in, and no member has named it (gossip alone does not admit
// its connections), or raft has this node in its configuration and follows no leader.
func (s *seeker) unconfirmed(leader pipeline.NodeID) bool {
	node := s.view.replica.get()
	if node == nil {
		return false
	}
	if s.view.replica.configured() {
		_, _, follows := node.Leader()
		return !follows
	}
	return s.view.namedLeader().Leader != leader
}

// admitRaft decides which nodes may use raft's protocol with this one
// (settled.md, 11): a server of our configuration, or the leader that a member
// has named. Standbys count: one may have been made a voter since we last heard.
func (s *seeker) admitRaft(from keys.Subject) error {
	node := s.view.replica.get()
	if node == nil {
		return errors.New("this node takes no part in raft")
	}
	if from.Mode != pipeline.ModeAuto && from.Mode != pipeline.ModeOrchestrator {
		return fmt.Errorf("a node of mode %s takes no part in raft", from.Mode)
	}
	if m, ok := s.view.gossip.Member(string(from.Node)); ok && m.Status == gossip.Left {
		return errors.New("it has left the cluster")
	}

	if inServers(node.Servers(), string(from.Node)) {
		return nil
	}
	if named := s.view.namedLeader().Leader; named == from.Node && named != "" {
		return nil
	}

	// It may have become the leader since we last asked.
	s.soon()
	return errors.New("it is neither in raft's configuration nor the leader that a member has named")
}

// rank orders members by their part in raft, those that know most first.
func rank(m gossip.Member) int {
	switch m.Meta.Role {
	case RoleLeader:
		return 0
	case RoleVoter:
		return 1
	case RoleStandby:
		return 2
	}
	return 3
}
