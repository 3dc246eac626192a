package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
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

// eventChunk is how many bytes of records are collected before they become a pair of
// bEvents. What is collected is small enough to be written with the rest of bMeta, so
// that most entries write no page for their events.
const eventChunk = 512

var (
	// kEvents is the key in bMeta of how many events there are and their bytes,
	// kEventsGone that of the index of the newest one that was deleted, kEventsTail that
	// of the newest records, which are not in bEvents yet.
	kEvents     = []byte("events")
	kEventsGone = []byte("eventsgone")
	kEventsTail = []byte("eventstail")
)

// eventRecord is what an entry of the log made happen.
type eventRecord struct {
	Index  uint64           `cbor:"1,keyasint"`
	At     time.Time        `cbor:"2,keyasint"`
	Events []pipeline.Event `cbor:"3,keyasint"`
}

// events holds what happened. An entry has one record; records follow each other in
// chunks, by the index of their last entry.
type events struct {
	*writer
	// loaded is set once the following were read; flush writes them.
	loaded       bool
	number, size int
	tail         []byte
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

// store keeps what the entry made happen. It is called after each entry: chunks and what
// is deleted must not depend on how the log is cut into transactions.
func (x *events) store() {
	if len(x.news) == 0 {
		return
	}

	x.load()
	b, err := encMode.Marshal(eventRecord{Index: x.index, At: x.at, Events: x.news})
	if err != nil {
		panic("fsm: encode events: " + err.Error())
	}
	x.number += len(x.news)
	x.size += len(b)
	x.news = nil
	if x.tail = append(x.tail, b...); len(x.tail) < eventChunk {
		return
	}

	bucket := x.tx.Bucket(bEvents)
	bucket.FillPercent = 1 // keys only grow
	x.putRaw(bEvents, be64(x.index), x.tail)
	x.tail = nil
	if x.number > maxEvents || x.size > maxEventBytes {
		x.trim(bucket)
	}
}

// trim deletes the oldest chunks, but never the newest.
func (x *events) trim(bucket *bolt.Bucket) {
	var old [][]byte
	c := bucket.Cursor()
	for k, v := c.First(); k != nil && u64(k) != x.index && (x.number > maxEvents*15/16 || x.size > maxEventBytes*15/16); k, v = c.Next() {
		for _, rec := range eventRecords(v) {
			x.number -= len(rec.Events)
		}
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

// load reads how many events there are, and the newest.
func (x *events) load() {
	if x.loaded {
		return
	}
	x.loaded = true
	meta := x.tx.Bucket(bMeta)
	if b := meta.Get(kEvents); len(b) == 16 {
		x.number, x.size = int(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:]))
	}
	x.tail = bytes.Clone(meta.Get(kEventsTail))
}

func (x *events) flush() {
	if x.loaded {
		x.putRaw(bMeta, kEvents, append(be64(uint64(x.number)), be64(uint64(x.size))...))
		x.putRaw(bMeta, kEventsTail, x.tail)
	}
}

// Events calls fn with what happened after an index, oldest first, an entry at a time,
// until it returns false.
func (v *View) Events(since uint64, fn func([]pipeline.Event) bool) {
	give := func(b []byte) bool {
		for _, rec := range eventRecords(b) {
			if rec.Index > since && !fn(rec.Events) {
				return false
			}
		}
		return true
	}

	c := v.tx.Bucket(bEvents).Cursor()
	for k, b := c.Seek(be64(since + 1)); k != nil; k, b = c.Next() {
		if !give(b) {
			return
		}
	}
	give(v.tx.Bucket(bMeta).Get(kEventsTail))
}

// NewestEvents calls fn with what happened, newest entry first, until it returns false.
func (v *View) NewestEvents(fn func([]pipeline.Event) bool) {
	give := func(b []byte) bool {
		for _, rec := range slices.Backward(eventRecords(b)) {
			if !fn(rec.Events) {
				return false
			}
		}
		return true
	}

	if !give(v.tx.Bucket(bMeta).Get(kEventsTail)) {
		return
	}
	c := v.tx.Bucket(bEvents).Cursor()
	for k, b := c.Last(); k != nil && give(b); k, b = c.Prev() {
	}
}

// EventsDeleted is the index of the newest event that was deleted; 0 if none was.
func (v *View) EventsDeleted() uint64 { return u64(v.tx.Bucket(bMeta).Get(kEventsGone)) }

// eventRecords reads records that follow each other.
func eventRecords(b []byte) (list []eventRecord) {
	for len(b) > 0 {
		var rec eventRecord
		rest, err := decMode.UnmarshalFirst(b, &rec)
		if err != nil {
			panic(fmt.Sprintf("fsm: the state holds events that cannot be read: %v", err))
		}
		for i := range rec.Events {
			e := &rec.Events[i]
			e.Index, e.N, e.At = rec.Index, i, rec.At
		}
		list, b = append(list, rec), rest
	}
	return list
}
