package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Apply applies one entry; see ApplyBatch.
func (s *Store) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in one transaction, with index and term. Entries
// at or below the stored index are skipped. raft panics where the number of
// replies differs, so every entry has one, of type SubmitResult, BatchResult,
// FireResult or Result; a configuration entry's is nil.
func (s *Store) ApplyBatch(logs []*raft.Log) []any {
	replies := make([]any, len(logs))
	changed := newChange()
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
		}
		if last == nil {
			return nil
		}
		st.flush()
		st.putRaw(bMeta, kIndex, be64(last.Index))
		st.putRaw(bMeta, kTerm, be64(last.Term))
		changed.Index = last.Index
		// Before the commit: a reader of the old state passes over what is newer.
		s.recent.add(st.changes, before)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("fsm: commit the state: %v", err))
	}
	s.watch.publish(changed)
	return replies
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
		return st.applyWorker(c.Worker, ch)
	case c.Token != nil:
		return st.applyToken(c.Token)
	case c.Forget != nil:
		return st.applyForget(c.Forget, ch)
	case c.Retry != nil:
		return st.applyRetry(c, ch)
	case c.Schedule != nil:
		return st.applySchedule(c, ch)
	case c.Fire != nil:
		return st.applyFire(c, ch)
	case c.Decide != nil:
		return st.applyDecision(c, ch)
	case c.Secret != nil:
		return st.applySecret(c.Secret)
	case c.CacheDelete != nil:
		return st.applyCacheDelete(c.CacheDelete)
	case c.Expire != nil:
		return st.applyExpire(c.Expire, ch)
	case c.Pin != nil:
		return st.applyPin(c.Pin, ch)
	case c.Tools != nil:
		return st.applyTools(c)
	}
	return Result{Err: pipeline.Errorf(pipeline.Invalid, "the command says nothing that this version knows")}
}

// maxNameBytes bounds every id and name that becomes part of a key. The file
// takes longer ones and a snapshot must give back whatever the file took, so
// two of them together stay below maxKeyBytes.
const maxNameBytes = 1 << 10

// badName says what keeps s from being part of a key; "" where nothing does.
func badName(what, s string) string {
	switch {
	case s == "":
		return what + " is empty"
	case len(s) > maxNameBytes:
		return fmt.Sprintf("%s has %d bytes; at most %d fit", what, len(s), maxNameBytes)
	}
	return ""
}

// badSubmit says what keeps a run from being kept; "" where nothing does.
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
			if old := st.run(k.Run); old != nil {
				return SubmitResult{Run: *old, Repeated: true}
			}
			return SubmitResult{Err: pipeline.Errorf(pipeline.Conflict, "idempotency key %q belongs to run %s, which is no longer kept", r.Key, k.Run)}
		}
	}
	if st.run(r.ID) != nil {
		return SubmitResult{Err: pipeline.Errorf(pipeline.Conflict, "run %s exists", r.ID)}
	}
	r.Schedule, r.Queued, r.Tick = "", false, time.Time{} // those of schedules are made by Fire
	st.makeRun(&r, c.Submit.Definition, c.At, ch)
	if r.Key != "" {
		st.put(bKeys, []byte(r.Key), keyRecord{Run: r.ID, Fingerprint: c.Submit.Fingerprint, At: c.At})
	}
	return SubmitResult{Run: r}
}

// makeRun makes a run exist.
func (st *state) makeRun(r *pipeline.Run, definition []byte, at time.Time, ch *change) {
	number := u64(st.tx.Bucket(bMeta).Get(kNumber)) + 1
	r.Number, r.State, r.Reason, r.SubmittedAt = number, pipeline.RunWaiting, "", at
	r.StartedAt, r.FinishedAt = time.Time{}, time.Time{}
	r.Done, r.Failed = 0, 0
	st.supersede(r, ch)
	st.enter(r)
	st.touch(r)
	st.putRaw(bMeta, kNumber, be64(number))
	st.putRaw(bOrder, be64(number), []byte(r.ID))
	st.putRaw(bDefs, []byte(r.ID), definition)
	st.putRaw(bActive, []byte(r.ID), []byte{})
	ch.run(r.ID, true)
}

func (st *state) applyCancel(c *Command, ch *change) Result {
	r := st.run(c.Cancel.Run)
	switch {
	case r == nil:
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no run %s", c.Cancel.Run)}
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
	}
	st.touch(r)
	ch.run(r.ID, true)
	return Result{Run: *r}
}

// applyRetry makes a run that is over go on.
func (st *state) applyRetry(c *Command, ch *change) Result {
	op := c.Retry
	r := st.run(op.Run)
	switch {
	case r == nil:
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no run %s", op.Run)}
	case op.Request != "" && slices.Contains(r.RetryKeys, op.Request):
		return Result{Run: *r} // the same request again
	case r.Tries == op.Tries+1 && !r.State.Final():
		return Result{Run: *r} // a repeat of the proposal that did it
	case !r.State.Final():
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s is not over: it is %s", op.Run, r.State)}
	case r.Tries != op.Tries:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s was retried meanwhile", op.Run)}
	case r.ArtifactsGone:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s cannot go on: its workspace and artifacts are no longer kept; submit it again", op.Run)}
	case len(op.Modules) == 0:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s has nothing to retry: every module succeeded", op.Run)}
	}
	modules := make([]*pipeline.ModuleRecord, 0, len(op.Modules))
	seen := make(map[string]bool, len(op.Modules))
	for _, name := range op.Modules {
		if why := badName("the module's name", name); why != "" {
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
		}
		m := st.module(op.Run, name)
		switch {
		case !m.State.Final():
			return Result{Err: pipeline.Errorf(pipeline.Conflict, "module %s has not ended", name)}
		case !seen[name]:
			seen[name] = true
			modules = append(modules, m)
		}
	}
	gone := map[string]bool{}
	for _, m := range modules {
		for i := range m.Instances {
			gone[pipeline.InstanceName(m.Name, m.Instances[i].Key)] = true
		}
	}
	for _, m := range modules {
		if gone[m.Name] {
			continue // goes with the module that it is of
		}
		uncount(r, m)
		st.collapse(r, m)
		kept := pipeline.ModuleRecord{Name: m.Name, State: pipeline.ModuleWaiting, Attempts: m.Attempts, Tried: len(m.Attempts)}
		*m = kept
		st.putModule(r.ID, m)
	}
	r.State, r.Reason, r.FinishedAt = pipeline.RunRunning, "", time.Time{}
	r.Forced, r.TimedOut, r.CancelledBy = false, false, ""
	r.LogsGone = false // it makes new ones
	if op.Request != "" {
		keys := append(slices.Clone(r.RetryKeys), op.Request)
		r.RetryKeys = keys[max(0, len(keys)-maxRetryKeys):]
	}
	r.Tries++
	r.RetriedAt = c.At
	if r.Group != "" || r.Queued {
		// It goes to the end of its lines, and has not started until its turn comes.
		r.State, r.StartedAt = pipeline.RunWaiting, time.Time{}
	}
	st.supersede(r, ch)
	st.enter(r)
	st.touch(r)
	st.putRaw(bActive, []byte(r.ID), []byte{})
	ch.run(r.ID, true)
	return Result{Run: *r}
}

func (st *state) applyWorker(w *Worker, ch *change) Result {
	if why := badName("the worker's id", string(w.Record.ID)); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}
	key := []byte(w.Record.ID)
	if w.Delete {
		if st.tx.Bucket(bWorkers).Get(key) == nil {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no worker %s", w.Record.ID)}
		}
		st.del(bWorkers, key)
		ch.Workers = true
		return Result{}
	}
	rec := w.Record
	if w.Only != "" {
		rec = WorkerRecord{ID: w.Record.ID, Name: w.Record.Name}
		if b := st.tx.Bucket(bWorkers).Get(key); b != nil {
			mustUnmarshal(b, &rec)
		}
		switch w.Only {
		case "drain":
			rec.Draining, rec.DrainDeadline = w.Record.Draining, w.Record.DrainDeadline
		case "away":
			rec.AwayUntil = w.Record.AwayUntil
		default:
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "only %.80q: want drain, away or nothing", w.Only)}
		}
	}
	st.put(bWorkers, key, rec)
	ch.Workers = true
	return Result{}
}

func (st *state) applyToken(t *Token) Result {
	if why := badName("the token's id", t.Record.ID); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}
	key := []byte(t.Record.ID)
	if t.Delete {
		if st.tx.Bucket(bTokens).Get(key) == nil {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no token %s", t.Record.ID)}
		}
		st.del(bTokens, key)
		return Result{}
	}
	if b := st.tx.Bucket(bTokens).Get(key); b != nil {
		var old TokenRecord
		mustUnmarshal(b, &old)
		if len(old.Hash) > 0 && bytes.Equal(old.Hash, t.Record.Hash) {
			return Result{} // a repeat of the proposal that made it
		}
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "token %s exists", t.Record.ID)}
	}
	st.put(bTokens, key, t.Record)
	return Result{}
}

func (st *state) applyForget(f *Forget, ch *change) Result {
	for _, id := range f.Runs {
		r := st.run(id)
		if r == nil || !r.State.Final() || r.Pinned {
			continue
		}
		st.del(bRuns, []byte(id))
		st.del(bDefs, []byte(id))
		st.del(bOrder, be64(r.Number))
		st.del(bActive, []byte(id)) // still there where it ended in this same transaction
		prefix := moduleKey(id, "")
		var keys [][]byte
		c := st.tx.Bucket(bModules).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
		for _, k := range keys {
			st.del(bModules, k)
		}
		delete(st.dirty, id)
		st.runs[id] = nil
		ch.run(id, true)
	}
	if !f.KeysBefore.IsZero() {
		st.forgetKeys(f)
	}
	return Result{}
}

// maxForgetKeys bounds how many keys one entry looks at, so that Apply stays
// short however many there are.
const maxForgetKeys = 2000

// forgetKeys goes on where the entry before it stopped, and begins anew behind
// the last key.
func (st *state) forgetKeys(f *Forget) {
	var old [][]byte
	c := st.tx.Bucket(bKeys).Cursor()
	k, v := c.Seek(st.tx.Bucket(bMeta).Get(kSwept))
	for n := 0; k != nil && n < maxForgetKeys; k, v = c.Next() {
		n++
		var rec keyRecord
		mustUnmarshal(v, &rec)
		if rec.At.Before(f.KeysBefore) {
			old = append(old, bytes.Clone(k))
		}
	}
	if k != nil {
		st.putRaw(bMeta, kSwept, bytes.Clone(k))
	} else {
		st.del(bMeta, kSwept)
	}
	for _, k := range old {
		st.del(bKeys, k)
	}
}
