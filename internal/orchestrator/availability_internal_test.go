package orchestrator

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Whether a worker takes something new, what `why` says, and the word in the
// list of workers come from one place.
func TestAvailability(t *testing.T) {
	const lease = 10 * time.Second
	draining := fsm.WorkerRecord{Draining: true}
	away := fsm.WorkerRecord{AwayUntil: noon.Add(time.Minute)}
	const awayText = "is away until 2026-06-01T12:01:00Z"
	for _, tc := range []struct {
		name   string
		change func(l *link)
		rec    fsm.WorkerRecord
		text   string
		status string
	}{
		{"open", func(*link) {}, fsm.WorkerRecord{}, "", pipeline.WorkerOnline},
		{"back from an absence", func(*link) {}, fsm.WorkerRecord{AwayUntil: noon}, "", pipeline.WorkerOnline},
		{"away, answers still", func(*link) {}, away, awayText, pipeline.WorkerDraining},
		{"away, silent", func(l *link) { l.heardAt = noon.Add(-time.Hour) }, away, awayText, pipeline.WorkerOffline},
		{"full", func(l *link) { l.closed, l.fullReason = true, "its disk is full" }, fsm.WorkerRecord{}, "takes nothing new: its disk is full", pipeline.WorkerDraining},
		{"full and draining", func(l *link) { l.closed, l.fullReason = true, "its disk is full" }, draining, "takes nothing new: its disk is full", pipeline.WorkerDraining},
		{"draining", func(*link) {}, draining, "is draining", pipeline.WorkerDraining},
		{"draining, closed too", func(l *link) { l.closed = true }, draining, "is draining", pipeline.WorkerDraining},
		{"draining, silent", func(l *link) { l.heardAt = noon.Add(-time.Hour) }, draining, "is draining", pipeline.WorkerOffline},
		{"stopping", func(l *link) { l.closed = true }, fsm.WorkerRecord{}, "is stopping", pipeline.WorkerDraining},
		{"refuses connections", func(l *link) { l.refused = true }, fsm.WorkerRecord{}, "is offline", pipeline.WorkerOnline},
		{"silent for less than half a lease", func(l *link) { l.heardAt = noon.Add(-4 * time.Second) }, fsm.WorkerRecord{}, "", pipeline.WorkerOnline},
		{"silent for half a lease", func(l *link) { l.heardAt = noon.Add(-5 * time.Second) }, fsm.WorkerRecord{}, "is offline", pipeline.WorkerOnline},
		{"silent for a lease", func(l *link) { l.heardAt = noon.Add(-11 * time.Second) }, fsm.WorkerRecord{}, "is offline", pipeline.WorkerOffline},
		{"not seen by gossip", func(l *link) { l.alive = false }, fsm.WorkerRecord{}, "is offline", pipeline.WorkerOffline},
	} {
		l := &link{heardAt: noon, alive: true}
		tc.change(l)
		a := l.availability(tc.rec, lease, noon.Sub(l.heardAt), noon)
		if a.String() != tc.text || a.status() != tc.status || a.open() != (tc.text == "") {
			t.Errorf("%s: open %v, %q, %s; want %q, %s", tc.name, a.open(), a, a.status(), tc.text, tc.status)
		}
	}
}

// A worker has its slots from when it reports what it has: a run that begins before
// the first plan is not failed because no worker can run its modules.
func TestLink_fitsBeforePlan(t *testing.T) {
	l := &link{name: "w"}
	l.setCapabilities(pipeline.Capabilities{MaxParallelModules: 1, CPU: 1})
	if !l.fits(scheduler.Class{}) {
		t.Error("a module without requirements fits no worker")
	}
}
