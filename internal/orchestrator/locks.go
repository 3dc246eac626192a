package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// locks hands out the keys of not_in_parallel. The replicated state holds a key
// from the assignment of an attempt to its outcome. Who gets a free key next is
// decided here: the module that has been ready longest, across all runs. That
// follows from the state alone, so every leader decides the same.
//
// A module gets all its keys at once or none, and a module that is further ahead
// keeps others from keys that it waits for. So no module waits forever, and there
// is no deadlock.
type locks struct {
	model    *model
	workers  *workers
	nodeName func(pipeline.NodeID) string
}

// lockReadySince is when a module began to wait for nothing but its locks.
func (m *moduleState) lockReadySince() time.Time {
	since := m.run.head.SubmittedAt
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}

	// All of these are in the state, none is this leader's clock.
	later(m.run.head.RetriedAt)
	later(m.endedAt) // of its last attempt
	later(m.tries.notBefore)
	for _, d := range m.dependencies {
		later(d.endedAt)
	}
	return since
}

// holdsLocks reports whether the module has its keys.
func (m *moduleState) holdsLocks() bool { return m.ready.hasLocks || m.active != nil }

// grant gives free keys to the modules that wait for them, and makes these ready.
// A module that fits no worker gets no key: it would keep others waiting.
func (k *locks) grant(workers []*scheduler.Worker) {
	// Recomputed each time: locks are few, and nothing can get out of step.
	taken := map[string]bool{}
	var waiting []*moduleState
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			switch {
			case m.holdsLocks():
				for _, key := range m.def.Locks {
					taken[key] = true
				}
			case m.ready.wantsLocks && !r.stale:
				waiting = append(waiting, m)
			}
		}
	}

	sortWaiters(waiting)
	for _, m := range waiting {
		// Also the offline ones count: they may come back, and the order must not depend
		// on who is online.
		c := m.class()
		if !slices.ContainsFunc(workers, func(w *scheduler.Worker) bool { return scheduler.Fits(w, c) }) {
			continue
		}

		free := true
		for _, key := range m.def.Locks {
			free = free && !taken[key]
		}
		// Its own from now on, or withheld from those behind it.
		for _, key := range m.def.Locks {
			taken[key] = true
		}
		if free {
			m.ready.hasLocks = true
			m.enqueue()
		} else {
			m.ready.lockTaken = true
		}
	}
}

// sortWaiters sorts modules into the order in which they get their keys.
func sortWaiters(list []*moduleState) {
	slices.SortFunc(list, func(a, b *moduleState) int {
		return cmp.Or(a.lockReadySince().Compare(b.lockReadySince()), cmp.Compare(a.run.head.Number, b.run.head.Number),
			cmp.Compare(a.order, b.order), cmp.Compare(a.def.Name, b.def.Name))
	})
}

// holder is the module that has a key; nil if it is free.
func (k *locks) holder(key string) *moduleState {
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			if m.holdsLocks() && slices.Contains(m.def.Locks, key) {
				return m
			}
		}
	}
	return nil
}

// lockReason is why a module has not got its keys; "" if it fits no worker.
func (k *locks) lockReason(m *moduleState) string {
	// The first key that another module has is reason enough.
	for _, key := range m.def.Locks {
		if h := k.holder(key); h != nil {
			return fmt.Sprintf("waits for lock %q, which %s of run %s holds", key, h.def.Name, h.run.head.ID)
		}
	}

	if len(k.workers.fitting(m.class())) == 0 {
		return ""
	}
	return "waits for its locks: other modules are ahead of it"
}

// list returns the keys that are held or waited for, sorted.
func (k *locks) list() []pipeline.Lock {
	byKey := map[string]*pipeline.Lock{}
	get := func(key string) *pipeline.Lock {
		if byKey[key] == nil {
			byKey[key] = &pipeline.Lock{Key: key, Waiters: []pipeline.LockUser{}}
		}
		return byKey[key]
	}

	var waiting []*moduleState
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			switch {
			case m.holdsLocks():
				u := k.user(m)
				for _, key := range m.def.Locks {
					get(key).Holder = &u
				}
			case m.ready.wantsLocks:
				waiting = append(waiting, m)
			}
		}
	}

	// In the order in which grant would serve them.
	sortWaiters(waiting)
	for _, m := range waiting {
		for _, key := range m.def.Locks {
			l := get(key)
			l.Waiters = append(l.Waiters, k.user(m))
		}
	}

	out := make([]pipeline.Lock, 0, len(byKey))
	for _, l := range byKey {
		out = append(out, *l)
	}

	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

// user describes a holder, since its assignment, or a waiter, since it was ready.
func (k *locks) user(m *moduleState) pipeline.LockUser {
	u := pipeline.LockUser{Run: m.run.head.ID, Module: m.def.Name, Since: m.lockReadySince().UTC()}
	if a := m.active; a != nil {
		u.Since, u.Worker = a.assignedAt.UTC(), k.nodeName(a.worker)
	}
	return u
}
