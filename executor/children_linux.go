package executor

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// children are the child processes of this process: those that it started, and
// orphans of modules, which the kernel gives to it if it is a subreaper.
type children struct {
	log hclog.Logger
	// newPrivileges lets modules gain privileges.
	newPrivileges bool
	// null is /dev/null, the modules' standard input.
	null       int
	ownSession int

	// forking counts starts from before the fork until the child is known.
	forking atomic.Int64
	// reaper says that orphans become children of this process.
	reaper atomic.Bool

	mu    sync.Mutex // guards following
	mains map[int]struct{}
}

func newChildren(cfg *Config) *children {
	c := &children{log: cfg.Logger, newPrivileges: cfg.AllowNewPrivileges, mains: make(map[int]struct{})}
	c.ownSession, _ = unix.Getsid(0) // cannot fail for oneself
	return c
}

// becomeReaper makes orphans of modules children of this process, not of init.
func (c *children) becomeReaper() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		c.log.Warn("become reaper of orphans", "error", err)
		return
	}
	c.reaper.Store(true)
}

func (c *children) addMain(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mains[pid] = struct{}{}
}

func (c *children) removeMain(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mains, pid)
}

func (c *children) isMain(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mains[pid]
	return ok
}

// orphans gives the living children of this process that it did not start:
// orphans of modules. Those that are dead are reaped on the way. If the kernel
// does not list children, all of /proc is looked through. A child that is being
// started this moment may be among them.
func (c *children) orphans() []procInfo {
	living, _ := c.lookForOrphans()
	return living
}

// lookForOrphans is orphans, and reports whether dead ones are left, because
// something is being started.
func (c *children) lookForOrphans() (living []procInfo, deadLeft bool) {
	if !c.reaper.Load() && os.Getpid() != 1 {
		return nil, false
	}

	var buf [4096]byte
	pids, ok := listChildren(buf[:])
	if !ok {
		pids = childrenFromScan()
	}

	// The order makes it safe to reap: a child in the list whose starter has
	// not made it known yet is still counted here.
	idle := c.forking.Load() == 0
	for _, pid := range pids {
		if c.isMain(pid) {
			continue
		}
		p, ok := readProc(pid)
		// Children that other code in this process started are not ours to reap;
		// they share our session, modules never do.
		if !ok || p.sid == c.ownSession {
			continue
		}
		if !p.zombie {
			living = append(living, p)
		} else if idle {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // dead and ours
		} else {
			deadLeft = true
		}
	}
	return living, deadLeft
}

// reapAll reaps dead orphans although modules start all the time: it looks for a
// moment in which none does. It returns the living ones.
func (c *children) reapAll() []procInfo {
	living, deadLeft := c.lookForOrphans()
	for try := 0; deadLeft && try < 50; try++ {
		time.Sleep(time.Millisecond)
		living, deadLeft = c.lookForOrphans()
	}
	return living
}

// reapOrphans reaps orphans that are dead.
func (c *children) reapOrphans() { c.orphans() }

func childrenFromScan() []int {
	procs, err := scanProcs()
	if err != nil {
		return nil
	}

	var pids []int
	self := os.Getpid()
	for _, p := range procs {
		if p.ppid == self {
			pids = append(pids, p.pid)
		}
	}
	return pids
}
