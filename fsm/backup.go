package fsm

import (
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Export writes the state as a snapshot has it, and returns the entry that it
// was at. The state continues to change meanwhile.
func (s *Store) Export(out io.Writer) (index, term uint64, err error) {
	s.mu.RLock()
	tx, err := s.db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		return 0, 0, fmt.Errorf("export the state: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // of a read, it cannot fail

	meta := tx.Bucket(bMeta)
	if err := writeSnapshot(tx, out); err != nil {
		return 0, 0, fmt.Errorf("export the state: %w", err)
	}
	return u64(meta.Get(kIndex)), u64(meta.Get(kTerm)), nil
}

// ForgetWorkers removes the records of all workers: none of them is part of the
// cluster that the state is restored into. A worker without a record that has
// attempts is lost when the lease ends that its new leader grants it. Call it on
// a store that no raft node uses.
func (s *Store) ForgetWorkers() error {
	err := s.update(func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket(bWorkers); err != nil {
			return err
		}
		_, err := tx.CreateBucket(bWorkers)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the records of workers: %w", err)
	}
	return nil
}

// Contents counts what the state holds.
type Contents struct {
	Runs      int `json:"runs"`
	Active    int `json:"activeRuns"`
	Schedules int `json:"schedules"`
	Secrets   int `json:"secrets"`
	Tokens    int `json:"tokens"`
	Cached    int `json:"cachedResults"`
	Hooks     int `json:"webhooks"`
}

// Contents counts what the state holds. It reads every record of these kinds.
func (v *View) Contents() Contents {
	n := func(bucket []byte) (n int) {
		_ = v.tx.Bucket(bucket).ForEach(func(_, _ []byte) error { n++; return nil }) // the callback never fails
		return n
	}
	return Contents{Runs: n(bRuns), Active: n(bActive), Schedules: n(bSchedules), Secrets: n(bSecrets), Tokens: n(bTokens), Cached: n(bCache), Hooks: n(bHooks)}
}

// Check reads every run with its modules and its definition, every reference, and every
// event, and returns the first that does not make sense.
func (v *View) Check() (err error) {
	// Records that cannot be read panic (mustUnmarshal).
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()

	v.Workers()
	v.Tokens()
	v.Hooks()
	checkOutbox(v.tx.Bucket(bOutbox))
	v.Nodes()
	v.Events(0, func([]pipeline.Event) bool { return true })
	err = v.References(func(Reference) error { return nil })
	return errors.Join(err, v.tx.Bucket(bDefs).ForEach(func(id, b []byte) error {
		if _, _, err := decodeDefinition(b); err != nil {
			return fmt.Errorf("definition of run %s: %w", id, err)
		}
		return nil
	}))
}
