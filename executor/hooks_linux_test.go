package executor_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// hooked gives a process hooks by moment.
func hooked(p executor.Process, hooks map[executor.When]string) executor.Process {
	for when, script := range hooks {
		p.Hooks = append(p.Hooks, executor.Hook{When: when, WorkDir: p.WorkDir, Argv: []string{"/bin/sh", "-eu", "-c", script}})
	}
	return p
}

// said gives hooks that say their moment and status.
func said() map[executor.When]string {
	hooks := map[executor.When]string{}
	for _, w := range []executor.When{executor.HookBefore, executor.HookSuccess, executor.HookFailure, executor.HookAfter} {
		hooks[w] = "echo " + string(w) + " is $" + executor.StatusVariable
	}
	return hooks
}

func with(hooks map[executor.When]string, when executor.When, script string) map[executor.When]string {
	hooks[when] = script
	return hooks
}

const (
	lineBefore  = "[pipelined: hook before]\nbefore is running\n"
	lineSuccess = "[pipelined: hook on_success]\non_success is succeeded\n"
	lineFailure = "[pipelined: hook on_failure]\non_failure is failed\n"
	lineAfter   = "[pipelined: hook after]\nafter is "
)

func TestRunner_hooks(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			name, script string
			hooks        map[executor.When]string
			code         int
			failed, out  string
		}{
			{"success", "echo main ${PIPELINED_STATUS-unset}", said(), 0, "", lineBefore + "main unset\n" + lineSuccess + lineAfter + "succeeded\n"},
			{"failure", "printf main; exit 7", said(), 7, "", lineBefore + "main\n" + lineFailure + lineAfter + "failed\n"},
			{"before fails", "echo main", with(said(), executor.HookBefore, "exit 3"), 3, "hook before: exit code 3",
				"[pipelined: hook before]\n" + lineFailure + lineAfter + "failed\n"},
			{"on_success fails", "true", with(said(), executor.HookSuccess, "exit 4"), 0, "hook on_success: exit code 4",
				lineBefore + "[pipelined: hook on_success]\n" + lineAfter + "failed\n"},
			{"after fails", "true", map[executor.When]string{executor.HookAfter: "kill -9 $$"}, 0, "hook after: killed by SIGKILL", "[pipelined: hook after]\n"},
			{"on_failure fails", "exit 1", map[executor.When]string{executor.HookFailure: "exit 9"}, 1, "",
				"[pipelined: hook on_failure]\n[pipelined: hook on_failure: exit code 9]\n"},
			{"after fails too", "exit 2", map[executor.When]string{executor.HookAfter: "exit 9"}, 2, "",
				"[pipelined: hook after]\n[pipelined: hook after: exit code 9]\n"},
		} {
			p := hooked(b.shell(tc.script), tc.hooks)
			p.Timeout = time.Minute
			st := b.run(p)
			if st.ExitCode != tc.code || st.HookFailed != tc.failed || st.Stopped || st.TimedOut || st.StartError != "" {
				t.Errorf("%s: %+v", tc.name, st)
			}
			if got := output(t, st); got != tc.out {
				t.Errorf("%s: output %q, want %q", tc.name, got, tc.out)
			}
		}
		// What cannot be started has failed, and cleans up.
		p := hooked(b.shell(""), said())
		p.Argv = []string{"./missing"}
		if st := b.run(p); st.StartError == "" || st.ExitCode != 127 || !strings.HasSuffix(output(t, st), lineFailure+lineAfter+"failed\n") {
			t.Errorf("missing: %+v, %q", st, output(t, st))
		}
		// A hook leaves nothing behind, as a module does not.
		p = hooked(b.shell("true"), map[executor.When]string{executor.HookBefore: "setsid sleep 1000 & echo $! >$DIR/child"})
		st := b.run(p)
		mustBeDead(t, pidIn(t, p.Dir+"/child"))
		if st.ExitCode != 0 || st.Leftover == 0 {
			t.Errorf("leftover: %+v", st)
		}
	})
}

func TestRunner_hooksAtStop(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		up := func(p executor.Process) { t.Helper(); pidIn(t, p.Dir+"/child") }
		const forever = "echo $$ >$DIR/child; sleep 1000"
		// Timed out in before: the module is not started, the hooks after it are.
		p := hooked(b.shell("touch $DIR/main"), with(said(), executor.HookBefore, forever))
		p.Timeout, p.Grace = 200*time.Millisecond, 100*time.Millisecond
		st := b.run(p)
		if !st.TimedOut || st.HookFailed != "" || !strings.HasSuffix(output(t, st), "on_failure is timed_out\n"+lineAfter+"timed_out\n") {
			t.Errorf("timeout in before: %+v, %q", st, output(t, st))
		}
		if _, err := os.Stat(p.Dir + "/main"); err == nil {
			t.Error("the module was started")
		}
		// Cancelled: the hooks have the grace, a second at least, and no more.
		p = hooked(b.shell(forever), with(said(), executor.HookAfter, "echo after $PIPELINED_STATUS; sleep 1000"))
		p.Timeout = time.Hour
		b.start(p)
		up(p)
		b.stop(p.ID, 50*time.Millisecond)
		began := time.Now()
		st = b.wait(p.ID)
		if took := time.Since(began); took < 900*time.Millisecond || took > 10*time.Second {
			t.Errorf("the hooks took %v", took)
		}
		if !st.Stopped || st.Reason != "stopped by the test" || !strings.Contains(output(t, st), "on_failure is cancelled\n") ||
			!strings.HasSuffix(output(t, st), "after cancelled\n[pipelined: hook after: its time had passed]\n") {
			t.Errorf("cancelled: %+v, %q", st, output(t, st))
		}
		// Stopped while only a hook runs: it may go on for the grace.
		p = hooked(b.shell("true"), map[executor.When]string{executor.HookAfter: forever})
		b.start(p)
		up(p)
		b.stop(p.ID, 0)
		if st = b.wait(p.ID); !st.Stopped || st.HookFailed != "hook after: its time had passed" || st.ExitCode != 0 {
			t.Errorf("stopped in after: %+v", st)
		}
		mustBeDead(t, pidIn(t, p.Dir+"/child"))
		p = hooked(b.shell("exit 5"), map[executor.When]string{executor.HookAfter: "echo $$ >$DIR/child; sleep 0.3"})
		b.start(p)
		up(p)
		b.stop(p.ID, 0)
		if st = b.wait(p.ID); st.Stopped || st.ExitCode != 5 || st.HookFailed != "" {
			t.Errorf("stopped in after of a failure: %+v", st)
		}
		// Never started: no hooks either.
		p = hooked(b.shell("true"), with(said(), executor.HookAfter, "sleep 1000"))
		p.Timeout = 300 * time.Millisecond
		if st = b.run(p); st.HookFailed != "hook after: its time had passed" || st.Stopped || st.TimedOut {
			t.Errorf("after without end: %+v", st)
		}
	})
}

// A lapsed lease leaves hooks no more than the grace of the kill.
func TestRunner_hooksAtLapse(t *testing.T) {
	b := newLocal(t, executor.Config{})
	if err := b.r.Renew(t.Context(), executor.BootTime()+2*time.Second); err != nil {
		t.Fatal(err)
	}
	p := hooked(b.shell("trap '' TERM; echo $$ >$DIR/child; while :; do sleep 0.02; done"), said())
	p.KillOnLapse, p.Grace = true, 100*time.Millisecond
	b.start(p)
	pidIn(t, p.Dir+"/child")
	if st := b.wait(p.ID); !st.Lapsed || strings.Contains(output(t, st), "after is") {
		t.Errorf("%+v, %q", st, output(t, st))
	}
}

// The keeper runs the hooks without a daemon, and masks, and a later daemon
// learns how it ended. Nothing of a secret is in any file.
func TestKeeper_hooksAndMaskWithoutDaemon(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg executor.Config) {
		const secret = "correct-horse-battery"
		first := connect(t, cfg)
		p := hooked(first.shell(`echo $$ >$DIR/child; while [ ! -e $DIR/go ]; do sleep 0.01; done
			echo "S=$S"; printf %s "$S" | base64; printf 'v=%s\n' "x$S" >$PIPELINED_OUTPUT; exit 3`),
			map[executor.When]string{executor.HookFailure: "echo failed $S", executor.HookAfter: "touch $DIR/after; echo after $S; printf correct-horse"})
		p.Result = p.Dir + "/result"
		p.Env = append(p.Env, "S="+secret, "PIPELINED_OUTPUT="+p.Result)
		p.Mask = []string{secret}
		first.start(p)
		pidIn(t, p.Dir+"/child")
		if err := first.r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, testTimeout, func() error { _, err := os.Stat(p.Dir + "/after"); return err })
		st := connect(t, cfg).wait(p.ID)
		want := "S=***\n***\n[pipelined: hook on_failure]\nfailed ***\n[pipelined: hook after]\nafter ***\ncorrect-horse"
		if got := output(t, st); st.ExitCode != 3 || got != want || st.LogSize != int64(len(want)) {
			t.Errorf("%+v, output %q, want %q", st, got, want)
		}
		for _, root := range []string{cfg.DataDir, p.Dir} {
			mustNotHold(t, root, secret)
		}
		if res, err := executor.ReadResult(p.Result); err != nil || string(res) != "v=x***\n" {
			t.Errorf("result %s, %v", res, err)
		}
	})
}

// What a module masks by its output stays masked without a daemon, in hooks, in the result
// and in every file; the next daemon learns the values, and one whose keeper has died that
// there were some.
func TestKeeper_addMaskWithoutDaemon(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg executor.Config) {
		const secret = "made-at-run-time-1"
		first := connect(t, cfg)
		p := hooked(first.shell(`S=made-at-run; S=$S-time-1; echo "before $S"; echo "$S" | cut -c 1-3; printf '::add-m'; sleep 0.05; printf 'ask::made-at'; echo "-run-time-1"; echo $$ >$DIR/child
			while [ ! -e $DIR/go ]; do sleep 0.01; done; echo "S=$S"; printf 'v=%s\n' "x$S" >$PIPELINED_OUTPUT; printf %s "$S" >&2; exit 3`),
			map[executor.When]string{executor.HookAfter: "touch $DIR/after; S=made-at-run; echo after $S-time-1; echo ::add-mask::x"})
		p.Result = p.Dir + "/result"
		p.Env = append(p.Env, "PIPELINED_OUTPUT="+p.Result)
		first.start(p)
		pidIn(t, p.Dir+"/child")
		if err := first.r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, testTimeout, func() error { _, err := os.Stat(p.Dir + "/after"); return err })
		next := connect(t, cfg)
		st := next.wait(p.ID)
		want := "before made-at-run-time-1\nmad\nS=***\n***\n[pipelined: hook after]\nafter ***\n[pipelined: ::add-mask:: masks nothing: a value has 6 bytes at least]\n"
		if got := output(t, st); st.ExitCode != 3 || got != want || !slices.Equal(st.Added, []string{secret}) || st.AddedCount != 1 {
			t.Errorf("%+v, output %q, want %q", st, got, want)
		}
		if res, err := executor.ReadResult(p.Result); err != nil || string(res) != "v=x***\n" {
			t.Errorf("result %s, %v", res, err)
		}
		mustNotHold(t, cfg.DataDir, secret)

		if err := syscall.Kill(keeperPID(cfg.DataDir), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		list, err := next.r.List(t.Context())
		if err != nil || len(list) != 1 || list[0].Added != nil || list[0].AddedCount != 1 {
			t.Errorf("after the death of the keeper: %+v, %v", list, err)
		}
	})
}

// A result whose place has vanished, or that cannot be masked, is no empty result.
func TestRunner_lostResults(t *testing.T) {
	b := newLocal(t, executor.Config{})
	for name, c := range map[string]struct {
		script string
		mask   []string
		lost   bool
	}{
		"none":              {"true", nil, false},
		"removed by module": {"echo a=1 >$PIPELINED_OUTPUT; rm $PIPELINED_OUTPUT", nil, false},
		"place removed":     {"echo a=1 >$PIPELINED_OUTPUT; rm -r $DIR/memory", nil, true},
		"a link":            {"ln -s /etc/passwd $PIPELINED_OUTPUT", []string{"123456789"}, false},
		"place is a file":   {"rm -rf $DIR/memory; touch $DIR/memory", []string{"123456789"}, true},
	} {
		p := b.shell(c.script)
		p.Result, p.Mask = p.Dir+"/memory/result", c.mask
		p.Env = append(p.Env, "PIPELINED_OUTPUT="+p.Result)
		if err := os.Mkdir(p.Dir+"/memory", 0o700); err != nil {
			t.Fatal(err)
		}
		if st := b.run(p); st.ExitCode != 0 || (st.ResultError != "") != c.lost {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// A machine without descriptors says nothing of the result, and it stays what it is.
func TestReadResult_exhausted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result")
	if err := os.WriteFile(path, []byte("n=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	restore := withoutDescriptors(t)
	_, err := executor.ReadResult(path)
	restore()
	if !executor.IsExhausted(err) || pipeline.KindOf(err) == pipeline.Invalid {
		t.Errorf("without descriptors: %v of kind %s", err, pipeline.KindOf(err))
	}
	if res, err := executor.ReadResult(path); err != nil || string(res) != "n=1\n" {
		t.Errorf("with descriptors again: %s, %v", res, err)
	}
}

func mustNotHold(t *testing.T, root, secret string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRunner_maskedResults(t *testing.T) {
	b := newLocal(t, executor.Config{})
	for text, want := range map[string]string{
		"a=123456789\nb=2": "a=***\nb=2",
		`{"a":123456789,"b":[true,"x123456789"],"c":{"d":12}}`: `{"a":"***","b":[true,"x***"],"c":{"d":12}}`,
		"a<<E\nline one\nline two\nE\nb=1":                     "a<<E\n***\nE\nb=1",
		"":                                                     "",
	} {
		p := b.shell(`cat $DIR/text >$PIPELINED_OUTPUT`)
		p.Result = p.Dir + "/result"
		p.Env = append(p.Env, "PIPELINED_OUTPUT="+p.Result)
		p.Mask = []string{"123456789", "line one\nline two\n"}
		if err := os.WriteFile(p.Dir+"/text", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.run(p)
		if res, err := executor.ReadResult(p.Result); err != nil || string(res) != want {
			t.Errorf("%q: %s, %v; want %s", text, res, err, want)
		}
	}
	p := b.shell("")
	p.Argv, p.Mask = []string{"no-such-123456789"}, []string{"123456789"}
	if st := b.run(p); strings.Contains(st.StartError, "123456789") {
		t.Errorf("start error %q", st.StartError)
	}
	if err := b.r.Start(context.Background(), []executor.Process{hooked(b.shell("true"), map[executor.When]string{"never": "true"})}); err == nil {
		t.Error("a hook of no moment was accepted")
	}
}
