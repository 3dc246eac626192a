package harness

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// ShiftClock gives the wall clock of one process an offset: its copy of
// clock_gettime in the vDSO is replaced by one that adds it. It needs root on
// amd64; errors.ErrUnsupported says that this machine cannot.
func ShiftClock(pid int, by time.Duration) error {
	if runtime.GOARCH != "amd64" || os.Geteuid() != 0 {
		return fmt.Errorf("shift a clock: needs root on amd64: %w", errors.ErrUnsupported)
	}
	start, size, err := vdso(pid)
	if err != nil {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, start); err != nil {
		return err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return err
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
		if err := Stop(pid); err != nil {
			return err
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
		_, err := mem.WriteAt(code, start+int64(s.Value))
		return err
	}
	return fmt.Errorf("shift a clock: no clock_gettime in the vDSO: %w", errors.ErrUnsupported)
}

// Stop stops a process and waits until all of its threads stand.
func Stop(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	deadline := time.Now().Add(Wait)
	for {
		moving := ""
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if _, rest, ok := strings.Cut(string(b), ") "); ok && rest[0] != 'T' {
				moving = f
			}
		}
		if moving == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not stop", moving)
		}
		<-time.After(time.Millisecond)
	}
}

// vdso finds the kernel's library in a process.
func vdso(pid int) (start, size int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "[vdso]") {
			continue
		}
		var end int64
		_, err := fmt.Sscanf(line, "%x-%x", &start, &end)
		return start, end - start, err
	}
	return 0, 0, fmt.Errorf("shift a clock: no vDSO: %w", errors.ErrUnsupported)
}
