package orchestrator

import (
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// hopeless ends modules that no worker can run, if none can join. It looks at a run
// when it begins, so that nothing is done in vain, and at modules whose condition or
// instances depend on results when these are known. Its methods do nothing if it is
// nil.
type hopeless struct {
	model   *model
	workers *workers
	steps   steps
	// why is why a module fits no worker.
	why func(*moduleState) string
}

// known reports whether all workers have said what they have.
func (h *hopeless) known() bool {
	for _, l := range h.workers.links {
		if l.capabilities == nil {
			return false
		}
	}
	return len(h.workers.links) > 0
}

// check looks at the runs that are new.
func (h *hopeless) check() {
	if h == nil || !h.known() {
		return
	}

	for _, r := range h.model.runs {
		if r.fits || r.stale || r.cancelling() || r.blockedBy != "" {
			continue
		}
		r.fits = true

		skipped := r.def.Skipped()
		for _, m := range r.list {
			if m.active == nil && !m.state.Final() && !skipped[m.def.Name] && m.surelyRuns() && len(h.workers.fitting(m.class())) == 0 {
				h.steps.end(m, pipeline.ModuleFailed, h.why(m))
			}
		}
	}
}

// surelyRuns reports whether the module gets an attempt if all goes well.
func (m *moduleState) surelyRuns() bool {
	_, conditional := m.def.Deferred["when"]
	return !conditional && !m.def.Dynamic && m.def.Approval == nil && m.def.Child == nil
}

// unplaced lists, with the reasons, the ready modules of which the plan says that no
// worker can run them.
func (h *hopeless) unplaced(list []scheduler.Explanation) map[*moduleState]string {
	out := map[*moduleState]string{}
	if h == nil || !h.known() {
		return out
	}

	for _, x := range list {
		if x.Why != scheduler.NoWorker {
			continue
		}
		for _, m := range h.model.runs[x.Run].list {
			if m.ready.queued && !m.state.Final() && m.class() == x.Class {
				out[m] = h.why(m)
			}
		}
	}
	return out
}
