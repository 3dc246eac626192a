package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// scripted runs a test in a bubble of its own clock, on a cluster whose workers run
// attempts until the test ends them. Slots are those of the workers w1, w2 and so
// on. Timing is that of a real cluster.
func scripted(t *testing.T, slots []int, play func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, slots...)
		c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome { return nil }
		play(t, c)
	})
}

// leads starts a term with the default timing, which ends with the test unless the
// returned function ended it before.
func (c *cluster) leads() (end func()) {
	c.tb.Helper()
	stop := c.lead(orchestrator.DefaultTiming())
	over := false
	end = func() {
		if !over {
			over = true
			stop()
		}
	}
	c.tb.Cleanup(end)
	return end
}

// one makes a pipeline of modules.
func one(modules ...pipeline.Module) pipeline.Pipeline {
	return pipeline.Pipeline{Name: "p", Modules: modules}
}

// with returns a module that was changed.
func with(m pipeline.Module, change func(*pipeline.Module)) pipeline.Module {
	change(&m)
	return m
}

// retried gives a module a budget of attempts.
func retried(attempts int, backoff time.Duration) func(*pipeline.Module) {
	return func(m *pipeline.Module) {
		m.Retry = pipeline.Retry{Attempts: attempts, Backoff: backoff, MaxBackoff: time.Hour}
	}
}

// attempt waits until a worker has an attempt of a module that has not ended, and
// returns the newest.
func (c *cluster) attempt(run pipeline.RunID, module string) (w *fakeWorker, s pipeline.Spec) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		rec := c.module(run, module)
		last := rec.Last()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, x := range c.workers {
			for id, spec := range x.held {
				if id.Run == run && id.Module == module && x.ended[id] == "" && last != nil && id.Attempt == last.Number {
					w, s = x, spec
					return nil
				}
			}
		}
		return fmt.Errorf("no worker has %s of %s", module, run)
	})
	return w, s
}

// end ends the attempt of a module, wherever it runs.
func (c *cluster) end(run pipeline.RunID, module string, o pipeline.Outcome) peer.Ack {
	c.tb.Helper()
	w, s := c.attempt(run, module)
	return c.finish(w, s.ID, &o)
}

func (c *cluster) succeed(run pipeline.RunID, modules ...string) {
	c.tb.Helper()
	for _, m := range modules {
		c.end(run, m, pipeline.Outcome{State: pipeline.AttemptSucceeded})
	}
}

func (c *cluster) fail(run pipeline.RunID, module string) {
	c.tb.Helper()
	code := 1
	c.end(run, module, pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "exit code 1", ExitCode: &code})
}

// starts returns how often attempts of a module were started.
func (c *cluster) starts(run pipeline.RunID, module string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, w := range c.workers {
		for _, id := range w.started {
			if id.Run == run && id.Module == module {
				n++
			}
		}
	}
	return n
}

// runs lists the modules of a run that a worker has and that have not ended.
func (c *cluster) runningModules(run pipeline.RunID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, w := range c.workers {
		for id := range w.held {
			if id.Run == run && w.ended[id] == "" {
				list = append(list, id.Module)
			}
		}
	}
	slices.Sort(list)
	return list
}

// settled waits until nothing happens any more before the clock moves.
func settled() { synctest.Wait() }

func (c *cluster) module(run pipeline.RunID, name string) pipeline.ModuleRecord {
	_, mods := c.run(run)
	if mods[name] == nil {
		return pipeline.ModuleRecord{State: pipeline.ModuleWaiting}
	}
	return *mods[name]
}

// wantModule waits until a module has a state, and checks its reason.
func (c *cluster) wantModule(run pipeline.RunID, name string, state pipeline.ModuleState, reason string) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		m := c.module(run, name)
		if m.State != state {
			return fmt.Errorf("%s is %s (%s), want %s", name, m.State, m.Reason, state)
		}
		if reason != "" && !strings.Contains(m.Reason, reason) {
			return fmt.Errorf("%s is %s because %q, want %q", name, m.State, m.Reason, reason)
		}
		return nil
	})
}

// wantAttempts checks the states of a module's attempts.
func (c *cluster) wantAttempts(run pipeline.RunID, name string, want ...pipeline.AttemptState) {
	c.tb.Helper()
	var got []pipeline.AttemptState
	for _, a := range c.module(run, name).Attempts {
		got = append(got, a.State)
	}
	if !slices.Equal(got, want) {
		c.tb.Errorf("attempts of %s are %v, want %v", name, got, want)
	}
}

// wantWhy waits until the reason why a module waits contains a text.
func (c *cluster) wantWhy(run pipeline.RunID, name, want string) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		why, err := c.orch.Load().Waiting(context.Background(), run)
		if err != nil {
			return err
		}
		if !strings.Contains(why[name], want) {
			return fmt.Errorf("%s waits because %q, want %q", name, why[name], want)
		}
		return nil
	})
}

// must commits a command that has to be accepted.
func (c *cluster) must(command *fsm.Command) any {
	c.tb.Helper()
	if command.At.IsZero() {
		command.At = time.Now()
	}
	v, err := c.propose(command)
	if err != nil {
		c.tb.Fatal(err)
	}
	if r, ok := v.(fsm.Result); ok && r.Err != nil {
		c.tb.Fatal(r.Err)
	}
	return v
}

func (c *cluster) cancel(run pipeline.RunID, request string) {
	c.tb.Helper()
	c.must(&fsm.Command{Cancel: &fsm.Cancel{Run: run, Reason: "enough", Request: request}})
}

// silence cuts a worker off; gossip sees it as long as alive is set.
func (c *cluster) silence(id pipeline.NodeID, silent, alive bool) {
	c.mu.Lock()
	c.workers[id].silent, c.workers[id].alive = silent, alive
	c.mu.Unlock()
	c.memberChange()
}

// memberChange makes the leader look at the members again.
func (c *cluster) memberChange() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// setWorker changes a worker's fields.
func (c *cluster) setWorker(id pipeline.NodeID, change func(*fakeWorker)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.workers[id])
}

// status returns the state that the leader reports of a worker; "" if it does not
// list it.
func (c *cluster) status(id pipeline.NodeID) string {
	list, err := c.orch.Load().Workers(context.Background())
	if err != nil {
		return err.Error()
	}
	for _, w := range list {
		if w.ID == id {
			return w.Status
		}
	}
	return ""
}

// wantStatus waits until a worker has a state.
func (c *cluster) wantStatus(id pipeline.NodeID, want string) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if got := c.status(id); got != want {
			return fmt.Errorf("%s is %q, want %q", id, got, want)
		}
		return nil
	})
}

// submitAs commits a run of a pipeline whose head is given but for its id.
func (c *cluster) submitAs(id string, p pipeline.Pipeline, head pipeline.Run) pipeline.RunID {
	c.tb.Helper()
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		c.tb.Fatal(err)
	}
	head.ID, head.Pipeline, head.Modules = pipeline.RunID(id), p.Name, len(p.Modules)
	v := c.must(&fsm.Command{Submit: &fsm.Submit{Definition: raw, Run: head}})
	if r := v.(fsm.SubmitResult); r.Err != nil {
		c.tb.Fatal(r.Err)
	}
	return head.ID
}

// retry resumes a finished run with some of its modules.
func (c *cluster) retry(run pipeline.RunID, modules ...string) {
	c.tb.Helper()
	r, _ := c.run(run)
	c.must(&fsm.Command{Retry: &fsm.Retry{Run: run, Modules: modules, Tries: r.Tries}})
}

// setAll changes the fields of all workers.
func (c *cluster) setAll(change func(*fakeWorker)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		change(w)
	}
}

// finishFull reports the success of an attempt, and that its worker is full.
func (c *cluster) finishFull(w *fakeWorker, id pipeline.AttemptID, why string) {
	c.tb.Helper()
	c.mu.Lock()
	w.ended[id] = pipeline.AttemptSucceeded
	c.mu.Unlock()
	res, err := c.orch.Load().Report(c.ctx, peer.ReportRequest{Worker: w.id, Full: why,
		Reports: []peer.Report{{ID: id, Outcome: &pipeline.Outcome{ID: id, State: pipeline.AttemptSucceeded}}}})
	if err != nil || !res.Acks[0].Done {
		c.tb.Fatal(res, err)
	}
	c.mu.Lock()
	delete(w.held, id)
	c.mu.Unlock()
}

// fakeVault opens everything with its secrets.
type fakeVault struct {
	secrets map[string]string
	// derived is what was made for each module.
	derived map[string]string
	err     error
}

func (v *fakeVault) Derived(_ pipeline.RunID, _ *pipeline.Pipeline, modules []string) (list []string, err error) {
	for _, name := range modules {
		list = append(list, v.derived[name])
	}
	return list, nil
}

func (v *fakeVault) Missing(names []string) string {
	for _, n := range names {
		if _, ok := v.secrets[n]; !ok {
			return "secret " + n + " is not set"
		}
	}
	return ""
}

func (v *fakeVault) Open(_ *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (orchestrator.Opened, error) {
	out := orchestrator.Opened{Evaluated: e, Secrets: map[string]string{}, Mask: []string{"hidden"}}
	for _, n := range m.Secrets {
		out.Secrets[n] = v.secrets[n]
	}
	return out, v.err
}

// submitPast commits a run while other proposals are held.
func (c *cluster) submitPast(id string, p pipeline.Pipeline) pipeline.RunID {
	c.tb.Helper()
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		c.tb.Fatal(err)
	}
	v := c.log.past(c.tb, &fsm.Command{At: time.Now(), Submit: &fsm.Submit{Definition: raw,
		Run: pipeline.Run{ID: pipeline.RunID(id), Pipeline: p.Name, Modules: len(p.Modules)}}})
	if r := v.(fsm.SubmitResult); r.Err != nil {
		c.tb.Fatal(r.Err)
	}
	return pipeline.RunID(id)
}
