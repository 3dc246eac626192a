package orchestrator

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

const (
	// minInputs is how much a module must need of what others left for it to count
	// where that is: less is moved in no time.
	minInputs = 8 << 20
	// maxKnownAt bounds the nodes that are known to have what a module left.
	maxKnownAt = 16
)

// inputsOf gives what a module needs of what others left, and who has it; nil
// where it is little. Every node has the workspace, or fetches it once.
func inputsOf(m *mod) *scheduler.Inputs {
	var total int64
	for _, d := range m.deps {
		total += d.outputBytes
	}
	if total < minInputs {
		return nil
	}
	held := map[pipeline.NodeID]int64{}
	for _, d := range m.deps {
		if d.outputBytes == 0 {
			continue
		}
		for _, id := range d.at {
			held[id] += d.outputBytes
		}
	}
	in := &scheduler.Inputs{Bytes: total}
	for id, n := range held {
		in.Held = append(in.Held, scheduler.Held{Worker: id, Bytes: n})
	}
	slices.SortFunc(in.Held, func(a, b scheduler.Held) int { return cmp.Compare(a.Worker, b.Worker) })
	return in
}

// left notes how much a module left, and on which nodes it was then.
func (m *mod) left(bytes int64, holders []pipeline.NodeID) {
	m.outputBytes, m.at = bytes, slices.Clone(holders[:min(len(holders), maxKnownAt)])
}

// fetched notes that a worker has the inputs of a module that succeeded there.
func (m *mod) fetched(id pipeline.NodeID) {
	for _, d := range m.deps {
		if d.outputBytes > 0 && len(d.at) < maxKnownAt && !slices.Contains(d.at, id) {
			d.at = append(d.at, id)
		}
	}
}

// freeIn tells the planner when slots are expected to be free, by how long the
// modules that run there took before.
func (t *term) freeIn(now time.Time) {
	for _, r := range t.runs {
		for _, l := range r.heads {
			link := t.links[l.worker]
			if link == nil || l.startedAt.IsZero() || l.next != nil || l.mod.expected <= 0 {
				continue
			}
			gone := now.Sub(l.startedAt)
			left := l.mod.expected - gone
			if gone < l.mod.expected*3/2 {
				left = max(left, l.mod.expected/10) // a little late is soon over
			}
			if left > 0 && (link.sched.FreeIn == 0 || left < link.sched.FreeIn) {
				link.sched.FreeIn = left
			}
		}
	}
}

// waitsForSlotOf says of a module for whose slot it waits.
func waitsForSlotOf(n scheduler.LocalityWait) string {
	return "waits for a slot of " + n.Worker.Name + ", which has " + pipeline.FormatBytes(n.Bytes) + " of its inputs: moving them would take longer"
}
