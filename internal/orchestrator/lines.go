package orchestrator

import (
	"cmp"
	"slices"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Runs of a concurrency group, or of a schedule whose overlapping runs queue,
// wait in lines that the state keeps. Whose turn it is is read from there, and the
// state machine refuses what would go ahead of its turn.

// unstarted reports whether the run stands in a line and its turn has not come,
// or has come and nothing was started.
func (r *run) unstarted() bool {
	return (r.head.Group != "" || r.head.Queued) && r.head.StartedAt.IsZero()
}

// drop takes a run out of the model.
func (t *term) drop(id pipeline.RunID) {
	r := t.runs[id]
	if r == nil {
		return
	}
	if r.head.QueueIndex != 0 {
		t.moved = true
	}
	delete(t.runs, id)
	t.disownAll(r)
}

// admit lets runs begin whose turn has come.
func (t *term) admit() {
	t.moved = false
	var list []*run
	for _, r := range t.runs {
		if r.held != "" && !r.stale && !r.cancelling() {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.head.QueueIndex, b.head.QueueIndex) })
	err := t.cfg.Store.View(func(v *fsm.View) error {
		for _, r := range list {
			_, r.held = v.WaitsFor(&r.head)
		}
		return nil
	})
	if err != nil {
		t.log.Error("read lines", "error", err)
		return
	}
	for _, r := range list {
		if r.held == "" {
			t.resume(r)
		}
	}
}
