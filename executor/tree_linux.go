package executor

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// tree is all processes of one attempt.
type tree interface {
	// alive reports whether any is left. It must be cheap if none is. Until
	// the main process is reaped it may be true because of that one.
	alive() bool
	// signal sends sig to each member once, but not to members of the process
	// group skip, and counts the living members it saw.
	signal(sig unix.Signal, skip int) int
	// kill sends KILL to all members; who is born meanwhile is met next time.
	kill()
}

// sweepTree finds members through /proc, for machines without control groups:
// by session and process group, by the cookie in the environment, and by
// ancestry, which is remembered between looks.
type sweepTree struct {
	children *children
	cookie   string
	main     int // pid, session and process group of the main process

	mu sync.Mutex // guards following
	// reapedAt is the kernel's clock, in ticks since boot, when the main
	// process was reaped; 0 before. From then on its number may be another's.
	reapedAt uint64
	// seen are members met so far, by pid, with their start.
	seen map[int]uint64
}

// mainReaped notes that the number of the main process is free from now on.
func (t *sweepTree) mainReaped() {
	t.mu.Lock()
	t.reapedAt = bootTicks()
	t.mu.Unlock()
}

// alive asks the kernel two cheap questions first: is the process group empty,
// and has this process a child that it did not start? Only then it looks
// through /proc.
func (t *sweepTree) alive() bool {
	t.mu.Lock()
	reaped := t.reapedAt != 0
	remembered := len(t.seen) > 1
	t.mu.Unlock()
	if reaped && !remembered && unix.Kill(-t.main, 0) == unix.ESRCH && len(t.children.orphans()) == 0 {
		return false
	}
	// One look can miss a child whose mother died between two lines of it.
	for range 2 {
		if len(t.members()) > 0 {
			return true
		}
	}
	return false
}

func (t *sweepTree) signal(sig unix.Signal, skip int) int {
	members := t.members()
	for _, p := range members {
		if skip == 0 || p.pgrp != skip {
			_ = sendTo(p, sig) // gone meanwhile, or not ours to signal
		}
	}
	return len(members)
}

func (t *sweepTree) kill() {
	for _, p := range t.members() {
		_ = sendTo(p, unix.SIGKILL)
	}
}

// members gives the living ones, and remembers them.
func (t *sweepTree) members() []procInfo {
	procs, err := scanProcs()
	if err != nil {
		t.children.log.Error("look through /proc", "error", err)
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.membersLocked(procs)
}

func (t *sweepTree) membersLocked(procs []procInfo) []procInfo {
	self := os.Getpid()
	in := make(map[int]procInfo)
	for _, p := range procs {
		if p.pid != self && t.isRoot(p) {
			in[p.pid] = p
		}
	}
	// Descendants: parents may stand after their children in the list, so go
	// through it until nothing is added.
	for added := true; added; {
		added = false
		for _, p := range procs {
			if _, known := in[p.pid]; known || p.pid == self {
				continue
			}
			if mother, ok := in[p.ppid]; ok && p.start >= mother.start {
				in[p.pid] = p
				added = true
			}
		}
	}
	out := make([]procInfo, 0, len(in))
	seen := make(map[int]uint64, len(in))
	for pid, p := range in {
		seen[pid] = p.start
		if !p.zombie {
			out = append(out, p)
		}
	}
	t.seen = seen
	return out
}

// isRoot reports whether p is a member by itself, not by its mother.
func (t *sweepTree) isRoot(p procInfo) bool {
	if start, ok := t.seen[p.pid]; ok && start == p.start {
		return true
	}
	if p.pid == t.main {
		return t.reapedAt == 0
	}
	// The numbers of session and group may be given anew once all who had them
	// are dead. A process born before the main process was reaped has them
	// from it.
	if (p.sid == t.main || p.pgrp == t.main) && (t.reapedAt == 0 || p.start <= t.reapedAt) {
		return true
	}
	if p.zombie || p.ppid == 2 || p.pid == 2 { // the kernel's own threads
		return false
	}
	return hasCookie(cookieOf(p.pid), t.cookie)
}

// bootTicks is the clock of process starts: hundredths of a
// second since boot, asleep or awake.
func bootTicks() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 1
	}
	return max(1, uint64(ts.Sec)*100+uint64(ts.Nsec)/10_000_000)
}
