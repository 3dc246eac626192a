package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// MaxHooks bounds how many webhooks a cluster has: each costs a write for every event
// that it gets.
const MaxHooks = 20

// maxHookTypes bounds the names of types that a hook lists, maxHookText the texts of a
// hook and what is kept of an answer, in bytes.
const maxHookTypes, maxHookText = 50, 2048

// Hook changes a webhook. Repeating a change is harmless.
type Hook struct {
	Do     HookDo     `cbor:"1,keyasint"`
	Record HookRecord `cbor:"2,keyasint"`
}

// HookDo says what a Hook does.
type HookDo uint8

// The operations on webhooks.
const (
	// HookAdd adds one; refused if there is one of that name.
	HookAdd HookDo = iota + 1
	// HookSet adds one that the configuration of agents defines, or changes it.
	HookSet
	// HookRemove removes one with what waits for it.
	HookRemove
	// HookRotate replaces its secret. The one before signs as well until OldUntil.
	HookRotate
	// HookResend switches one on again and makes all that waits for it due, also what
	// was given up.
	HookResend
)

// HookRecord is a webhook, and what became of its deliveries.
type HookRecord struct {
	Name string `cbor:"1,keyasint"`
	URL  string `cbor:"2,keyasint,omitempty"`
	// Types are names of the types of events that it gets (EventKind.Matches); none is
	// all.
	Types []string `cbor:"3,keyasint,omitempty"`
	// Pipelines are those of whose runs it gets events, and no others; none is all events.
	Pipelines []string `cbor:"20,keyasint,omitempty"`
	// Format is "" (signed CloudEvents) or HookSlack.
	Format string `cbor:"21,keyasint,omitempty"`
	// Sealed is its secret, SealedOld the one before, which signs as well until
	// OldUntil.
	Sealed    []byte    `cbor:"4,keyasint,omitempty"`
	SealedOld []byte    `cbor:"5,keyasint,omitempty"`
	OldUntil  time.Time `cbor:"6,keyasint,omitempty"`
	CreatedAt time.Time `cbor:"7,keyasint,omitempty"`
	CreatedBy string    `cbor:"8,keyasint,omitempty"`
	// Config marks one that the configuration of agents defines.
	Config bool `cbor:"9,keyasint,omitempty"`

	// Off is why it is switched off, since OffAt: it gets no new events.
	Off   string    `cbor:"10,keyasint,omitempty"`
	OffAt time.Time `cbor:"11,keyasint,omitempty"`
	// Waiting is how many events are to be sent, GaveUp how many are not sent again by
	// themselves; Bytes is the size of both.
	Waiting int   `cbor:"12,keyasint,omitempty"`
	GaveUp  int   `cbor:"13,keyasint,omitempty"`
	Bytes   int64 `cbor:"14,keyasint,omitempty"`
	// Delivered counts events that were acknowledged, Dropped those for which there was
	// no place.
	Delivered uint64 `cbor:"15,keyasint,omitempty"`
	Dropped   uint64 `cbor:"16,keyasint,omitempty"`
	// Failures counts the tries since the last that was acknowledged, at OKAt.
	Failures int           `cbor:"17,keyasint,omitempty"`
	OKAt     time.Time     `cbor:"18,keyasint,omitempty"`
	Last     *HookDelivery `cbor:"19,keyasint,omitempty"`
}

// HookSlack is the format of incoming webhooks of Slack. Such a hook has no secret, and
// gets events only if it lists types; notifications that name it, it gets in any case.
const HookSlack = "slack"

// HookDelivery is what came of sending an event once.
type HookDelivery struct {
	// Index and N name the event.
	Index uint64 `cbor:"1,keyasint"`
	N     int    `cbor:"2,keyasint,omitempty"`
	// At is when it was sent, Took how long the answer took.
	At   time.Time     `cbor:"3,keyasint"`
	Took time.Duration `cbor:"4,keyasint,omitempty"`
	// OK is set if it was acknowledged. Status is that of the answer, 0 if there was
	// none; Text says what it was.
	OK     bool   `cbor:"5,keyasint,omitempty"`
	Status int    `cbor:"6,keyasint,omitempty"`
	Text   string `cbor:"7,keyasint,omitempty"`
	// Next is when it is sent again, if it was not acknowledged. GaveUp is set if it is
	// not, and Off if the receiver wants no more.
	Next   time.Time `cbor:"8,keyasint,omitempty"`
	GaveUp bool      `cbor:"9,keyasint,omitempty"`
	Off    string    `cbor:"10,keyasint,omitempty"`
}

// Deliver records what came of sending events of a webhook. Those that are no longer in
// its outbox are skipped.
type Deliver struct {
	Hook    string         `cbor:"1,keyasint"`
	Results []HookDelivery `cbor:"2,keyasint,omitempty"`
}

// hooks holds the webhooks and their outboxes. The records are read once in a
// transaction, and those that changed are written at its end.
type hooks struct {
	*writer
	runs   *runTable
	loaded bool
	list   []*HookRecord // by name
	dirty  map[string]bool
}

// load reads the hooks, if that was not done before.
func (h *hooks) load() {
	if h.loaded {
		return
	}
	h.loaded, h.dirty = true, map[string]bool{}
	_ = eachRecord(h.tx.Bucket(bHooks), func(rec HookRecord) { h.list = append(h.list, &rec) }) // the callback never fails
}

func (h *hooks) find(name string) (*HookRecord, int) {
	h.load()
	i, ok := slices.BinarySearchFunc(h.list, name, func(rec *HookRecord, name string) int { return cmp.Compare(rec.Name, name) })
	if !ok {
		return nil, i
	}
	return h.list[i], i
}

// flush writes the hooks that changed.
func (h *hooks) flush() {
	for _, rec := range h.list {
		if h.dirty[rec.Name] {
			h.put(bHooks, []byte(rec.Name), rec)
		}
	}
}

func (h *hooks) apply(c *Command, ch *change) Result {
	rec := &c.Hook.Record
	if why := badHook(c.Hook); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}

	old, i := h.find(rec.Name)
	switch c.Hook.Do {
	case HookAdd, HookSet:
		return h.set(c, old, i)
	case HookRemove:
		if old != nil {
			h.clear(old, ch)
			h.del(bHooks, []byte(old.Name))
			h.list = slices.Delete(h.list, i, i+1)
			delete(h.dirty, old.Name)
			h.happened(pipeline.Event{Type: pipeline.EventWebhookRemoved, Subject: old.Name, Actor: c.By})
			return Result{}
		}
	case HookRotate:
		if old != nil && old.Format == HookSlack {
			return Result{Err: pipeline.Errorf(pipeline.Conflict, "webhook %s has the format slack and no secret: its address is one", old.Name)}
		}
		if old != nil {
			h.rotate(old, rec.Sealed, rec.OldUntil)
			return Result{}
		}
	case HookResend:
		if old != nil {
			h.resend(old, c.At, ch)
			return Result{}
		}
	}

	names := make([]string, len(h.list))
	for i := range h.list {
		names[i] = h.list[i].Name
	}
	return Result{Err: pipeline.NoWebhook(rec.Name, names)}
}

// badHook returns why a change is refused whatever there is, "" if it is not.
func badHook(op *Hook) string {
	rec := &op.Record
	if why := badName("the webhook's name", rec.Name); why != "" {
		return why
	}
	if strings.Contains(rec.Name, "\x00") {
		return "the webhook's name has a zero byte"
	}
	long := func(s string) bool { return len(s) > maxHookText }
	switch op.Do {
	case HookAdd, HookSet:
		if rec.Format != "" && rec.Format != HookSlack {
			return fmt.Sprintf("the webhook's format is %.40q: expected slack, or none", rec.Format)
		}
		if rec.URL == "" || (len(rec.Sealed) == 0) != (rec.Format == HookSlack) {
			return "a webhook comes without an address or a secret"
		}
		if len(rec.Types) > maxHookTypes || len(rec.Pipelines) > maxHookTypes || slices.ContainsFunc(rec.Pipelines, long) || long(rec.URL) || long(string(rec.Sealed)) || long(rec.CreatedBy) || slices.ContainsFunc(rec.Types, long) {
			return "a text of the webhook is too long"
		}
	case HookRotate:
		if len(rec.Sealed) == 0 || long(string(rec.Sealed)) {
			return "the webhook's new secret is missing or too long"
		}
	case HookRemove, HookResend:
	default:
		return "the change of the webhook says nothing that this version knows"
	}
	return ""
}

// set adds a hook at its position in the list, or changes the one that is there.
func (h *hooks) set(c *Command, old *HookRecord, i int) Result {
	in := &c.Hook.Record
	switch {
	case old != nil && c.Hook.Do == HookAdd:
		if bytes.Equal(old.Sealed, in.Sealed) && old.URL == in.URL && old.CreatedAt.Equal(in.CreatedAt) {
			return Result{} // a repeat: two seals are never the same
		}
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "webhook %s exists", in.Name)}
	case old == nil && len(h.list) >= MaxHooks:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "there are %d webhooks, and no more are kept", MaxHooks)}
	case old == nil:
		old = &HookRecord{Name: in.Name, Sealed: in.Sealed, CreatedAt: in.CreatedAt, CreatedBy: in.CreatedBy}
		h.list = slices.Insert(h.list, i, old)
		h.happened(pipeline.Event{Type: pipeline.EventWebhookAdded, Subject: in.Name, Actor: cmp.Or(c.By, in.CreatedBy)})
	}

	old.URL, old.Types, old.Pipelines, old.Format, old.Config = in.URL, in.Types, in.Pipelines, in.Format, c.Hook.Do == HookSet
	h.rotate(old, in.Sealed, in.OldUntil)
	h.dirty[old.Name] = true
	return Result{}
}

func (h *hooks) rotate(rec *HookRecord, sealed []byte, oldUntil time.Time) {
	if bytes.Equal(rec.Sealed, sealed) {
		return // a repeat
	}
	rec.SealedOld, rec.OldUntil, rec.Sealed = rec.Sealed, oldUntil, sealed
	h.dirty[rec.Name] = true
}

// Hooks lists the webhooks by name.
func (v *View) Hooks() []HookRecord {
	var out []HookRecord
	_ = eachRecord(v.tx.Bucket(bHooks), func(rec HookRecord) { out = append(out, rec) }) // the callback never fails
	return out
}

// Hook finds a webhook.
func (v *View) Hook(name string) (HookRecord, bool) {
	var rec HookRecord
	return rec, v.get(bHooks, []byte(name), &rec)
}
