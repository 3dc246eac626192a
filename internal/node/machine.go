package node

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine is what modules on this machine may use together.
type machine struct {
	cpu    float64
	memory int64 // in bytes; 0 where it cannot be told
}

// findMachine looks what the machine has, or what the control groups leave to
// this process where that is less. root is the file system's, "/" but in tests.
func findMachine(root string) machine {
	m := machine{cpu: float64(runtime.NumCPU())}
	for line := range strings.Lines(readText(root, "proc/meminfo")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64) // 0: unknown
			m.memory = kib << 10
		}
	}
	groups := map[string]string{} // the path of our group, by controller; "" is version 2
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for controller := range strings.SplitSeq(f[1], ",") {
				groups[controller] = f[2]
			}
		}
	}
	for line := range strings.Lines(readText(root, "proc/self/mountinfo")) {
		before, after, ok := strings.Cut(line, " - ")
		at, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(at) < 5 || len(what) < 3 {
			continue
		}
		switch what[0] {
		case "cgroup2":
			m.limit(root, at[4], at[3], groups[""])
		case "cgroup":
			for option := range strings.SplitSeq(what[2], ",") {
				if path, ok := groups[option]; ok && (option == "memory" || option == "cpu") {
					m.limit(root, at[4], at[3], path)
				}
			}
		}
	}
	return m
}

// limit takes the bounds of a group and of those above it into account. from is
// the group at the mount's own place.
func (m *machine) limit(root, mount, from, group string) {
	path := strings.TrimPrefix(group, strings.TrimSuffix(from, "/"))
	for {
		dir := filepath.Join(mount, path)
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			n, err := strconv.ParseInt(strings.TrimSpace(readText(root, dir, name)), 10, 64)
			if err == nil && n > 0 && (m.memory == 0 || n < m.memory) {
				m.memory = n
			}
		}
		f := strings.Fields(readText(root, dir, "cpu.max"))
		if len(f) != 2 {
			f = []string{strings.TrimSpace(readText(root, dir, "cpu.cfs_quota_us")), strings.TrimSpace(readText(root, dir, "cpu.cfs_period_us"))}
		}
		quota, err := strconv.ParseFloat(f[0], 64)
		period, wrong := strconv.ParseFloat(f[1], 64)
		if err == nil && wrong == nil && quota > 0 && period > 0 {
			m.cpu = min(m.cpu, quota/period)
		}
		if path == "" || path == "/" || path == "." {
			return
		}
		path = filepath.Dir(path)
	}
}

// readText gives a small file; "" where it is not to be had.
func readText(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return string(b)
}
