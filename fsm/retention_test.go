package fsm_test

import (
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func named(r *rig) int {
	r.tb.Helper()
	n := 0
	view(r.tb, r.Store, func(v *fsm.View) {
		_ = v.References(func(fsm.Reference) error { n++; return nil }) // the callback never fails
	})
	return n
}

// What a limit deletes is no longer referenced; a pinned run, and one that has
// not finished, keeps all of it.
func TestExpire(t *testing.T) {
	r := newRig(t)
	s := submit(t, "r", 1)
	s.Submit.Run.Workspace = key(9)
	o := outcome("r", "m0", 1, pipeline.AttemptSucceeded)
	o.Outcome.Log, o.Outcome.LogSize, o.Outcome.Outputs = key(7), 5, key(8)
	expire := &fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{"r", "none"}, Logs: []pipeline.RunID{"r", "none"}}}
	pin := func(on bool) *fsm.Command { return &fsm.Command{Pin: &fsm.Pin{Run: "r", Pinned: on}} }
	r.must(s, batch(assign("r", "m0", 1)), batch(o), expire)

	if n := named(r); n != 3 {
		t.Errorf("a run that has not finished: %d blobs are named", n)
	}

	r.must(batch(runEnd("r", pipeline.RunSucceeded)), pin(true), pin(true), expire, forget("r"))
	if n := named(r); n != 3 || !r.run("r").Pinned {
		t.Errorf("a pinned run: %d blobs are named", n)
	}

	r.must(pin(false), expire, expire)

	m := r.module("r", "m0")
	if n, run := named(r), r.run("r"); n != 0 || !run.ArtifactsGone || !run.LogsGone || run.Workspace != "" || m.Attempts[0].LogSize != 0 || m.State != pipeline.ModuleSucceeded {
		t.Errorf("%d blobs are named: %+v, %+v", n, run, m)
	}

	if why := refused(r.do(&fsm.Command{Retry: &fsm.Retry{Run: "r", Modules: []string{"m0"}}})); why == "" {
		t.Error("a run goes on without its workspace")
	}

	if why := refused(r.do(&fsm.Command{Pin: &fsm.Pin{Run: "none", Pinned: true}})); why == "" {
		t.Error("pinned a run that is not there")
	}

	r.must(forget("r"))
}

// A cached result keeps its bytes when the run that made it is forgotten.
func TestReferences_results(t *testing.T) {
	r := newRig(t)
	o := outcome("r", "m0", 1, pipeline.AttemptSucceeded)
	o.Outcome.Log, o.Outcome.Outputs = key(7), key(8)
	r.must(submit(t, "r", 2), batch(noted(assign("r", "m0", 1), key(1))), batch(o))
	before := named(r)
	r.must(batch(end("r", "m1", pipeline.ModuleSkipped)), batch(runEnd("r", pipeline.RunSucceeded)), forget("r"))
	if n := named(r); before != 4 || n != 2 {
		t.Errorf("%d blobs are named, %d with the run", n, before)
	}
}

// A schedule keeps the workspace that its runs are made of, whatever becomes of them.
func TestReferences_schedules(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"))
	if n := named(r); n != 1 {
		t.Errorf("%d blobs are named", n)
	}
	r.must(change("s", fsm.ScheduleRemove))
	if n := named(r); n != 0 {
		t.Errorf("%d blobs are named by a schedule that is gone", n)
	}
}
