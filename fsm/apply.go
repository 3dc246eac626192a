package fsm

import (
	"fmt"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Apply applies one entry; see ApplyBatch.
func (s *Store) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in one transaction, with index and term. Entries
// at or below the stored index are skipped. raft panics where the number of
// replies differs, so every entry has one, of type SubmitResult, BatchResult
// or Result; a configuration entry's is nil.
func (s *Store) ApplyBatch(logs []*raft.Log) []any {
	replies := make([]any, len(logs))
	changed := newChange()
	s.mu.RLock()
	err := s.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bMeta)
		applied := u64(meta.Get(kIndex))
		st := newState(tx)
		var last *raft.Log
		for i, l := range logs {
			if l.Index <= applied {
				continue
			}
			last = l
			if l.Type != raft.LogCommand {
				continue
			}
			st.index = l.Index
			cmd, err := Decode(l.Data)
			if err != nil {
				panic(fmt.Sprintf("fsm: entry %d: %v", l.Index, err))
			}
			replies[i] = st.apply(cmd, changed)
		}
		if last == nil {
			return nil
		}
		st.flush()
		st.putRaw(bMeta, kIndex, be64(last.Index))
		st.putRaw(bMeta, kTerm, be64(last.Term))
		changed.Index = last.Index
		return nil
	})
	s.mu.RUnlock()
	if err != nil {
		panic(fmt.Sprintf("fsm: commit the state: %v", err))
	}
	s.watch.publish(changed)
	return replies
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
	}
	return Result{}
}

func (st *state) applySubmit(c *Command, ch *change) SubmitResult {
	r := c.Submit.Run
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
	number := u64(st.tx.Bucket(bMeta).Get(kNumber)) + 1
	r.Number, r.State, r.SubmittedAt = number, pipeline.RunWaiting, c.At
	r.Done, r.Failed = 0, 0
	st.touch(&r)
	st.putRaw(bMeta, kNumber, be64(number))
	st.putRaw(bOrder, be64(number), []byte(r.ID))
	st.putRaw(bDefs, []byte(r.ID), c.Submit.Definition)
	st.putRaw(bActive, []byte(r.ID), []byte{})
	if r.Key != "" {
		st.put(bKeys, []byte(r.Key), keyRecord{Run: r.ID, Fingerprint: c.Submit.Fingerprint, At: c.At})
	}
	ch.run(r.ID, true)
	return SubmitResult{Run: r}
}

func (st *state) applyCancel(c *Command, ch *change) Result {
	r := st.run(c.Cancel.Run)
	switch {
	case r == nil:
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no run %s", c.Cancel.Run)}
	case r.State.Final(), r.State == pipeline.RunCancelling:
		return Result{Run: *r}
	}
	r.State, r.Reason = pipeline.RunCancelling, c.Cancel.Reason
	st.touch(r)
	ch.run(r.ID, true)
	return Result{Run: *r}
}

func (st *state) applyWorker(w *Worker, ch *change) Result {
	key := []byte(w.Record.ID)
	ch.Workers = true
	if w.Delete {
		if st.tx.Bucket(bWorkers).Get(key) == nil {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no worker %s", w.Record.ID)}
		}
		st.del(bWorkers, key)
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
		}
	}
	st.put(bWorkers, key, rec)
	return Result{}
}

func (st *state) applyToken(t *Token) Result {
	key := []byte(t.Record.ID)
	if t.Delete {
		if st.tx.Bucket(bTokens).Get(key) == nil {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no token %s", t.Record.ID)}
		}
		st.del(bTokens, key)
		return Result{}
	}
	if st.tx.Bucket(bTokens).Get(key) != nil {
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "token %s exists", t.Record.ID)}
	}
	st.put(bTokens, key, t.Record)
	return Result{}
}

func (st *state) applyForget(f *Forget, ch *change) Result {
	for _, id := range f.Runs {
		r := st.run(id)
		if r == nil || !r.State.Final() {
			continue
		}
		st.del(bRuns, []byte(id))
		st.del(bDefs, []byte(id))
		st.del(bOrder, be64(r.Number))
		prefix := moduleKey(id, "")
		var keys [][]byte
		c := st.tx.Bucket(bModules).Cursor()
		for k, _ := c.Seek(prefix); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix); k, _ = c.Next() {
			keys = append(keys, append([]byte(nil), k...))
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

// maxForgetKeys bounds what one entry may remove, so that Apply stays short.
const maxForgetKeys = 2000

func (st *state) forgetKeys(f *Forget) {
	var old [][]byte
	c := st.tx.Bucket(bKeys).Cursor()
	for k, v := c.First(); k != nil && len(old) < maxForgetKeys; k, v = c.Next() {
		var rec keyRecord
		mustUnmarshal(v, &rec)
		if rec.At.Before(f.KeysBefore) {
			old = append(old, append([]byte(nil), k...))
		}
	}
	for _, k := range old {
		st.del(bKeys, k)
	}
}
