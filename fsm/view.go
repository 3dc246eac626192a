package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// View reads the state at one index. It is valid only inside Store.View.
type View struct {
	tx   *bolt.Tx
	defs *definitionCache
	// recent lists which modules changed lately.
	recent *recentChanges
}

// Index is the index of the last entry in this view.
func (v *View) Index() uint64 { return u64(v.tx.Bucket(bMeta).Get(kIndex)) }

// Term is the term of that entry.
func (v *View) Term() uint64 { return u64(v.tx.Bucket(bMeta).Get(kTerm)) }

// Run finds a run.
func (v *View) Run(id pipeline.RunID) (pipeline.Run, bool) {
	var r pipeline.Run
	return r, v.get(bRuns, []byte(id), &r)
}

// RunByKey finds the run that an idempotency key made.
func (v *View) RunByKey(key string) (pipeline.Run, bool) {
	var k keyRecord
	if !v.get(bKeys, []byte(key), &k) {
		return pipeline.Run{}, false
	}
	return v.Run(k.Run)
}

// Module returns the record of a module; without a record, the module waits.
func (v *View) Module(run pipeline.RunID, name string) pipeline.ModuleRecord {
	m := pipeline.ModuleRecord{Name: name, State: pipeline.ModuleWaiting}
	v.get(bModules, moduleKey(run, name), &m)
	return m
}

// HasModule reports whether a run has a module, or a block, to which something has
// happened.
func (v *View) HasModule(run pipeline.RunID, name string) bool {
	return v.tx.Bucket(bModules).Get(moduleKey(run, name)) != nil
}

// Modules returns the existing records of a run's modules, by name.
func (v *View) Modules(run pipeline.RunID) map[string]*pipeline.ModuleRecord {
	out := map[string]*pipeline.ModuleRecord{}
	prefix := moduleKey(run, "")
	c := v.tx.Bucket(bModules).Cursor()
	for k, b := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, b = c.Next() {
		m := new(pipeline.ModuleRecord)
		mustUnmarshal(b, m)
		out[m.Name] = m
	}
	return out
}

// Definition returns the pipeline of a run. It is shared and must not be
// changed.
func (v *View) Definition(id pipeline.RunID) (*pipeline.Pipeline, error) {
	b := v.tx.Bucket(bDefs).Get([]byte(id))
	if b == nil {
		return nil, pipeline.NoRun(id)
	}

	if p := v.defs.get(id, b); p != nil {
		return p, nil
	}

	p, bytes, err := decodeDefinition(b)
	if err != nil {
		return nil, fmt.Errorf("definition of run %s: %w", id, err)
	}

	v.defs.put(id, cachedDefinition{raw: string(b), def: p, bytes: bytes + len(b)})

	return p, nil
}

// Active lists the runs that are not final, oldest first.
func (v *View) Active() []pipeline.Run {
	var out []pipeline.Run
	c := v.tx.Bucket(bActive).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		var r pipeline.Run
		if v.get(bRuns, k, &r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b pipeline.Run) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// Runs calls fn with runs, newest first, from the one before number on (0:
// from the newest), until it returns false.
func (v *View) Runs(before uint64, fn func(pipeline.Run) bool) {
	c := v.tx.Bucket(bOrder).Cursor()
	var k, id []byte
	if before == 0 {
		k, id = c.Last()
	} else if k, _ = c.Seek(be64(before)); k == nil {
		k, id = c.Last()
	} else {
		k, id = c.Prev()
	}

	for ; k != nil; k, id = c.Prev() {
		var r pipeline.Run
		if v.get(bRuns, id, &r) && !fn(r) {
			return
		}
	}
}

// Worker returns the record of a worker.
func (v *View) Worker(id pipeline.NodeID) (WorkerRecord, bool) {
	var w WorkerRecord
	return w, v.get(bWorkers, []byte(id), &w)
}

// Workers lists the records of workers, by id.
func (v *View) Workers() []WorkerRecord {
	var out []WorkerRecord
	_ = v.tx.Bucket(bWorkers).ForEach(func(_, b []byte) error { // the callback never fails
		var w WorkerRecord
		mustUnmarshal(b, &w)
		out = append(out, w)
		return nil
	})
	return out
}

// Token finds a token by its id.
func (v *View) Token(id string) (TokenRecord, bool) {
	var t TokenRecord
	return t, v.get(bTokens, []byte(id), &t)
}

// Tokens lists the tokens, by id.
func (v *View) Tokens() []TokenRecord {
	var out []TokenRecord
	_ = v.tx.Bucket(bTokens).ForEach(func(_, b []byte) error { // the callback never fails
		var t TokenRecord
		mustUnmarshal(b, &t)
		out = append(out, t)
		return nil
	})
	return out
}

// Empty reports whether the state holds nothing that a user would miss, so that
// a cluster of one may join another and discard it (settled 9).
func (v *View) Empty() bool {
	for _, t := range v.Tokens() {
		if !t.SignIn { // who looks at a cluster leaves nothing in it
			return false
		}
	}
	for _, h := range v.Hooks() {
		if !h.Config { // one that the configuration defines is there again
			return false
		}
	}
	for _, b := range [][]byte{bRuns, bSecrets, bSchedules} {
		if k, _ := v.tx.Bucket(b).Cursor().First(); k != nil {
			return false
		}
	}
	return true
}

func (v *View) get(bucket, key []byte, into any) bool { return getRecord(v.tx, bucket, key, into) }
