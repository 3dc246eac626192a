package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestRunner_exits(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			name, script string
			code         int
			signal, out  string
		}{
			{"success", "true", 0, "", ""},
			{"code", "exit 7", 7, "", ""},
			{"code 255", "exit 255", 255, "", ""},
			{"signal", "kill -9 $$", 137, "SIGKILL", ""},
			{"own term", "kill -TERM $$; read x", 143, "SIGTERM", ""},
			{"output", "echo out; echo err >&2", 0, "", "out\nerr\n"},
			{"no newline", "printf x", 0, "", "x"},
			{"binary", `printf '\000\377\033[31m'`, 0, "", "\x00\xff\x1b[31m"},
			{"closed stdio", "exec >&- 2>&- <&-; exit 3", 3, "", ""},
			{"stdin is empty", "cat; echo end", 0, "", "end\n"},
			{"umask and core", "umask; ulimit -c", 0, "", "0022\n0\n"},
			{"reopened stderr", "echo again >/dev/stderr", 0, "", "again\n"},
			{"handles", "ls /proc/self/fd | wc -l | tr -d ' '", 0, "", "4\n"},
			{"slow", "echo 1; sleep 0.1; echo 2", 0, "", "1\n2\n"},
			{"slow and silent", "exec >/dev/null 2>&1; sleep 0.1; exit 4", 4, "", ""},
		} {
			p := b.shell(tc.script)
			p.Meta = []byte(tc.name)
			st := b.run(p)
			if st.ExitCode != tc.code || st.Signal != tc.signal || st.StartError != "" || st.Stopped || st.TimedOut ||
				st.State != executor.Exited || st.PipeHeld || st.Leftover != 0 || st.LogError != "" {
				t.Errorf("%s: status %+v, want code %d signal %q", tc.name, st, tc.code, tc.signal)
			}
			if got := output(t, st); got != tc.out {
				t.Errorf("%s: output %q, want %q", tc.name, got, tc.out)
			}
			if _, err := os.Stat(executor.LogPath(st.Dir)); (err == nil) != (tc.out != "") {
				t.Errorf("%s: log file exists: %v, want it only with output", tc.name, err == nil)
			}
			if string(st.Meta) != tc.name || st.PID == 0 || st.LogSize != int64(len(tc.out)) || st.Incarnation != b.r.Incarnation() {
				t.Errorf("%s: status %+v", tc.name, st)
			}
			if st.StartedAt.IsZero() || st.ExitedAt.Before(st.StartedAt) || time.Since(st.StartedAt) > time.Minute {
				t.Errorf("%s: started %v, exited %v", tc.name, st.StartedAt, st.ExitedAt)
			}
		}
	})
}

func TestRunner_startErrors(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		write := func(dir, name, text string, mode os.FileMode) {
			if err := os.WriteFile(filepath.Join(dir, "work", name), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			name string
			set  func(p *executor.Process)
			code int
			want string
		}{
			{"not in PATH", func(p *executor.Process) { p.Argv = []string{"no-such-program"} }, 127, "not found in PATH (/usr/local/bin:/usr/bin:/bin)"},
			{"no PATH", func(p *executor.Process) { p.Argv, p.Env = []string{"true"}, nil }, 127, "not found in PATH"},
			{"one text", func(p *executor.Process) { p.Argv = []string{"go build"} }, 127, "write each argument as an element of its own"},
			{"one text with a slash", func(p *executor.Process) { p.Argv = []string{"go build ./..."} }, 127, "write each argument as an element of its own"},
			{"no file", func(p *executor.Process) { p.Argv = []string{"./missing"} }, 127, `command "./missing": no such file`},
			{"no cwd", func(p *executor.Process) { p.WorkDir += "/gone" }, 126, "does not exist"},
			{"cwd a file", func(p *executor.Process) { write(p.Dir, "f", "", 0o644); p.WorkDir += "/f" }, 126, "is not a directory"},
			{"mode", func(p *executor.Process) { write(p.Dir, "s", "#!/bin/sh\n", 0o644); p.Argv = []string{"./s"} }, 126, "chmod +x"},
			{"mode in PATH", func(p *executor.Process) {
				write(p.Dir, "tool", "#!/bin/sh\n", 0o644)
				p.Argv, p.Env = []string{"tool"}, []string{"PATH=" + p.WorkDir}
			}, 126, "is not executable"},
			{"directory", func(p *executor.Process) { p.Argv = []string{"/"} }, 126, "is a directory"},
			{"interpreter", func(p *executor.Process) { write(p.Dir, "s", "#!/no/such/interp\n", 0o755); p.Argv = []string{"./s"} }, 127, `interpreter "/no/such/interp"`},
			{"interpreter in PATH", func(p *executor.Process) {
				write(p.Dir, "tool", "#!/no/such/interp\n", 0o755)
				p.Argv, p.Env = []string{"tool"}, []string{"PATH=" + p.WorkDir}
			}, 127, `interpreter "/no/such/interp"`},
			{"carriage return", func(p *executor.Process) { write(p.Dir, "s", "#!/bin/sh\r\necho\r\n", 0o755); p.Argv = []string{"./s"} }, 127, "carriage return"},
			{"format", func(p *executor.Process) { write(p.Dir, "s", "hello", 0o755); p.Argv = []string{"./s"} }, 126, "neither a program"},
			{"huge", func(p *executor.Process) { p.Argv = append(p.Argv, strings.Repeat("x", 3<<20)) }, 126, "too long for the system"},
			{"zero byte", func(p *executor.Process) { p.Argv = append(p.Argv, "a\x00b") }, 126, "zero byte"},
		} {
			p := b.shell("true")
			tc.set(&p)
			st := b.run(p)
			if !strings.Contains(st.StartError, tc.want) || st.ExitCode != tc.code || st.PID != 0 || st.State != executor.Exited {
				t.Errorf("%s: status %+v, want code %d and %q", tc.name, st, tc.code, tc.want)
			}
		}
	})
}

// A machine without descriptors starts nothing, no hook either, and says that it
// was not the module's fault.
func TestRunner_machineFault(t *testing.T) {
	for _, cfg := range []executor.Config{{}, {NoCgroups: true}} {
		b := newLocal(t, cfg)
		if st := b.run(b.shell("true")); st.ExitCode != 0 {
			t.Fatalf("status %+v", st)
		}

		plain, hooked := b.shell("true"), b.shell("true")
		hook := executor.Hook{Argv: []string{"/bin/sh", "-c", "touch ran"}, WorkDir: hooked.WorkDir}
		for _, when := range []executor.When{executor.HookBefore, executor.HookFailure, executor.HookAfter} {
			hook.When = when
			hooked.Hooks = append(hooked.Hooks, hook)
		}
		for _, p := range []executor.Process{plain, hooked} {
			restore := withoutDescriptors(t)
			st := b.run(p)
			restore()
			if !st.MachineFault || !strings.Contains(st.StartError, "too many open files") || !st.StartedAt.IsZero() || st.HookFailed != "" {
				t.Errorf("status %+v", st)
			}
		}
		if _, err := os.Stat(filepath.Join(hooked.WorkDir, "ran")); err == nil {
			t.Error("a hook ran")
		}
		if st := b.run(b.shell("true")); st.ExitCode != 0 || st.MachineFault {
			t.Errorf("with descriptors again: status %+v", st)
		}
	}
}

// A machine that has no descriptors when the module has ended: its hook is tried again
// for some seconds. Then it is not the module that has failed.
func TestRunner_machineFaultLateHook(t *testing.T) {
	b := newLocal(t, executor.Config{})
	for _, recovers := range []bool{true, false} {
		p := hooked(b.shell("echo up; touch up; while ! test -d end; do sleep 0.01; done"), map[executor.When]string{executor.HookAfter: "touch ran"})
		b.start(p)
		testutil.Eventually(t, 30*time.Second, func() error {
			_, err := os.Stat(filepath.Join(p.WorkDir, "up"))
			return err
		})

		restore := withoutDescriptors(t)
		err := os.Mkdir(filepath.Join(p.WorkDir, "end"), 0o700)
		if recovers {
			testutil.Eventually(t, 30*time.Second, func() error {
				st, err := os.Stat(executor.LogPath(p.Dir))
				if err == nil && st.Size() <= int64(len("up\n")) {
					err = errors.New("the hook is not announced")
				}
				return err
			})
			restore()
		}
		st := b.wait(p.ID)
		restore()

		_, ran := os.Stat(filepath.Join(p.WorkDir, "ran"))
		if err != nil || st.ExitCode != 0 || st.StartedAt.IsZero() || st.MachineFault == recovers || (ran == nil) != recovers {
			t.Errorf("recovers %v: %v, %v, status %+v", recovers, err, ran, st)
		}
		if !recovers && !strings.Contains(st.StartError, "hook after: ") {
			t.Errorf("the reason is %q", st.StartError)
		}
	}
}

// withoutDescriptors lets this process open nothing until the function that it
// returns is called.
func withoutDescriptors(tb testing.TB) (restore func()) {
	tb.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}); err != nil {
		tb.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestRunner_commandLookup(t *testing.T) {
	b := newLocal(t, executor.Config{})
	p := b.shell("")
	p.Argv = []string{"tool", "a b", ""}
	p.Env = []string{"PATH=nowhere:bin", "EMPTY="}
	bin := filepath.Join(p.WorkDir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "tool"), []byte("#!/bin/sh\necho \"$#:$1:$2:${EMPTY-unset}:$PWD\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	st := b.run(p)
	if got, want := output(t, st), "2:a b:::"+p.WorkDir+"\n"; got != want {
		t.Errorf("output %q (%+v), want %q", got, st, want)
	}
}

func TestRunner_environment(t *testing.T) {
	t.Setenv("LEAKED_SECRET", "x")
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		p := b.shell("env | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | sort")
		p.Env = []string{"PATH=/usr/bin:/bin", "A=1", "B=two words"}
		lines := strings.Split(strings.TrimSpace(output(t, b.run(p))), "\n")
		if len(lines) != 4 || lines[0] != "A=1" || lines[1] != "B=two words" || lines[2] != "PATH=/usr/bin:/bin" ||
			!strings.HasPrefix(lines[3], executor.CookieVariable+"=") {
			t.Errorf("environment %q", lines)
		}
	})
}

func TestRunner_refusals(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		p := b.shell("echo once >>$DIR/starts")
		b.start(p)
		if err := b.r.Start(ctx, []executor.Process{p}); !errors.Is(err, executor.ErrSeen) {
			t.Errorf("second start while it may run: %v, want ErrSeen", err)
		}
		b.wait(p.ID)
		if err := b.r.Start(ctx, []executor.Process{p}); !errors.Is(err, executor.ErrSeen) {
			t.Errorf("second start after its end: %v, want ErrSeen", err)
		}
		if err := b.r.Forget(ctx, p.ID, "unknown"); err != nil {
			t.Fatal(err)
		}
		other := b.shell("true")
		err := b.r.Start(ctx, []executor.Process{p, other, {ID: "x/y/1"}, {}})
		var refused *executor.RefusedError
		if !errors.As(err, &refused) || len(refused.ByID) != 3 || !errors.Is(refused.ByID[p.ID], executor.ErrSeen) ||
			pipeline.KindOf(refused.ByID["x/y/1"]) != pipeline.Invalid {
			t.Errorf("start of four: %v, want three refusals", err)
		}
		if st := b.wait(other.ID); st.ExitCode != 0 {
			t.Errorf("accepted one: %+v", st)
		}
		if got, _ := os.ReadFile(filepath.Join(p.Dir, "starts")); string(got) != "once\n" {
			t.Errorf("starts: %q", got)
		}
		if err := b.r.Stop(ctx, "no/such/1", "", 0); !errors.Is(err, executor.ErrNotFound) {
			t.Errorf("stop of an unknown one: %v", err)
		}
		if err := b.r.Stop(ctx, other.ID, "late", 0); err != nil {
			t.Errorf("stop of an ended one: %v", err)
		}
	})
}

func TestRunner_list(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		long, short := b.shell("echo $$ >$DIR/pid; sleep 1000"), b.shell("exit 5")
		long.Meta = []byte("meta")
		b.start(long, short)
		b.wait(short.ID)
		pid := pidIn(t, long.Dir+"/pid")
		// The child may run before its starter has come to note the pid.
		testutil.Eventually(t, testTimeout, func() error {
			list, err := b.r.List(ctx)
			if err != nil || len(list) != 2 || list[0].ID != long.ID || list[0].State != executor.Running || list[0].PID != pid ||
				string(list[0].Meta) != "meta" || list[1].State != executor.Exited || list[1].ExitCode != 5 {
				return fmt.Errorf("list: %+v, %w", list, err)
			}
			return nil
		})
		if err := b.r.Forget(ctx, short.ID, long.ID); err != nil {
			t.Fatal(err)
		}
		// Forgetting waits for a message to go along with: List is one.
		if list, err := b.r.List(ctx); err != nil || len(list) != 1 || list[0].ID != long.ID {
			t.Errorf("after forgetting: %+v, %v", list, err)
		}
		b.stop(long.ID, 0)
		if st := b.wait(long.ID); !st.Stopped || st.Reason != "stopped by the test" || st.Signal != "SIGKILL" {
			t.Errorf("stopped: %+v", st)
		}
	})
}

func TestRunner_output(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		const big = 10 << 20
		st := b.run(b.shell(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; echo end", big)))
		if got := output(t, st); len(got) != big+4 || !strings.HasSuffix(got, "xend\n") || st.LogSize != int64(len(got)) || st.LogDropped != 0 {
			t.Errorf("10 MiB: %d bytes, %+v", len(got), st)
		}
		p := b.shell("head -c 100000000 /dev/zero; echo done >$DIR/done")
		p.LogLimit = 1000
		st = b.run(p)
		got := output(t, st)
		if st.ExitCode != 0 || st.LogDropped != 100000000-1000 || st.LogSize != int64(len(got)) ||
			!strings.Contains(got, "longer than its limit of 1000 bytes; 99999000 bytes are left out here]\n") || strings.Count(got, "\x00") != 1000 {
			t.Errorf("limited: %d bytes, %+v", len(got), st)
		}
		if _, err := os.Stat(p.Dir + "/done"); err != nil {
			t.Errorf("the module was held up: %v", err)
		}
		p = b.shell("seq 1 100000")
		p.LogLimit = 1000
		st = b.run(p)
		got = output(t, st)
		head, tail, cut := strings.Cut(got, "\n[pipelined: the output is longer than its limit of 1000 bytes; ")
		if !cut || !strings.HasPrefix(head, "1\n2\n") || len(head) != 500 || !strings.HasSuffix(tail, "99999\n100000\n") ||
			!strings.HasPrefix(tail, fmt.Sprintf("%d bytes are left out here]\n9", st.LogDropped)) || st.LogSize != int64(len(got)) || len(got) > 1150 {
			t.Errorf("head and tail: %d bytes, %+v\n%s", len(got), st, got)
		}
		p = b.shell("seq 1 200") // between the halves: nothing is left out
		p.LogLimit = 1000
		if st = b.run(p); st.LogDropped != 0 || !strings.HasSuffix(output(t, st), "\n199\n200\n") || st.LogSize != 692 {
			t.Errorf("between the halves: %+v", st)
		}
		p = b.shell("echo lost; exit 6")
		if err := os.Mkdir(executor.LogPath(p.Dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if st = b.run(p); st.ExitCode != 6 || st.LogError == "" || st.LogDropped != 5 {
			t.Errorf("log that cannot be written: %+v", st)
		}
	})
}

func TestRunner_outputGrowsWhileRunning(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		p := b.shell("echo first; while [ ! -e $DIR/go ]; do sleep 0.01; done; echo second")
		b.start(p)
		testutil.Eventually(t, testTimeout, func() error {
			if got, err := os.ReadFile(executor.LogPath(p.Dir)); string(got) != "first\n" {
				return fmt.Errorf("output %q, %v", got, err)
			}
			return nil
		})
		if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := output(t, b.wait(p.ID)); got != "first\nsecond\n" {
			t.Errorf("output %q", got)
		}
	})
}

func TestRunner_manyAtOnce(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		var ps []executor.Process
		for i := range 60 {
			ps = append(ps, b.shell(fmt.Sprintf("echo %d; exit %d", i, i)))
		}
		b.start(ps...)
		for i, p := range ps {
			if st := b.wait(p.ID); st.ExitCode != i || output(t, st) != fmt.Sprintf("%d\n", i) {
				t.Errorf("%d: %+v %q", i, st, output(t, st))
			}
		}
	})
}
