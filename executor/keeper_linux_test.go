package executor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// eachKind runs a test with and without control groups.
func eachKind(t *testing.T, f func(t *testing.T, cfg executor.Config)) {
	t.Run("cgroups", func(t *testing.T) { f(t, executor.Config{DataDir: keeperDir(t)}) })
	t.Run("sweep", func(t *testing.T) { f(t, executor.Config{DataDir: keeperDir(t), NoCgroups: true}) })
}

// startDaemon runs a daemon of its own that starts the script, if any, and
// gives its process and its incarnation.
func startDaemon(t *testing.T, dataDir, dir, script string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], daemonCommand, dataDir, dir, script)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	word, incarnation, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || word != "started" {
		t.Fatalf("daemon said %q, %v", line, err)
	}
	return cmd, incarnation
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // its error is that it was killed
}

func TestKeeper_adoption(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg executor.Config) {
		dir := filepath.Join(t.TempDir(), "a")
		if err := os.MkdirAll(dir+"/work", 0o755); err != nil {
			t.Fatal(err)
		}
		daemon, incarnation := startDaemon(t, cfg.DataDir, dir,
			`echo $$ >>$DIR/starts; echo one; while [ ! -e $DIR/go ]; do echo tick; sleep 0.01; done; echo last; exit 42`)
		pid := pidIn(t, dir+"/starts")
		testutil.Eventually(t, testTimeout, func() error {
			if text, err := os.ReadFile(executor.LogPath(dir)); !strings.Contains(string(text), "tick") {
				return fmt.Errorf("output %q, %v", text, err)
			}
			return nil
		})
		kill(daemon)
		if !alive(pid) {
			t.Fatal("the process died with the daemon")
		}
		b := connect(t, cfg)
		if got := b.r.Incarnation(); got != incarnation {
			t.Errorf("incarnation %s, want %s", got, incarnation)
		}
		list, err := b.r.List(context.Background())
		if err != nil || len(list) != 1 || list[0].ID != "run/adopted/1" || list[0].State != executor.Running || list[0].PID != pid {
			t.Fatalf("list: %+v, %v", list, err)
		}
		if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		st := b.wait("run/adopted/1")
		text := output(t, st)
		if st.ExitCode != 42 || st.PID != pid || !strings.HasPrefix(text, "one\ntick\n") || !strings.HasSuffix(text, "tick\nlast\n") {
			t.Errorf("exit %+v, output %q", st, text)
		}
		if starts, _ := os.ReadFile(dir + "/starts"); string(starts) != fmt.Sprintln(pid) {
			t.Errorf("starts %q", starts)
		}
		if err := b.r.Start(context.Background(), []executor.Process{shell("run/adopted/1", dir, "true")}); !errors.Is(err, executor.ErrSeen) {
			t.Errorf("start again: %v, want ErrSeen", err)
		}
	})
}

func TestKeeper_exitWhileNoDaemon(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.MkdirAll(dir+"/work", 0o755); err != nil {
		t.Fatal(err)
	}
	daemon, _ := startDaemon(t, cfg.DataDir, dir, `echo $$ >$DIR/child; while [ ! -e $DIR/go ]; do sleep 0.01; done; echo done; exit 3`)
	pid := pidIn(t, dir+"/child")
	kill(daemon)
	if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testTimeout, func() error {
		if alive(pid) {
			return errors.New("it runs")
		}
		return nil
	})
	b := connect(t, cfg)
	if st := b.wait("run/adopted/1"); st.ExitCode != 3 || output(t, st) != "done\n" {
		t.Errorf("exit %+v", st)
	}
	// Not forgotten: it comes again to the next daemon.
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	b = connect(t, cfg)
	b.wait("run/adopted/1")
	if err := b.r.Forget(context.Background(), "run/adopted/1"); err != nil {
		t.Fatal(err)
	}
	if list, err := b.r.List(context.Background()); err != nil || len(list) != 0 {
		t.Errorf("list after forgetting: %+v, %v", list, err)
	}
}

func TestKeeper_killed(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg executor.Config) {
		changed := make(chan string, 4)
		cfg.OnIncarnation = func(s string) { changed <- s }
		b := connect(t, cfg)
		first := b.r.Incarnation()
		ended, running := b.shell("echo kept; exit 8"), b.shell(`setsid sh -c 'echo $$ >$DIR/child; exec sleep 1000' & sleep 1000`)
		b.start(ended, running)
		b.wait(ended.ID)
		child := pidIn(t, running.Dir+"/child")
		keeper := keeperPID(cfg.DataDir)
		if keeper == 0 {
			t.Fatal("no keeper holds the lock")
		}
		if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The client starts another one by itself; List waits for that.
		list, err := b.r.List(context.Background())
		if err != nil || len(list) != 1 || list[0].ID != ended.ID || list[0].ExitCode != 8 || list[0].Incarnation != first {
			t.Errorf("list: %+v, %v; want the exit that the dead keeper had told", list, err)
		}
		second := b.r.Incarnation()
		if first == second || <-changed != second {
			t.Errorf("incarnations %s and %s", first, second)
		}
		mustBeDead(t, child)
		mustCarryNothing(t, running.Dir)
		if err := b.r.Start(context.Background(), []executor.Process{ended}); !errors.Is(err, executor.ErrSeen) {
			t.Errorf("start of what ended in the former incarnation: %v", err)
		}
		if st := b.run(b.shell("exit 4")); st.ExitCode != 4 || st.Incarnation != second {
			t.Errorf("after it: %+v", st)
		}
	})
}

func TestKeeper_newestDaemonWins(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	old := connect(t, cfg)
	p := old.shell("while [ ! -e $DIR/go ]; do sleep 0.01; done")
	old.start(p)
	young := connect(t, cfg)
	testutil.Eventually(t, testTimeout, func() error {
		if _, err := old.r.List(context.Background()); !errors.Is(err, executor.ErrReplaced) {
			return fmt.Errorf("list by the old daemon: %v, want ErrReplaced", err)
		}
		return nil
	})
	if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := young.wait(p.ID); st.ExitCode != 0 {
		t.Errorf("exit %+v", st)
	}
	if young.r.Incarnation() != old.r.Incarnation() {
		t.Error("there are two keepers")
	}
}

func TestKeeper_race(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t), Executable: os.Args[0]}
	type result struct {
		c   *executor.Client
		err error
	}
	results := make(chan result)
	const n = 6
	for range n {
		go func() {
			c, err := executor.Connect(context.Background(), cfg)
			results <- result{c, err}
		}()
	}
	incarnations := map[string]bool{}
	for range n {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		incarnations[r.c.Incarnation()] = true
		if err := r.c.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(incarnations) != 1 {
		t.Errorf("incarnations %v, want one", incarnations)
	}
}

func TestKeeper_idleExit(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t), IdleExit: 50 * time.Millisecond}
	b := connect(t, cfg)
	first := b.r.Incarnation()
	p := b.shell("while [ ! -e $DIR/go ]; do sleep 0.01; done; exit 6")
	b.start(p)
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	// An attempt runs: the keeper stays, though no daemon is there.
	again := connect(t, cfg)
	if got := again.r.Incarnation(); got != first {
		t.Fatalf("incarnation %s, want %s", got, first)
	}
	if err := again.r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testTimeout, func() error {
		if pid := keeperPID(cfg.DataDir); pid != 0 {
			return fmt.Errorf("keeper %d is there", pid)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "keeper.sock")); !os.IsNotExist(err) {
		t.Errorf("socket of a keeper that ended: %v", err)
	}
	// The exit was not told to anybody; the next keeper tells it.
	third := connect(t, cfg)
	if st := third.wait(p.ID); st.ExitCode != 6 || st.Incarnation != first || third.r.Incarnation() == first {
		t.Errorf("exit %+v", st)
	}
}

func TestKeeper_term(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	b := connect(t, cfg)
	p := b.shell("while [ ! -e $DIR/go ]; do sleep 0.01; done; exit 6")
	b.start(p)
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	pid := keeperPID(cfg.DataDir)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	testutil.Eventually(t, testTimeout, func() error {
		text, err := os.ReadFile(filepath.Join(cfg.DataDir, "keeper.log"))
		if !strings.Contains(string(text), "TERM: ending when nothing runs") {
			return fmt.Errorf("keeper.log: %s, %v", text, err)
		}
		return nil
	})
	if got := keeperPID(cfg.DataDir); got != pid {
		t.Fatalf("keeper %d, want %d: it ended while an attempt ran", got, pid)
	}
	if err := os.WriteFile(p.Dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testTimeout, func() error {
		if pid := keeperPID(cfg.DataDir); pid != 0 {
			return fmt.Errorf("keeper %d is there", pid)
		}
		return nil
	})
}

func TestKeeper_longPath(t *testing.T) {
	cfg := executor.Config{DataDir: filepath.Join(keeperDir(t), strings.Repeat("long/", 40))}
	t.Cleanup(func() { killKeeper(t, cfg.DataDir) })
	b := connect(t, cfg)
	if st := b.run(b.shell("echo deep")); output(t, st) != "deep\n" {
		t.Errorf("exit %+v", st)
	}
}

func TestKeeper_refusesStrangers(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	b := connect(t, cfg)
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(cfg.DataDir, "keeper.sock")
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff", "\x00\x00\x00\x05hello", "\x00\x00\x00\x01\xa0"} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		// It answers with an error or hangs up, but never stays.
		for buf := make([]byte, 4096); err == nil; {
			_, err = conn.Read(buf)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the keeper did not hang up", text)
		}
		conn.Close()
	}
	st, err := os.Stat(socket)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", st.Mode(), err)
	}
	b = connect(t, cfg)
	if st := b.run(b.shell("exit 2")); st.ExitCode != 2 {
		t.Errorf("after them: %+v", st)
	}
}

// A keeper whose socket was removed, by a cleaner of temporary files say, makes
// it again: else no daemon would ever find what runs there.
func TestKeeper_socketRemoved(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	b := connect(t, cfg)
	p := b.shell("sleep 600")
	b.start(p)
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keeper.sock", "runner.json"} {
		if err := os.Remove(filepath.Join(cfg.DataDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	again := connect(t, cfg)
	list, err := again.r.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != p.ID || list[0].State == executor.Exited {
		t.Errorf("the attempt is not there: %+v, %v", list, err)
	}
	// It may have bound the socket between the two removals: then the next look
	// finds what is missing.
	if err := again.r.Close(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testTimeout, func() error {
		_, err := os.Stat(filepath.Join(cfg.DataDir, "runner.json"))
		return err
	})
}

// If the whole directory is gone no daemon will ever come: the keeper ends.
func TestKeeper_directoryRemoved(t *testing.T) {
	cfg := executor.Config{DataDir: filepath.Join(keeperDir(t), "keeper")}
	b := connect(t, cfg)
	pid := keeperPID(cfg.DataDir)
	if err := b.r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(cfg.DataDir); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, testTimeout, func() error {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(line) > 0 {
			return fmt.Errorf("keeper %d lives", pid)
		}
		return nil
	})
}

func TestConnect_errors(t *testing.T) {
	ctx := context.Background()
	if _, err := executor.Connect(ctx, executor.Config{DataDir: t.TempDir()}); pipeline.KindOf(errors.Unwrap(err)) == pipeline.Internal && err == nil {
		t.Error("no executable: no error")
	}
	for name, exe := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "no keeper": "/bin/true"} {
		if c, err := executor.Connect(ctx, executor.Config{DataDir: t.TempDir(), Executable: exe, ConnectTimeout: testTimeout}); err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if err := executor.KeeperMain(ctx, nil); err == nil {
		t.Error("keeper without a data dir: no error")
	}
	// A keeper that is stopped does not answer; connecting is bounded.
	cfg := executor.Config{DataDir: keeperDir(t)}
	if err := connect(t, cfg).r.Close(); err != nil {
		t.Fatal(err)
	}
	pid := keeperPID(cfg.DataDir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal has been sent, but until one of the threads has taken it the
	// others go on.
	testutil.Eventually(t, testTimeout, func() error { return stopped(pid) })
	cfg.Executable, cfg.ConnectTimeout = os.Args[0], 100*time.Millisecond
	if c, err := executor.Connect(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stopped keeper: a client %t, %v", c != nil, err)
		if c != nil {
			c.Close()
		}
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// stopped says which thread of a process is not stopped.
func stopped(pid int) error {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return fmt.Errorf("no threads of %d: %w", pid, err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s: %s", name, b)
		}
	}
	return nil
}

func TestKeeper_largeBatch(t *testing.T) {
	cfg := executor.Config{DataDir: keeperDir(t)}
	b := connect(t, cfg)
	big := b.shell("true")
	big.Argv = append(big.Argv, strings.Repeat("x", 9<<20))
	var ps []executor.Process
	for range 40 {
		p := b.shell("echo $#")
		p.Meta = make([]byte, 100<<10) // several messages, both ways
		ps = append(ps, p)
	}
	err := b.r.Start(context.Background(), append([]executor.Process{big}, ps...))
	var refused *executor.RefusedError
	if !errors.As(err, &refused) || len(refused.ByID) != 1 || pipeline.KindOf(refused.ByID[big.ID]) != pipeline.TooLarge {
		t.Errorf("start: %v, want one refusal", err)
	}
	for _, p := range ps {
		if st := b.wait(p.ID); st.ExitCode != 0 || len(st.Meta) != 100<<10 {
			t.Errorf("exit %+v", st.ExitCode)
		}
	}
	if list, err := b.r.List(context.Background()); err != nil || len(list) != len(ps) {
		t.Errorf("list has %d, %v", len(list), err)
	}
}
