package fsm

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// LockRecord says which attempts hold a key of not_in_parallel, in the order in which
// they got it.
type LockRecord struct {
	Key     string       `cbor:"1,keyasint"`
	Holders []LockHolder `cbor:"2,keyasint"`
}

// LockHolder is an attempt that holds a key, and how many holders it allows.
type LockHolder struct {
	Attempt pipeline.AttemptID `cbor:"1,keyasint"`
	Limit   int                `cbor:"2,keyasint"`
}

// index is the position of a holder; -1 if it is none.
func (rec *LockRecord) index(id pipeline.AttemptID) int {
	return slices.IndexFunc(rec.Holders, func(h LockHolder) bool { return h.Attempt == id })
}

// locks holds the keys of not_in_parallel, each by the attempts that hold it.
type locks struct{ *writer }

// lock acquires the keys of an assignment, all or none. It returns why it cannot,
// "" if it did.
func (l *locks) lock(op *Assign) string {
	if len(op.Locks) > pipeline.MaxLocks {
		return fmt.Sprintf("%d locks are more than %d", len(op.Locks), pipeline.MaxLocks)
	}

	for _, key := range op.Locks {
		if why := badName("the lock's key", key); why != "" {
			return why
		}
		if n := op.LockHolders[key]; n > pipeline.MaxLockHolders {
			return fmt.Sprintf("%d holders of %q are more than %d", n, key, pipeline.MaxLockHolders)
		}
		var rec LockRecord
		l.get(bLocks, []byte(key), &rec)
		limits := make([]int, len(rec.Holders))
		for i, h := range rec.Holders {
			limits[i] = h.Limit
		}
		if !pipeline.LockAdmits(limits, pipeline.LockLimit(op.LockHolders, key)) {
			return fmt.Sprintf("%q is held by %s", key, rec.names())
		}
	}

	for _, key := range op.Locks {
		rec := LockRecord{Key: key}
		l.get(bLocks, []byte(key), &rec)
		if rec.index(op.ID) < 0 { // else the command names the key twice
			rec.Holders = append(rec.Holders, LockHolder{Attempt: op.ID, Limit: pipeline.LockLimit(op.LockHolders, key)})
			l.put(bLocks, []byte(key), rec)
		}
	}

	return ""
}

// names lists the first holders of a key.
func (rec *LockRecord) names() string {
	names := make([]string, len(rec.Holders))
	for i, h := range rec.Holders {
		names[i] = h.Attempt.String()
	}
	return pipeline.SomeNames(names)
}

// unlock releases the keys of an attempt that ends.
func (l *locks) unlock(a *pipeline.Attempt, id pipeline.AttemptID) {
	for _, key := range a.Locks {
		var rec LockRecord
		if !l.get(bLocks, []byte(key), &rec) {
			continue
		}
		i := rec.index(id)
		switch {
		case i < 0:
		case len(rec.Holders) == 1:
			l.del(bLocks, []byte(key))
		default:
			rec.Holders = slices.Delete(rec.Holders, i, i+1)
			l.put(bLocks, []byte(key), rec)
		}
	}
}

// Locks lists the keys that are held, in their order.
func (v *View) Locks() []LockRecord {
	var out []LockRecord
	_ = eachRecord(v.tx.Bucket(bLocks), func(rec LockRecord) { out = append(out, rec) }) // the callback never fails
	return out
}

// eachRecord calls fn with every record of a bucket.
func eachRecord[T any](b *bolt.Bucket, fn func(T)) error {
	return b.ForEach(func(_, raw []byte) error {
		var rec T
		mustUnmarshal(raw, &rec)
		fn(rec)
		return nil
	})
}
