package fsm

import (
	"slices"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// moduleChange says that a module's record changed at an index.
type moduleChange struct {
	run    pipeline.RunID
	module string
	index  uint64
}

// recentChanges remembers which modules of which runs changed last, so that
// who follows a run reads what changed and not all of it. It is a cache: what
// it does not know is read from the state.
type recentChanges struct {
	mu   sync.Mutex // guards following
	runs map[pipeline.RunID]*runChanges
	// order holds the runs in the order in which they came; the oldest go first.
	order []pipeline.RunID
	// last is the index of the last change of each run, complete for indexes above
	// from; known is set once from is.
	last  map[pipeline.RunID]uint64
	from  uint64
	known bool
}

// runChanges is complete for indexes above from.
type runChanges struct {
	from    uint64
	changes []moduleChange
}

// Bounds of the memory: runs, and changes of each.
const (
	maxRecentRuns    = 256
	maxRecentChanges = 8192
	// maxChangedRuns bounds how many runs are remembered with their last change.
	maxChangedRuns = 4096
)

func newRecentChanges() *recentChanges {
	return &recentChanges{runs: map[pipeline.RunID]*runChanges{}, last: map[pipeline.RunID]uint64{}}
}

// add notes the changes of a batch; before is the index before it.
func (r *recentChanges) add(changes []moduleChange, before uint64) {
	if len(changes) == 0 {
		return
	}

	r.mu.Lock()
	defer r.mu.Unlock()

	for _, c := range changes {
		rc := r.runs[c.run]
		if rc == nil {
			if len(r.order) >= maxRecentRuns {
				delete(r.runs, r.order[0])
				r.order = r.order[1:]
			}
			rc = &runChanges{from: before}
			r.runs[c.run] = rc
			r.order = append(r.order, c.run)
		}

		if len(rc.changes) >= maxRecentChanges {
			half := len(rc.changes) / 2
			rc.from = rc.changes[half-1].index
			rc.changes = append(rc.changes[:0], rc.changes[half:]...)
		}

		rc.changes = append(rc.changes, c)
	}
}

// since lists the modules of a run that changed after an index, each once; ok
// is false if that is not known.
func (r *recentChanges) since(run pipeline.RunID, index uint64) (names []string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	rc := r.runs[run]
	if rc == nil || index < rc.from {
		return nil, false
	}

	seen := map[string]bool{}
	for i := len(rc.changes) - 1; i >= 0 && rc.changes[i].index > index; i-- {
		if n := rc.changes[i].module; !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}

	return names, true
}

func (r *recentChanges) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs, r.order = map[pipeline.RunID]*runChanges{}, nil
	r.last, r.known = map[pipeline.RunID]uint64{}, false
}

// addRuns notes which runs a batch changed or removed, at its last index; before is
// the index before it.
func (r *recentChanges) addRuns(runs map[pipeline.RunID]bool, index, before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if !r.known {
		r.from, r.known = before, true
	}
	if len(r.last)+len(runs) > maxChangedRuns {
		r.last, r.from = map[pipeline.RunID]uint64{}, before
	}
	for id := range runs {
		r.last[id] = index
	}
}

// RunsSince lists the runs that changed or were removed after an index, by id; ok is
// false if that is not known. A run that has changed again since this view began may be
// missing: it is in the list of the next view.
func (v *View) RunsSince(index uint64) (ids []pipeline.RunID, ok bool) {
	now := v.Index() // entries that are noted before their commit come after it
	r := v.recent
	r.mu.Lock()
	defer r.mu.Unlock()

	if !r.known || index < r.from {
		return nil, false
	}
	for id, at := range r.last {
		if at > index && at <= now {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, true
}

// ModulesSince returns the records of a run that changed after an index. It
// reads only those if they are known, otherwise all.
func (v *View) ModulesSince(run pipeline.RunID, index uint64) map[string]*pipeline.ModuleRecord {
	if index > 0 {
		if names, ok := v.recent.since(run, index); ok {
			out := make(map[string]*pipeline.ModuleRecord, len(names))
			for _, n := range names {
				m := v.Module(run, n)
				if m.Index > index {
					out[n] = &m
				}
			}
			return out
		}
	}

	all := v.Modules(run)
	for n, m := range all {
		if m.Index <= index {
			delete(all, n)
		}
	}

	return all
}
