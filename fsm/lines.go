package fsm

import (
	"bytes"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// A line holds runs that are not over, in the order in which they came: by the
// index of the entry that made or retried them. Each concurrency group has one,
// and each schedule. A run that waits in a line may start when it is the first;
// since it only ever waits for those with a smaller index, nobody waits in a
// circle, whatever lines runs have in common.

// lineKind is the first byte of a line's keys.
type lineKind byte

const (
	lineGroup    lineKind = 'g'
	lineSchedule lineKind = 's'
)

// badLine says what keeps a group from naming a line; "" where nothing does.
func badLine(group string) string {
	if len(group) > pipeline.MaxGroupBytes || strings.ContainsRune(group, 0) {
		return fmt.Sprintf("group %.80q: want at most %d bytes and no NUL", group, pipeline.MaxGroupBytes)
	}
	return ""
}

// linePrefix is what the keys of a line have in common; a run's place follows.
func linePrefix(kind lineKind, name string) []byte {
	return append(append([]byte{byte(kind)}, name...), 0)
}

func lineKey(kind lineKind, name string, place uint64) []byte {
	return append(linePrefix(kind, name), be64(place)...)
}

// enter gives a run its place at the end of its lines.
func (st *state) enter(r *pipeline.Run) {
	if r.Place = 0; r.Group == "" && r.Schedule == "" {
		return
	}
	r.Place = st.index
	if r.Group != "" {
		st.putRaw(bLines, lineKey(lineGroup, r.Group, r.Place), []byte(r.ID))
	}
	if r.Schedule != "" {
		st.putRaw(bLines, lineKey(lineSchedule, r.Schedule, r.Place), []byte(r.ID))
	}
}

// leave takes a run that is over out of its lines. It is done with the entry that
// ends the run, so that what a later one finds does not depend on transactions.
func (st *state) leave(r *pipeline.Run) {
	if r.Group != "" {
		st.del(bLines, lineKey(lineGroup, r.Group, r.Place))
	}
	if r.Schedule != "" {
		st.del(bLines, lineKey(lineSchedule, r.Schedule, r.Place))
	}
}

// first is the first run in a line; "" where there is none.
func (st *state) first(kind lineKind, name string) pipeline.RunID {
	return firstIn(st.tx.Bucket(bLines), kind, name)
}

func firstIn(b *bolt.Bucket, kind lineKind, name string) pipeline.RunID {
	prefix := linePrefix(kind, name)
	k, id := b.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+8 {
		return ""
	}
	return pipeline.RunID(id)
}

// waitsFor says which run a run waits for, in a line that it stands in, and why;
// "" where its turn has come.
func waitsFor(b *bolt.Bucket, r *pipeline.Run) (pipeline.RunID, string) {
	if r.Group != "" {
		if first := firstIn(b, lineGroup, r.Group); first != "" && first != r.ID {
			return first, fmt.Sprintf("waits for run %s, which holds the concurrency group %q", first, r.Group)
		}
	}
	if r.InTurn && r.Schedule != "" {
		if first := firstIn(b, lineSchedule, r.Schedule); first != "" && first != r.ID {
			return first, fmt.Sprintf("waits for run %s, an earlier one of its schedule", first)
		}
	}
	return "", ""
}

// supersede cancels what is there of a run's group, where the run asks for that.
func (st *state) supersede(r *pipeline.Run, ch *change) {
	if !r.Cancels || r.Group == "" {
		return
	}
	prefix := linePrefix(lineGroup, r.Group)
	var ids []pipeline.RunID
	c := st.tx.Bucket(bLines).Cursor()
	for k, id := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, id = c.Next() {
		ids = append(ids, pipeline.RunID(id))
	}
	for _, id := range ids {
		old := st.run(id)
		if id == r.ID || old == nil || old.State.Final() || old.State == pipeline.RunCancelling {
			continue
		}
		old.State, old.CancelledBy = pipeline.RunCancelling, "run "+string(r.ID)
		old.Reason = fmt.Sprintf("run %s took its place in the concurrency group %q", r.ID, r.Group)
		st.touch(old)
		ch.run(id, true)
	}
}

// WaitsFor says which run a run waits for, where it stands in the line of a
// concurrency group or of its schedule, and why; "" where its turn has come.
func (v *View) WaitsFor(r *pipeline.Run) (pipeline.RunID, string) {
	if r.State.Final() {
		return "", ""
	}
	return waitsFor(v.tx.Bucket(bLines), r)
}
