package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// If there is no usable version 2 and this process may mount (it is root and
// no container forbids it), control groups of version 1 tell who belongs to an
// attempt: a hierarchy without controllers and with a name of its own, as systemd
// has one. It is mounted for this process alone, in no place of the file system,
// and lives on in the kernel while it has groups, so that the next runner finds
// what a dead one left.
//
// Version 1 knows neither a birth in a group nor a killing of one. But in it each
// thread is a member by itself: the thread that forks enters the group first, so
// that the child is born there, and leaves it again. Killing is a signal to each
// member, until two looks find none.

// namedHierarchy is the name of the hierarchy.
const namedHierarchy = "pipelined"

// mountNamed gives the root of the hierarchy. A hierarchy that is no longer
// used takes the kernel a moment to take apart, and is busy meanwhile.
func mountNamed() (*os.File, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		root, err := mountNamedOnce()
		if !errors.Is(err, unix.EBUSY) || wait > time.Second {
			return root, err
		}
		time.Sleep(wait)
	}
}

func mountNamedOnce() (*os.File, error) {
	fs, err := unix.Fsopen("cgroup", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount a named hierarchy: %w", err)
	}
	defer unix.Close(fs)
	err = firstError(unix.FsconfigSetFlag(fs, "none"), unix.FsconfigSetString(fs, "name", namedHierarchy))
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return nil, fmt.Errorf("mount a named hierarchy: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount a named hierarchy: %w", err)
	}
	return os.NewFile(uintptr(fd), "cgroup hierarchy "+namedHierarchy), nil
}

// namedOwn is this process's group in it, "/" if it never entered one: below
// it its own groups lie, so that a pipeline within a module stays the module's.
func namedOwn() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(b)) {
		if _, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":name="+namedHierarchy+":"); ok {
			return path
		}
	}
	return "/"
}

// namedPath is a group as a path that this process can use.
func namedPath(root *os.File, group string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(root.Fd())), group)
}

// openNamed makes the runner's group. Its error says why there is none to be
// had, which is no fault.
func openNamed(mark string) (*cgroups, error) {
	root, err := mountNamed()
	if err != nil {
		return nil, err
	}
	c := &cgroups{named: root, group: filepath.Join(namedOwn(), "pipelined-"+mark)}
	c.base = namedPath(root, c.group)
	if err := os.Mkdir(c.base, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		root.Close()
		return nil, err
	}
	return c, nil
}

func openNamedSlot(path string) (*slot, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	tasks, err := unix.Open(path+"/tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &slot{path: path, dir: -1, events: -1, tasks: tasks}, nil
}

// namedState looks twice: between two lines of one look a member may fork and
// die.
func (s *slot) namedState() slotState {
	for range 2 {
		if s.signal(0, 0) > 0 {
			return slotPopulated
		}
	}
	return slotClean
}

// within runs a fork with this thread in the group. The caller has locked the
// thread. A thread that cannot leave the group again must not be unlocked: stuck
// says so, and it ends with its goroutine.
func (s *slot) within(fork func() (int, error)) (pid int, stuck bool, err error) {
	self := []byte(strconv.Itoa(unix.Gettid()))
	out, err := unix.Open(filepath.Dir(filepath.Dir(s.path))+"/tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false, fmt.Errorf("enter a control group: %w", err)
	}
	defer unix.Close(out)
	if _, err := unix.Write(s.tasks, self); err != nil {
		return 0, false, fmt.Errorf("enter a control group: %w", err)
	}
	pid, err = fork()
	_, left := unix.Write(out, self)
	return pid, left != nil, err
}

// forkWithin forks in a group of either kind, or in none.
func (k *children) forkWithin(s *slot, fork func() (int, error)) (int, error) {
	if s == nil || s.tasks < 0 {
		return fork()
	}
	runtime.LockOSThread()
	pid, stuck, err := s.within(fork)
	if stuck {
		k.log.Error("a thread cannot leave a control group; it ends with the attempt")
		return pid, err
	}
	runtime.UnlockOSThread()
	return pid, err
}

// killNamed kills all that an earlier runner left in the hierarchy.
func killNamed(group string, log hclog.Logger) error {
	root, err := mountNamed()
	if err != nil {
		log.Warn("processes of an earlier runner can be found by their cookie only", "error", err)
		return nil
	}
	defer root.Close()
	base := &slot{path: namedPath(root, group), dir: -1, events: -1, tasks: 0}
	deadline := time.Now().Add(sweepWait)
	for base.namedState() == slotPopulated {
		base.signal(unix.SIGKILL, 0)
		if time.Now().After(deadline) {
			return fmt.Errorf("processes in %s of the hierarchy %s do not die", group, namedHierarchy)
		}
		time.Sleep(2 * time.Millisecond)
	}
	removeCgroup(base.path)
	return nil
}
