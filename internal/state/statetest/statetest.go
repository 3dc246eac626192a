// Package statetest gives tests a replicated state that needs no cluster. Only
// tests import it.
package statetest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// State is a replicated state on a cluster of one that needs no raft: what is
// proposed is applied at once, in order. It stands for the cluster and for the
// orchestrator as well. It may be used concurrently.
type State struct {
	*state.State
	Store *fsm.Store
	// Member is the one node.
	Member cluster.Member

	tb testing.TB
	mu sync.Mutex
	// guards following
	index  uint64
	others []cluster.Member
	refuse error // what proposals are answered with, if it is not nil
}

// Self is the id of the node of New.
const Self pipeline.NodeID = "n1"

// New makes an empty state on a node that leads.
func New(tb testing.TB) *State {
	tb.Helper()
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})

	s := &State{Store: store, tb: tb,
		Member: cluster.Member{ID: Self, Name: "one", Mode: pipeline.ModeAuto, Status: cluster.StatusAlive, RaftRole: cluster.RoleLeader, Slots: 2}}
	members := stateCluster{s}
	s.State = state.New(state.Config{Self: Self, Store: store, Cluster: members, Peers: peer.NewClient(noPeers{}, nil)})
	s.SetLeader(stateLeader{s})
	return s
}

// Join adds another node that is alive. It answers nothing.
func (s *State) Join(id pipeline.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = append(s.others, cluster.Member{ID: id, Name: "name-" + string(id), Mode: pipeline.ModeAuto, Status: cluster.StatusAlive, RaftRole: cluster.RoleVoter, Slots: 2})
}

// Refuse makes every later proposal fail with err; nil ends that.
func (s *State) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// Apply commits a command, which must not be refused.
func (s *State) Apply(c *fsm.Command) {
	s.tb.Helper()
	if c.At.IsZero() {
		c.At = time.Now().UTC()
	}
	raw, err := fsm.Encode(c)
	if err != nil {
		s.tb.Fatal(err)
	}
	switch r := s.commit(raw).(type) {
	case fsm.SubmitResult:
		err = r.Err
	case fsm.Result:
		err = r.Err
	case fsm.FireResult:
		err = r.Err
	case fsm.BatchResult:
		if len(r.Refused) > 0 {
			err = errors.New(r.Refused[0].Reason)
		}
	}
	if err != nil {
		s.tb.Fatal(err)
	}
}

func (s *State) commit(raw []byte) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	return s.Store.Apply(&raft.Log{Index: s.index, Term: 1, Type: raft.LogCommand, Data: raw})
}

// stateCluster is the cluster of a State.
type stateCluster struct{ s *State }

// Self is the one node.
func (c stateCluster) Self() cluster.Member { return c.s.Member }

// Members lists the nodes.
func (c stateCluster) Members() []cluster.Member {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return append([]cluster.Member{c.s.Member}, c.s.others...)
}

// Leader is the one node.
func (c stateCluster) Leader() (cluster.Member, uint64, bool) { return c.s.Member, 1, true }

// VerifyLeader has no majority to ask.
func (c stateCluster) VerifyLeader(context.Context) (uint64, error) { return 1, nil }

// Changes never come.
func (c stateCluster) Changes() (<-chan struct{}, func()) { return nil, func() {} }

// stateLeader is the orchestrator of a State, as far as proposals go.
type stateLeader struct{ s *State }

// Term is always the first.
func (l stateLeader) Term() uint64 { return 1 }

// Propose applies a command. One whose caller has gone is lost on the way.
func (l stateLeader) Propose(ctx context.Context, raw []byte) (any, error) {
	if ctx.Err() != nil {
		return nil, pipeline.ErrUnknownOutcome
	}
	l.s.mu.Lock()
	refuse := l.s.refuse
	l.s.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	return l.s.commit(raw), nil
}

// noPeers reaches no other node.
type noPeers struct{}

// Client fails.
func (noPeers) Client(id pipeline.NodeID) (*http.Client, string, error) {
	return nil, "", pipeline.Errorf(pipeline.Unavailable, "node %s does not answer in this test", id)
}

// BulkClient fails.
func (p noPeers) BulkClient(id pipeline.NodeID) (*http.Client, string, error) { return p.Client(id) }
