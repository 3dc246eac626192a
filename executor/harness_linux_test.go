package executor_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
)

// daemonCommand makes the test binary a daemon that can be killed.
const daemonCommand = "__test-daemon"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case executor.KeeperCommand:
			if err := executor.KeeperMain(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case daemonCommand:
			if err := daemonMain(os.Args[2], os.Args[3], os.Args[4]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// daemonMain connects to the keeper of dataDir, starts one script, says so, and
// waits to be killed.
func daemonMain(dataDir, dir, script string) error {
	ctx := context.Background()
	c, err := executor.Connect(ctx, executor.Config{DataDir: dataDir, Executable: os.Args[0]})
	if err != nil {
		return err
	}
	if script != "" {
		if err := c.Start(ctx, []executor.Process{shell("run/adopted/1", dir, script)}); err != nil {
			return err
		}
	}
	fmt.Println("started", c.Incarnation())
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, syscall.SIGTERM)
	<-wait
	return c.Close()
}

const testTimeout = 30 * time.Second

// shell is a script in a prepared attempt directory.
func shell(id, dir, script string) executor.Process {
	return executor.Process{ID: id, Dir: dir, WorkDir: dir + "/work", Argv: []string{"/bin/sh", "-eu", "-c", script},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "DIR=" + dir}, Grace: 10 * time.Second}
}

// bench is a runner under test and what it has told.
type bench struct {
	tb  testing.TB
	r   executor.Runner
	cfg executor.Config
	n   int

	mu    sync.Mutex
	exits map[string]executor.Status
	done  chan struct{}
}

// observe collects the exits of r until it is closed.
func observe(tb testing.TB, r executor.Runner, cfg executor.Config) *bench {
	b := &bench{tb: tb, r: r, cfg: cfg, exits: map[string]executor.Status{}, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		for st := range r.Exits() {
			b.mu.Lock()
			b.exits[st.ID] = st
			b.mu.Unlock()
		}
	}()
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
		<-b.done
	})
	return b
}

func logger(tb testing.TB) hclog.Logger {
	if !testing.Verbose() {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: tb.Name(), Level: hclog.Debug})
}

func newLocal(tb testing.TB, cfg executor.Config) *bench {
	tb.Helper()
	cfg.DataDir, cfg.Logger = tb.TempDir(), logger(tb)
	l, err := executor.NewLocal(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return observe(tb, l, cfg)
}

// connect gives a client of the keeper of cfg.DataDir.
func connect(tb testing.TB, cfg executor.Config) *bench {
	tb.Helper()
	cfg.Logger, cfg.Executable = logger(tb), os.Args[0]
	c, err := executor.Connect(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return observe(tb, c, cfg)
}

// keeperDir is a data dir whose keeper, and all that it runs, is gone at the
// end of the test.
func keeperDir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	tb.Cleanup(func() { killKeeper(tb, dir) })
	return dir
}

// keeperPID reads who holds the lock; 0 where nobody does.
func keeperPID(dir string) int {
	f, err := os.Open(filepath.Join(dir, "keeper.lock"))
	if err != nil {
		return 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0
	}
	b, _ := io.ReadAll(f)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// killKeeper kills the keeper of dir with KILL and whatever it left.
func killKeeper(tb testing.TB, dir string) {
	pid := keeperPID(dir)
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	testutil.Eventually(tb, testTimeout, func() error {
		var ws syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &ws, syscall.WNOHANG, nil) // where it is our child
		if keeperPID(dir) != 0 {
			return fmt.Errorf("keeper %d lives", pid)
		}
		return nil
	})
	// A Local of the same data dir sweeps what it left.
	l, err := executor.NewLocal(executor.Config{DataDir: dir})
	if err != nil {
		tb.Errorf("sweep after keeper: %v", err)
		return
	}
	if err := l.Close(); err != nil {
		tb.Errorf("sweep after keeper: %v", err)
	}
}

// everyRunner runs a test with each kind of runner.
func everyRunner(t *testing.T, cfg executor.Config, f func(t *testing.T, b *bench)) {
	sweep := cfg
	sweep.NoCgroups = true
	t.Run("local", func(t *testing.T) { f(t, newLocal(t, cfg)) })
	t.Run("local_sweep", func(t *testing.T) { f(t, newLocal(t, sweep)) })
	t.Run("keeper", func(t *testing.T) {
		cfg.DataDir = keeperDir(t)
		f(t, connect(t, cfg))
	})
	t.Run("keeper_sweep", func(t *testing.T) {
		sweep.DataDir = keeperDir(t)
		f(t, connect(t, sweep))
	})
}

// prepare makes an attempt's directory.
func (b *bench) prepare() (id, dir string) {
	b.tb.Helper()
	b.n++
	id = fmt.Sprintf("run-%d/module/1", b.n)
	dir = filepath.Join(b.tb.TempDir(), strconv.Itoa(b.n))
	if err := os.MkdirAll(dir+"/work", 0o755); err != nil {
		b.tb.Fatal(err)
	}
	return id, dir
}

// shell prepares a script.
func (b *bench) shell(script string) executor.Process {
	id, dir := b.prepare()
	return shell(id, dir, script)
}

func (b *bench) start(ps ...executor.Process) {
	b.tb.Helper()
	if err := b.r.Start(context.Background(), ps); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *bench) stop(id string, grace time.Duration) {
	b.tb.Helper()
	if err := b.r.Stop(context.Background(), id, "stopped by the test", grace); err != nil {
		b.tb.Fatal(err)
	}
}

// exited tells whether an exit has come.
func (b *bench) exited(id string) (executor.Status, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.exits[id]
	return st, ok
}

// wait gives the exit of id.
func (b *bench) wait(id string) executor.Status {
	b.tb.Helper()
	var st executor.Status
	testutil.Eventually(b.tb, testTimeout, func() error {
		var ok bool
		if st, ok = b.exited(id); !ok {
			return fmt.Errorf("no exit of %s", id)
		}
		return nil
	})
	return st
}

// run starts a process and waits for its exit.
func (b *bench) run(p executor.Process) executor.Status {
	b.tb.Helper()
	b.start(p)
	return b.wait(p.ID)
}

func output(tb testing.TB, st executor.Status) string {
	tb.Helper()
	text, err := os.ReadFile(executor.LogPath(st.Dir))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// pidIn waits for a file with a pid in it.
func pidIn(tb testing.TB, file string) int {
	tb.Helper()
	pid := 0
	testutil.Eventually(tb, testTimeout, func() error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text, whole := strings.CutSuffix(string(b), "\n")
		if !whole {
			return fmt.Errorf("%s is not whole: %q", file, b)
		}
		pid, err = strconv.Atoi(text)
		return err
	})
	return pid
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	return fields[0] != "Z" && fields[0] != "X"
}

// pause stops a process, and returns when none of its threads runs: until then it
// still reads what is sent to it.
func pause(tb testing.TB, pid int) {
	tb.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		tb.Fatal(err)
	}
	testutil.Eventually(tb, testTimeout, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("threads of %d: %v, %w", pid, threads, err)
		}
		for _, file := range threads {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])); fields[0] != "T" {
				return fmt.Errorf("%s is in state %s", file, fields[0])
			}
		}
		return nil
	})
}

func mustBeDead(tb testing.TB, pids ...int) {
	tb.Helper()
	for _, pid := range pids {
		if alive(pid) {
			tb.Errorf("process %d is alive", pid)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
