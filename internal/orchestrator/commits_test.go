package orchestrator_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// After a proposal whose fate is unknown the run is read again from the state,
// whether the entry was applied or not.
func TestCommits_unknownFate(t *testing.T) {
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprintf("applied %v", applied), func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				pass(2 * time.Second)
				c.log.loseBatches(2, applied)
				id := c.submit("r", one(aModule("a"), aModule("b", "a")))
				c.succeed(id, "a")
				c.log.loseBatches(2, applied)
				c.succeed(id, "b")
				c.ends(id, pipeline.RunSucceeded)
				for _, name := range []string{"a", "b"} {
					c.wantAttempts(id, name, pipeline.AttemptSucceeded)
					if n := c.starts(id, name); n != 1 {
						t.Errorf("%d starts of %s", n, name)
					}
				}
			})
		})
	}
}

// A leader that cannot propose, because it is deposed and does not know it yet,
// dispatches nothing and acknowledges nothing.
func TestCommits_deposed(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a"), aModule("b", "a")))
		w, s := c.attempt(id, "a")
		c.log.setFail(pipeline.ErrNotLeader)

		_, err := c.orch.Load().Report(t.Context(), peer.ReportRequest{Worker: w.id,
			Reports: []peer.Report{{ID: s.ID, Outcome: &pipeline.Outcome{ID: s.ID, State: pipeline.AttemptSucceeded}}}})
		if !errors.Is(err, pipeline.ErrNotLeader) {
			t.Errorf("a report that was not committed: %v", err)
		}
		pass(time.Second)
		if n := c.starts(id, "b"); n != 0 {
			t.Error("an assignment that was not committed was dispatched")
		}
		if m := c.module(id, "a"); m.State != pipeline.ModuleRunning {
			t.Errorf("a is %s", m.State)
		}

		c.log.setFail(nil)
		c.succeed(id, "a")
		c.succeed(id, "b")
		c.ends(id, pipeline.RunSucceeded)
		c.wantAttempts(id, "a", pipeline.AttemptSucceeded)
	})
}

// The state machine refuses the plan of a deposed leader; that leader reads the run
// again and follows the other's assignment.
func TestCommits_refused(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		release := c.log.hold()
		raw := one(aModule("a"), aModule("b", "a"))
		id := c.submitPast("r", raw)
		settled() // its assignment is proposed and held

		// Another leader assigned the same attempt to the other worker first.
		c.log.past(t, &fsm.Command{At: time.Now(), Batch: &fsm.Batch{Assigns: []fsm.Assign{{ID: pipeline.AttemptID{Run: id, Module: "a", Attempt: 1},
			Worker: "w2", WorkerName: "w2", Incarnation: "i-w2"}}}})
		release()
		if w, _ := c.attempt(id, "a"); w.id != "w2" {
			t.Errorf("a runs on %s", w.id)
		}
		settled()
		if n := c.starts(id, "a"); n != 1 {
			t.Errorf("%d starts", n)
		}
		c.succeed(id, "a")
		c.succeed(id, "b")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Outcomes and what follows from them share an entry.
func TestCommits_oneEntryPerHop(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a"), aModule("b", "a"), aModule("c", "b")))
		c.attempt(id, "a")
		before := c.store.Index()
		c.succeed(id, "a")
		c.attempt(id, "b")
		settled()
		if n := c.store.Index() - before; n != 1 {
			t.Errorf("%d entries for an outcome and the next assignment", n)
		}
		c.succeed(id, "b", "c")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Results near their limit do not make an entry that is too large.
func TestCommits_largeResults(t *testing.T) {
	scripted(t, []int{12}, func(t *testing.T, c *cluster) {
		result := fmt.Appendf(nil, "{%q:%q}", "v", make([]byte, 8<<10))
		c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
			<-time.After(time.Second)
			return &pipeline.Outcome{State: pipeline.AttemptSucceeded, Result: result}
		}
		c.leads()
		p := layers(2, 12)
		for i := range p.Modules[12:] {
			p.Modules[12+i].Deferred = map[string]pipeline.DeferredExpr{"command": {Source: "x"}}
		}
		id := c.submit("r", p)
		for name, m := range c.ends(id, pipeline.RunSucceeded) {
			if len(m.Attempts) != 1 || len(m.Result) != len(result) {
				t.Errorf("%s: %d attempts, %d bytes", name, len(m.Attempts), len(m.Result))
			}
		}
	})
}

// Calls between terms say that this node does not lead.
func TestOrchestrator_notLeading(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		end := c.leads()
		end()
		o := c.orch.Load()
		if o.Leading() {
			t.Error("it says that it leads")
		}
		_, errReport := o.Report(t.Context(), peer.ReportRequest{Reports: make([]peer.Report, 1)})
		_, errWorkers := o.Workers(t.Context())
		_, errWaiting := o.Waiting(t.Context(), "r")
		_, errLocks := o.Locks(t.Context())
		_, _, errBeat := o.Heartbeat(t.Context(), "w1", 0)
		_, _, errAble := o.Able(t.Context(), &pipeline.Module{})
		p := one(aModule("a"))
		_, errEstimate := o.Estimate(t.Context(), pipeline.Run{ID: "x", Modules: 1}, &p)
		for i, err := range []error{errReport, errWorkers, errWaiting, errLocks, errBeat, errAble, errEstimate} {
			if !errors.Is(err, pipeline.ErrNotLeader) {
				t.Errorf("call %d: %v", i, err)
			}
		}
	})
}

// The answers to reports that change nothing.
func TestReport_answers(t *testing.T) {
	scripted(t, []int{3}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a"), aModule("b")))
		w, s := c.attempt(id, "a")
		c.attempt(id, "b")
		done := c.submit("done", one(aModule("a")))
		c.succeed(done, "a")
		c.ends(done, pipeline.RunSucceeded)

		outcome := func(run pipeline.RunID, module string, attempt int, state pipeline.AttemptState) peer.Report {
			x := pipeline.AttemptID{Run: run, Module: module, Attempt: attempt}
			return peer.Report{ID: x, Outcome: &pipeline.Outcome{ID: x, State: state}}
		}
		for _, tc := range []struct {
			name    string
			worker  pipeline.NodeID
			report  peer.Report
			refused string
		}{
			{"no such run", w.id, outcome("none", "a", 1, pipeline.AttemptFailed), "no such run"},
			{"no such module", w.id, outcome(id, "none", 1, pipeline.AttemptFailed), "no such module"},
			{"an attempt that is not there", w.id, outcome(done, "a", 7, pipeline.AttemptFailed), "no such run"},
			{"a repeat of a finished run", w.id, outcome(done, "a", 1, pipeline.AttemptSucceeded), ""},
			{"another outcome of a finished run", w.id, outcome(done, "a", 1, pipeline.AttemptFailed), "attempt is succeeded"},
			{"a start of a finished run", w.id, peer.Report{ID: pipeline.AttemptID{Run: done, Module: "a", Attempt: 1}}, ""},
			{"a start of another attempt", w.id, peer.Report{ID: pipeline.AttemptID{Run: id, Module: "a", Attempt: 2}}, "not the active attempt"},
			{"a start", w.id, peer.Report{ID: s.ID, StartedAt: time.Now()}, ""},
		} {
			res, err := c.orch.Load().Report(t.Context(), peer.ReportRequest{Worker: tc.worker, Reports: []peer.Report{tc.report}})
			if err != nil || !res.Acks[0].Done || res.Acks[0].Refused != tc.refused {
				t.Errorf("%s: %+v, %v", tc.name, res.Acks, err)
			}
		}
		settled()
		if m := c.module(id, "a"); m.Attempts[0].StartedAt.IsZero() {
			t.Error("the start is not recorded")
		}

		// Several reports in one request, two of the same outcome: each has its answer.
		res, err := c.orch.Load().Report(t.Context(), peer.ReportRequest{Worker: w.id, Reports: []peer.Report{
			outcome(id, "a", 1, pipeline.AttemptSucceeded), outcome(id, "a", 1, pipeline.AttemptSucceeded), outcome("none", "x", 1, pipeline.AttemptLost)}})
		if err != nil || len(res.Acks) != 3 || !res.Acks[0].Done || !res.Acks[1].Done || res.Acks[1].Refused != "attempt is succeeded" || res.Acks[2].Refused != "no such run" {
			t.Errorf("%+v, %v", res, err)
		}
		if res, err := c.orch.Load().Report(t.Context(), peer.ReportRequest{Worker: w.id}); err != nil || len(res.Acks) != 0 {
			t.Errorf("no reports: %+v, %v", res, err)
		}
	})
}

// New fills in the timing.
func TestNew_timing(t *testing.T) {
	d := orchestrator.DefaultTiming()
	if d.Lease <= 0 || d.Silence <= d.Lease || d.Sync >= d.Lease || d.Call <= 0 || d.Heartbeat <= 0 {
		t.Errorf("%+v", d)
	}
}
