package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
)

// escapes are ways to outlive a shell. Each writes its pid to $DIR/child.
var escapes = map[string]string{
	"background":  `sleep 1000 & echo $! >$DIR/child`,
	"nohup":       `nohup sleep 1000 >/dev/null 2>&1 & echo $! >$DIR/child`,
	"setsid":      `setsid sh -c 'echo $$ >$DIR/child; exec sleep 1000' >/dev/null 2>&1 & while [ ! -s $DIR/child ]; do sleep 0.01; done`,
	"double fork": `(setsid sh -c '(sh -c "echo \$\$ >$DIR/child; exec sleep 1000" &) ; exit 0' &) ; while [ ! -s $DIR/child ]; do sleep 0.01; done`,
	"holds pipe":  `setsid sh -c 'echo $$ >$DIR/child; exec sleep 1000' & while [ ! -s $DIR/child ]; do sleep 0.01; done`,
	"no term":     `sh -c 'trap "" TERM; echo $$ >$DIR/child; while :; do sleep 0.05; done' >/dev/null 2>&1 & while [ ! -s $DIR/child ]; do sleep 0.01; done`,
	"no cookie":   `env -i DIR=$DIR sh -c 'echo $$ >$DIR/child; exec sleep 1000' & while [ ! -s $DIR/child ]; do sleep 0.01; done`,
	"no session":  `env -i DIR=$DIR setsid sh -c 'echo $$ >$DIR/child; exec sleep 1000' & while [ ! -s $DIR/child ]; do sleep 0.01; done; sleep 1.3`,
}

func TestRunner_leftovers(t *testing.T) {
	cfg := executor.Config{LeftoverWait: 100 * time.Millisecond}
	everyRunner(t, cfg, func(t *testing.T, b *bench) {
		ps := map[string]executor.Process{}
		for name, script := range escapes {
			ps[name] = b.shell("echo before\n" + script + "\necho after\nexit 9")
			b.start(ps[name])
		}
		for name, p := range ps {
			st := b.wait(p.ID)
			child := pidIn(t, p.Dir+"/child")
			if st.ExitCode != 9 || st.Leftover < 1 || st.PipeHeld || output(t, st) != "before\nafter\n" {
				t.Errorf("%s: %+v, output %q", name, st, output(t, st))
			}
			if alive(child) {
				t.Errorf("%s: child %d is alive after the exit was told", name, child)
			}
		}
	})
}

func TestRunner_leftoverHasTimeForTerm(t *testing.T) {
	everyRunner(t, executor.Config{LeftoverWait: testTimeout}, func(t *testing.T, b *bench) {
		p := b.shell(`sh -c 'trap "echo bye >$DIR/bye; exit 0" TERM; echo $$ >$DIR/child; while :; do sleep 0.02; done' &
			while [ ! -s $DIR/child ]; do sleep 0.01; done`)
		st := b.run(p)
		if got, err := os.ReadFile(p.Dir + "/bye"); string(got) != "bye\n" || st.ExitCode != 0 {
			t.Errorf("TERM was not heard: %q, %v, %+v", got, err, st)
		}
	})
}

func TestRunner_stopEndsTree(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		grace        time.Duration
		signal       string
		code         int
	}{
		{"term", `sleep 1000 & echo $! >$DIR/child; wait`, testTimeout, "SIGTERM", 143},
		{"term is handled", `trap 'echo bye; exit 3' TERM; sh -c 'echo $$ >$DIR/child; exec sleep 1000' & wait`, testTimeout, "", 3},
		{"kill at once", `trap '' TERM; sleep 1000 & echo $! >$DIR/child; wait`, 0, "SIGKILL", 137},
		{"all ignore term", `trap '' TERM; setsid sh -c 'trap "" TERM; echo $$ >$DIR/child; while :; do sleep 0.05; done' & while :; do sleep 0.05; done`,
			200 * time.Millisecond, "SIGKILL", 137},
		{"forks for ever", `trap '' TERM; echo $$ >$DIR/child; while :; do setsid sleep 30 & sleep 0.01; done`, 50 * time.Millisecond, "SIGKILL", 137},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
				p := b.shell(tc.script)
				b.start(p)
				child := pidIn(t, p.Dir+"/child")
				b.stop(p.ID, tc.grace)
				st := b.wait(p.ID)
				if !st.Stopped || st.TimedOut || st.Reason != "stopped by the test" || st.Signal != tc.signal || st.ExitCode != tc.code {
					t.Errorf("status %+v, want %s %d", st, tc.signal, tc.code)
				}
				mustBeDead(t, child, st.PID)
				mustCarryNothing(t, p.Dir)
			})
		})
	}
}

// mustCarryNothing fails if a process has the attempt's directory in its
// environment: every descendant of these tests has.
func mustCarryNothing(tb testing.TB, dir string) {
	tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && containsVariable(env, "DIR="+dir) {
			tb.Errorf("%s is of the attempt", file)
		}
	}
}

func containsVariable(env []byte, kv string) bool {
	for i := 0; i+len(kv) <= len(env); i++ {
		if string(env[i:i+len(kv)]) == kv && (i+len(kv) == len(env) || env[i+len(kv)] == 0) {
			return true
		}
	}
	return false
}

func TestRunner_stopLeavesGraceToChildren(t *testing.T) {
	everyRunner(t, executor.Config{LeftoverWait: time.Millisecond}, func(t *testing.T, b *bench) {
		// The shell dies of TERM at once; its child needs a while to tidy up.
		p := b.shell(`sh -c 'trap "sleep 0.3; echo tidy >$DIR/tidy; exit 0" TERM; echo $$ >$DIR/child; while :; do sleep 0.02; done' & wait`)
		b.start(p)
		pidIn(t, p.Dir+"/child")
		b.stop(p.ID, testTimeout)
		st := b.wait(p.ID)
		if got, err := os.ReadFile(p.Dir + "/tidy"); string(got) != "tidy\n" {
			t.Errorf("the child was not given its grace: %v, %+v", err, st)
		}
	})
}

func TestRunner_secondStopShortensGrace(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		p := b.shell(`trap '' TERM; echo $$ >$DIR/child; while :; do sleep 0.05; done`)
		b.start(p)
		pidIn(t, p.Dir+"/child")
		b.stop(p.ID, time.Hour)
		if err := b.r.Stop(context.Background(), p.ID, "hurry", 0); err != nil {
			t.Fatal(err)
		}
		if st := b.wait(p.ID); st.Signal != "SIGKILL" || st.Reason != "stopped by the test" {
			t.Errorf("status %+v", st)
		}
	})
}

func TestRunner_stopDuringStart(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		var ps []executor.Process
		for range 30 {
			ps = append(ps, b.shell("echo $$ >$DIR/child; sleep 1000"))
		}
		b.start(ps...)
		for _, p := range ps {
			b.stop(p.ID, 0)
		}
		for _, p := range ps {
			st := b.wait(p.ID)
			if !st.Stopped || st.PID == 0 && st.ExitCode != -1 || st.PID != 0 && st.Signal != "SIGKILL" {
				t.Errorf("status %+v", st)
			}
			mustCarryNothing(t, p.Dir)
		}
	})
}

func TestRunner_timeout(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		p := b.shell(`trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $! >$DIR/child; wait; while :; do sleep 0.05; done`)
		p.Timeout, p.Grace = 300*time.Millisecond, 100*time.Millisecond
		st := b.run(p)
		if !st.TimedOut || st.Stopped || st.Signal != "SIGKILL" || st.Reason != "timed out after 300ms" {
			t.Errorf("status %+v", st)
		}
		mustBeDead(t, pidIn(t, p.Dir+"/child"))
		if took := st.ExitedAt.Sub(st.StartedAt); took < 400*time.Millisecond {
			t.Errorf("ended after %v: before timeout and grace", took)
		}
		quick := b.shell("true")
		quick.Timeout = time.Hour
		if st := b.run(quick); st.TimedOut || st.ExitCode != 0 {
			t.Errorf("quick: %+v", st)
		}
	})
}

func TestRunner_lease(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		bound, free := b.shell("trap '' TERM; echo $$ >$DIR/child; while :; do sleep 0.05; done"), b.shell("echo $$ >$DIR/child; sleep 1000")
		bound.KillOnLapse, bound.Grace = true, 10*time.Millisecond
		if err := b.r.Start(ctx, []executor.Process{bound}); !errors.Is(err, executor.ErrNoLease) {
			t.Fatalf("start without a lease: %v, want ErrNoLease", err)
		}
		lease := executor.BootTime() + time.Second
		for range 3 {
			if err := b.r.Renew(ctx, lease); err != nil {
				t.Fatal(err)
			}
		}
		b.start(bound, free)
		freePID := pidIn(t, free.Dir+"/child")
		if st := b.wait(bound.ID); !st.Stopped || !st.Lapsed || st.Signal != "SIGKILL" || st.Reason != executor.ReasonLapsed {
			t.Errorf("bound: %+v", st)
		}
		if left := lease - executor.BootTime(); left > 0 {
			t.Errorf("ended %v before the lease", left)
		}
		if !alive(freePID) {
			t.Error("the lapse killed a process that has nothing to do with it")
		}
		b.stop(free.ID, 0)
		b.wait(free.ID)
	})
}

// A machine that stood still beyond its lease: the keeper reads the renewal that
// has waited for it, and ends what must not run without a lease all the same. The
// time between TERM and KILL has passed by then.
func TestKeeper_lapsedWhilePaused(t *testing.T) {
	for _, late := range []time.Duration{0, executor.MaxLapseGrace} {
		ctx := context.Background()
		cfg := executor.Config{DataDir: keeperDir(t)}
		b := connect(t, cfg)
		bound := b.shell("trap '' TERM; echo $$ >$DIR/child; while :; do sleep 0.05; done")
		bound.KillOnLapse, bound.Grace = true, time.Hour
		lease := executor.BootTime() + 2*time.Second
		if err := b.r.Renew(ctx, lease); err != nil {
			t.Fatal(err)
		}
		b.start(bound)
		pidIn(t, bound.Dir+"/child")

		keeper := keeperPID(cfg.DataDir)
		pause(t, keeper)
		renewed := make(chan error, 1)
		go func() { renewed <- b.r.Renew(ctx, executor.BootTime()+time.Minute) }()
		testutil.Eventually(t, testTimeout, func() error {
			if left := lease + late - executor.BootTime(); left > 0 {
				return fmt.Errorf("the lease lasts %v", left)
			}
			return nil
		})
		if err := syscall.Kill(keeper, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		continued := time.Now()

		st := b.wait(bound.ID)
		if err := <-renewed; err != nil {
			t.Error(err)
		}
		if !st.Lapsed || st.Signal != "SIGKILL" || st.Reason != executor.ReasonLapsed {
			t.Errorf("late by %v: %+v", late, st)
		}
		if took := st.ExitedAt.Sub(continued); late == executor.MaxLapseGrace && took > executor.MaxLapseGrace {
			t.Errorf("it ran for another %v", took)
		}
		bound = b.shell("true")
		bound.KillOnLapse = true
		if st := b.run(bound); st.ExitCode != 0 {
			t.Errorf("under the new lease: %+v", st)
		}
	}
}

// Orphans of short modules that have died do not stay as zombies, although a look
// for them never finds a module running.
func TestKeeper_deadOrphans(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg executor.Config) {
		b := connect(t, cfg)
		keeper := keeperPID(cfg.DataDir)
		var pids []int
		for range 5 {
			p := b.shell(`(setsid sh -c 'echo $$ >$DIR/child' &); while [ ! -s $DIR/child ]; do sleep 0.01; done; sleep 0.1`)
			b.run(p)
			pids = append(pids, pidIn(t, p.Dir+"/child"))
		}
		testutil.Eventually(t, testTimeout, func() error {
			for _, pid := range pids {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				if err == nil && strings.Contains(string(stat), ") Z "+itoa(keeper)+" ") {
					return fmt.Errorf("%s", stat)
				}
			}
			return nil
		})
	})
}

// TestRunner_heldPipe has somebody outside the tree hold the output open: the
// exit is told all the same, with the output up to then.
func TestRunner_heldPipe(t *testing.T) {
	b := newLocal(t, executor.Config{DrainWait: 100 * time.Millisecond})
	p := b.shell(`echo text; echo $$ >$DIR/child; while [ ! -e $DIR/go ]; do sleep 0.01; done`)
	b.start(p)
	pid := pidIn(t, p.Dir+"/child")
	held, err := os.OpenFile(filepath.Join("/proc", itoa(pid), "fd", "1"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := b.wait(p.ID); !st.PipeHeld || st.ExitCode != 0 || output(t, st) != "text\n" {
		t.Errorf("status %+v, output %q", st, output(t, st))
	}
}

func TestLocal_closeKills(t *testing.T) {
	for _, sweep := range []bool{false, true} {
		cfg := executor.Config{DataDir: t.TempDir(), NoCgroups: sweep}
		l, err := executor.NewLocal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := observe(t, l, cfg)
		p := b.shell(`trap '' TERM; setsid sh -c 'echo $$ >$DIR/child; exec sleep 1000' & wait; sleep 1000`)
		b.start(p)
		child := pidIn(t, p.Dir+"/child")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeDead(t, child)
		if err := l.Start(context.Background(), []executor.Process{b.shell("true")}); !errors.Is(err, executor.ErrClosed) {
			t.Errorf("start after close: %v", err)
		}
		if _, err := os.Stat(filepath.Join(cfg.DataDir, "runner.json")); !os.IsNotExist(err) {
			t.Errorf("the trace of a runner that ended in order is there: %v", err)
		}
	}
}
