package faults

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// A node whose clock is more than a day off keeps its peers. If one more node
// dies and the third is started again, there is a leader, and every node names
// the clock.
func TestClock_oneNodeOff(t *testing.T) {
	for _, off := range []time.Duration{25 * time.Hour, -10 * 365 * 24 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			c := harness.Start(t, 3)
			dead, restarted, wrong := c.Nodes[0], c.Nodes[1], c.Nodes[2]
			shiftClock(t, wrong.PID(), off)
			dead.KillAll()
			restarted.Kill()
			restarted.Start()

			testutil.Eventually(t, harness.Wait, func() error {
				h, err := restarted.Health()
				if err != nil || h.Leader == "" || !h.Quorum {
					return fmt.Errorf("no leader: %+v, %w", h, err)
				}
				if !strings.Contains(fmt.Sprint(h.Reasons), "the clock of "+wrong.Name+" is ") {
					return fmt.Errorf("health does not name the clock: %q", h.Reasons)
				}
				log, err := os.ReadFile(restarted.LogFile())
				if err != nil || !bytes.Contains(log, []byte("the clock of another node differs")) {
					return fmt.Errorf("the log does not name the clock: %w", err)
				}
				return nil
			})

			word := map[bool]string{true: "ahead", false: "behind"}[off > 0]
			if out := c.OK("members", "-address", restarted.URL); !strings.Contains(out, word) {
				t.Errorf("members does not show the clock:\n%s", out)
			}
		})
	}
}

// shiftClock gives the wall clock of one process an offset: its copy of
// clock_gettime in the vDSO is replaced by one that adds it.
func shiftClock(t *testing.T, pid int, by time.Duration) {
	t.Helper()
	if runtime.GOARCH != "amd64" || os.Geteuid() != 0 {
		t.Skip("needs root on amd64")
	}
	start, size := vdso(t, pid)
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, start); err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}

	// mov eax, 228; syscall; test edi, edi; jnz ret; mov rcx, OFFSET;
	// add [rsi], rcx; ret
	code := []byte("\xb8\xe4\x00\x00\x00\x0f\x05\x85\xff\x75\x0d\x48\xb9")
	code = binary.LittleEndian.AppendUint64(code, uint64(by/time.Second))
	code = append(code, "\x48\x01\x0e\xc3"...)
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		// No thread may be in the function while it changes.
		stop(t, pid)
		defer syscall.Kill(pid, syscall.SIGCONT)
		if _, err := mem.WriteAt(code, start+int64(s.Value)); err != nil {
			t.Skip(err)
		}
		return
	}
	t.Skip("no clock_gettime in the vDSO")
}

// stop stops a process and waits until all of its threads stand.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, harness.Wait, func() error {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if _, rest, ok := strings.Cut(string(b), ") "); ok && rest[0] != 'T' {
				return fmt.Errorf("%s is in state %c", f, rest[0])
			}
		}
		return nil
	})
}

// vdso finds the kernel's library in a process.
func vdso(t *testing.T, pid int) (start, size int64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "[vdso]") {
			continue
		}
		var end int64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			t.Fatal(err)
		}
		return start, end - start
	}
	t.Skip("no vDSO")
	return 0, 0
}
