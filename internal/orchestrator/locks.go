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
// is no deadlock. The same holds for keys with several holders: who is further ahead
// counts as a holder, so that one that allows few is not passed by those that allow
// more.
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
	taken := map[string][]int{} // by key, the limits of its holders
	var waiting []*moduleState
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			switch {
			case m.holdsLocks():
				for _, key := range m.def.Locks {
					taken[key] = append(taken[key], m.def.LockLimit(key))
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
			free = free && pipeline.LockAdmits(taken[key], m.def.LockLimit(key))
		}
		// Its own from now on, or withheld from those behind it.
		for _, key := range m.def.Locks {
			taken[key] = append(taken[key], m.def.LockLimit(key))
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

// holders are the modules that have a key, in the order of list.
func (k *locks) holders(key string) []*moduleState {
	var list []*moduleState
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			if m.holdsLocks() && slices.Contains(m.def.Locks, key) {
				list = append(list, m)
			}
		}
	}
	sortHolders(list)
	return list
}

// sortHolders sorts modules by when they got their keys.
func sortHolders(list []*moduleState) {
	now := time.Now()
	since := func(m *moduleState) time.Time {
		if m.active != nil {
			return m.active.assignedAt
		}
		return now // it is about to be assigned
	}
	slices.SortFunc(list, func(a, b *moduleState) int {
		return cmp.Or(since(a).Compare(since(b)), cmp.Compare(a.run.head.Number, b.run.head.Number), cmp.Compare(a.order, b.order),
			cmp.Compare(a.def.Name, b.def.Name))
	})
}

// lockReason is why a module has not got its keys; "" if it fits no worker.
func (k *locks) lockReason(m *moduleState) string {
	// The first key that has no room is reason enough.
	for _, key := range m.def.Locks {
		if reason := heldReason(key, m.def.LockLimit(key), k.holders(key)); reason != "" {
			return reason
		}
	}

	if len(k.workers.fitting(m.class())) == 0 {
		return ""
	}
	return "waits for its locks: other modules are ahead of it"
}

// heldReason says who has a key that admits no other with this limit; "" if it does.
func heldReason(key string, own int, holders []*moduleState) string {
	limits, names := make([]int, len(holders)), make([]string, len(holders))
	for i, h := range holders {
		limits[i], names[i] = h.def.LockLimit(key), fmt.Sprintf("%s of run %s", h.def.Name, h.run.head.ID)
	}
	if pipeline.LockAdmits(limits, own) {
		return ""
	}

	limit := slices.Min(limits)
	switch {
	case len(holders) == 1 && limit == 1 && own == 1:
		return fmt.Sprintf("waits for lock %q, which %s holds", key, names[0])
	case own < limit:
		return fmt.Sprintf("waits for lock %q: %d of %d holders, and it allows %d (%s)", key, len(holders), limit, own, pipeline.SomeNames(names))
	}
	return fmt.Sprintf("waits for lock %q: %d of %d holders (%s)", key, len(holders), limit, pipeline.SomeNames(names))
}

// list returns the keys that are held or waited for, sorted.
func (k *locks) list() []pipeline.Lock {
	byKey := map[string]*pipeline.Lock{}
	get := func(key string) *pipeline.Lock {
		if byKey[key] == nil {
			byKey[key] = &pipeline.Lock{Key: key, Holders: []pipeline.LockUser{}, Waiters: []pipeline.LockUser{}}
		}
		return byKey[key]
	}

	var holding, waiting []*moduleState
	for _, r := range k.model.runs {
		for _, m := range r.lockers {
			switch {
			case m.holdsLocks():
				holding = append(holding, m)
			case m.ready.wantsLocks:
				waiting = append(waiting, m)
			}
		}
	}

	sortHolders(holding)
	for _, m := range holding {
		for _, key := range m.def.Locks {
			l := get(key)
			if n := m.def.LockLimit(key); l.Limit == 0 || n < l.Limit {
				l.Limit = n
			}
			l.Holders = append(l.Holders, k.user(m, key))
		}
	}

	// In the order in which grant would serve them.
	sortWaiters(waiting)
	for _, m := range waiting {
		for _, key := range m.def.Locks {
			l := get(key)
			if l.Limit == 0 {
				l.Limit = m.def.LockLimit(key)
			}
			l.Waiters = append(l.Waiters, k.user(m, key))
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
func (k *locks) user(m *moduleState, key string) pipeline.LockUser {
	u := pipeline.LockUser{Run: m.run.head.ID, Module: m.def.Name, Limit: m.def.LockLimit(key), Since: m.lockReadySince().UTC()}
	if a := m.active; a != nil {
		u.Since, u.Worker = a.assignedAt.UTC(), k.nodeName(a.worker)
	}
	return u
}
