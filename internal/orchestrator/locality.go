package orchestrator

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

const (
	// minInputs is how many bytes of other modules' outputs a module must need for
	// their location to count: less is moved in no time.
	minInputs = 8 << 20
	// maxLocations bounds the nodes that are known to have a module's outputs.
	maxLocations = 16
)

// inputsOf returns what a module needs of the outputs of others, and which workers
// have it; nil if it is little. The workspace does not count: every node has it, or
// fetches it once.
func inputsOf(m *moduleState) *scheduler.Inputs {
	var total int64
	for _, d := range m.dependencies {
		total += d.product.outputBytes
	}

	if total < minInputs {
		return nil
	}

	held := map[pipeline.NodeID]int64{}
	for _, d := range m.dependencies {
		if d.product.outputBytes == 0 {
			continue
		}
		for _, id := range d.product.locations {
			held[id] += d.product.outputBytes
		}
	}

	// Sorted, so that equal states give equal plans.
	in := &scheduler.Inputs{Bytes: total}
	for id, n := range held {
		in.Held = append(in.Held, scheduler.Held{Worker: id, Bytes: n})
	}

	slices.SortFunc(in.Held, func(a, b scheduler.Held) int { return cmp.Compare(a.Worker, b.Worker) })
	return in
}

// setLocations records the size of a module's outputs, and the nodes that had them
// when its outcome was committed.
func (m *moduleState) setLocations(bytes int64, holders []pipeline.NodeID) {
	m.product.outputBytes, m.product.holders = bytes, holders
	m.product.locations = slices.Clone(holders[:min(len(holders), maxLocations)])
}

// addLocation records that a worker has the inputs of the module, which succeeded
// there.
func (m *moduleState) addLocation(id pipeline.NodeID) {
	for _, d := range m.dependencies {
		p := &d.product
		if p.outputBytes > 0 && len(p.locations) < maxLocations && !slices.Contains(p.locations, id) {
			p.locations = append(p.locations, id)
		}
	}
}

// expectFreeSlots tells the planner when slots are expected to become free, by how
// long the running modules took before.
func (p *planner) expectFreeSlots(now time.Time) {
	for _, r := range p.model.runs {
		for _, a := range r.occupying {
			l := p.workers.link(a.worker)
			if l == nil || a.startedAt.IsZero() || a.successor != nil || a.module.expected <= 0 {
				continue
			}

			elapsed := now.Sub(a.startedAt)
			left := a.module.expected - elapsed
			if elapsed < a.module.expected*3/2 {
				left = max(left, a.module.expected/10) // a little late: it should end soon
			}
			if left > 0 && (l.planned.FreeIn == 0 || left < l.planned.FreeIn) {
				l.planned.FreeIn = left
			}
		}
	}
}
