package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// A queue holds the runs that have not finished, ordered by the raft index of
// the entry that made or retried them. Each concurrency group and each schedule
// has one. A run may start once it is the first in its queues. It waits only for
// runs with a smaller index, so there is no deadlock, whatever queues two runs
// have in common.

// queueKind is the first byte of a queue's keys.
type queueKind byte

const (
	queueOfGroup    queueKind = 'g'
	queueOfSchedule queueKind = 's'
	// queueOfBackfill has the runs of a schedule's backfills, which are in no
	// queueOfSchedule. None waits in it: its length bounds how many there are at once.
	queueOfBackfill queueKind = 'b'
)

// badGroup is why a text cannot be the name of a group; "" if it can.
func badGroup(group string) string {
	if len(group) > pipeline.MaxGroupBytes || strings.ContainsRune(group, 0) {
		return fmt.Sprintf("group %.80q: expected at most %d bytes and no NUL", group, pipeline.MaxGroupBytes)
	}
	return ""
}

// queuePrefix is what the keys of a queue have in common; a run's index follows.
func queuePrefix(kind queueKind, name string) []byte {
	return append(append([]byte{byte(kind)}, name...), 0)
}

func queueKey(kind queueKind, name string, index uint64) []byte {
	return append(queuePrefix(kind, name), be64(index)...)
}

// scheduleQueue is the kind of the queue of its schedule that a run is in.
func scheduleQueue(r *pipeline.Run) queueKind {
	if r.Backfill != "" {
		return queueOfBackfill
	}
	return queueOfSchedule
}

// queues holds the queues of concurrency groups and schedules.
type queues struct {
	*writer
	runs *runTable
}

// start makes a run exist and appends it to its queues. A run that replaces the
// others of its group cancels them before.
func (q *queues) start(r *pipeline.Run, definition []byte, at time.Time, ch *change) {
	number := q.runs.prepare(r, at)
	q.supersede(r, ch)
	q.enter(r)
	q.runs.create(r, definition, number, ch)
	q.happenedTo(r, pipeline.Event{Type: pipeline.EventRunQueued, Actor: r.Submitter, Reason: cmp.Or(retryText(r), dueText(r)), Subject: r.Schedule})
}

// retryText names the run that a run retries with other values; "" if it retries none.
func retryText(r *pipeline.Run) string {
	if r.RetryOf == nil {
		return ""
	}
	return fmt.Sprintf("retry of run %d", r.RetryOf.Number)
}

// dueText says when a run of a schedule was due; "" if nothing asked for it but its
// submitter.
func dueText(r *pipeline.Run) string {
	if r.Parent.Run != "" {
		return fmt.Sprintf("module %s of run %d", r.Parent.Module, r.Parent.Number)
	}
	if r.Tick.IsZero() {
		return ""
	}
	at := r.Tick.UTC().Format(time.RFC3339)
	switch r.Trigger {
	case pipeline.TriggerManual:
		return "triggered by hand for " + at
	case pipeline.TriggerBackfill:
		return "filled in for " + at
	}
	return "due at " + at
}

// enter appends a run to its queues.
func (q *queues) enter(r *pipeline.Run) {
	if r.QueueIndex = 0; r.Group == "" && r.Schedule == "" {
		return
	}
	r.QueueIndex = q.index
	if r.Group != "" {
		q.putRaw(bQueues, queueKey(queueOfGroup, r.Group, r.QueueIndex), []byte(r.ID))
	}
	if r.Schedule != "" {
		q.putRaw(bQueues, queueKey(scheduleQueue(r), r.Schedule, r.QueueIndex), []byte(r.ID))
	}
}

// leave removes a finished run from its queues. It is part of the entry that ends
// the run, so that what a later entry finds does not depend on transactions.
func (q *queues) leave(r *pipeline.Run) {
	if r.Group != "" {
		q.del(bQueues, queueKey(queueOfGroup, r.Group, r.QueueIndex))
	}
	if r.Schedule != "" {
		q.del(bQueues, queueKey(scheduleQueue(r), r.Schedule, r.QueueIndex))
	}
}

// first is the first run in a queue; "" if it is empty.
func (q *queues) first(kind queueKind, name string) pipeline.RunID {
	return firstIn(q.tx.Bucket(bQueues), kind, name)
}

func firstIn(b *bolt.Bucket, kind queueKind, name string) pipeline.RunID {
	prefix := queuePrefix(kind, name)
	k, id := b.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+8 {
		return ""
	}
	return pipeline.RunID(id)
}

// length is how many runs are in a queue.
func (q *queues) length(kind queueKind, name string) int {
	return lengthOf(q.tx.Bucket(bQueues), kind, name)
}

func lengthOf(b *bolt.Bucket, kind queueKind, name string) (n int) {
	prefix := queuePrefix(kind, name)
	c := b.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if len(k) == len(prefix)+8 {
			n++
		}
	}
	return n
}

// waitsFor names the run that a run waits for in one of its queues, and why; ""
// if it may start.
func waitsFor(b *bolt.Bucket, r *pipeline.Run) (pipeline.RunID, string) {
	if r.Group != "" {
		if first := firstIn(b, queueOfGroup, r.Group); first != "" && first != r.ID {
			return first, fmt.Sprintf("waits for run %s, which holds the concurrency group %q", first, r.Group)
		}
	}
	if r.Queued && r.Schedule != "" {
		if first := firstIn(b, queueOfSchedule, r.Schedule); first != "" && first != r.ID {
			return first, fmt.Sprintf("waits for run %s, an earlier one of its schedule", first)
		}
	}
	return "", ""
}

// supersede cancels the other runs of a run's group, if the run asks for that.
func (q *queues) supersede(r *pipeline.Run, ch *change) {
	if !r.Cancels || r.Group == "" {
		return
	}

	prefix := queuePrefix(queueOfGroup, r.Group)
	var ids []pipeline.RunID
	c := q.tx.Bucket(bQueues).Cursor()
	for k, id := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, id = c.Next() {
		ids = append(ids, pipeline.RunID(id))
	}

	for _, id := range ids {
		old := q.runs.run(id)
		if id == r.ID || old == nil || old.State.Final() || old.State == pipeline.RunCancelling {
			continue
		}
		old.State, old.CancelledBy = pipeline.RunCancelling, "run "+string(r.ID)
		old.Reason = fmt.Sprintf("run %s replaced it in the concurrency group %q", r.ID, r.Group)
		q.runs.touch(old)
		q.happenedTo(old, pipeline.Event{Type: pipeline.EventRunCancelling, Reason: old.Reason})
		ch.run(id, true)
		q.cancelChildren(old, ch)
	}
}

// WaitsFor names the run that a run waits for in the queue of its concurrency
// group or of its schedule, and why; "" if it may start.
func (v *View) WaitsFor(r *pipeline.Run) (pipeline.RunID, string) {
	if r.State.Final() {
		return "", ""
	}
	return waitsFor(v.tx.Bucket(bQueues), r)
}
