package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// An attempt is in the journal before it starts, its outcome before it is
// committed, and both are forgotten only after that.
func TestLifecycle_order(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil))
		r.wantEvents("a", "put start")
		r.end("a", 0)

		r.wantEvents("a", "put start outcome commit delete forget")
		o := r.wants("a", pipeline.AttemptSucceeded, "")
		if o.ExitCode == nil || *o.ExitCode != 0 || o.StartedAt.IsZero() || o.Log != pipeline.EmptyDigest {
			t.Errorf("%+v", o)
		}
		if _, err := os.Stat(r.dirOf("a")); !os.IsNotExist(err) {
			t.Errorf("the directory is left: %v", err)
		}
	})
}

// What the runner is given follows from the spec.
func TestLifecycle_process(t *testing.T) {
	t.Setenv("NPM_TOKEN", "hidden-1")
	inRig(t, func(r *rig) { r.cfg.LogLimit, r.cfg.ModuleEnv = 1000, []string{"PATH", "NPM_TOKEN", "UNSET_TOKEN"} }, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) {
			s.Script, s.Env, s.Caches = "echo hi", map[string]string{"A": "1"}, []string{"go"}
			s.Timeout, s.IdleTimeout, s.Grace, s.OnDisconnect = time.Minute, time.Second, 3*time.Second, pipeline.DisconnectKill
			s.Hooks.After, s.WorkingDir = "echo after", "sub"
			s.Resources = pipeline.Resources{Memory: 1 << 20, CPU: 1.5}
		}))
		p, ok := r.runner.process("a")
		if !ok {
			t.Fatal("not started")
		}

		dir := r.dirOf("a")
		if p.ID != "r1/a/1" || p.Dir != dir || p.WorkDir != filepath.Join(dir, "work", "sub") || p.LogLimit != 1000 || p.Result == "" {
			t.Errorf("%+v", p)
		}
		if p.Timeout != time.Minute || p.IdleTimeout != time.Second || p.Grace != 3*time.Second || !p.KillOnLapse || p.Memory != 1<<20 || p.CPU != 1.5 {
			t.Errorf("%+v", p)
		}
		if !slices.Equal(p.Mask, []string{"hidden-1"}) { // a credential of the machine
			t.Errorf("masked %q", p.Mask)
		}
		if !reflect.DeepEqual(p.Argv, []string{"/bin/sh", "-eu", dir + "/script"}) {
			t.Errorf("argv %q", p.Argv)
		}
		if len(p.Hooks) != 1 || p.Hooks[0].When != executor.HookAfter || p.Hooks[0].WorkDir != dir+"/work" {
			t.Errorf("hooks %+v", p.Hooks)
		}

		env := strings.Join(p.Env, "\n") + "\n"
		for _, want := range []string{"A=1\n", "PIPELINED_RUN_ID=r1\n", "PIPELINED_WORKER=w1\n", "PIPELINED_CACHE=" + filepath.Join(r.cfg.CachesDir, "p-148de9c5a7a44d19") + "\n",
			"PIPELINED_OUTPUT=" + p.Result + "\n", "TRACEPARENT=00-"} {
			if !strings.Contains(env, want) {
				t.Errorf("environment lacks %q: %q", want, p.Env)
			}
		}
		if st, err := os.Stat(filepath.Join(r.cfg.CachesDir, "p-148de9c5a7a44d19", "go")); err != nil || !st.IsDir() {
			t.Errorf("cache directory: %v", err)
		}
		r.end("a", 0)
	})
}

// Caches are those of the pipeline, whatever its name is, or of the attempt alone.
func TestLifecycle_caches(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		dirs := map[string]string{}
		for module, change := range map[string]func(s *pipeline.Spec){
			"a": func(s *pipeline.Spec) { s.Pipeline = "Release" },
			"b": func(s *pipeline.Spec) { s.Pipeline = "Release" },
			"c": func(s *pipeline.Spec) { s.Pipeline = "release" },
			"d": func(s *pipeline.Spec) { s.Pipeline = "../../../etc" },
			"e": func(s *pipeline.Spec) { s.Pipeline = "Release"; s.OwnCaches = true },
			"f": func(s *pipeline.Spec) { s.Pipeline = "Release"; s.OwnCaches = true },
		} {
			r.take(r.spec(module, func(s *pipeline.Spec) { change(s); s.Caches = []string{"go"} }))
			p, ok := r.runner.process(module)
			if !ok {
				t.Fatalf("%s was not started", module)
			}
			for _, v := range p.Env {
				if dir, ok := strings.CutPrefix(v, "PIPELINED_CACHE="); ok {
					dirs[module] = dir
				}
			}

			parent := filepath.Dir(dirs[module])
			if want := r.cfg.CachesDir; !strings.ContainsAny(module, "ef") && parent != want {
				t.Errorf("%s: %s does not lie in %s", module, dirs[module], want)
			}
			if strings.ContainsAny(module, "ef") && parent != r.dirOf(module)+"/tmp" {
				t.Errorf("%s: %s is not in the attempt's directory", module, dirs[module])
			}
			if st, err := os.Stat(filepath.Join(dirs[module], "go")); err != nil || !st.IsDir() {
				t.Errorf("%s: %v", module, err)
			}
		}
		if dirs["a"] != dirs["b"] || dirs["a"] == dirs["c"] || dirs["c"] == dirs["d"] || dirs["e"] == dirs["f"] {
			t.Errorf("got %v", dirs)
		}
	})
}

// A dispatch may be repeated: while the attempt is prepared, while it runs, and
// long after it is forgotten.
func TestTake_twice(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		s := r.spec("a", nil)
		for range 3 {
			go func() { _, _ = r.w.Take(peer.DispatchRequest{Term: 1, Specs: []pipeline.Spec{s, s}}) }()
		}
		synctest.Wait()
		r.take(s)
		r.end("a", 0)
		r.take(s)

		r.wantEvents("a", "put start outcome commit delete forget")
		if n := r.w.Load(); n != 0 {
			t.Errorf("load %d", n)
		}
	})
}

// A journal that cannot be written refuses the attempt; the leader's repetition
// takes it.
func TestTake_journalFull(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.journal.putErr = syscall.ENOSPC
		s := r.spec("a", nil)
		if _, err := r.w.Take(peer.DispatchRequest{Term: 1, Specs: []pipeline.Spec{s}}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("take: %v", err)
		}
		synctest.Wait()
		r.wantEvents("a", "")

		r.journal.putErr = nil
		if o := r.run(s, 0); o.State != pipeline.AttemptSucceeded {
			t.Errorf("%s, %q", o.State, o.Reason)
		}
	})
}

// An outcome that cannot be written is reported all the same.
func TestLifecycle_outcomeNotWritten(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.journal.outcomeErr = syscall.EIO
		r.run(r.spec("a", nil), 3)
		r.wants("a", pipeline.AttemptFailed, "exit code 3")
		r.wantEvents("a", "put start commit delete forget")
	})
}

// An attempt of an earlier incarnation of this worker is lost, and not taken.
func TestTake_otherIncarnation(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Incarnation = "life-0" }))
		r.wants("a", pipeline.AttemptLost, "worker w1 was restarted and has lost its processes")
		r.wantEvents("a", "commit delete")
	})
}

// An attempt that is stopped while its files are fetched never starts.
func TestStop_beforeStart(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.failFetch(func(int) error { return pipeline.Errorf(pipeline.Unavailable, "every node is away") })
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Workspace, s.InputsAll = r.tree(map[string]string{"f": "x"}), true }))
		if err := r.w.Stop(t.Context(), peer.StopRequest{Term: 1, IDs: []pipeline.AttemptID{id("a"), id("unknown")}, Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		o := r.wants("a", pipeline.AttemptCancelled, "enough")
		if !o.StartedAt.IsZero() {
			t.Errorf("started %s", o.StartedAt)
		}
		r.wantEvents("a", "put outcome commit delete")
	})
}

// A stop that comes when the process is being handed over finds no process at the
// runner; it is repeated once the runner has it.
func TestStop_duringHandOver(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.runner.onStart = func(string) {
			if err := r.w.Stop(context.Background(), peer.StopRequest{Term: 1, IDs: []pipeline.AttemptID{id("a")}, Reason: "enough"}); err != nil {
				t.Error(err)
			}
		}
		r.take(r.spec("a", nil))
		if reason := r.runner.stopped("a"); reason != "enough" {
			t.Errorf("the runner was asked to stop it for %q", reason)
		}
		r.runner.exit("a", func(st *executor.Status) {
			st.Stopped, st.Reason, st.Signal, st.ExitCode = true, "enough", "SIGTERM", 143
		})
		r.quiesce()
		r.wants("a", pipeline.AttemptCancelled, "enough")
	})
}

func TestStop_running(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil))
		stop := func(term uint64) error {
			return r.w.Stop(t.Context(), peer.StopRequest{Term: term, IDs: []pipeline.AttemptID{id("a")}, Reason: "enough"})
		}
		if err := stop(1); err != nil || r.runner.stopped("a") != "enough" {
			t.Errorf("%v, stopped %q", err, r.runner.stopped("a"))
		}
		r.end("a", 0)
		if err := stop(1); err != nil { // it is gone
			t.Error(err)
		}
		if err := stop(0); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("an old term: %v", err)
		}
	})
}

// What keeps an attempt from its start decides whether it is repeated.
func TestLifecycle_notStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		state pipeline.AttemptState
	}{
		"runner closed": {executor.ErrClosed, pipeline.AttemptLost},
		"unknown start": {executor.ErrUnknownStart, pipeline.AttemptLost},
		"too large":     {pipeline.Errorf(pipeline.TooLarge, "environment"), pipeline.AttemptFailed},
		"no space":      {syscall.ENOSPC, pipeline.AttemptLost},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(r *rig) { r.runner.startErr = tc.err }, func(t *testing.T, r *rig) {
				r.take(r.spec("a", nil))
				if o := r.wants("a", tc.state, "start: "); !strings.Contains(o.Reason, tc.err.Error()) {
					t.Errorf("reason %q", o.Reason)
				}
			})
		})
	}
}

// What a runner without a lease refuses has not begun: it is forgotten, and starts
// when the leader sends it again.
func TestLifecycle_noLease(t *testing.T) {
	refusal := &executor.RefusedError{ByID: map[string]error{"r1/a/1": executor.ErrNoLease}}
	inRig(t, func(r *rig) { r.runner.startErr = refusal }, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil))
		synctest.Wait()
		res, err := r.w.Sync(t.Context(), peer.SyncRequest{Term: 1})
		if err != nil || len(res.Attempts) != 0 || r.events.of("a") != "put delete" {
			t.Fatalf("%+v, %v, events %s", res.Attempts, err, r.events.of("a"))
		}

		r.runner.mu.Lock()
		r.runner.startErr = nil
		r.runner.mu.Unlock()
		r.take(r.spec("a", nil))
		r.end("a", 0)
		r.wants("a", pipeline.AttemptSucceeded, "")
	})
}

// The runner had no descriptors: the attempt is lost, and has begun only if a hook
// ran before. Until an attempt starts, the node says why it takes no work.
func TestLifecycle_machineFault(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for name, startedAt := range map[string]time.Time{"never": {}, "hook": time.Now().UTC()} {
			r.take(r.spec(name, nil))
			r.runner.exit(name, func(st *executor.Status) {
				st.StartedAt, st.ExitCode, st.StartError, st.MachineFault = startedAt, 126, "too many open files", true
			})
			r.quiesce()
			o := r.wants(name, pipeline.AttemptLost, "too many open files")
			if o.NeverBegun != startedAt.IsZero() || o.NeverBegun && !o.StartedAt.IsZero() {
				t.Errorf("%s: never begun %v, started at %s", name, o.NeverBegun, o.StartedAt)
			}
		}
		if why := r.w.Unfit(); !strings.Contains(why, "too many open files") {
			t.Errorf("unfit: %q", why)
		}

		r.take(r.spec("next", nil))
		r.end("next", 0)
		r.wants("next", pipeline.AttemptSucceeded, "")
		if why := r.w.Unfit(); why != "" {
			t.Errorf("unfit after a start: %q", why)
		}
	})
}

// A process that an earlier daemon started is not started again: its exit comes.
func TestLifecycle_startedBefore(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.runner.statuses["r1/a/1"] = executor.Status{ID: "r1/a/1", State: executor.Running}
		r.take(r.spec("a", nil))
		r.wantEvents("a", "put")
		r.end("a", 0)
		r.wants("a", pipeline.AttemptSucceeded, "")
	})
}

// The start of a process is reported only if it runs for a while.
func TestLifecycle_startReport(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("short", nil), r.spec("long", nil))
		begin := time.Now().UTC()
		elapse(r.w.cfg.StartReport - 10*time.Millisecond)
		r.end("short", 0)
		elapse(20 * time.Millisecond)

		if _, ok := r.leader.started[id("short")]; ok {
			t.Error("the start of a short process was reported")
		}
		if at, ok := r.leader.started[id("long")]; !ok || !at.Equal(begin) {
			t.Errorf("the start was reported as %s, want %s", at, begin)
		}
		r.end("long", 0)
	})
}

// A keeper that dies takes its attempts along, except those whose exit the next
// one knows. What is only prepared is not affected.
func TestKeeperLink_keeperDied(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("lost", nil), r.spec("ended", nil), r.spec("waits", behind("ended")))
		r.runner.mu.Lock()
		st := r.runner.statuses["r1/ended/1"]
		st.State = executor.Exited
		r.runner.statuses["r1/ended/1"] = st
		r.runner.listErr = errors.New("not yet")
		r.runner.mu.Unlock()
		r.runner.replace("life-2")

		elapse(keeperCheckInterval)
		if r.leader.committed("lost") != nil {
			t.Error("given up while the new keeper does not answer")
		}

		r.runner.mu.Lock()
		r.runner.listErr = nil
		r.runner.mu.Unlock()
		elapse(keeperCheckInterval)
		r.wants("lost", pipeline.AttemptLost, "the keeper of worker w1 died, and its processes with it")
		r.end("ended", 0)
		r.wants("ended", pipeline.AttemptSucceeded, "")
		r.end("waits", 0)
		r.wants("waits", pipeline.AttemptSucceeded, "")
	})
}

// A runner repeats exits; those of attempts that are not here are forgotten.
func TestKeeperLink_repeatedExits(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil))
		for range 3 {
			r.runner.exit("a", nil)
		}
		r.quiesce()
		r.runner.exit("a", nil)
		r.quiesce()
		if got := r.events.of("a"); !strings.HasPrefix(got, "put start outcome commit delete forget") || strings.Count(got, "commit") != 1 {
			t.Errorf("events %s", got)
		}
		if list, _ := r.runner.List(t.Context()); len(list) != 0 {
			t.Errorf("the runner still has %+v", list)
		}
	})
}

func TestSync(t *testing.T) {
	full := ""
	inRig(t, func(r *rig) { r.cfg.Full = func() string { return full } }, func(t *testing.T, r *rig) {
		r.take(r.spec("runs", nil), r.spec("waits", behind("runs")))
		res, err := r.w.Sync(t.Context(), peer.SyncRequest{Term: 2, Lease: time.Minute})
		if err != nil || res.Clock <= 0 || r.runner.lease != 0 {
			t.Errorf("before any answer: clock %s, lease until %s, %v", res.Clock, r.runner.lease, err)
		}
		heard := res.Clock
		future := peer.SyncRequest{Term: 2, Lease: time.Minute, Heard: heard + time.Hour}
		if _, err := r.w.Sync(t.Context(), future); err != nil || r.runner.lease != 0 {
			t.Errorf("a clock of another machine: lease until %s, %v", r.runner.lease, err)
		}
		res, err = r.w.Sync(t.Context(), peer.SyncRequest{Term: 2, Lease: time.Minute, Heard: heard})
		if err != nil || res.Closed || len(res.Attempts) != 2 || res.Incarnation != "life-1" || res.Name != "w1" {
			t.Fatalf("%+v, %v", res, err)
		}
		for _, held := range res.Attempts {
			if waits := held.ID.Module == "waits"; held.Waiting != waits || held.StartedAt.IsZero() != waits || held.Ended || held.Fence != 7 {
				t.Errorf("%+v", held)
			}
		}
		if r.runner.lease != heard+time.Minute || r.w.Load() != 1 {
			t.Errorf("lease until %s, load %d", r.runner.lease, r.w.Load())
		}

		if _, err := r.w.Sync(t.Context(), peer.SyncRequest{Term: 1}); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("an old term: %v", err)
		}
		full = "disk low"
		if res, err = r.w.Sync(t.Context(), peer.SyncRequest{Term: 2}); err != nil || !res.Closed || res.Reason != "disk low" {
			t.Errorf("full: %+v, %v", res, err)
		}
		r.w.Close()
		if res, err = r.w.Sync(t.Context(), peer.SyncRequest{Term: 2}); err != nil || !res.Closed || res.Reason != "" {
			t.Errorf("closed: %+v, %v", res, err)
		}
		if _, err := r.w.Take(peer.DispatchRequest{Term: 2, Specs: []pipeline.Spec{r.spec("late", nil)}}); pipeline.KindOf(err) != pipeline.Unavailable {
			t.Errorf("take when closed: %v", err)
		}
		r.end("runs", 0)
		r.end("waits", 0)
	})
}

func TestWorker_LogFile(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		if _, _, _, ok := r.w.LogFile(id("a")); ok {
			t.Error("an attempt that is not here has a log")
		}
		r.take(r.spec("a", nil))
		path, times, live, ok := r.w.LogFile(id("a"))
		if !ok || !live || path != executor.LogPath(r.dirOf("a")) || times != executor.TimesPath(r.dirOf("a")) {
			t.Errorf("%s, %s, live %v, %v", path, times, live, ok)
		}
		r.leader.set(true)
		r.end("a", 0)
		if _, _, live, ok := r.w.LogFile(id("a")); !ok || live {
			t.Errorf("ended: live %v, %v", live, ok)
		}
		r.leader.set(false)
		elapse(time.Second)
	})
}
