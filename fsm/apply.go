package fsm

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Apply applies one entry, for callers whose disk does not fail: it panics if the
// state cannot be written. See ApplyBatch.
func (s *Store) Apply(l *raft.Log) any {
	replies, err := s.ApplyBatch([]*raft.Log{l})
	if err != nil {
		panic(err)
	}
	return replies[0]
}

// ApplyBatch applies entries in one transaction, with index and term. Entries
// at or below the stored index are skipped. raft panics if the number of
// replies differs, so every entry has one, of type SubmitResult, BatchResult,
// FireResult or Result; a configuration entry's is nil.
//
// An error says that the disk did not accept the transaction. Nothing has
// changed then, and the call may be repeated.
func (s *Store) ApplyBatch(logs []*raft.Log) ([]any, error) {
	replies := make([]any, len(logs))
	changed := newChange()
	var removed []pipeline.RunID
	err := s.update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bMeta)
		applied := u64(meta.Get(kIndex))
		before := applied

		st := newState(tx)
		var last *raft.Log
		for i, l := range logs {
			if l.Index <= applied {
				continue
			}

			last, applied = l, l.Index
			if l.Type != raft.LogCommand {
				continue
			}

			st.index = l.Index

			cmd, err := Decode(l.Data)
			if err != nil {
				panic(fmt.Sprintf("fsm: entry %d: %v", l.Index, err))
			}

			st.at = cmd.At
			replies[i] = st.apply(cmd, changed)
			st.hooks.offer(changed)
			st.events.store()
		}

		if last == nil {
			return nil
		}

		st.flush()
		removed = st.runs.removed
		st.putRaw(bMeta, kIndex, be64(last.Index))
		st.putRaw(bMeta, kTerm, be64(last.Term))
		changed.Index = last.Index

		// Before the commit: a reader of the old state ignores newer entries.
		s.recent.add(st.runs.changes, before)
		s.recent.addRuns(changed.Runs, last.Index, before)

		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("write the state: %w", err)
	}

	s.defs.drop(removed)
	s.watch.publish(changed)

	return replies, nil
}

func (s *Store) update(fn func(*bolt.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.Update(fn)
}

func (st *state) apply(c *Command, ch *change) any {
	switch {
	case c.Batch != nil:
		return st.applyBatch(c, ch)
	case c.Submit != nil:
		return st.applySubmit(c, ch)
	case c.Cancel != nil:
		return st.applyCancel(c, ch)
	case c.Worker != nil:
		return st.registry.applyWorker(c, ch)
	case c.Token != nil:
		return st.registry.applyToken(c, ch)
	case c.Forget != nil:
		return st.retention.applyForget(c.Forget, ch)
	case c.Retry != nil:
		return st.applyRetry(c, ch)
	case c.Schedule != nil:
		return st.schedules.applySchedule(c, ch)
	case c.Fire != nil:
		return st.schedules.applyFire(c, ch)
	case c.Decide != nil:
		return st.applyDecision(c, ch)
	case c.Spawn != nil:
		return st.applySpawn(c, ch)
	case c.Secret != nil:
		return st.registry.applySecret(c)
	case c.CacheDelete != nil:
		return st.cache.applyDelete(c.CacheDelete)
	case c.Expire != nil:
		return st.retention.applyExpire(c.Expire, ch)
	case c.Pin != nil:
		return st.retention.applyPin(c.Pin, ch)
	case c.Tools != nil:
		return st.remote.apply(c)
	case c.Hook != nil:
		return st.hooks.apply(c, ch)
	case c.Deliver != nil:
		return st.hooks.applyDeliver(c, ch)
	case c.Lead != nil:
		return st.events.applyLead(c.Lead)
	case c.Nodes != nil:
		return st.events.applyNodes(c.Nodes)
	case c.Damage != nil:
		return st.events.applyDamage(c.Damage)
	}

	return Result{Err: pipeline.Errorf(pipeline.Invalid, "the command says nothing that this version knows")}
}

// maxNameBytes is the maximum length of an id or name that becomes part of a
// key. The file accepts longer ones, but a snapshot must be able to restore all
// that the file accepts, so two of them together stay below maxKeyBytes.
const maxNameBytes = 1 << 10

// badName returns why s cannot be part of a key, "" if it can.
func badName(what, s string) string {
	switch {
	case s == "":
		return what + " is empty"
	case len(s) > maxNameBytes:
		return fmt.Sprintf("%s has %d bytes; at most %d fit", what, len(s), maxNameBytes)
	}
	return ""
}

// badSubmit returns why a run cannot be stored, "" if it can.
func badSubmit(r *pipeline.Run) string {
	if _, err := pipeline.ParseRunID(string(r.ID)); err != nil {
		return err.Error() // also keeps the zero byte out, which ends it in the keys of modules
	}

	if r.Modules < 0 {
		return fmt.Sprintf("a run of %d modules", r.Modules)
	}

	if why := badGroup(r.Group); why != "" {
		return why
	}

	if r.Key == "" {
		return ""
	}

	return badName("the idempotency key", r.Key)
}

func (st *state) applySubmit(c *Command, ch *change) SubmitResult {
	r := c.Submit.Run
	if why := badSubmit(&r); why != "" {
		return SubmitResult{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}

	if r.Key != "" {
		if b := st.tx.Bucket(bKeys).Get([]byte(r.Key)); b != nil {
			var k keyRecord
			mustUnmarshal(b, &k)
			if k.Fingerprint != c.Submit.Fingerprint {
				return SubmitResult{Err: pipeline.Errorf(pipeline.Conflict, "idempotency key %q was used with another request", r.Key)}
			}
			if old := st.runs.run(k.Run); old != nil {
				return SubmitResult{Run: *old, Repeated: true}
			}
			return SubmitResult{Err: pipeline.Errorf(pipeline.Conflict, "idempotency key %q belongs to run %s, which is no longer kept", r.Key, k.Run)}
		}
	}

	if st.runs.run(r.ID) != nil {
		return SubmitResult{Err: pipeline.Errorf(pipeline.Conflict, "run %s exists", r.ID)}
	}

	r.Schedule, r.Queued, r.Tick, r.Zone, r.Trigger, r.Backfill = "", false, time.Time{}, "", "", "" // those of schedules are made by Fire
	r.Parent = pipeline.Parent{}                                                                     // children are made by Spawn
	r.RetriedAs = nil
	t, err := st.takeover(c.Submit, &r)
	if err == nil && !r.Untrusted {
		err = st.hooks.accepts(r.Notify, r.Pipeline)
	}
	if err == nil {
		err = st.registry.use(c.Use)
	}
	if err != nil {
		return SubmitResult{Err: err}
	}

	st.queues.start(&r, c.Submit.Definition, c.At, ch)
	st.takeOver(t, &r, c.At, ch)

	if r.Key != "" {
		st.putKey(r.Key, keyRecord{Run: r.ID, Fingerprint: c.Submit.Fingerprint})
	}

	return SubmitResult{Run: r}
}

func (st *state) applyCancel(c *Command, ch *change) Result {
	r := st.runs.run(c.Cancel.Run)
	switch {
	case r == nil:
		return Result{Err: pipeline.NoRun(c.Cancel.Run)}
	case r.State.Final():
		return Result{Run: *r}
	case c.Cancel.TimedOut && (r.State == pipeline.RunCancelling || c.Cancel.Tries != r.Tries):
		return Result{Run: *r}
	case r.State == pipeline.RunCancelling:
		// Only another request is a second wish; the same one came twice.
		if c.Cancel.Request == "" || c.Cancel.Request == r.CancelledBy || r.Forced {
			return Result{Run: *r}
		}
		r.Forced = true
	default:
		r.State, r.Reason = pipeline.RunCancelling, c.Cancel.Reason
		r.TimedOut, r.CancelledBy = c.Cancel.TimedOut, c.Cancel.Request
		r.ByParent = c.Cancel.Parent
	}

	st.runs.touch(r)
	st.happenedTo(r, pipeline.Event{Type: pipeline.EventRunCancelling, Actor: c.By, Reason: r.Reason, State: forced(r)})
	ch.run(r.ID, true)
	st.queues.cancelChildren(r, ch)

	return Result{Run: *r}
}

// forced is the state of a cancellation that stops modules which would run after it.
func forced(r *pipeline.Run) string {
	if r.Forced {
		return "forced"
	}
	return ""
}
