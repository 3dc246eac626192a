package orchestrator

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// leaderTimeout is how long waiters wait for a leader that gets no worker.
	leaderTimeout = 2 * time.Second
	// maxStored bounds the memory of results that were stored recently.
	maxStored = 10_000
)

// inFlightWork makes modules that do the same work at the same time run once
// (singleflight): the first is the leader and is placed, the others wait behind it
// and are looked up again when it has ended. Who leads follows from the active
// attempts, so every leader of the cluster finds the same.
//
// Work is identified by its cache key without a platform.
type inFlightWork struct {
	model *model
	steps steps

	leaders map[pipeline.Digest]*moduleState
	waiters map[pipeline.Digest][]*moduleState
	// lookups counts the batches of lookups; storedAt is its value when a result was
	// stored. A lookup that began before may have missed that result.
	lookups  uint64
	storedAt map[pipeline.Digest]uint64
}

func newInFlightWork(m *model) *inFlightWork {
	return &inFlightWork{model: m, leaders: map[pipeline.Digest]*moduleState{}, waiters: map[pipeline.Digest][]*moduleState{},
		storedAt: map[pipeline.Digest]uint64{}}
}

// workOf identifies the work of a module; "" if it is not cached.
func workOf(m *moduleState) pipeline.Digest {
	if m.cache.lookup == nil {
		return ""
	}
	return m.cache.lookup.Work
}

// nextLookup returns the sequence of a batch of lookups that begins now.
func (w *inFlightWork) nextLookup() uint64 {
	w.lookups++
	return w.lookups
}

// storedSince reports whether a result was stored after a lookup of it began.
func (w *inFlightWork) storedSince(j *lookup) bool { return w.storedAt[j.result.Work] >= j.sequence }

// lead makes a module the leader of its work, unless one with an active attempt is.
func (w *inFlightWork) lead(m *moduleState) {
	work := workOf(m)
	if work == "" {
		return
	}

	// A leader that only waits for a worker gives way to one that runs.
	if leader := w.leaders[work]; leader != nil && leader.active != nil {
		return
	}

	w.leaders[work] = m
	m.cache.leadingSince = time.Now()
	for _, x := range w.waiters[work] {
		if x != m && x.cache.leader != nil {
			x.cache.leader = m
		}
	}
}

// waitBehind lets a module wait for the leader of its work, and reports whether it
// does. If onlyActive is set, only a leader with an active attempt counts.
func (w *inFlightWork) waitBehind(m *moduleState, onlyActive bool) bool {
	work := workOf(m)
	if work == "" || m.cache.bypassed {
		return false
	}

	leader := w.leaders[work]
	if leader == nil || leader == m || onlyActive && leader.active == nil {
		return false
	}

	m.cache.leader = leader

	// Not ready any more: a waiter must not hold locks.
	m.ready.queued, m.ready.wantsLocks, m.ready.hasLocks = false, false, false
	w.waiters[work] = append(w.waiters[work], m)
	return true
}

// release ends the lead of a module: those that wait behind it are looked up again.
func (w *inFlightWork) release(m *moduleState) {
	work := workOf(m)
	if work == "" || w.leaders[work] != m {
		return
	}

	// Both maps first: a waiter that advances may become the leader.
	list := w.waiters[work]
	delete(w.leaders, work)
	delete(w.waiters, work)

	for _, x := range list {
		if x.cache.leader != m {
			continue
		}
		x.cache.leader = nil
		if w.model.isCurrent(x.run) && !x.state.Final() && x.active == nil {
			x.cache.lookup = nil
			w.steps.advance(x)
		}
	}
}

// releaseAll ends the leads of a run that is read again or has finished.
func (w *inFlightWork) releaseAll(r *run) {
	var list []*moduleState
	for _, m := range w.leaders {
		if m.run == r {
			list = append(list, m)
		}
	}

	for _, m := range list {
		w.release(m)
	}
}

// stored notes that the result of a module is in the state.
func (w *inFlightWork) stored(m *moduleState) {
	work := workOf(m)
	if work == "" {
		return
	}

	if len(w.storedAt) > maxStored {
		clear(w.storedAt) // at worst, work is done twice
	}

	w.storedAt[work] = w.lookups
	w.release(m)
}

// expire lets waiters go ahead of a leader that gets no worker.
func (w *inFlightWork) expire(now time.Time) {
	for work, leader := range w.leaders {
		if leader.active == nil && leader.state == pipeline.ModuleWaiting && len(w.waiters[work]) > 0 &&
			now.Sub(leader.cache.leadingSince) > leaderTimeout {
			w.release(leader)
			return // the map has changed; the next tick looks at the others
		}
	}
}

// leaderReason is why a module waits behind a leader; "" if it does not.
func leaderReason(m *moduleState) string {
	leader := m.cache.leader
	if leader == nil {
		return ""
	}
	return fmt.Sprintf("waits for %s of run %s, which does the same work", leader.def.Name, leader.run.head.ID)
}
