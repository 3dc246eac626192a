package fsm

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of the outbox of a webhook: beyond one of them the oldest events are dropped.
// They are variables for tests alone: replicas must agree on them.
var (
	maxOutbox      = 10_000
	maxOutboxBytes = int64(8 << 20)
)

// never is when an event that was given up is due.
const never = math.MaxUint64

// outboxRecord is an event that waits for a hook. Its key is the hook's name, a zero
// byte, and the event's index and number; in front of the record is when it is due, in
// milliseconds, so that those which are not due are skipped without being decoded.
type outboxRecord struct {
	Event pipeline.Event `cbor:"1,keyasint"`
	// At is the event's, Since when it was put here or made due again.
	At    time.Time `cbor:"2,keyasint"`
	Since time.Time `cbor:"3,keyasint"`
	Tries int       `cbor:"4,keyasint,omitempty"`
}

func outboxPrefix(hook string) []byte { return append([]byte(hook), 0) }

func outboxKey(hook string, index uint64, n int) []byte {
	k := binary.BigEndian.AppendUint64(outboxPrefix(hook), index)
	return binary.BigEndian.AppendUint32(k, uint32(n))
}

// outboxDue is when a value is due, as its first eight bytes say.
func outboxDue(b []byte) uint64 { return u64(b[:8]) }

func dueAt(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

func outboxEvent(k, b []byte) (rec outboxRecord) {
	mustUnmarshal(b[8:], &rec)
	rec.Event.Index, rec.Event.N = u64(k[len(k)-12:len(k)-4]), int(binary.BigEndian.Uint32(k[len(k)-4:]))
	rec.Event.At = rec.At
	return rec
}

// offer puts what the entry made happen into the outboxes of the hooks that want it. It
// is called after each entry: what is dropped must not depend on how the log is cut into
// transactions.
func (h *hooks) offer(ch *change) {
	if len(h.news) == 0 {
		return
	}
	h.load()
	for _, rec := range h.list {
		if rec.Off != "" {
			continue
		}
		for n := range h.news {
			if e := &h.news[n]; rec.wants(e) {
				h.putEvent(rec, outboxKey(rec.Name, h.index, n), 0, outboxRecord{Event: *e, At: h.at, Since: h.at})
				rec.Waiting++
				h.bound(rec, ch)
			}
		}
	}
}

// wants reports whether a hook gets an event.
func (rec *HookRecord) wants(e *pipeline.Event) bool {
	switch e.Type {
	case pipeline.EventWebhookAdded, pipeline.EventWebhookRemoved, pipeline.EventWebhookOff:
		return false // sending must not make more to send
	case pipeline.EventRunNotified:
		return e.Subject == rec.Name && (len(rec.Pipelines) == 0 || slices.Contains(rec.Pipelines, e.Pipeline))
	}
	if len(rec.Pipelines) > 0 && !slices.Contains(rec.Pipelines, e.Pipeline) {
		return false
	}
	if len(rec.Types) == 0 {
		return rec.Format != HookSlack
	}
	kind := e.Type.Kind()
	for _, name := range rec.Types {
		if kind.Matches(name) {
			return true
		}
	}
	return false
}

// putEvent writes an event of a hook's outbox that is not there.
func (h *hooks) putEvent(rec *HookRecord, key []byte, due uint64, e outboxRecord) {
	b, err := encMode.Marshal(e)
	if err != nil {
		panic("fsm: encode an event of an outbox: " + err.Error())
	}
	b = append(be64(due), b...)
	h.putRaw(bOutbox, key, b)
	rec.Bytes += int64(len(key) + len(b))
	h.dirty[rec.Name] = true
}

// dropEvent removes an event from a hook's outbox.
func (h *hooks) dropEvent(rec *HookRecord, key, value []byte) {
	if outboxDue(value) == never {
		rec.GaveUp--
	} else {
		rec.Waiting--
	}
	rec.Bytes -= int64(len(key) + len(value))
	h.del(bOutbox, bytes.Clone(key))
	h.dirty[rec.Name] = true
}

// bound drops the oldest events of an outbox, but never the newest.
func (h *hooks) bound(rec *HookRecord, ch *change) {
	for n := rec.Waiting + rec.GaveUp; n > 1 && (n > maxOutbox || rec.Bytes > maxOutboxBytes); n-- {
		k, v := h.tx.Bucket(bOutbox).Cursor().Seek(outboxPrefix(rec.Name))
		e := outboxEvent(k, v)
		h.dropEvent(rec, k, v)
		h.noteNotice(&e.Event, pipeline.NoticeUnsent, "too many events waited for webhook "+rec.Name, ch)
		rec.Dropped++
	}
}

// keys lists the keys of a hook's outbox.
func (h *hooks) keys(rec *HookRecord) (list [][]byte) {
	prefix := outboxPrefix(rec.Name)
	c := h.tx.Bucket(bOutbox).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		list = append(list, bytes.Clone(k))
	}
	return list
}

// clear empties the outbox of a hook.
func (h *hooks) clear(rec *HookRecord, ch *change) {
	for _, k := range h.keys(rec) {
		e := outboxEvent(k, h.tx.Bucket(bOutbox).Get(k))
		h.noteNotice(&e.Event, pipeline.NoticeUnsent, "webhook "+rec.Name+" was removed", ch)
		h.del(bOutbox, k)
	}
}

// resend makes all events of a hook due, with a whole schedule before them.
func (h *hooks) resend(rec *HookRecord, now time.Time, ch *change) {
	bucket := h.tx.Bucket(bOutbox)
	for _, k := range h.keys(rec) {
		v := bucket.Get(k)
		e := outboxEvent(k, v)
		h.dropEvent(rec, k, v)
		e.Since, e.Tries = now, 0
		h.putEvent(rec, k, 0, e)
		h.noteNotice(&e.Event, pipeline.NoticeWaiting, "", ch)
		rec.Waiting++
	}
	rec.Off, rec.OffAt, rec.Failures = "", time.Time{}, 0
	h.dirty[rec.Name] = true
}

// applyDeliver records what came of deliveries. The reply has no error if the hook is
// gone: there is nothing to do again.
func (h *hooks) applyDeliver(c *Command, ch *change) Result {
	rec, _ := h.find(c.Deliver.Hook)
	if rec == nil {
		return Result{}
	}
	for i := range c.Deliver.Results {
		h.deliver(rec, &c.Deliver.Results[i], c.At, ch)
	}
	return Result{}
}

func (h *hooks) deliver(rec *HookRecord, d *HookDelivery, now time.Time, ch *change) {
	key := outboxKey(rec.Name, d.Index, d.N)
	value := h.tx.Bucket(bOutbox).Get(key)
	if value == nil {
		return // dropped meanwhile, or a repeat
	}

	e := outboxEvent(key, value)
	h.dropEvent(rec, key, value)
	last := *d
	last.Text, last.Off = pipeline.CutText(last.Text, maxHookText), pipeline.CutText(last.Off, maxHookText)
	rec.Last = &last
	if d.OK {
		rec.Delivered, rec.Failures, rec.OKAt = rec.Delivered+1, 0, d.At
		h.noteNotice(&e.Event, pipeline.NoticeDelivered, "", ch)
		return
	}

	rec.Failures++
	if e.Tries++; d.GaveUp {
		h.putEvent(rec, key, never, e)
		h.noteNotice(&e.Event, pipeline.NoticeGaveUp, answered(d), ch)
		rec.GaveUp++
	} else {
		h.putEvent(rec, key, dueAt(d.Next), e)
		h.noteNotice(&e.Event, pipeline.NoticeWaiting, answered(d), ch)
		rec.Waiting++
	}
	if last.Off != "" && rec.Off == "" {
		rec.Off, rec.OffAt = last.Off, now
		h.happened(pipeline.Event{Type: pipeline.EventWebhookOff, Subject: rec.Name, Reason: rec.Off})
	}
}

// OutboxEvent is an event that waits for a webhook, since when and after how many tries.
type OutboxEvent struct {
	Event pipeline.Event
	Since time.Time
	Tries int
}

// Outbox lists the oldest events that wait for a hook and are due, at most n, and when
// the next one becomes due; zero if none does.
func (v *View) Outbox(hook string, now time.Time, n int) (due []OutboxEvent, next time.Time) {
	prefix, limit, soonest := outboxPrefix(hook), dueAt(now), uint64(never)
	c := v.tx.Bucket(bOutbox).Cursor()
	for k, b := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(due) < n; k, b = c.Next() {
		if at := outboxDue(b); at > limit {
			soonest = min(soonest, at)
			continue
		}
		rec := outboxEvent(k, b)
		due = append(due, OutboxEvent{Event: rec.Event, Since: rec.Since, Tries: rec.Tries})
	}
	if len(due) == 0 && soonest != never {
		next = time.UnixMilli(int64(soonest))
	}
	return due, next
}

// checkOutbox reads every event that waits.
func checkOutbox(b *bolt.Bucket) {
	_ = b.ForEach(func(k, v []byte) error { outboxEvent(k, v); return nil }) // the callback never fails
}
