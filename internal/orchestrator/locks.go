package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Keys of not_in_parallel are held in the state from the assignment of an
// attempt to its outcome. Who gets a free key next is decided here: the module
// that has been ready for the longest time, of all runs. That follows from the
// state alone, so that every leader decides the same. A module gets all its keys
// at once or none, and one that is further ahead keeps others from keys that it
// waits for, so nobody waits for ever and nobody waits in a circle.

// killTime is how long after a lease an attempt that is killed at its lapse may
// still be there.
const killTime = 3 * time.Second

// readySince is since when a module waits for nothing but its locks.
func (m *mod) readySince() time.Time {
	since := m.run.head.SubmittedAt
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}
	later(m.run.head.RetriedAt)
	later(m.endedAt) // of its last attempt
	later(m.notBefore)
	for _, d := range m.deps {
		later(d.endedAt)
	}
	return since
}

// grantLocks gives free keys to the modules that wait for them.
func (t *term) grantLocks(workers []*scheduler.Worker) {
	held := map[string]*mod{}
	var waiting []*mod
	for _, r := range t.runs {
		for _, m := range r.lockers {
			if m.granted || m.live != nil {
				for _, key := range m.def.Locks {
					held[key] = m
				}
			} else if m.wants && !r.stale {
				waiting = append(waiting, m)
			}
		}
	}
	if len(waiting) == 0 {
		return
	}
	sortWaiting(waiting)
	for _, m := range waiting {
		if !slices.ContainsFunc(workers, func(w *scheduler.Worker) bool { return scheduler.Fits(w, m.class()) }) {
			continue // holds nobody up; see waitsForLock
		}
		free := true
		for _, key := range m.def.Locks {
			free = free && held[key] == nil
		}
		for _, key := range m.def.Locks {
			if held[key] == nil {
				held[key] = m // its own, or kept free for it
			}
		}
		if free {
			m.granted = true
			m.enqueue()
		}
	}
}

func sortWaiting(list []*mod) {
	slices.SortFunc(list, func(a, b *mod) int {
		return cmp.Or(a.readySince().Compare(b.readySince()), cmp.Compare(a.run.head.Number, b.run.head.Number),
			cmp.Compare(a.order, b.order), cmp.Compare(a.def.Name, b.def.Name))
	})
}

// holder finds who has a key; nil where nobody does.
func (t *term) holder(key string) *mod {
	for _, r := range t.runs {
		for _, m := range r.lockers {
			if (m.granted || m.live != nil) && slices.Contains(m.def.Locks, key) {
				return m
			}
		}
	}
	return nil
}

func (t *term) waitsForLock(m *mod) string {
	for _, key := range m.def.Locks {
		if h := t.holder(key); h != nil {
			return fmt.Sprintf("waits for lock %q, which %s of run %s holds", key, h.def.Name, h.run.head.ID)
		}
	}
	for _, l := range t.links {
		if l.caps != nil && scheduler.Fits(&l.sched, m.class()) {
			return "waits for its locks: others are ahead of it"
		}
	}
	return t.lacking(m.def.Requires)
}

// Locks lists the keys that are held or waited for, in their order.
func (o *Orchestrator) Locks(ctx context.Context) (out []pipeline.Lock, err error) {
	err = o.ask(ctx, func(t *term) { out = t.listLocks() })
	return out, err
}

func (t *term) listLocks() []pipeline.Lock {
	locks := map[string]*pipeline.Lock{}
	var waiting []*mod
	get := func(key string) *pipeline.Lock {
		if locks[key] == nil {
			locks[key] = &pipeline.Lock{Key: key, Waiters: []pipeline.LockUser{}}
		}
		return locks[key]
	}
	for _, r := range t.runs {
		for _, m := range r.lockers {
			switch {
			case m.granted || m.live != nil:
				u := &pipeline.LockUser{Run: r.head.ID, Module: m.def.Name, Since: m.readySince().UTC()}
				if m.live != nil {
					u.Since, u.Worker = m.live.assignedAt.UTC(), t.cfg.NodeName(m.live.worker)
				}
				for _, key := range m.def.Locks {
					get(key).Holder = u
				}
			case m.wants:
				waiting = append(waiting, m)
			}
		}
	}
	sortWaiting(waiting)
	for _, m := range waiting {
		for _, key := range m.def.Locks {
			l := get(key)
			l.Waiters = append(l.Waiters, pipeline.LockUser{Run: m.run.head.ID, Module: m.def.Name, Since: m.readySince().UTC()})
		}
	}
	out := make([]pipeline.Lock, 0, len(locks))
	for _, l := range locks {
		out = append(out, *l)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}
