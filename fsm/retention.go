package fsm

import (
	"bytes"

	"github.com/pipelined/pipelined/pipeline"
)

// Expire deletes the bytes of finished runs: the records stay, and no longer
// name the blobs. Runs that are pinned, or have not finished, are skipped.
type Expire struct {
	// Artifacts lists runs whose outputs and workspace are deleted, Logs those
	// whose logs are.
	Artifacts []pipeline.RunID `cbor:"1,keyasint,omitempty"`
	Logs      []pipeline.RunID `cbor:"2,keyasint,omitempty"`
}

// Pin keeps a run whole whatever the limits say, or ends that.
type Pin struct {
	Run    pipeline.RunID `cbor:"1,keyasint"`
	Pinned bool           `cbor:"2,keyasint"`
}

// retention removes what the limits say: whole runs, their bytes, and old
// idempotency keys. Runs that are pinned or have not finished stay whole.
type retention struct {
	*writer
	runs *runTable
}

func (t *retention) applyPin(op *Pin, ch *change) Result {
	r := t.runs.run(op.Run)
	if r == nil {
		return Result{Err: pipeline.NoRun(op.Run)}
	}
	if r.Pinned != op.Pinned {
		r.Pinned = op.Pinned
		t.runs.touch(r)
		ch.run(r.ID, false)
	}
	return Result{Run: *r}
}

func (t *retention) applyExpire(op *Expire, ch *change) Result {
	for _, id := range op.Artifacts {
		if r := t.expirable(id); r != nil && !r.ArtifactsGone {
			r.ArtifactsGone, r.Workspace, r.Holders = true, "", nil
			t.strip(id, func(m *pipeline.ModuleRecord) bool {
				had := m.Outputs != ""
				m.Outputs = ""
				return had
			})
			t.runs.touch(r)
			ch.run(id, false)
		}
	}

	for _, id := range op.Logs {
		if r := t.expirable(id); r != nil && !r.LogsGone {
			r.LogsGone = true
			t.strip(id, func(m *pipeline.ModuleRecord) (had bool) {
				for i := range m.Attempts {
					a := &m.Attempts[i]
					had = had || a.Log != ""
					a.Log, a.LogSize = "", 0
					if t := a.Tests; t != nil && t.Cases != "" {
						had = true
						t.Cases, t.Size = "", 0
					}
				}
				return had
			})
			t.runs.touch(r)
			ch.run(id, false)
		}
	}

	return Result{}
}

// expirable returns a run that may be deleted, nil if it may not.
func (t *retention) expirable(id pipeline.RunID) *pipeline.Run {
	if r := t.runs.run(id); r != nil && r.State.Final() && !r.Pinned {
		return r
	}
	return nil
}

// strip writes those records of a run's modules that drop changes.
func (t *retention) strip(id pipeline.RunID, drop func(*pipeline.ModuleRecord) bool) {
	for _, m := range t.runs.records(id) {
		if drop(m) {
			t.runs.putModule(id, m)
		}
	}
}

func (t *retention) applyForget(f *Forget, ch *change) Result {
	for _, id := range f.Runs {
		if r := t.expirable(id); r != nil {
			t.runs.remove(r)
			ch.run(id, true)
		}
	}
	if f.KeyLife > 0 {
		t.ageKeys(f.KeyLife)
	}
	return Result{}
}

// maxForgetKeys bounds how many keys one entry looks at, so that Apply stays
// short however many there are.
const maxForgetKeys = 2000

// putKey records an idempotency key, as of the present step.
func (w *writer) putKey(key string, rec keyRecord) {
	rec.Step = u64(w.tx.Bucket(bMeta).Get(kSteps))
	w.put(bKeys, []byte(key), rec)
}

// ageKeys makes a step, and removes keys that have seen so many. It resumes after
// the last key of the entry before, and starts over at the end.
func (t *retention) ageKeys(life uint64) {
	steps := u64(t.tx.Bucket(bMeta).Get(kSteps)) + 1
	t.putRaw(bMeta, kSteps, be64(steps))

	var old [][]byte
	c := t.tx.Bucket(bKeys).Cursor()
	k, v := c.Seek(t.tx.Bucket(bMeta).Get(kSwept))
	for n := 0; k != nil && n < maxForgetKeys; k, v = c.Next() {
		n++
		var rec keyRecord
		mustUnmarshal(v, &rec)
		if steps-rec.Step >= life {
			old = append(old, bytes.Clone(k))
		}
	}

	if k != nil {
		t.putRaw(bMeta, kSwept, bytes.Clone(k))
	} else {
		t.del(bMeta, kSwept)
	}

	for _, k := range old {
		t.del(bKeys, k)
	}
}
