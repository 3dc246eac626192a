package node

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// daemonNice is the daemon's priority where it may choose: before the modules
// it runs, so that they cannot starve its heartbeats (reliability H24).
const daemonNice = -10

// SetPriority gives every thread of this process a priority; threads made later
// inherit it. Linux has it by thread, whatever POSIX says. It reports whether
// the machine allowed it: only root, or who has CAP_SYS_NICE, may go below 0.
//
// Where the kernel schedules by session (sched_autogroup_enabled), a thread's
// priority counts among those of its session alone, and each module has a session
// of its own. So a priority below 0 becomes that of the session as well, which
// includes what else was started from the same terminal (sched(7)).
func SetPriority(nice int) bool {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false
	}
	ok := true
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err == nil && unix.Setpriority(unix.PRIO_PROCESS, tid, nice) != nil {
			ok = false
		}
	}
	if nice < 0 && ok {
		// There is no such file where the kernel does not group by session.
		_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0)
	}
	return ok
}

// unpreferred gives a process that was just started the priority of modules.
func unpreferred(pid int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, 0) // it may have ended
}
