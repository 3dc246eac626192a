package fsm

import (
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Damage says what a node found damaged on its disk, and what of it is good again.
type Damage struct {
	Node pipeline.NodeID `cbor:"1,keyasint"`
	// Report tells the reports of a node apart: one that is repeated changes nothing.
	Report   uint64    `cbor:"2,keyasint"`
	Found    []Damaged `cbor:"3,keyasint,omitempty"`
	Repaired []Damaged `cbor:"4,keyasint,omitempty"`
}

// Damaged is data of one kind.
type Damaged struct {
	// Subject is the digest of a blob, or pipeline.DamagedBlobs, DamagedJournal or
	// DamagedRaft.
	Subject string `cbor:"1,keyasint"`
	Count   int    `cbor:"2,keyasint"`
	Reason  string `cbor:"3,keyasint,omitempty"`
	// From are the nodes that had a good copy.
	From []pipeline.NodeID `cbor:"4,keyasint,omitempty"`
}

// MaxDamage is how many kinds of data one report names, and how many nodes one of them.
const MaxDamage = 8

// applyDamage makes events of a report. A node that is not known yet has to report again.
func (x *events) applyDamage(op *Damage) Result {
	list := slices.Concat(op.Found, op.Repaired)
	if len(list) == 0 || len(list) > 2*MaxDamage {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "a report of damage has %d parts, want 1 to %d", len(list), 2*MaxDamage)}
	}
	for _, d := range list {
		if d.Subject == "" || d.Count < 1 || len(d.From) > MaxDamage {
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "damage of %.80q: it has a count of %d and %d nodes", d.Subject, d.Count, len(d.From))}
		}
	}
	var node NodeStatus
	if !x.get(bNodes, []byte(op.Node), &node) {
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "node %.80s is not known", op.Node)}
	}
	if node.Report == op.Report {
		return Result{}
	}

	node.Report = op.Report
	x.put(bNodes, []byte(op.Node), node)
	for _, d := range op.Found {
		x.damaged(pipeline.EventDataDamaged, &node, &d)
	}
	for _, d := range op.Repaired {
		x.damaged(pipeline.EventDataRepaired, &node, &d)
	}
	return Result{}
}

func (x *events) damaged(t pipeline.EventType, node *NodeStatus, d *Damaged) {
	names := make([]string, len(d.From))
	for i, id := range d.From {
		from := NodeStatus{Name: string(id)}
		x.get(bNodes, []byte(id), &from)
		names[i] = from.Name
	}
	x.happened(pipeline.Event{Type: t, Node: node.Name, Subject: d.Subject, Count: d.Count, Reason: d.Reason, From: strings.Join(names, ", ")})
}
