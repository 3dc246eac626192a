package executor

import (
	"time"

	"golang.org/x/sys/unix"
)

// How often the janitor looks: for the dead it is enough not to let them pile
// up; ancestry must be seen while parents live.
const (
	reapEvery  = 10 * time.Second
	trackEvery = time.Second
)

// janitor reaps orphans and, without control groups, remembers who descends from
// whom. When the last process has ended it kills what belongs to no attempt.
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
			e.killOrphans()
		}
		e.children.reapOrphans()
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

// killOrphans kills orphans when no process runs that they could belong to.
func (e *engine) killOrphans() {
	for _, p := range e.children.orphans() {
		if e.count() > 0 {
			return // it may belong to what has been accepted meanwhile
		}
		e.log.Warn("killing a process that a module left behind", "pid", p.pid)
		_ = sendTo(p, unix.SIGKILL)
	}
}
