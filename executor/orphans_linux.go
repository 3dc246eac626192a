package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// How often the janitor looks: for the dead it is enough not to let them pile
// up; ancestry must be seen while parents live.
const (
	reapEvery  = 10 * time.Second
	trackEvery = time.Second
)

// janitor reaps orphans and, where there are no control groups, remembers who
// descends from whom. Where the last process has ended it kills what nobody
// could attribute.
func (e *engine) janitor() {
	every := reapEvery
	if e.groups == nil {
		every = trackEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	worked := false
	for {
		select {
		case <-e.quit:
			return
		case <-ticker.C:
		}
		busy := e.count() > 0
		if !busy && !worked {
			continue // an idle runner costs nothing
		}
		worked = busy
		if !busy && e.alone {
			e.killStrangers()
		}
		e.reapOrphans()
		if busy {
			e.track()
		}
	}
}

// track looks through /proc once for all trees.
func (e *engine) track() {
	var trees []*sweepTree
	e.mu.Lock()
	for _, a := range e.attempts {
		if a.final != nil {
			continue
		}
		a.mu.Lock()
		ph := a.cur
		a.mu.Unlock()
		if ph == nil {
			continue
		}
		ph.mu.Lock()
		if t, ok := ph.tree.(*sweepTree); ok {
			trees = append(trees, t)
		}
		ph.mu.Unlock()
	}
	e.mu.Unlock()
	if len(trees) == 0 {
		return
	}
	procs, err := scanProcs()
	if err != nil {
		e.log.Error("look through /proc", "error", err)
		return
	}
	for _, t := range trees {
		t.mu.Lock()
		t.membersLocked(procs)
		t.mu.Unlock()
	}
}

// strangers gives the living children of this process that it did not start:
// orphans of modules. Those that are dead are reaped on the way. Where the
// kernel does not list children, all of /proc is looked through. A child that is
// being started this moment may be among them.
func (e *engine) strangers() []procInfo {
	if !e.reaper.Load() && os.Getpid() != 1 {
		return nil
	}
	var buf [4096]byte
	pids, ok := children(buf[:])
	if !ok {
		pids = childrenFromScan()
	}
	// The order makes it safe to reap: a child in the list whose starter has
	// not made it known yet is still counted here.
	settled := e.forking.Load() == 0
	var living []procInfo
	for _, pid := range pids {
		if e.isMain(pid) {
			continue
		}
		p, ok := readProc(pid)
		// Children that others in this process started are theirs to reap;
		// they share our session, modules never do.
		if !ok || p.sid == e.ownSession {
			continue
		}
		if !p.zombie {
			living = append(living, p)
		} else if settled {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // dead and ours
		}
	}
	return living
}

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

func (e *engine) isMain(pid int) bool {
	e.mainsMu.Lock()
	defer e.mainsMu.Unlock()
	_, ok := e.mains[pid]
	return ok
}

// reapOrphans reaps orphans that are dead.
func (e *engine) reapOrphans() { e.strangers() }

// killStrangers kills orphans when no process runs that they could belong to.
func (e *engine) killStrangers() {
	for _, p := range e.strangers() {
		if e.count() > 0 {
			return // it may belong to what has been accepted meanwhile
		}
		e.log.Warn("killing a process that a module left behind", "pid", p.pid)
		_ = sendTo(p, unix.SIGKILL)
	}
}

// trace is what an engine leaves on disk while it lives: the next one of the
// same data dir finds it only if this one did not end in order.
type trace struct {
	Boot   string `json:"boot"`
	PID    int    `json:"pid"`
	Cgroup string `json:"cgroup,omitempty"`
	// Named is the group in the named hierarchy, where that is used.
	Named string `json:"named,omitempty"`
}

func tracePath(dataDir string) string { return filepath.Join(dataDir, "runner.json") }

func (e *engine) writeTrace(boot string) error {
	t := trace{Boot: boot, PID: os.Getpid()}
	if e.groups != nil {
		if t.Named = e.groups.group; t.Named == "" {
			t.Cgroup = e.groups.base
		}
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(tracePath(e.cfg.DataDir), b, 0o600)
}

func removeTrace(dataDir string) { _ = os.Remove(tracePath(dataDir)) }

// sweepWait bounds how long a sweep waits for the dying.
const sweepWait = 10 * time.Second

// sweepEarlier kills every process that an earlier engine of the data dir left,
// if that one ended without order during this life of the machine.
func sweepEarlier(dataDir, mark, boot string, log hclog.Logger) error {
	b, err := os.ReadFile(tracePath(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var t trace
	if json.Unmarshal(b, &t) == nil && t.Boot != boot {
		return nil // the machine was started anew: nothing is left
	}
	log.Info("an earlier runner ended without order; killing what it left", "pid", t.PID)
	if t.Cgroup != "" && filepath.Base(t.Cgroup) == "pipelined-"+mark && !killCgroup(t.Cgroup, sweepWait) {
		return fmt.Errorf("processes in %s do not die", t.Cgroup)
	}
	if filepath.Base(t.Named) == "pipelined-"+mark {
		if err := killNamed(t.Named, log); err != nil {
			return err
		}
	}
	return sweepCookie(mark, log)
}

// sweepCookie kills every process that carries a cookie of the data dir, until
// two looks find none.
func sweepCookie(mark string, log hclog.Logger) error {
	spared := lineage()
	deadline := time.Now().Add(sweepWait)
	for empty := 0; empty < 2; {
		procs, err := scanProcs()
		if err != nil {
			return err
		}
		n := 0
		for _, p := range procs {
			if p.zombie || p.ppid == 2 || p.pid == 2 || spared[p.pid] || !hasCookieOf(cookieOf(p.pid), mark) {
				continue
			}
			n++
			log.Warn("killing a process that an earlier runner left", "pid", p.pid)
			_ = sendTo(p, unix.SIGKILL) // gone meanwhile, else it is met again
		}
		if n == 0 {
			empty++
			continue
		}
		empty = 0
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of an earlier runner do not die", n)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// lineage is this process and those it descends from: a daemon that a module of
// the same data dir started must not kill itself.
func lineage() map[int]bool {
	out := make(map[int]bool)
	for pid := os.Getpid(); pid > 0 && !out[pid]; {
		out[pid] = true
		p, ok := readProc(pid)
		if !ok {
			break
		}
		pid = p.ppid
	}
	return out
}
