package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
)

// Store is the state machine and its file. It implements
// consensus.FSM.
type Store struct {
	path  string
	log   hclog.Logger
	watch *watchers

	mu sync.RWMutex // guards following; held for reading during every transaction
	db *bolt.DB
	// defs caches decoded definitions; they never change.
	defs   *definitionCache
	recent *recentChanges
}

// fileName is the state's file below the state directory.
const fileName = "state.db"

// Open makes an empty state in dir. What was there before is removed: every
// start rebuilds the state from the newest snapshot and the log (reliability
// D8), so a file that is left behind is never trusted.
func Open(dir string, log hclog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}

	path := filepath.Join(dir, fileName)
	for _, p := range []string{path, path + ".restore"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove old state: %w", err)
		}
	}

	db, err := openBolt(path)
	if err != nil {
		return nil, err
	}

	if err := db.Update(makeBuckets); err != nil {
		db.Close()
		return nil, fmt.Errorf("make state buckets: %w", err)
	}

	return &Store{path: path, log: log, watch: newWatchers(), db: db, defs: newDefinitionCache(), recent: newRecentChanges()}, nil
}

// openBolt opens a state file. Nothing is synced: raft's log is the truth.
// InitialMmapSize keeps a growing file from waiting for readers (style.md).
func openBolt(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second, NoSync: true, NoGrowSync: true, NoFreelistSync: true,
		FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30,
	})
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return db, nil
}

// Close closes the file and wakes all waiters. It is idempotent.
func (s *Store) Close() error {
	s.watch.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Close()
}

// Path is the state's file.
func (s *Store) Path() string { return s.path }

// View runs fn on one consistent read of the state. fn must be short, must
// copy what it keeps, and must not call the Store again.
func (s *Store) View(fn func(*View) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.View(func(tx *bolt.Tx) error {
		return fn(&View{tx: tx, defs: s.defs, recent: s.recent})
	})
}

// Index is the raft index of the last entry that was applied.
func (s *Store) Index() uint64 {
	var i uint64
	_ = s.View(func(v *View) error { i = v.Index(); return nil }) // closed: 0
	return i
}
