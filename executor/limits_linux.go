package executor

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits by control groups (version 2). A controller is there for our groups if
// it was turned on for the children of every group above, which only the owner
// of those can do, and not in a group that has processes itself, save the root.
// So there are limits if this process is in the root group, or if its
// group lies in one that was delegated to it (under systemd: Delegate=cpu memory
// and DelegateSubgroup=).

// controllers are those that limits need.
var controllers = []string{"cpu", "memory"}

// limitParents are groups in which the runner's own may lie, the best one first.
// A group above ours is used only if it was delegated to us.
func limitParents(own, mount string) []string {
	if len(enableControllers(own)) == 0 && own != mount {
		if above := filepath.Dir(own); delegated(above) && len(enableControllers(above)) > 0 {
			return []string{above, own}
		}
	}
	return []string{own}
}

// delegated reports whether systemd has given a group away.
func delegated(path string) bool {
	var value [8]byte
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		if n, err := unix.Getxattr(path, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// enableControllers turns controllers on for the children of a group, and gives
// those that are on.
func enableControllers(path string) []string {
	there := words(path + "/cgroup.controllers")
	on := words(path + "/cgroup.subtree_control")
	for _, c := range controllers {
		if slices.Contains(there, c) && !slices.Contains(on, c) {
			// One by one, and the answer is read back: each may be refused.
			_ = os.WriteFile(path+"/cgroup.subtree_control", []byte("+"+c), 0)
		}
	}
	on = words(path + "/cgroup.subtree_control")
	return slices.DeleteFunc(on, func(c string) bool { return !slices.Contains(controllers, c) })
}

func words(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// EnforcedLimits says which limits the runner of a data directory, which must be
// open, can enforce. If it can enforce none, Process.Memory and Process.CPU
// have no effect.
func EnforcedLimits(dataDir string) Limits {
	b, err := os.ReadFile(tracePath(dataDir))
	var t trace
	if err != nil || json.Unmarshal(b, &t) != nil || t.Cgroup == "" {
		return Limits{}
	}
	on := words(t.Cgroup + "/cgroup.subtree_control")
	return Limits{CPU: slices.Contains(on, "cpu"), Memory: slices.Contains(on, "memory")}
}

// cpuPeriod is the stretch over which a share of processors is counted, in
// microseconds, as the kernel's own default has it.
const cpuPeriod = 100_000

// limit bounds an empty group, as far as the machine can. It
// gives what could not be done.
func (s *slot) limit(p *Process) error {
	if s == nil || s.tasks >= 0 || p.Memory <= 0 && p.CPU <= 0 {
		return nil
	}
	s.limited = true
	write := func(name, value string) error {
		err := os.WriteFile(s.path+"/"+name, []byte(value), 0)
		if os.IsNotExist(err) || os.IsPermission(err) {
			return nil // no such controller; EnforcedLimits says so
		}
		return err
	}
	var err error
	if p.Memory > 0 {
		// All of them or none: what is left of a module that lost one process
		// would only wait for it.
		err = firstError(write("memory.max", strconv.FormatInt(p.Memory, 10)), write("memory.oom.group", "1"))
	}
	if p.CPU > 0 {
		quota := math.Ceil(min(p.CPU, 1e6) * cpuPeriod)
		err = firstError(err, write("cpu.max", fmt.Sprintf("%d %d", int64(max(quota, 1000)), cpuPeriod)))
	}
	if err != nil {
		return fmt.Errorf("limit a control group: %w", err)
	}
	return nil
}

// outOfMemory reports whether the kernel killed a process in the group for want
// of memory. Such a group is not used again, so that its count begins at none.
func (s *slot) outOfMemory() bool {
	if s == nil {
		return false
	}
	fields := words(s.path + "/memory.events")
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "oom_kill" && fields[i+1] != "0" {
			s.limited = true
			return true
		}
	}
	return false
}
