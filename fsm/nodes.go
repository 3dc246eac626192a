package fsm

import (
	"slices"
	"strings"

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
}

// MaxNodes is how many nodes a change names, and the state remembers.
const MaxNodes = 1000

// kNodes is the key in bMeta of the nodes that were alive once and have not left, by id.
var kNodes = []byte("nodes")

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

	var known []NodeStatus
	if b := x.tx.Bucket(bMeta).Get(kNodes); b != nil {
		mustUnmarshal(b, &known)
	}
	before := len(x.news)
	for _, n := range op.Nodes {
		known = x.see(known, n)
	}
	if len(x.news) > before {
		x.put(bMeta, kNodes, known)
	}
	return Result{}
}

// see puts a node in its place of the list, or takes it out.
func (x *events) see(known []NodeStatus, n NodeStatus) []NodeStatus {
	i, found := slices.BinarySearchFunc(known, n, func(a, b NodeStatus) int { return strings.Compare(string(a.ID), string(b.ID)) })
	kind := pipeline.EventNodeJoined
	switch {
	case !found && (n.Status != pipeline.MemberAlive || len(known) >= MaxNodes):
		return known
	case !found:
		known = slices.Insert(known, i, n)
	case known[i].Status == n.Status:
		return known
	case n.Status == pipeline.MemberLeft:
		known, kind = slices.Delete(known, i, i+1), pipeline.EventNodeLeft
	case n.Status == pipeline.MemberFailed:
		known[i], kind = n, pipeline.EventNodeLost
	default:
		known[i], kind = n, pipeline.EventNodeReturned
	}
	x.happened(pipeline.Event{Type: kind, Node: n.Name})
	return known
}

// Nodes lists the nodes that the cluster knows, by id.
func (v *View) Nodes() []NodeStatus {
	var known []NodeStatus
	v.get(bMeta, kNodes, &known)
	return known
}
