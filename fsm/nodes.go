package fsm

import (
	"cmp"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Nodes says how members of the cluster are, as the leader sees them. What the state has
// already changes nothing.
type Nodes struct {
	Nodes []NodeStatus `cbor:"1,keyasint"`
}

// NodeStatus is how a node is: pipeline.MemberAlive, MemberFailed or MemberLeft.
type NodeStatus struct {
	ID     pipeline.NodeID `cbor:"1,keyasint"`
	Name   string          `cbor:"2,keyasint"`
	Status string          `cbor:"3,keyasint"`
	// Report is the last report of damage that was applied.
	Report uint64 `cbor:"4,keyasint,omitempty"`
}

// MaxNodes is how many nodes a change names, and the state remembers.
const MaxNodes = 1000

// applyNodes makes events of what is different from what is known.
func (x *events) applyNodes(op *Nodes) Result {
	if len(op.Nodes) > MaxNodes {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%d nodes in a change, at most %d fit", len(op.Nodes), MaxNodes)}
	}
	for i := range op.Nodes {
		n := &op.Nodes[i]
		if why := badName("the node's id", string(n.ID)); why != "" {
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
		}
		if why := badName("the node's name", n.Name); why != "" {
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
		}
		if n.Status != pipeline.MemberAlive && n.Status != pipeline.MemberFailed && n.Status != pipeline.MemberLeft {
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "node %.80s is %.80q: expected alive, failed or left", n.ID, n.Status)}
		}
	}

	known := nodesIn(x.tx)
	for _, n := range op.Nodes {
		known = x.see(known, n)
	}
	return Result{}
}

// see notes how a node is, and returns the nodes that are known then.
func (x *events) see(known []NodeStatus, n NodeStatus) []NodeStatus {
	i, found := slices.BinarySearchFunc(known, n.ID, func(n NodeStatus, id pipeline.NodeID) int { return cmp.Compare(n.ID, id) })
	if n.Report = 0; found {
		n.Report = known[i].Report
	}
	kind := pipeline.EventNodeJoined
	switch {
	case !found && n.Status != pipeline.MemberAlive, found && known[i].Status == n.Status:
		return known
	case !found && len(known) >= MaxNodes:
		// Machines that die without leaving are never reported again: one of them goes.
		failed := slices.IndexFunc(known, func(n NodeStatus) bool { return n.Status == pipeline.MemberFailed })
		if failed < 0 {
			return known
		}
		x.del(bNodes, []byte(known[failed].ID))
		return x.see(slices.Delete(known, failed, failed+1), n)
	case !found:
		known = slices.Insert(known, i, n)
	case n.Status == pipeline.MemberLeft:
		known, kind = slices.Delete(known, i, i+1), pipeline.EventNodeLeft
	case n.Status == pipeline.MemberFailed:
		known[i], kind = n, pipeline.EventNodeLost
	default:
		known[i], kind = n, pipeline.EventNodeReturned
	}

	if kind == pipeline.EventNodeLeft {
		x.del(bNodes, []byte(n.ID))
	} else {
		x.put(bNodes, []byte(n.ID), n)
	}
	x.happened(pipeline.Event{Type: kind, Node: n.Name})
	return known
}

// nodesIn lists the nodes that were alive once and have not left, by id.
func nodesIn(tx *bolt.Tx) (known []NodeStatus) {
	_ = eachRecord(tx.Bucket(bNodes), func(n NodeStatus) { known = append(known, n) }) // the callback never fails
	return known
}

// Nodes lists the nodes that the cluster knows, by id.
func (v *View) Nodes() []NodeStatus { return nodesIn(v.tx) }
