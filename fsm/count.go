package fsm

import "github.com/pipelined/pipelined/pipeline"

// countEnd counts a module that became final.
func countEnd(r *pipeline.Run, m *pipeline.ModuleRecord, ignored bool) {
	r.Done++
	m.Ignored = ignored && m.State == pipeline.ModuleFailed
	switch {
	case m.Ignored:
		r.Warnings++
	case m.State == pipeline.ModuleFailed, m.State == pipeline.ModuleCancelled:
		r.Failed++
	}
	countKind(r, m, 1)
	if m.ApprovalWait != nil {
		r.Approvals--
	}
}

// countKind adds n to the counters of how a module ended.
func countKind(r *pipeline.Run, m *pipeline.ModuleRecord, n int) {
	switch {
	case m.State == pipeline.ModuleCached:
		r.Cached += n
	case m.State == pipeline.ModuleSkipped:
		r.Skipped += n
	case m.FailedBefore() != nil:
		r.Flaky += n
	}
}

// uncount reverses countEnd. Who waits for an approval again counts when the wait begins.
func uncount(r *pipeline.Run, m *pipeline.ModuleRecord) {
	if !m.State.Final() {
		return
	}
	r.Done--
	switch {
	case m.Ignored:
		r.Warnings--
	case m.State == pipeline.ModuleFailed, m.State == pipeline.ModuleCancelled:
		r.Failed--
	}
	countKind(r, m, -1)
}
