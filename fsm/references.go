package fsm

import (
	"bytes"
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// Reference is a blob that the state names. What no reference leads to may be
// swept.
type Reference struct {
	Digest pipeline.Digest
	// Tree marks the listing of a tree: the files in it are referenced as well.
	Tree bool
	// Log marks the log of an attempt.
	Log bool
	// Attempt is whose it is: its Run is "" for a schedule's or another tool's, its
	// Module is not "" for logs, tests and outputs.
	Attempt pipeline.AttemptID
	// Holders are nodes that had it when that was last noted: a hint.
	Holders []pipeline.NodeID
}

// References calls fn with every blob that the state names: workspaces of runs
// and schedules, logs, tests and outputs of runs, cached results, and what other tools
// keep. It stops at an error of fn and returns it. The same blob may come several times. Everything that keeps a digest in the state belongs
// in here, or its bytes are swept.
func (v *View) References(fn func(Reference) error) error {
	err := v.tx.Bucket(bRuns).ForEach(func(k, b []byte) error {
		var r pipeline.Run
		mustUnmarshal(b, &r)
		if !named(r.Workspace) {
			return nil
		}
		return fn(Reference{Digest: r.Workspace, Tree: true, Attempt: pipeline.AttemptID{Run: r.ID}, Holders: r.Holders})
	})
	if err != nil {
		return err
	}

	err = v.tx.Bucket(bSchedules).ForEach(func(_, b []byte) error {
		var s ScheduleRecord
		mustUnmarshal(b, &s)
		if !named(s.Workspace) {
			return nil
		}
		return fn(Reference{Digest: s.Workspace, Tree: true, Holders: s.Holders})
	})
	if err != nil {
		return err
	}

	err = v.tx.Bucket(bModules).ForEach(func(k, b []byte) error {
		run, _, ok := bytes.Cut(k, []byte{0})
		if !ok {
			return fmt.Errorf("key %q of a module's record has no run", k)
		}
		var m pipeline.ModuleRecord
		mustUnmarshal(b, &m)
		return referencesOf(pipeline.RunID(run), &m, fn)
	})
	if err != nil {
		return err
	}

	err = v.tx.Bucket(bCache).ForEach(func(_, b []byte) error {
		var e pipeline.CacheEntry
		mustUnmarshal(b, &e)
		return referencesOfResult(&e, fn)
	})
	if err != nil {
		return err
	}

	return v.tx.Bucket(bTools).ForEach(func(k, b []byte) error {
		if e := toolEntry(k, b); named(e.Digest) {
			return fn(Reference{Digest: e.Digest})
		}
		return nil
	})
}

// referencesOfResult calls fn with the blobs that a cached result names. They
// are the attempt's that made it, which no longer exists if its run was deleted.
func referencesOfResult(e *pipeline.CacheEntry, fn func(Reference) error) error {
	if named(e.Log) {
		if err := fn(Reference{Digest: e.Log, Log: true, Attempt: e.From, Holders: e.Holders}); err != nil {
			return err
		}
	}

	if e.Tests != nil && named(e.Tests.Cases) {
		if err := fn(Reference{Digest: e.Tests.Cases, Attempt: e.From, Holders: e.Holders}); err != nil {
			return err
		}
	}

	if named(e.Outputs) {
		if err := fn(Reference{Digest: e.Outputs, Tree: true, Attempt: e.From, Holders: e.Holders}); err != nil {
			return err
		}
	}

	if named(e.Workspace) { // the listing alone: it shows which files have changed since
		return fn(Reference{Digest: e.Workspace, Attempt: pipeline.AttemptID{Run: e.From.Run}})
	}

	return nil
}

// referencesOf calls fn with the blobs that a module's record names.
func referencesOf(run pipeline.RunID, m *pipeline.ModuleRecord, fn func(Reference) error) error {
	for i := range m.Attempts {
		a := &m.Attempts[i]
		id := pipeline.AttemptID{Run: run, Module: m.Name, Attempt: a.Number}
		if named(a.Log) {
			if err := fn(Reference{Digest: a.Log, Log: true, Attempt: id, Holders: a.Holders}); err != nil {
				return err
			}
		}
		if a.Tests != nil && named(a.Tests.Cases) {
			if err := fn(Reference{Digest: a.Tests.Cases, Attempt: id, Holders: a.Holders}); err != nil {
				return err
			}
		}
		if i == len(m.Attempts)-1 && named(m.Outputs) {
			if err := fn(Reference{Digest: m.Outputs, Tree: true, Attempt: id, Holders: a.Holders}); err != nil {
				return err
			}
		}
	}

	if len(m.Attempts) == 0 && named(m.Outputs) {
		return fn(Reference{Digest: m.Outputs, Tree: true, Attempt: pipeline.AttemptID{Run: run, Module: m.Name}})
	}

	return nil
}

// named reports whether a digest leads to bytes that must be kept.
func named(d pipeline.Digest) bool { return d != "" && d != pipeline.EmptyDigest }
