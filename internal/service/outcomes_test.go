package service_test

import (
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// source is a pipeline p with the modules, which may be any blocks.
func source(blocks string) wire.SubmitRequest {
	return wire.SubmitRequest{FileName: "test.hcl", Source: "pipeline \"p\" {\n" + blocks + "\n}\n"}
}

// chain is a pipeline of three modules in a row, and one by itself.
const chain = `  on_failure = "continue"
  module "a" { command = ["true"] }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
  module "alone" { command = ["true"] }`

func (r *rig) newRun(blocks string) pipeline.RunID {
	r.tb.Helper()
	made, err := r.runs.Submit(r.tb.Context(), sam, "", source(blocks))
	if err != nil {
		r.tb.Fatal(err)
	}
	return made.ID
}

// apply commits a command, which must not be refused.
func (r *rig) apply(c *fsm.Command) {
	r.tb.Helper()
	if c.At.IsZero() {
		c.At = time.Now().UTC()
	}
	raw, err := fsm.Encode(c)
	if err != nil {
		r.tb.Fatal(err)
	}
	result, err := r.leader.Propose(r.tb.Context(), raw)
	if err != nil {
		r.tb.Fatal(err)
	}

	switch result := result.(type) {
	case fsm.Result:
		err = result.Err
	case fsm.FireResult:
		err = result.Err
	case fsm.BatchResult:
		if len(result.Refused) > 0 {
			r.tb.Fatal(result.Refused[0].Reason)
		}
	}
	if err != nil {
		r.tb.Fatal(err)
	}
}

// assign gives a module to a worker as its next attempt.
func (r *rig) assign(run pipeline.RunID, module, worker string, change func(*fsm.Assign)) pipeline.AttemptID {
	r.tb.Helper()
	id := pipeline.AttemptID{Run: run, Module: module, Attempt: len(r.record(run, module).Attempts) + 1}
	op := fsm.Assign{ID: id, Worker: pipeline.NodeID("id-" + worker), WorkerName: worker}
	if change != nil {
		change(&op)
	}
	r.apply(&fsm.Command{Batch: &fsm.Batch{Assigns: []fsm.Assign{op}}})
	return id
}

// start records that an attempt's process runs.
func (r *rig) start(id pipeline.AttemptID) {
	r.tb.Helper()
	r.apply(&fsm.Command{Batch: &fsm.Batch{Starts: []fsm.Start{{ID: id, At: time.Now().UTC()}}}})
}

// finish ends an attempt and its module.
func (r *rig) finish(id pipeline.AttemptID, o pipeline.Outcome, next pipeline.ModuleState) {
	r.tb.Helper()
	o.ID, o.FinishedAt = id, time.Now().UTC()
	r.apply(&fsm.Command{Batch: &fsm.Batch{Outcomes: []fsm.Outcome{{Outcome: o, Next: next, Reason: o.Reason}}}})
}

// succeed runs modules on worker w1.
func (r *rig) succeed(run pipeline.RunID, modules ...string) {
	r.tb.Helper()
	for _, module := range modules {
		id := r.assign(run, module, "w1", nil)
		r.start(id)
		r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded}, pipeline.ModuleSucceeded)
	}
}

// fail runs a module, in vain.
func (r *rig) fail(run pipeline.RunID, module string) {
	r.tb.Helper()
	id := r.assign(run, module, "w1", nil)
	r.start(id)
	r.finish(id, pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "exit code 1"}, pipeline.ModuleFailed)
}

// end ends modules that did not run.
func (r *rig) end(run pipeline.RunID, state pipeline.ModuleState, reason string, modules ...string) {
	r.tb.Helper()
	var ends []fsm.End
	for _, module := range modules {
		ends = append(ends, fsm.End{Run: run, Module: module, State: state, Reason: reason})
	}
	r.apply(&fsm.Command{Batch: &fsm.Batch{Ends: ends}})
}

// endRun ends a run whose modules have all ended.
func (r *rig) endRun(run pipeline.RunID, state pipeline.RunState) {
	r.tb.Helper()
	r.apply(&fsm.Command{Batch: &fsm.Batch{Runs: []fsm.RunEnd{{Run: run, State: state}}}})
}

func (r *rig) view(fn func(v *fsm.View)) {
	r.tb.Helper()
	if err := r.state.View(func(v *fsm.View) error { fn(v); return nil }); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) record(run pipeline.RunID, module string) (rec pipeline.ModuleRecord) {
	r.tb.Helper()
	r.view(func(v *fsm.View) { rec = v.Module(run, module) })
	return rec
}
