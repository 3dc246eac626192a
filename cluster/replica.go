package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/pipeline"
)

// replica holds this node's raft node. There is none on nodes of mode worker,
// and none for a moment while the node gives up its own cluster for another. Its
// exported methods are those of Cluster. It is safe for concurrent use.
type replica struct {
	// self is this node's id.
	self string

	mu      sync.Mutex // guards following
	node    *consensus.Node
	changed chan struct{}
	// removed is the term of the leader that has told this node that raft's configuration
	// has no more of it, 0 for none. A node that was away when it was removed has no such
	// entry in its log, and no leader will ever send it one.
	removed uint64
}

func newReplica(self pipeline.NodeID) *replica {
	return &replica{self: string(self), changed: make(chan struct{})}
}

// current returns the raft node, nil if there is none, and a channel that is
// closed when it is replaced.
func (r *replica) current() (*consensus.Node, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node, r.changed
}

// get is current without the channel.
func (r *replica) get() *consensus.Node {
	node, _ := r.current()
	return node
}

// set replaces the raft node and returns the old one, which the caller closes.
func (r *replica) set(n *consensus.Node) *consensus.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.node
	r.node, r.removed = n, 0
	close(r.changed)
	r.changed = make(chan struct{})
	return old
}

// servers is raft's latest configuration, empty if this node has none, or was removed
// from it.
func (r *replica) servers() []consensus.Server {
	if node := r.get(); node != nil && !r.isRemoved(node) {
		return node.Servers()
	}
	return nil
}

// isRemoved reports whether a leader of the node's term or a later one has removed it. If
// the node follows a leader, that has taken it in again, or has not yet given up on it.
func (r *replica) isRemoved(node *consensus.Node) bool {
	_, term, follows := node.Leader()
	r.mu.Lock()
	defer r.mu.Unlock()
	if follows {
		r.removed = 0
	}
	return r.removed > 0 && r.removed >= term
}

// noteLeader notes what a leader says of itself: its term and its configuration. It
// reports whether that is news, namely that this node was removed.
func (r *replica) noteLeader(term uint64, servers []consensus.Server) bool {
	if !r.configured() || inServers(servers, r.self) {
		return false
	}
	_, own, follows := r.get().Leader()
	if follows || term < own {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = term
	return true
}

// configured reports whether this node is in raft's configuration, as far as it
// knows.
func (r *replica) configured() bool { return inServers(r.servers(), r.self) }

// leads reports whether this node believes to lead.
func (r *replica) leads() bool {
	node := r.get()
	return node != nil && node.IsLeader()
}

// lead runs f whenever this node leads, on whichever raft node there is, until
// ctx is done or closed is closed.
func (r *replica) lead(ctx context.Context, closed <-chan struct{}, f LeadFunc) error {
	for {
		node, changed := r.current()
		if node != nil {
			if err := node.Lead(ctx, f); ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-closed:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Apply proposes a command; see consensus.Node.Apply.
func (r *replica) Apply(ctx context.Context, cmd []byte) (index uint64, resp any, err error) {
	node := r.get()
	if node == nil {
		return 0, nil, pipeline.ErrNotLeader
	}
	return node.Apply(ctx, cmd)
}

// ApplyAsync proposes a command without waiting; see consensus.Node.ApplyAsync.
func (r *replica) ApplyAsync(cmd []byte) *consensus.Future {
	node := r.get()
	if node == nil {
		return consensus.Refused(pipeline.ErrNotLeader)
	}
	return node.ApplyAsync(cmd)
}

// Barrier waits until all that was committed before is applied here.
func (r *replica) Barrier(ctx context.Context) error {
	node := r.get()
	if node == nil {
		return pipeline.ErrNotLeader
	}
	return node.Barrier(ctx)
}

// VerifyLeader proves that this node led at some moment after the call, and
// returns the term: a majority of the voters confirms it.
func (r *replica) VerifyLeader(ctx context.Context) (term uint64, err error) {
	node := r.get()
	if node == nil {
		return 0, pipeline.ErrNotLeader
	}
	return node.VerifyLeader(ctx)
}

// Storage is why this node cannot write raft's log or the state; nil while it can,
// and on a node without raft. See consensus.Node.Storage.
func (r *replica) Storage() error {
	if node := r.get(); node != nil {
		return node.Storage()
	}
	return nil
}

// LastContact is when this node had the last message of a leader; see
// consensus.Node.LastContact.
func (r *replica) LastContact() time.Time {
	if node := r.get(); node != nil {
		return node.LastContact()
	}
	return time.Time{}
}

// RaftLag is how many entries each follower has not acknowledged; see
// consensus.Node.Lag.
func (r *replica) RaftLag() map[string]uint64 {
	if node := r.get(); node != nil {
		return node.Lag()
	}
	return nil
}

// Restore replaces the state on every node; see consensus.Node.Restore.
func (r *replica) Restore(ctx context.Context, content Content, check func() error) error {
	node := r.get()
	if node == nil {
		return pipeline.ErrNotLeader
	}
	return node.Restore(ctx, content, check)
}

// TransferLeadership hands leadership over, if this node has it and there is
// another voter. It must be the last thing before the process ends: raft may
// refuse all writes forever afterwards (reliability H2).
func (r *replica) TransferLeadership(ctx context.Context) error {
	node := r.get()
	if node == nil || !node.IsLeader() {
		return nil
	}
	voters := 0
	for _, s := range node.Servers() {
		if s.Suffrage == consensus.Voter {
			voters++
		}
	}
	if voters < 2 {
		return nil
	}
	return node.TransferLeadership(ctx)
}

// stepDown leaves leadership to another voter, if one is alive.
func (r *replica) stepDown(v *view) {
	node := r.get()
	if node == nil || !node.IsLeader() {
		return
	}
	for _, s := range node.Servers() {
		if m, ok := v.member(pipeline.NodeID(s.ID)); ok && s.ID != r.self && s.Suffrage == consensus.Voter && m.Status == StatusAlive {
			node.StepDown()
			return
		}
	}
}

func inServers(servers []consensus.Server, id string) bool {
	return slices.ContainsFunc(servers, func(s consensus.Server) bool { return s.ID == id })
}
