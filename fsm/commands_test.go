package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func withKey(c *fsm.Command, key string) *fsm.Command { c.Submit.Run.Key = key; return c }
func withFingerprint(c *fsm.Command, f pipeline.Digest) *fsm.Command {
	c.Submit.Fingerprint = f
	return c
}

func TestApply_submit(t *testing.T) {
	over := []*fsm.Command{submit(t, "r", 0), batch(runEnd("r", pipeline.RunSucceeded))}
	for _, tc := range []struct {
		name     string
		before   []*fsm.Command
		last     *fsm.Command
		repeated bool
		want     string
	}{
		{"new", nil, submit(t, "r", 1), false, ""},
		{"another", []*fsm.Command{submit(t, "r", 1)}, submit(t, "q", 1), false, ""},
		{"the same again", []*fsm.Command{submit(t, "r", 1)}, submit(t, "r", 1), true, ""},
		{"the same request under another id", []*fsm.Command{submit(t, "r", 1)}, withKey(submit(t, "q", 1), "key of r"), true, ""},
		{"the key of another request", []*fsm.Command{submit(t, "r", 1)}, withFingerprint(submit(t, "r", 1), "g"), false,
			`conflict: idempotency key "key of r" was used with another request`},
		{"the key of a forgotten run", append(over, forget("r")), submit(t, "r", 0), false,
			`conflict: idempotency key "key of r" belongs to run r, which is no longer kept`},
		{"a forgotten run, new key", append(over, forget("r")), withKey(submit(t, "r", 1), "new"), false, ""},
		{"no keys", []*fsm.Command{withKey(submit(t, "r", 1), "")}, withKey(submit(t, "q", 1), ""), false, ""},
		{"an id that is taken", []*fsm.Command{submit(t, "r", 1)}, withKey(submit(t, "r", 1), "new"), false, "conflict: run r exists"},
		{"no id", nil, submit(t, "", 1), false, `invalid: run id "": expected at most 63 of a-z, 0-9, _ and -`},
		{"an id that ends early", nil, submit(t, "a\x00b", 1), false, `invalid: run id "a\x00b": expected at most 63 of a-z, 0-9, _ and -`},
		{"a long id", nil, submit(t, strings.Repeat("r", 64), 1), false,
			`invalid: run id "` + strings.Repeat("r", 64) + `": expected at most 63 of a-z, 0-9, _ and -`},
		{"a long key", nil, withKey(submit(t, "r", 1), strings.Repeat("k", 40_000)), false,
			"invalid: the idempotency key has 40000 bytes; at most 1024 fit"},
		{"fewer modules than none", nil, &fsm.Command{Submit: &fsm.Submit{Run: pipeline.Run{ID: "r", Modules: -1}}}, false, "invalid: a run of -1 modules"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.must(tc.before...)
			before := walk(t, r.Store)
			res := r.do(tc.last).(fsm.SubmitResult)
			if got := refused(res); got != tc.want || res.Repeated != tc.repeated {
				t.Fatalf("got %q, repeated %v; want %q, %v", got, res.Repeated, tc.want, tc.repeated)
			}

			changed := cmp.Diff(content(before), content(walk(t, r.Store)))
			if wantChange := tc.want == "" && !tc.repeated; wantChange != (changed != "") {
				t.Errorf("change wanted: %v; got:\n%s", wantChange, changed)
			}

			if tc.repeated && res.Run.ID != "r" {
				t.Errorf("the repeat names run %s, want r", res.Run.ID)
			}
		})
	}
}

// TestApply_submit_trustsNothing: whatever the proposer fills in, a new run
// begins at the beginning.
func TestApply_submit_trustsNothing(t *testing.T) {
	r := newRig(t)
	c := submit(t, "r", 2)
	c.Submit.Run.State, c.Submit.Run.Reason, c.Submit.Run.Done, c.Submit.Run.Failed = pipeline.RunSucceeded, "x", 2, 1
	c.Submit.Run.Number, c.Submit.Run.Index = 99, 99
	c.Submit.Run.SubmittedAt, c.Submit.Run.StartedAt, c.Submit.Run.FinishedAt = at.Add(1), at.Add(2), at.Add(3)
	want := pipeline.Run{ID: "r", Number: 1, Pipeline: "p", State: pipeline.RunWaiting, Submitter: "ann", SubmittedAt: at, Modules: 2, Key: "key of r", Index: 1}
	res := r.do(c).(fsm.SubmitResult)
	if diff := cmp.Diff(want, res.Run); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}

	if diff := cmp.Diff(want, r.run("r")); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestApply_cancel(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 1))

	if got := refused(r.do(cancel("q"))); got != "not_found: no run q" {
		t.Errorf("cancel of no run: %q", got)
	}

	for _, step := range []string{"first", "second"} {
		res := r.do(cancel("r")).(fsm.Result)
		if res.Err != nil || res.Run.State != pipeline.RunCancelling || res.Run.Reason != "stop it" {
			t.Errorf("%s cancel: %+v", step, res)
		}
	}

	r.must(batch(end("r", "m0", pipeline.ModuleCancelled), runEnd("r", pipeline.RunCancelled)))
	over := r.run("r")
	res := r.do(cancel("r")).(fsm.Result)
	if diff := cmp.Diff(fsm.Result{Run: over}, res); diff != "" {
		t.Errorf("cancel of a final run (-want +got):\n%s", diff)
	}

	if diff := cmp.Diff(over, r.run("r")); diff != "" {
		t.Errorf("it changed the run (-want +got):\n%s", diff)
	}
}

func TestApply_worker(t *testing.T) {
	full := fsm.WorkerRecord{ID: "w", Name: "one", External: true, Endpoint: "http://w", Secret: "s", Since: at, Draining: true, DrainDeadline: at}
	set := func(only string, rec fsm.WorkerRecord) *fsm.Command {
		return &fsm.Command{Worker: &fsm.Worker{Record: rec, Only: only}}
	}

	remove := func(id pipeline.NodeID) *fsm.Command {
		return &fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Delete: true}}
	}

	later := at.Add(time.Hour)
	for _, tc := range []struct {
		name string
		cmds []*fsm.Command
		want []fsm.WorkerRecord
		why  string // of the last
	}{
		{"whole", []*fsm.Command{set("", full)}, []fsm.WorkerRecord{full}, ""},
		{"whole, again", []*fsm.Command{set("", full), set("", fsm.WorkerRecord{ID: "w", Name: "two"})}, []fsm.WorkerRecord{{ID: "w", Name: "two"}}, ""},
		{"drain of an unknown", []*fsm.Command{set("drain", fsm.WorkerRecord{ID: "w", Name: "one", Draining: true, AwayUntil: at, Secret: "x"})},
			[]fsm.WorkerRecord{{ID: "w", Name: "one", Draining: true}}, ""},
		{"no longer drained", []*fsm.Command{set("", full), set("drain", fsm.WorkerRecord{ID: "w", Name: "other"})},
			[]fsm.WorkerRecord{{ID: "w", Name: "one", External: true, Endpoint: "http://w", Secret: "s", Since: at}}, ""},
		{"away keeps the drain", []*fsm.Command{set("drain", fsm.WorkerRecord{ID: "w", Draining: true, DrainDeadline: at}),
			set("away", fsm.WorkerRecord{ID: "w", AwayUntil: later})}, []fsm.WorkerRecord{{ID: "w", Draining: true, DrainDeadline: at, AwayUntil: later}}, ""},
		{"a stop drains until the node is back", []*fsm.Command{set("stop", fsm.WorkerRecord{ID: "w"}), set("away", fsm.WorkerRecord{ID: "w", AwayUntil: at})},
			[]fsm.WorkerRecord{{ID: "w", Draining: true, UntilBack: true, AwayUntil: at}}, ""},
		{"back after two stops", []*fsm.Command{set("stop", fsm.WorkerRecord{ID: "w"}), set("stop", fsm.WorkerRecord{ID: "w"}), set("back", fsm.WorkerRecord{ID: "w"})},
			[]fsm.WorkerRecord{{ID: "w"}}, ""},
		{"back, drained by an operator", []*fsm.Command{set("drain", fsm.WorkerRecord{ID: "w", Draining: true, DrainDeadline: at}), set("stop", fsm.WorkerRecord{ID: "w"}),
			set("back", fsm.WorkerRecord{ID: "w"})}, []fsm.WorkerRecord{{ID: "w", Draining: true, DrainDeadline: at}}, ""},
		{"a node that leaves", []*fsm.Command{set("stop", fsm.WorkerRecord{ID: "w", DrainDeadline: at}), set("evacuated", fsm.WorkerRecord{ID: "w"})},
			[]fsm.WorkerRecord{{ID: "w", Draining: true, DrainDeadline: at, UntilBack: true, Evacuated: true}}, ""},
		{"a node that stays after all", []*fsm.Command{set("stop", fsm.WorkerRecord{ID: "w", DrainDeadline: at}), set("evacuated", fsm.WorkerRecord{ID: "w"}),
			set("back", fsm.WorkerRecord{ID: "w"})}, []fsm.WorkerRecord{{ID: "w"}}, ""},
		{"evacuated, and it stays", []*fsm.Command{set("stop", fsm.WorkerRecord{ID: "w"}), set("back", fsm.WorkerRecord{ID: "w"}), set("evacuated", fsm.WorkerRecord{ID: "w"})},
			[]fsm.WorkerRecord{{ID: "w"}}, "conflict: worker w does not drain: it cannot leave"},
		{"only what is unknown", []*fsm.Command{set("", full), set("speed", fsm.WorkerRecord{ID: "w"})}, []fsm.WorkerRecord{full},
			`invalid: only "speed": expected drain, away, stop, evacuated, back or nothing`},
		{"removed", []*fsm.Command{set("", full), remove("w")}, nil, ""},
		{"removed, unknown", []*fsm.Command{set("", full), remove("v")}, []fsm.WorkerRecord{full}, "not_found: no worker v"},
		{"removed, nobody", []*fsm.Command{set("", full), remove("")}, []fsm.WorkerRecord{full}, "invalid: the worker's id is empty"},
		{"nobody", []*fsm.Command{set("", fsm.WorkerRecord{})}, nil, "invalid: the worker's id is empty"},
		{"in order of ids", []*fsm.Command{set("", fsm.WorkerRecord{ID: "b"}), set("", fsm.WorkerRecord{ID: "a"})},
			[]fsm.WorkerRecord{{ID: "a"}, {ID: "b"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			var why string
			for _, c := range tc.cmds {
				why = refused(r.do(c))
			}

			if why != tc.why {
				t.Errorf("got %q, want %q", why, tc.why)
			}

			view(t, r.Store, func(v *fsm.View) {
				if diff := cmp.Diff(tc.want, v.Workers()); diff != "" {
					t.Errorf("workers (-want +got):\n%s", diff)
				}
				for _, w := range tc.want {
					got, ok := v.Worker(w.ID)
					if diff := cmp.Diff(w, got); !ok || diff != "" {
						t.Errorf("worker %s found: %v\n%s", w.ID, ok, diff)
					}
				}
			})
		})
	}
}

func TestApply_token(t *testing.T) {
	r := newRig(t)
	set := func(id, hash string) *fsm.Command {
		return &fsm.Command{Token: &fsm.Token{Record: fsm.TokenRecord{ID: id, Role: "read", Hash: []byte(hash), CreatedAt: at}}}
	}

	remove := func(id string) *fsm.Command {
		return &fsm.Command{Token: &fsm.Token{Delete: true, Record: fsm.TokenRecord{ID: id}}}
	}

	for _, step := range []struct {
		c    *fsm.Command
		want string
		ids  string
	}{
		{set("b", "h"), "", "[b]"},
		{set("a", "h"), "", "[a b]"},
		{set("a", "h"), "", "[a b]"}, // a repeat of the same proposal
		{set("a", "other"), "conflict: token a exists", "[a b]"},
		{set("", "h"), "invalid: the token's id is empty", "[a b]"},
		{set(strings.Repeat("t", 1025), "h"), "invalid: the token's id has 1025 bytes; at most 1024 fit", "[a b]"},
		{remove("c"), "not_found: no token c", "[a b]"},
		{remove("a"), "", "[b]"},
		{remove("a"), "not_found: no token a", "[b]"},
		{set("c", ""), "", "[b c]"},
		{set("c", ""), "conflict: token c exists", "[b c]"}, // no hash proves nothing
	} {
		if got := refused(r.do(step.c)); got != step.want {
			t.Errorf("entry %d: %q, want %q", r.index, got, step.want)
		}

		view(t, r.Store, func(v *fsm.View) {
			ids := []string{}
			for _, tok := range v.Tokens() {
				ids = append(ids, tok.ID)
			}

			if got := fmt.Sprint(ids); got != step.ids {
				t.Errorf("entry %d: tokens %s, want %s", r.index, got, step.ids)
			}

			if _, ok := v.Token("b"); !ok {
				t.Errorf("entry %d: token b is not found", r.index)
			}

			if v.Empty() {
				t.Errorf("entry %d: empty, with a token", r.index)
			}
		})
	}
}

func TestApply_forget(t *testing.T) {
	r := newRig(t)
	over := func(id string) []*fsm.Command {
		return []*fsm.Command{submit(t, id, 1), batch(assign(id, "m0", 1)), batch(outcome(id, "m0", 1, ok), runEnd(id, pipeline.RunSucceeded))}
	}

	r.must(over("a")...)
	kept := content(walk(t, r.Store))
	r.must(over("aa")...) // its records are next to those of a
	r.must(submit(t, "live", 1))
	r.must(forget("live", "unknown", "aa", "aa", ""))
	view(t, r.Store, func(v *fsm.View) {
		if _, ok := v.Run("aa"); ok || len(v.Modules("aa")) != 0 {
			t.Error("run aa is still there")
		}
		if _, err := v.Definition("aa"); pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("definition of a forgotten run: %v", err)
		}
		if _, ok := v.RunByKey("key of aa"); ok {
			t.Error("the key of a forgotten run leads somewhere")
		}
		if _, ok := v.Run("live"); !ok {
			t.Error("a run that has not finished was forgotten")
		}
	})

	r.must(cancel("live"), batch(end("live", "m0", pipeline.ModuleCancelled), runEnd("live", pipeline.RunCancelled)), forget("live"))

	var left []string
	for _, l := range content(walk(t, r.Store)) {
		if !strings.HasPrefix(l, "keys ") && !strings.HasPrefix(l, "meta ") && !strings.HasPrefix(l, "history ") {
			left = append(left, l)
		}
	}

	var want []string
	for _, l := range kept {
		if !strings.HasPrefix(l, "keys ") && !strings.HasPrefix(l, "meta ") && !strings.HasPrefix(l, "history ") {
			want = append(want, l)
		}
	}

	wantEqual(t, "what is left", want, left)
}

// TestApply_forgetKeys: keys that have seen enough steps go, a part of them with each
// command, and those that came later stay, whatever the clocks of leaders say.
func TestApply_forgetKeys(t *testing.T) {
	r := newRig(t)
	const n, life = 2250, 5
	batch := func(name string, clock time.Time) (logs []*submitAt) {
		for i := range n {
			logs = append(logs, &submitAt{id: fmt.Sprintf("%s%d", name, i), at: clock})
		}
		r.submitAll(t, logs)
		return logs
	}
	left := func(logs []*submitAt) (n int) {
		view(t, r.Store, func(v *fsm.View) {
			for _, l := range logs {
				if _, ok := v.RunByKey("key of " + l.id); ok {
					n++
				}
			}
		})
		return n
	}
	age := func(steps int) {
		for range steps {
			r.must(&fsm.Command{At: at.Add(-time.Hour), Forget: &fsm.Forget{KeyLife: life}})
		}
	}

	old := batch("old", at.Add(100*time.Hour))
	age(life - 1)
	young := batch("young", at.Add(-100*time.Hour))
	if left(old) != n || left(young) != n {
		t.Fatalf("after %d steps %d and %d of %d keys are left", life-1, left(old), left(young), n)
	}

	before := n
	for steps := life; left(old) > 0; steps++ {
		age(1)
		if steps < 2*life-1 && left(young) != n {
			t.Fatalf("%d of %d young keys are left", left(young), n)
		}
		if before-left(old) > 2000 {
			t.Fatalf("one command took %d keys", before-left(old))
		}
		if before = left(old); steps > life+5 {
			t.Fatalf("%d old keys are left after %d steps", left(old), steps)
		}
	}
	age(2 * life)
	if left(young) != 0 {
		t.Errorf("%d keys are left", left(young))
	}
}
