// Package state is the replicated state as a node uses it: commands are
// proposed through the leader, wherever it is, and reads can wait until this
// node has applied everything that was acknowledged. It is the only place that
// forwards a change to the leader and the only one that repeats it.
//
// It does not know what commands mean. All methods are safe for concurrent use.
package state

import (
	"context"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// Cluster is what the state needs to know of the members and of raft.
type Cluster interface {
	// Self is this node.
	Self() cluster.Member
	// Members lists all known members, this node among them.
	Members() []cluster.Member
	// Leader is the member that leads, if one is known.
	Leader() (leader cluster.Member, term uint64, ok bool)
	// VerifyLeader proves that this node led at some moment after the call, and
	// gives the term.
	VerifyLeader(ctx context.Context) (term uint64, err error)
	// Changes gives a channel that is poked when members or leader may have
	// changed, until stop is called.
	Changes() (changes <-chan struct{}, stop func())
}

// Leader is the orchestrator of this node.
type Leader interface {
	// Term is the one in which the orchestrator leads and has rebuilt its model; 0
	// if there is none.
	Term() uint64
	// Propose commits an encoded command and gives what the state machine
	// returned for it. Errors are pipeline.ErrNotLeader if the command was
	// rejected and pipeline.ErrUnknownOutcome if nothing is known of its fate.
	Propose(ctx context.Context, command []byte) (any, error)
}

// Config says what a State is made of. All fields are needed.
type Config struct {
	Self    pipeline.NodeID
	Store   *fsm.Store
	Cluster Cluster
	Peers   *peer.Client
}

// State gives access to the replicated state.
type State struct {
	members
	store  *fsm.Store
	peers  *peer.Client
	leader Leader
}

// New makes a State. It starts nothing. SetLeader completes it.
func New(cfg Config) *State {
	return &State{members: members{self: cfg.Self, cluster: cfg.Cluster}, store: cfg.Store, peers: cfg.Peers}
}

// SetLeader gives the state this node's orchestrator, which needs the state
// itself. It is called once, before anything else but View and what concerns
// members.
func (s *State) SetLeader(l Leader) { s.leader = l }

// View reads the state as this node has applied it. fn must not keep the view.
func (s *State) View(fn func(*fsm.View) error) error { return s.store.View(fn) }

// Changed gives a channel that is closed at the next change of a run. Take it
// before reading the run, so that no change is missed.
func (s *State) Changed(id pipeline.RunID) <-chan struct{} { return s.store.Changed(id) }

// Advanced gives a channel that is closed when this node has applied more. Take it
// before reading.
func (s *State) Advanced() <-chan struct{} { return s.store.Advanced() }

// Leading reports whether this node leads and serves as the orchestrator.
func (s *State) Leading() bool { return s.leader.Term() != 0 }
