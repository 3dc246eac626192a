package fsm

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of the events that are kept: when one of them is passed, the oldest are
// deleted, down to 15 of 16 parts. They are variables for tests alone: replicas must
// agree on them.
var (
	maxEvents     = 10_000
	maxEventBytes = 4 << 20
)

// maxRunEvents is how many events of modules a try of a run has: one that fails in
// thousands of them must not push out all others.
const maxRunEvents = 200

var (
	// kEvents is the key in bMeta of how many events there are and their bytes,
	// kEventsGone that of the index of the newest one that was deleted.
	kEvents     = []byte("events")
	kEventsGone = []byte("eventsgone")
)

// eventRecord is what an entry of the log made happen.
type eventRecord struct {
	At     time.Time        `cbor:"1,keyasint"`
	Events []pipeline.Event `cbor:"2,keyasint"`
}

// events holds what happened, by the index of the entry that made it happen. A record
// has all events of its entry, so that the cost of one is a write.
type events struct {
	*writer
	// counted is set once the following were read; flush writes them.
	counted      bool
	number, size int
}

// happened notes an event of the entry that is being applied.
func (w *writer) happened(e pipeline.Event) { w.news = append(w.news, e.Bounded()) }

// happenedTo notes an event of a run.
func (w *writer) happenedTo(r *pipeline.Run, e pipeline.Event) {
	e.Run, e.Number, e.Pipeline = r.ID, r.Number, r.Pipeline
	w.happened(e)
}

// happenedIn notes an event of a module, unless its run has had too many.
func (w *writer) happenedIn(r *pipeline.Run, module string, e pipeline.Event) {
	if r.Events >= maxRunEvents {
		return
	}
	r.Events++
	e.Module = module
	w.happenedTo(r, e)
}

// store writes what the entry made happen. It is called after each entry: what is
// deleted must not depend on how the log is cut into transactions.
func (x *events) store() {
	if len(x.news) == 0 {
		return
	}

	x.count()
	b, err := encMode.Marshal(eventRecord{At: x.at, Events: x.news})
	if err != nil {
		panic("fsm: encode events: " + err.Error())
	}
	bucket := x.tx.Bucket(bEvents)
	bucket.FillPercent = 1 // keys only grow
	x.putRaw(bEvents, be64(x.index), b)
	x.number += len(x.news)
	x.size += len(b)
	x.news = nil

	if x.number > maxEvents || x.size > maxEventBytes {
		x.trim(bucket)
	}
}

// trim deletes the oldest records, but never the newest.
func (x *events) trim(bucket *bolt.Bucket) {
	var old [][]byte
	c := bucket.Cursor()
	for k, v := c.First(); k != nil && (x.number > maxEvents*15/16 || x.size > maxEventBytes*15/16); k, v = c.Next() {
		if u64(k) == x.index {
			break
		}
		var rec eventRecord
		mustUnmarshal(v, &rec)
		x.number -= len(rec.Events)
		x.size -= len(v)
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		x.del(bEvents, k)
	}
	if len(old) > 0 {
		x.putRaw(bMeta, kEventsGone, old[len(old)-1])
	}
}

// count reads how many events there are.
func (x *events) count() {
	if x.counted {
		return
	}
	x.counted = true
	if b := x.tx.Bucket(bMeta).Get(kEvents); len(b) == 16 {
		x.number, x.size = int(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:]))
	}
}

func (x *events) flush() {
	if x.counted {
		x.putRaw(bMeta, kEvents, append(be64(uint64(x.number)), be64(uint64(x.size))...))
	}
}

// Events calls fn with what happened after an index, oldest first, an entry at a time,
// until it returns false.
func (v *View) Events(since uint64, fn func([]pipeline.Event) bool) {
	c := v.tx.Bucket(bEvents).Cursor()
	for k, b := c.Seek(be64(since + 1)); k != nil; k, b = c.Next() {
		if !fn(entryEvents(k, b)) {
			return
		}
	}
}

// EventsDeleted is the index of the newest event that was deleted; 0 if none was.
func (v *View) EventsDeleted() uint64 { return u64(v.tx.Bucket(bMeta).Get(kEventsGone)) }

// NewestEvents calls fn with what happened, newest entry first, until it returns false.
func (v *View) NewestEvents(fn func([]pipeline.Event) bool) {
	c := v.tx.Bucket(bEvents).Cursor()
	for k, b := c.Last(); k != nil; k, b = c.Prev() {
		if !fn(entryEvents(k, b)) {
			return
		}
	}
}

// entryEvents reads a record.
func entryEvents(k, b []byte) []pipeline.Event {
	var rec eventRecord
	mustUnmarshal(b, &rec)
	for i := range rec.Events {
		e := &rec.Events[i]
		e.Index, e.N, e.At = u64(k), i, rec.At
	}
	return rec.Events
}
