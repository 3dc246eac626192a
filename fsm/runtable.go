package fsm

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// runTable holds the runs and the records of their modules. It keeps the runs
// of a batch in memory, so that a batch reads and writes each run once.
type runTable struct {
	*writer
	// byID are the runs that were read; nil marks one that does not exist. dirty
	// are those that flush writes.
	byID  map[pipeline.RunID]*pipeline.Run
	dirty map[pipeline.RunID]bool
	// changes lists the records of modules that were written.
	changes []moduleChange
	// removed lists the runs that were removed.
	removed []pipeline.RunID
}

// run returns a run, which the caller may change, nil if there is none. Call
// touch after a change.
func (t *runTable) run(id pipeline.RunID) *pipeline.Run {
	if r, ok := t.byID[id]; ok {
		return r
	}
	var r *pipeline.Run
	if b := t.tx.Bucket(bRuns).Get([]byte(id)); b != nil {
		r = new(pipeline.Run)
		mustUnmarshal(b, r)
	}
	t.byID[id] = r
	return r
}

// touch marks a run as changed by the entry that is being applied.
func (t *runTable) touch(r *pipeline.Run) {
	r.Index = t.index
	t.byID[r.ID] = r
	t.dirty[r.ID] = true
}

// module returns the record of a module. A module without a record in the file
// waits.
func (t *runTable) module(run pipeline.RunID, name string) *pipeline.ModuleRecord {
	m := &pipeline.ModuleRecord{Name: name, State: pipeline.ModuleWaiting}
	t.get(bModules, moduleKey(run, name), m)
	return m
}

func (t *runTable) putModule(run pipeline.RunID, m *pipeline.ModuleRecord) {
	m.Index = t.index
	t.put(bModules, moduleKey(run, m.Name), m)
	t.changes = append(t.changes, moduleChange{run: run, module: m.Name, index: t.index})
}

// records returns the records of a run's modules, sorted by name.
func (t *runTable) records(run pipeline.RunID) []*pipeline.ModuleRecord {
	prefix := moduleKey(run, "")
	var list []*pipeline.ModuleRecord
	c := t.tx.Bucket(bModules).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		m := new(pipeline.ModuleRecord)
		mustUnmarshal(v, m)
		list = append(list, m)
	}
	return list
}

// create makes a run exist, in state waiting. The caller puts it into its
// queues before.
func (t *runTable) create(r *pipeline.Run, definition []byte, number uint64, ch *change) {
	t.touch(r)
	t.putRaw(bMeta, kNumber, be64(number))
	t.putRaw(bOrder, be64(number), []byte(r.ID))
	t.putRaw(bDefs, []byte(r.ID), definition)
	t.noteTick(r)
	t.activate(r.ID)
	ch.run(r.ID, true)
}

// activate lists a run among those that have not finished. flush removes it
// once it has.
func (t *runTable) activate(id pipeline.RunID) { t.putRaw(bActive, []byte(id), []byte{}) }

// remove deletes a finished run with everything that belongs to it alone.
func (t *runTable) remove(r *pipeline.Run) {
	t.del(bRuns, []byte(r.ID))
	t.del(bDefs, []byte(r.ID))
	t.del(bOrder, be64(r.Number))
	t.del(bActive, []byte(r.ID)) // still there if it ended in this same transaction

	prefix := moduleKey(r.ID, "")
	var keys [][]byte
	c := t.tx.Bucket(bModules).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		t.del(bModules, k)
	}

	t.forgetTick(r)
	if key := []byte(r.Pipeline); bytes.Equal(t.tx.Bucket(bFailing).Get(key), []byte(r.ID)) {
		t.del(bFailing, key)
	}

	delete(t.dirty, r.ID)
	t.byID[r.ID] = nil
	t.removed = append(t.removed, r.ID)
}

// flush writes the runs that have changed, in the order of their ids: every
// replica makes the same writes in the same order.
func (t *runTable) flush() {
	for _, id := range slices.Sorted(maps.Keys(t.dirty)) {
		r := t.byID[id]
		t.put(bRuns, []byte(id), r)
		if r.State.Final() {
			t.del(bActive, []byte(id))
		}
	}
}

// prepare numbers a new run and clears what only the state machine may set.
func (t *runTable) prepare(r *pipeline.Run, at time.Time) (number uint64) {
	number = u64(t.tx.Bucket(bMeta).Get(kNumber)) + 1
	r.Number, r.State, r.Reason, r.SubmittedAt = number, pipeline.RunWaiting, "", at
	r.StartedAt, r.FinishedAt = time.Time{}, time.Time{}
	r.Done, r.Failed, r.Live = 0, 0, 0
	r.Cached, r.Skipped, r.Flaky, r.Approvals = 0, 0, 0, 0
	r.Notices = nil
	if r.Untrusted { // what it says would appear to come from the cluster
		r.Notify = nil
	}
	r.Children, r.ByParent = nil, false
	return number
}
