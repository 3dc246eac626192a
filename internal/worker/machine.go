package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// Machine is what modules on this machine may use together.
type Machine struct {
	// CPU is a number of processors.
	CPU float64
	// Memory is in bytes; 0 means that it is unknown.
	Memory int64
}

// FindMachine finds what the machine has, or what the control groups leave to this
// process if that is less. root is the file system's root, "/" except in tests. A
// file that is missing or cannot be read is no limit: what is found is a default
// that the operator can override.
func FindMachine(root string) Machine {
	m := Machine{CPU: float64(runtime.NumCPU())}
	for line := range strings.Lines(readText(root, "proc/meminfo")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64) // 0: unknown
			m.Memory = kib << 10
		}
	}

	// The path of our group, by controller; "" is version 2.
	groups := map[string]string{}
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			for controller := range strings.SplitSeq(f[1], ",") {
				groups[controller] = f[2]
			}
		}
	}

	// A group's limits are files below the mount of its hierarchy, which is found by
	// its type. The fields before " - " are those of the mount, those behind it of
	// the file system (proc(5)).
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

// limit lowers m to the limits of a group and of all groups above it: a child may
// name more than its parents allow. from is the group that is mounted at mount, so
// that path is what remains of group below it.
func (m *Machine) limit(root, mount, from, group string) {
	path := strings.TrimPrefix(group, strings.TrimSuffix(from, "/"))
	for {
		dir := filepath.Join(mount, path)
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			n, err := strconv.ParseInt(strings.TrimSpace(readText(root, dir, name)), 10, 64)
			if err == nil && n > 0 && (m.Memory == 0 || n < m.Memory) {
				m.Memory = n
			}
		}

		// Version 2 has quota and period in one file, version 1 in two. A quota of "max"
		// or -1 is no limit.
		f := strings.Fields(readText(root, dir, "cpu.max"))
		if len(f) != 2 {
			f = []string{strings.TrimSpace(readText(root, dir, "cpu.cfs_quota_us")), strings.TrimSpace(readText(root, dir, "cpu.cfs_period_us"))}
		}
		quota, err := strconv.ParseFloat(f[0], 64)
		period, wrong := strconv.ParseFloat(f[1], 64)
		if err == nil && wrong == nil && quota > 0 && period > 0 {
			m.CPU = min(m.CPU, quota/period)
		}

		if path == "" || path == "/" || path == "." {
			return // the mount's own group was the last
		}
		path = filepath.Dir(path)
	}
}

// readText reads a small file; "" if it cannot be read.
func readText(parts ...string) string {
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return string(b)
}

// maxTools bounds how many tools a worker lists: they travel with its registration
// and are kept by the leader.
const maxTools = 8192

// FindTools lists the programs in PATH, each name once and in order, so that two
// starts on the same machine register the same list.
func FindTools() []string {
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // PATH often names directories that do not exist
		}
		for _, e := range entries {
			if len(seen) >= maxTools || e.IsDir() || seen[e.Name()] {
				continue
			}
			if _, err := exec.LookPath(filepath.Join(dir, e.Name())); err == nil {
				seen[e.Name()] = true
			}
		}
	}
	tools := make([]string, 0, len(seen))
	for t := range seen {
		tools = append(tools, t)
	}
	sort.Strings(tools)
	return tools
}
