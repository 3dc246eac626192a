package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are the control groups of a runner, of version 2 or in a named hierarchy
// of version 1: one directory below the
// runner's own group, and below it one group for each process that runs at the
// same time. Groups are used again, since making and removing one costs as
// much as a good part of a start.
type cgroups struct {
	base string
	// named is set for groups of the named hierarchy; see namedcgroup_linux.go.
	named *os.File
	group string // base in the named hierarchy

	mu   sync.Mutex // guards following
	free []*slot
	all  []*slot
	made int
	off  bool
}

// slot is one group.
type slot struct {
	path string
	// dir is what clone3 takes, events whether a process is in it.
	dir, events int
	// killed slots are never used again: Linux from 6.14 on kills at birth
	// whatever is cloned into a group that was ever killed, because it compares
	// the group's count of kills with that of the parent's group.
	killed atomic.Bool
	// limited slots are not used again either.
	limited bool
	// tasks is where threads enter a group of the named hierarchy; -1 in version 2.
	tasks int
}

// openCgroups makes the runner's directory. Its error says why there are none,
// which is no fault.
func openCgroups(mark string) (*cgroups, error) {
	mount, err := cgroup2Mount()
	if err != nil {
		return nil, err
	}
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	c := &cgroups{}
	for _, parent := range limitParents(filepath.Join(mount, own), mount) {
		c.base = filepath.Join(parent, "pipelined-"+mark)
		if err = os.Mkdir(c.base, 0o755); err == nil || errors.Is(err, os.ErrExist) {
			err = nil
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.base + "/cgroup.kill"); err != nil {
		os.Remove(c.base)
		return nil, fmt.Errorf("the kernel has no cgroup.kill: %w", err)
	}
	enableControllers(c.base)
	return c, nil
}

// cgroup2Mount finds where version 2 is mounted, be it alone or beside version 1.
func cgroup2Mount() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(before); ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return unescapeMount(fields[4]), nil
		}
	}
	return "", errors.New("cgroup version 2 is not mounted")
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// ownCgroup is the group of this process, as a path below the mount.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("this process is in no cgroup of version 2")
}

// get takes an empty group; nil if there is none.
func (c *cgroups) get() *slot {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return nil
	}
	if n := len(c.free); n > 0 {
		s := c.free[n-1]
		c.free = c.free[:n-1]
		return s
	}
	for range 100 { // a name may be taken by what an earlier runner left
		c.made++
		open := openSlot
		if c.named != nil {
			open = openNamedSlot
		}
		s, err := open(c.base + "/" + strconv.Itoa(c.made))
		if err == nil {
			c.all = append(c.all, s)
			return s
		}
		if !errors.Is(err, os.ErrExist) {
			return nil
		}
	}
	return nil
}

func openSlot(path string) (*slot, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	events, err := unix.Openat(dir, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(dir)
		return nil, err
	}
	return &slot{path: path, dir: dir, events: events, tasks: -1}, nil
}

// put gives a group back. One that was killed, limited, or frozen by a module
// that may do so, is never used again.
func (c *cgroups) put(s *slot) {
	if s == nil {
		return
	}
	clean := (!s.killed.Load() || s.tasks >= 0) && !s.limited && s.state() == slotClean
	c.mu.Lock()
	defer c.mu.Unlock()
	if clean && !c.off {
		c.free = append(c.free, s)
		return
	}
	s.close()
	for i, other := range c.all {
		if other == s {
			c.all = append(c.all[:i], c.all[i+1:]...)
			break
		}
	}
}

// disable lets no further process use a group, because clone3 cannot.
func (c *cgroups) disable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
}

// close removes all groups, as far as they are empty.
func (c *cgroups) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	for _, s := range c.all {
		s.close()
	}
	c.all, c.free = nil, nil
	removeCgroup(c.base)
	if c.named != nil {
		c.named.Close()
	}
}

func (s *slot) close() {
	for _, fd := range []int{s.events, s.dir, s.tasks} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	removeCgroup(s.path)
}

type slotState int

const (
	slotPopulated slotState = iota
	slotClean
	slotOdd // empty, but frozen or unreadable
)

var cleanEvents = []byte("populated 0\nfrozen 0\n")

// state reads one line of the kernel's: no list of processes, whatever runs.
func (s *slot) state() slotState {
	if s.tasks >= 0 {
		return s.namedState()
	}
	var buf [128]byte
	n, err := unix.Pread(s.events, buf[:], 0)
	switch got := buf[:max(n, 0)]; {
	case err != nil:
		return slotOdd
	case bytes.Equal(got, cleanEvents):
		return slotClean
	case bytes.Contains(got, []byte("populated 1")):
		return slotPopulated
	}
	return slotOdd
}

// alive implements tree.
func (s *slot) alive() bool { return s.state() == slotPopulated }

// kill implements tree: the kernel kills every process in the group and below at
// once, and every process that is being forked meanwhile.
func (s *slot) kill() {
	s.killed.Store(true)
	if s.tasks >= 0 {
		s.signal(unix.SIGKILL, 0)
		return
	}
	_ = os.WriteFile(s.path+"/cgroup.kill", []byte("1"), 0) // tried until none is left
}

// signal implements tree: it sends sig to all but the process group skip,
// which has it already.
func (s *slot) signal(sig unix.Signal, skip int) int {
	n := 0
	self := os.Getpid() // one of its threads may be in there to fork
	for _, pid := range cgroupProcs(s.path) {
		p, ok := readProc(pid)
		if !ok || p.zombie || pid == self {
			continue
		}
		n++
		if skip != 0 && p.pgrp == skip {
			continue
		}
		_ = sendTo(p, sig) // gone meanwhile, or not ours to signal: KILL follows
	}
	return n
}

// cgroupProcs lists who is in a group and below.
func cgroupProcs(path string) []int {
	var pids []int
	_ = filepath.WalkDir(path, func(at string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // removed meanwhile
		}
		b, _ := os.ReadFile(at + "/cgroup.procs")
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeCgroup removes a group and those below it, as far as they are empty.
func removeCgroup(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(path + "/" + e.Name())
		}
	}
	_ = unix.Rmdir(path)
}

// killCgroup kills all that is in a group that an earlier runner left, and
// removes it. It reports whether none is left.
func killCgroup(path string, within time.Duration) bool {
	if _, err := os.Stat(path); err != nil {
		return true
	}
	_ = os.WriteFile(path+"/cgroup.kill", []byte("1"), 0)
	deadline := time.Now().Add(within)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		b, err := os.ReadFile(path + "/cgroup.events")
		if err != nil || !bytes.Contains(b, []byte("populated 1")) {
			removeCgroup(path)
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(wait)
	}
}
