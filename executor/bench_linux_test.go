package executor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
)

// benchParallel is how many processes run at once in the benchmarks, as in the
// workloads of the project's targets.
const benchParallel = 2

// BenchmarkSpawnFloor is what nobody can go below: fork, exec, captured output
// and wait, without anything kept or watched.
func BenchmarkSpawnFloor(b *testing.B) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	work := make(chan struct{}, b.N)
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	b.ResetTimer()
	defer reportCPU(b, 0)()
	errs := make(chan error, benchParallel)
	for range benchParallel {
		go func() {
			var err error
			for range work {
				err = spawnAndWait(null)
				if err != nil {
					break
				}
			}
			errs <- err
		}()
	}
	for range benchParallel {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

func spawnAndWait(null *os.File) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec("/bin/true", []string{"/bin/true"},
		&syscall.ProcAttr{Env: []string{"PATH=/usr/bin:/bin"}, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}})
	w.Close()
	if err != nil {
		r.Close()
		return err
	}
	_, err = io.Copy(io.Discard, r)
	r.Close()
	if err != nil {
		return err
	}
	var ws syscall.WaitStatus
	for {
		_, err = syscall.Wait4(pid, &ws, 0, nil)
		if err != syscall.EINTR {
			return err
		}
	}
}

// reportCPU adds the processor time of this process, its children and the
// keeper to what a benchmark tells: on a busy machine it says more than the
// time that passed.
func reportCPU(b *testing.B, keeper int) func() {
	before := cpuTime(b, keeper)
	return func() {
		b.ReportMetric(float64((cpuTime(b, keeper)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	}
}

func cpuTime(b *testing.B, keeper int) time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if keeper == 0 {
		return total
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", keeper))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, ticks := range fields[11:15] { // its own and its children's
		n, err := strconv.Atoi(ticks)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total
}

func benchRunner(b *testing.B, r executor.Runner, keeper int, argv ...string) {
	b.Helper()
	ctx, dir := context.Background(), b.TempDir()
	start := func(i int) error {
		return r.Start(ctx, []executor.Process{{ID: fmt.Sprintf("%s/%d/1", b.Name(), i), Dir: dir, WorkDir: dir,
			Argv: argv, Env: []string{"PATH=/usr/bin:/bin"}, Timeout: 1 << 40, Grace: 1 << 30}})
	}
	b.ResetTimer()
	defer reportCPU(b, keeper)()
	// As a worker does it: each start in a goroutine of its own, since it may
	// take a moment until it is accepted.
	errs := make(chan error, b.N)
	next := 0
	for ; next < min(benchParallel, b.N); next++ {
		i := next
		go func() { errs <- start(i) }()
	}
	for done := 0; done < b.N; done++ {
		st := <-r.Exits()
		if st.StartError != "" || st.ExitCode != 0 {
			b.Fatalf("exit %+v", st)
		}
		if err := r.Forget(ctx, st.ID); err != nil {
			b.Fatal(err)
		}
		if i := next; i < b.N {
			go func() { errs <- start(i) }()
			next++
		}
	}
	for range b.N {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLocalTrue runs a module that does nothing in this process.
func BenchmarkLocalTrue(b *testing.B) {
	r, err := executor.NewLocal(executor.Config{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	benchRunner(b, r, 0, "/bin/true")
}

// BenchmarkLocalSweepTrue is the same without control groups.
func BenchmarkLocalSweepTrue(b *testing.B) {
	r, err := executor.NewLocal(executor.Config{DataDir: b.TempDir(), NoCgroups: true})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	benchRunner(b, r, 0, "/bin/true")
}

// BenchmarkKeeperTrue is the same through a keeper.
func BenchmarkKeeperTrue(b *testing.B) {
	dir := keeperDir(b)
	r, err := executor.Connect(context.Background(), executor.Config{DataDir: dir, Executable: os.Args[0]})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	benchRunner(b, r, keeperPID(dir), "/bin/true")
}

// BenchmarkLocalEcho has one line of output, and so a file.
func BenchmarkLocalEcho(b *testing.B) {
	r, err := executor.NewLocal(executor.Config{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	benchRunner(b, r, 0, "/bin/echo", "text")
}
