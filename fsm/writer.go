package fsm

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// writer is the transaction that commands are applied in. Its methods panic on
// an error of the file: a replica that cannot apply an entry must stop, as the
// others go on without it.
type writer struct {
	tx *bolt.Tx
	// index is that of the entry that is being applied, at the time that its
	// proposer gave it.
	index uint64
	at    time.Time
	// news are the events of that entry.
	news []pipeline.Event
}

// get reads a record; false if there is none.
func (w *writer) get(bucket, key []byte, into any) bool { return getRecord(w.tx, bucket, key, into) }

func getRecord(tx *bolt.Tx, bucket, key []byte, into any) bool {
	b := tx.Bucket(bucket).Get(key)
	if b == nil {
		return false
	}
	mustUnmarshal(b, into)
	return true
}

// put encodes a record and writes it.
func (w *writer) put(bucket, key []byte, v any) {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode %s record: %v", bucket, err))
	}
	w.putRaw(bucket, key, b)
}

func (w *writer) putRaw(bucket, key, b []byte) {
	if err := w.tx.Bucket(bucket).Put(key, b); err != nil {
		panic(fmt.Sprintf("fsm: write %s at index %d: %v", bucket, w.index, err))
	}
}

func (w *writer) del(bucket, key []byte) {
	if err := w.tx.Bucket(bucket).Delete(key); err != nil {
		panic(fmt.Sprintf("fsm: delete from %s at index %d: %v", bucket, w.index, err))
	}
}
