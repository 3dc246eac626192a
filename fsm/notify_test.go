package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// slack adds a webhook of the format slack.
func slack(name string, pipelines ...string) *fsm.Command {
	return &fsm.Command{Hook: &fsm.Hook{Do: fsm.HookAdd, Record: fsm.HookRecord{Name: name, URL: "https://example.com/" + name, Format: fsm.HookSlack,
		Pipelines: pipelines, CreatedAt: at}}}
}

// notifying submits a run whose notify blocks are for events of webhooks: "webhook on on".
func notifying(tb tester, id string, blocks ...string) *fsm.Command {
	tb.Helper()
	c := submit(tb, id, 1)
	for i, block := range blocks {
		words := strings.Fields(block)
		c.Submit.Run.Notify = append(c.Submit.Run.Notify, pipeline.NotifyTarget{Name: fmt.Sprint("n", i), Webhook: words[0], On: words[1:]})
	}
	return c
}

// ended takes a run of one module from its assignment to its end.
func (r *rig) ended(id string, state pipeline.RunState) {
	r.tb.Helper()
	run := pipeline.RunID(id)
	module := pipeline.ModuleSkipped
	if state == pipeline.RunFailed {
		module = pipeline.ModuleFailed
	}
	r.must(&fsm.Command{Batch: &fsm.Batch{Ends: []fsm.End{{Run: run, Module: "m0", State: module}}, Runs: []fsm.RunEnd{{Run: run, State: state}}}})
}

// notices lists what became of the notifications of a run.
func (r *rig) notices(id string) (list []string) {
	r.tb.Helper()
	for _, n := range r.run(id).Notices {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s: %s %s", n.Name, n.Event, n.Webhook, n.State, n.Reason)))
	}
	return list
}

// A notification waits for its webhook from the entry on that ends its run; the run
// remembers what became of it. A webhook of the format slack gets nothing else.
func TestApply_notify(t *testing.T) {
	r := newRig(t)
	r.must(slack("chat"), hook("all", "1"), notifying(t, "a", "chat failure recovery", "all success"))
	r.ended("a", pipeline.RunFailed)
	want := []string{"run.notified chat 4.2 tries 0"}
	if got, _ := outboxOf(t, r.Store, "chat", at); !slices.Equal(got, want) {
		t.Errorf("outbox %q, want %q", got, want)
	}
	if got, _ := outboxOf(t, r.Store, "all", at); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "run.notified") }) {
		t.Errorf("a notification for another webhook in %q", got)
	}
	if got := r.notices("a"); !slices.Equal(got, []string{"n0 failure chat: waiting"}) {
		t.Errorf("notices %q", got)
	}

	failure := fsm.HookDelivery{Index: 4, N: 2, At: at, Status: 500, Text: "oops", Next: at}
	r.must(delivered("chat", failure))
	if got := r.notices("a"); !slices.Equal(got, []string{"n0 failure chat: waiting answered 500"}) {
		t.Errorf("after a failure: %q", got)
	}
	failure.GaveUp = true
	r.must(delivered("chat", failure))
	if got := r.notices("a"); !slices.Equal(got, []string{"n0 failure chat: given up answered 500"}) {
		t.Errorf("given up: %q", got)
	}
	r.must(hookDo(fsm.HookResend, "chat"), delivered("chat", fsm.HookDelivery{Index: 4, N: 2, At: at, Status: 200, OK: true}))
	if got := r.notices("a"); !slices.Equal(got, []string{"n0 failure chat: delivered"}) {
		t.Errorf("delivered: %q", got)
	}
	if got, _ := outboxOf(t, r.Store, "chat", at); len(got) != 0 {
		t.Errorf("delivered: %q waits", got)
	}
}

// A run recovers its pipeline if the one that ended before it failed: the last that
// ended, cancelled ones left out.
func TestApply_notifyRecovery(t *testing.T) {
	r := newRig(t)
	r.must(slack("chat"))
	for i, step := range []struct {
		state pipeline.RunState
		want  string
	}{
		{pipeline.RunSucceeded, ""},
		{pipeline.RunFailed, "failure"},
		{pipeline.RunCancelled, ""},
		{pipeline.RunFailed, "failure"},
		{pipeline.RunWarnings, "recovery"},
		{pipeline.RunSucceeded, ""},
	} {
		id := fmt.Sprint("r", i)
		r.must(notifying(t, id, "chat failure recovery", "chat success"))
		r.ended(id, step.state)
		got := ""
		for _, n := range r.run(id).Notices {
			if n.Name == "n0" {
				got = n.Event
			}
		}
		if got != step.want {
			t.Errorf("run %d, %s: notified of %q, want %q", i, step.state, got, step.want)
		}
	}

	// Untrusted runs neither break a pipeline nor repair it.
	failing := func() (yes bool) {
		view(t, r.Store, func(v *fsm.View) { yes = v.Failing("p") })
		return yes
	}
	for i, state := range []pipeline.RunState{pipeline.RunFailed, pipeline.RunFailed, pipeline.RunSucceeded} {
		c := notifying(t, fmt.Sprint("u", i))
		c.Submit.Run.Untrusted = i != 1
		r.must(c)
		r.ended(fmt.Sprint("u", i), state)
		if want := i > 0; failing() != want {
			t.Errorf("after run %d: failing %v", i, !want)
		}
	}
	r.must(forget("u1"))

	// The failed run is no longer kept: nothing is known of what was before.
	r.must(notifying(t, "x", "chat failure"))
	r.ended("x", pipeline.RunFailed)
	if !failing() {
		t.Error("the pipeline does not fail after a failure")
	}
	r.must(forget("x"))
	if failing() {
		t.Error("a run that is not kept is remembered")
	}
}

// A start is notified of once, with the first assignment.
func TestApply_notifyStart(t *testing.T) {
	r := newRig(t)
	r.must(slack("chat"), notifying(t, "a", "chat start"))
	if got := r.notices("a"); len(got) != 0 {
		t.Errorf("before the start: %q", got)
	}
	r.must(batch(assign("a", "m0", 1)))
	if got := r.notices("a"); !slices.Equal(got, []string{"n0 start chat: waiting"}) {
		t.Errorf("after the start: %q", got)
	}

	// What comes first may be a module that becomes instances: all before it was cached.
	r.must(notifying(t, "b", "chat start"))
	before := r.index
	r.must(batch(expand("b", "m0", "x")))
	wantEvents(t, r.Store, before, fmt.Sprintf("%d.0 run.started b", before+1), fmt.Sprintf("%d.1 run.notified b chat running", before+1))
	r.must(batch(assign("b", "m0[x]", 1)))
	if got := r.notices("b"); !slices.Equal(got, []string{"n0 start chat: waiting"}) {
		t.Errorf("after instances: %q", got)
	}
}

// A run that names a webhook which there is not, or that is for other pipelines, is
// refused.
func TestApply_notifyRefused(t *testing.T) {
	r := newRig(t)
	r.must(slack("chat"), slack("theirs", "q"))
	for block, want := range map[string]string{
		"cht failure":    `notify "n0": no webhook "cht": there are chat, theirs`,
		"theirs failure": "webhook theirs is for pipelines q only",
	} {
		got := refused(r.do(notifying(t, "a", block)))
		if !strings.Contains(got, want) || !strings.HasPrefix(got, "invalid: ") {
			t.Errorf("%s: %q, want %q", block, got, want)
		}
	}
	many := notifying(t, "a")
	many.Submit.Run.Notify = slices.Repeat([]pipeline.NotifyTarget{{Name: "n", Webhook: "chat"}}, 33)
	if got := refused(r.do(many)); !strings.Contains(got, "too many") {
		t.Errorf("33 blocks: %q", got)
	}
}

// A webhook that was there at submission, and no longer is, is missed with a reason.
func TestApply_notifyUnsent(t *testing.T) {
	r := newRig(t)
	r.must(slack("chat"), slack("off"), notifying(t, "a", "chat failure", "off failure"), notifying(t, "b", "chat start"), batch(assign("b", "m0", 1)))
	r.must(notifying(t, "c", "off start"), batch(assign("c", "m0", 1)))
	r.must(delivered("off", fsm.HookDelivery{Index: r.index, N: 1, At: at, Status: 410, Off: "its receiver answered 410 Gone"}))
	r.must(hookDo(fsm.HookRemove, "chat"))
	r.ended("a", pipeline.RunFailed)
	want := []string{`n0 failure chat: not sent no webhook "chat": there are off`, "n1 failure off: not sent webhook off is switched off: its receiver answered 410 Gone"}
	if got := r.notices("a"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.notices("b"); !slices.Equal(got, []string{"n0 start chat: not sent webhook chat was removed"}) {
		t.Errorf("waiting when its webhook was removed: %q", got)
	}
}

// What an untrusted run says would appear to come from the cluster.
func TestApply_notifyUntrusted(t *testing.T) {
	r := newRig(t)
	c := notifying(t, "a", "missing failure")
	c.Submit.Run.Untrusted = true
	r.must(slack("chat"), c)
	r.ended("a", pipeline.RunFailed)
	if got := r.notices("a"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestApply_slackHooks(t *testing.T) {
	r := newRig(t)
	withSecret, other := slack("a"), slack("a")
	withSecret.Hook.Record.Sealed, other.Hook.Record.Format = []byte("x"), "teams"
	typed := slack("typed")
	typed.Hook.Record.Types = []string{"secret"}
	for want, c := range map[string]*fsm.Command{"without an address or a secret": withSecret, "expected slack": other} {
		if got := refused(r.do(c)); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	r.must(slack("a"), slack("a"), typed, secretSet("S"))
	if got := refused(r.do(hookDo(fsm.HookRotate, "a"))); !strings.Contains(got, "no secret") {
		t.Errorf("rotate: %q", got)
	}
	if got, _ := outboxOf(t, r.Store, "a", at); len(got) != 0 {
		t.Errorf("without types: %q", got)
	}
	if got, _ := outboxOf(t, r.Store, "typed", at); len(got) != 1 {
		t.Errorf("with types: %q", got)
	}
}

// In the place of a module that runs a pipeline are the modules that failed there: they have
// the output. If none did, it is the module itself.
func TestView_RunNotice_child(t *testing.T) {
	failures := func(r *rig, id string) (list []string) {
		t.Helper()
		run := r.run(id)
		if err := r.View(func(v *fsm.View) error {
			notice, err := v.RunNotice(&run, pipeline.NotifyFailure)
			for _, f := range notice.Failed {
				list = append(list, fmt.Sprintf("%s: %s, %d bytes", f.Module, f.Reason, f.LogSize))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}

	r := parent(t)
	ends := ended("c", failed, pipeline.RunFailed, "m0 failed")
	ends[1].Batch.Outcomes[0].Outcome.LogSize = 7
	r.must(ends...)
	if got, want := failures(r, "r"), []string{"m0/m0: exit code 3, 7 bytes"}; !slices.Equal(got, want) {
		t.Errorf("a module of the child failed: %q, want %q", got, want)
	}

	r = parent(t)
	r.must(batch(end("c", "m0", pipeline.ModuleSkipped)), batch(func() fsm.RunEnd {
		e := runEnd("c", pipeline.RunFailed)
		e.Reason = "timeout"
		return e
	}()))
	if got, want := failures(r, "r"), []string{"m0: run 2 failed: timeout, 0 bytes"}; !slices.Equal(got, want) {
		t.Errorf("no module of the child failed: %q, want %q", got, want)
	}
}
