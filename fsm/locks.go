package fsm

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// LockRecord says which attempt holds a key of not_in_parallel.
type LockRecord struct {
	Key    string             `cbor:"1,keyasint"`
	Holder pipeline.AttemptID `cbor:"2,keyasint"`
}

// maxLocks bounds the keys of one assignment.
const maxLocks = 64

// locks holds the keys of not_in_parallel, each by the attempt that holds it.
type locks struct{ *writer }

// lock acquires the keys of an assignment, all or none. It returns why it cannot,
// "" if it did.
func (l *locks) lock(op *Assign) string {
	if len(op.Locks) > maxLocks {
		return fmt.Sprintf("%d locks are more than %d", len(op.Locks), maxLocks)
	}

	for _, key := range op.Locks {
		if why := badName("the lock's key", key); why != "" {
			return why
		}
		var rec LockRecord
		if l.get(bLocks, []byte(key), &rec) {
			return fmt.Sprintf("%q is held by %s", key, rec.Holder)
		}
	}

	for _, key := range op.Locks {
		l.put(bLocks, []byte(key), LockRecord{Key: key, Holder: op.ID})
	}

	return ""
}

// unlock releases the keys of an attempt that ends.
func (l *locks) unlock(a *pipeline.Attempt, id pipeline.AttemptID) {
	for _, key := range a.Locks {
		var rec LockRecord
		if l.get(bLocks, []byte(key), &rec) && rec.Holder == id {
			l.del(bLocks, []byte(key))
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
