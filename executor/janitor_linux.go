package executor

import (
	"time"

	"golang.org/x/sys/unix"
)

// janitorEvery is how often the janitor looks: the dead must not pile up, and
// ancestry must be seen while parents live.
const janitorEvery = time.Second

// janitor reaps orphans and, without control groups, remembers who descends from
// whom. When the last process has ended it kills what belongs to no attempt.
func (e *engine) janitor() {
	ticker := time.NewTicker(janitorEvery)
	defer ticker.Stop()
	// seen is how many processes had been accepted at the last look, and again says
	// that some ran then, or that orphans lived.
	seen, again := uint64(0), false
	for {
		select {
		case <-e.quit:
			return
		case <-ticker.C:
		}

		running, accepted := e.counts()
		if running == 0 && accepted == seen && !again {
			continue // an idle runner costs nothing
		}
		seen = accepted
		if running == 0 && e.alone {
			e.killOrphans()
		}
		again = len(e.children.reapAll()) > 0 || running > 0
		if running > 0 {
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
