package fsm

import (
	"bytes"

	"github.com/pipelined/pipelined/pipeline"
)

// Expire lets go of bytes of runs that are over: the records stay, and nothing
// names the blobs any more. Runs that are pinned, or not over, are passed over.
type Expire struct {
	// Artifacts lists runs whose outputs and workspace go, Logs those whose logs.
	Artifacts []pipeline.RunID `cbor:"1,keyasint,omitempty"`
	Logs      []pipeline.RunID `cbor:"2,keyasint,omitempty"`
}

// Pin has a run kept whole whatever the limits say, or takes that back.
type Pin struct {
	Run    pipeline.RunID `cbor:"1,keyasint"`
	Pinned bool           `cbor:"2,keyasint"`
}

func (st *state) applyPin(op *Pin, ch *change) Result {
	r := st.run(op.Run)
	if r == nil {
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no run %s", op.Run)}
	}
	if r.Pinned != op.Pinned {
		r.Pinned = op.Pinned
		st.touch(r)
		ch.run(r.ID, false)
	}
	return Result{Run: *r}
}

func (st *state) applyExpire(op *Expire, ch *change) Result {
	for _, id := range op.Artifacts {
		if r := st.expirable(id); r != nil && !r.ArtifactsGone {
			r.ArtifactsGone, r.Workspace, r.Holders = true, "", nil
			st.strip(id, func(m *pipeline.ModuleRecord) bool {
				had := m.Outputs != ""
				m.Outputs = ""
				return had
			})
			st.touch(r)
			ch.run(id, false)
		}
	}
	for _, id := range op.Logs {
		if r := st.expirable(id); r != nil && !r.LogsGone {
			r.LogsGone = true
			st.strip(id, func(m *pipeline.ModuleRecord) (had bool) {
				for i := range m.Attempts {
					a := &m.Attempts[i]
					had = had || a.Log != ""
					a.Log, a.LogSize = "", 0
				}
				return had
			})
			st.touch(r)
			ch.run(id, false)
		}
	}
	return Result{}
}

// expirable gives a run whose bytes may go; nil where they may not.
func (st *state) expirable(id pipeline.RunID) *pipeline.Run {
	if r := st.run(id); r != nil && r.State.Final() && !r.Pinned {
		return r
	}
	return nil
}

// strip writes those records of a run's modules that drop changes.
func (st *state) strip(id pipeline.RunID, drop func(*pipeline.ModuleRecord) bool) {
	prefix := moduleKey(id, "")
	var changed []*pipeline.ModuleRecord
	c := st.tx.Bucket(bModules).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		m := new(pipeline.ModuleRecord)
		mustUnmarshal(v, m)
		if drop(m) {
			changed = append(changed, m)
		}
	}
	for _, m := range changed {
		st.putModule(id, m)
	}
}
