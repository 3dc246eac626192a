package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func hook(name, sealed string, types ...string) *fsm.Command {
	return &fsm.Command{Hook: &fsm.Hook{Do: fsm.HookAdd, Record: fsm.HookRecord{Name: name, URL: "https://example.com/" + name, Types: types,
		Sealed: []byte(sealed), CreatedAt: at, CreatedBy: "ann"}}}
}

func hookDo(do fsm.HookDo, name string) *fsm.Command {
	return &fsm.Command{Hook: &fsm.Hook{Do: do, Record: fsm.HookRecord{Name: name, Sealed: []byte("new"), URL: "https://example.com", OldUntil: at.Add(time.Hour)}}}
}

func delivered(name string, list ...fsm.HookDelivery) *fsm.Command {
	return &fsm.Command{Deliver: &fsm.Deliver{Hook: name, Results: list}}
}

// secretSet makes an event.
func secretSet(name string) *fsm.Command {
	return &fsm.Command{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: name, Sealed: []byte("x"), SetAt: at}}}
}

// outboxOf lists what is due for a hook at a time, as type, index and tries.
func outboxOf(tb testing.TB, s *fsm.Store, name string, now time.Time) (list []string, next time.Time) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		var due []fsm.OutboxEvent
		due, next = v.Outbox(name, now, 100)
		for _, e := range due {
			list = append(list, fmt.Sprintf("%s %s %d.%d tries %d", e.Event.Type.Kind().Name, e.Event.Subject, e.Event.Index, e.Event.N, e.Tries))
		}
	})
	return list, next
}

func hookOf(tb testing.TB, s *fsm.Store, name string) (rec fsm.HookRecord) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		var ok bool
		if rec, ok = v.Hook(name); !ok {
			tb.Errorf("no webhook %s", name)
		}
	})
	return rec
}

// An event waits for each hook that wants it until it is acknowledged.
func TestApply_hooks(t *testing.T) {
	r := newRig(t)
	r.must(secretSet("BEFORE"), hook("all", "1"), hook("runs", "2", "run"), hook("one", "3", "dev.cdeventsx.pipelined-secret.removed"))
	r.must(secretSet("A"), submit(t, "a", 1))

	got, _ := outboxOf(t, r.Store, "all", at)
	if want := []string{"secret.set A 5.0 tries 0", "run.queued  6.0 tries 0"}; !slices.Equal(got, want) {
		t.Errorf("all: %q, want %q", got, want)
	}
	got, _ = outboxOf(t, r.Store, "runs", at)
	if want := []string{"run.queued  6.0 tries 0"}; !slices.Equal(got, want) {
		t.Errorf("runs: %q, want %q", got, want)
	}
	if got, _ = outboxOf(t, r.Store, "one", at); len(got) != 0 {
		t.Errorf("one: %q", got)
	}

	failure := fsm.HookDelivery{Index: 5, At: at, Status: 500, Text: "oops", Next: at.Add(5 * time.Second)}
	r.must(delivered("all", failure, fsm.HookDelivery{Index: 6, At: at, Status: 204, OK: true}, fsm.HookDelivery{Index: 77, OK: true}))
	got, next := outboxOf(t, r.Store, "all", at)
	if len(got) != 0 || next.Before(at.Add(4*time.Second)) || next.After(at.Add(5*time.Second)) {
		t.Errorf("after a failure: %q, next %v", got, next)
	}
	if got, _ = outboxOf(t, r.Store, "all", at.Add(5*time.Second)); !slices.Equal(got, []string{"secret.set A 5.0 tries 1"}) {
		t.Errorf("after 5 s: %q", got)
	}
	rec := hookOf(t, r.Store, "all")
	if rec.Waiting != 1 || rec.Delivered != 1 || rec.Failures != 0 || rec.Last.Index != 6 || !rec.OKAt.Equal(at) {
		t.Errorf("record %+v", rec)
	}

	// Given up, and sent again.
	failure.GaveUp, failure.Next = true, time.Time{}
	r.must(delivered("all", failure))
	if rec = hookOf(t, r.Store, "all"); rec.Waiting != 0 || rec.GaveUp != 1 || rec.Failures != 1 {
		t.Errorf("given up: %+v", rec)
	}
	if got, next = outboxOf(t, r.Store, "all", at.AddDate(50, 0, 0)); len(got) != 0 || !next.IsZero() {
		t.Errorf("given up: %q, %v", got, next)
	}
	r.must(hookDo(fsm.HookResend, "all"))
	if got, _ = outboxOf(t, r.Store, "all", at); !slices.Equal(got, []string{"secret.set A 5.0 tries 0"}) {
		t.Errorf("sent again: %q", got)
	}
	r.must(delivered("all", fsm.HookDelivery{Index: 5, At: at, Status: 200, OK: true}))
	if rec = hookOf(t, r.Store, "all"); rec.Waiting != 0 || rec.GaveUp != 0 || rec.Bytes != 0 || rec.Delivered != 2 {
		t.Errorf("at the end: %+v", rec)
	}

	// A repeat changes nothing.
	before := hookOf(t, r.Store, "all")
	r.must(delivered("all", fsm.HookDelivery{Index: 5, At: at, Status: 200, OK: true}), delivered("none", failure))
	if diff := cmp.Diff(before, hookOf(t, r.Store, "all")); diff != "" {
		t.Errorf("a repeat (-before +after):\n%s", diff)
	}
}

func TestApply_hooks_changes(t *testing.T) {
	r := newRig(t)
	for _, step := range []struct {
		command *fsm.Command
		kind    pipeline.Kind
	}{
		{hook("a", "1"), 0},
		{hook("a", "1"), 0}, // a repeat
		{hook("a", "2"), pipeline.Conflict},
		{hook("", "1"), pipeline.Invalid},
		{hook("x\x00y", "1"), pipeline.Invalid},
		{hook("b", ""), pipeline.Invalid},
		{hook("b", "1", make([]string, 51)...), pipeline.Invalid},
		{hook("b", string(make([]byte, 3000))), pipeline.Invalid},
		{hookDo(0, "a"), pipeline.Invalid},
		{hookDo(fsm.HookRemove, "b"), pipeline.NotFound},
		{hookDo(fsm.HookResend, "b"), pipeline.NotFound},
		{hookDo(fsm.HookRotate, "b"), pipeline.NotFound},
		{hookDo(fsm.HookRotate, "a"), 0},
		{hookDo(fsm.HookRotate, "a"), 0}, // a repeat: the secret before stays
	} {
		err := r.do(step.command).(fsm.Result).Err
		if err == nil && step.kind != 0 || err != nil && (step.kind == 0 || pipeline.KindOf(err) != step.kind) {
			t.Errorf("%+v: %v, want kind %v", step.command.Hook, err, step.kind)
		}
	}
	if rec := hookOf(t, r.Store, "a"); string(rec.Sealed) != "new" || string(rec.SealedOld) != "1" || !rec.OldUntil.Equal(at.Add(time.Hour)) || rec.CreatedBy != "ann" {
		t.Errorf("after rotate: %+v", rec)
	}

	// The configuration takes one over, and a receiver that is gone switches one off.
	r.must(hookDo(fsm.HookSet, "a"), hookDo(fsm.HookSet, "c"), secretSet("A"))
	r.must(delivered("a", fsm.HookDelivery{Index: r.index, At: at, Status: 410, Next: at, Off: "gone"}), secretSet("B"))
	a, c := hookOf(t, r.Store, "a"), hookOf(t, r.Store, "c")
	if !a.Config || a.URL != "https://example.com" || a.Off != "gone" || a.Waiting != 1 || c.Waiting != 2 {
		t.Errorf("a %+v, c %+v", a, c)
	}
	r.must(hookDo(fsm.HookResend, "a"), secretSet("B"))
	if a = hookOf(t, r.Store, "a"); a.Off != "" || a.Waiting != 2 {
		t.Errorf("switched on: %+v", a)
	}

	// With a hook goes what waits for it, and nothing of another whose name begins like it.
	r.must(hook("c2", "1"), secretSet("B"), hookDo(fsm.HookRemove, "c"))
	if got, _ := outboxOf(t, r.Store, "c", at); len(got) != 0 {
		t.Errorf("c is removed, and %q waits", got)
	}
	if got, _ := outboxOf(t, r.Store, "c2", at); len(got) != 1 {
		t.Errorf("c2: %q", got)
	}

	for i := range fsm.MaxHooks - 2 {
		r.must(hook(fmt.Sprintf("n%02d", i), "1"))
	}
	if err := r.do(hook("more", "1")).(fsm.Result).Err; pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("one too many: %v", err)
	}
}

// A text that is too long is cut between two characters: what is not UTF-8 could not be
// read back.
func TestApply_hooks_longText(t *testing.T) {
	r := newRig(t)
	long := "x" + strings.Repeat("é", 2000)
	r.must(hook("a", "1"), secretSet("A"), delivered("a", fsm.HookDelivery{Index: 2, At: at, Status: 410, Text: long, Off: long}))
	rec := hookOf(t, r.Store, "a")
	if rec.Last.Text != long[:2047] || rec.Off != long[:2047] {
		t.Errorf("%d and %d bytes are kept, want 2047", len(rec.Last.Text), len(rec.Off))
	}
}

// A hook for some pipelines gets events of their runs alone.
func TestApply_hooks_pipelines(t *testing.T) {
	r := newRig(t)
	some, other := hook("some", "1"), hook("other", "2")
	some.Hook.Record.Pipelines, other.Hook.Record.Pipelines = []string{"q", "p"}, []string{"q"}
	r.must(some, other, secretSet("A"), submit(t, "r", 1))
	if got, _ := outboxOf(t, r.Store, "some", at.Add(time.Hour)); len(got) != 1 || !strings.HasPrefix(got[0], "run.queued ") {
		t.Errorf("got %q, want the run of p", got)
	}
	if got, _ := outboxOf(t, r.Store, "other", at.Add(time.Hour)); len(got) != 0 {
		t.Errorf("got %q, want none: q has no run", got)
	}
}

// Only hooks that a user has added keep a cluster of one from joining another.
func TestApply_hooks_empty(t *testing.T) {
	for _, do := range []fsm.HookDo{fsm.HookAdd, fsm.HookSet} {
		r := newRig(t)
		r.must(hookDo(do, "a"))
		view(t, r.Store, func(v *fsm.View) {
			if v.Empty() != (do == fsm.HookSet) {
				t.Errorf("%d: empty is %t", do, v.Empty())
			}
		})
	}
}

// Beyond its bounds an outbox drops the oldest events, the same however the log is cut
// into transactions.
func TestApply_hooks_bounded(t *testing.T) {
	for _, limit := range []struct {
		entries int
		bytes   int64
	}{{5, 1 << 20}, {1000, 700}} {
		t.Run(fmt.Sprint(limit.entries), func(t *testing.T) {
			defer fsm.SetOutboxLimits(limit.entries, limit.bytes)()
			r := newRig(t)
			r.must(hook("a", "1"))
			for i := range 9 {
				r.must(secretSet(fmt.Sprint("S", i)))
			}
			rec := hookOf(t, r.Store, "a")
			got, _ := outboxOf(t, r.Store, "a", at)
			if rec.Dropped == 0 || len(got) != rec.Waiting || rec.Waiting+int(rec.Dropped) != 9 || rec.Bytes > limit.bytes || rec.Waiting > limit.entries {
				t.Errorf("%d wait, %d bytes, %d dropped", rec.Waiting, rec.Bytes, rec.Dropped)
			}
			if want := "secret.set S8 10.0 tries 0"; got[len(got)-1] != want {
				t.Errorf("the newest is %q", got[len(got)-1])
			}
		})
	}
}
