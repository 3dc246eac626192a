package cluster

import (
	"context"
	"slices"
	"sync"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/pipeline"
)

// replica holds this node's raft node. There is none on nodes of mode worker,
// and none for a moment while the node gives up its own cluster for another. It
// is safe for concurrent use.
type replica struct {
	// self is this node's id.
	self string

	mu      sync.Mutex // guards following
	node    *consensus.Node
	changed chan struct{}
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
	r.node = n
	close(r.changed)
	r.changed = make(chan struct{})
	return old
}

// servers is raft's latest configuration, empty if this node has none.
func (r *replica) servers() []consensus.Server {
	if node := r.get(); node != nil {
		return node.Servers()
	}
	return nil
}

// configured reports whether this node is in raft's configuration, as far as it
// knows itself.
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

// transfer hands leadership to another voter, if this node leads and there is
// one.
func (r *replica) transfer(ctx context.Context) error {
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
