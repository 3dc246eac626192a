package fsm

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Lead says that a node leads in a term. Repeating it changes nothing.
type Lead struct {
	Term uint64          `cbor:"1,keyasint"`
	Node pipeline.NodeID `cbor:"2,keyasint"`
	Name string          `cbor:"3,keyasint"`
	// Gap is how long there was no leader; 0 is not known.
	Gap time.Duration `cbor:"4,keyasint,omitempty"`
	// Adopted is how many attempts were under way, but for those on the node that led
	// before: these are Awaited, since it may be gone with them.
	Adopted int `cbor:"5,keyasint,omitempty"`
	Awaited int `cbor:"6,keyasint,omitempty"`
}

// kLeader is the key in bMeta of the last term that began.
var kLeader = []byte("leader")

// applyLead notes the begin of a term. Terms are not compared: a state that was restored
// into another cluster has those of its old one.
func (x *events) applyLead(op *Lead) Result {
	var last Lead
	x.get(bMeta, kLeader, &last)
	if op.Term == last.Term && op.Node == last.Node {
		return Result{}
	}

	x.put(bMeta, kLeader, op)
	x.happened(pipeline.Event{Type: pipeline.EventLeaderChanged, Node: op.Name, Term: op.Term, Previous: last.Name, Gap: max(0, op.Gap), Count: max(0, op.Adopted), Awaited: max(0, op.Awaited)})
	return Result{}
}

// LastLead is the begin of the newest term that is known.
func (v *View) LastLead() (last Lead) {
	v.get(bMeta, kLeader, &last)
	return last
}
