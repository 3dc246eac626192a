package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// directories are those that the files of blobs lie in, one for each first byte
// of a digest, and which of the names in them are durable.
type directories struct {
	dir string

	root   dirState
	shards [256]dirState

	// broken is set by a sync that failed, for the life of the store.
	broken atomic.Pointer[error]
}

// dirState follows which names of a directory are durable.
type dirState struct {
	made    atomic.Bool
	renamed atomic.Uint64 // names given so far
	mu      sync.Mutex    // one sync at a time: those who wait need none of their own
	synced  atomic.Uint64 // names that are durable
}

func shardIndex(name string) (int, bool) {
	if len(name) != 2 || strings.ToLower(name) != name {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 16, 8)
	return int(n), err == nil
}

func shardOf(d pipeline.Digest) int { return hexDigit(d[0])<<4 | hexDigit(d[1]) }

func hexDigit(c byte) int {
	if c <= '9' {
		return int(c - '0')
	}
	return int(c-'a') + 10
}

// path is where a directory of blobs lies.
func (t *directories) path(shard int) string {
	const digits = "0123456789abcdef"
	return t.dir + "/" + digits[shard>>4:shard>>4+1] + digits[shard&15:shard&15+1]
}

// load finds the directories that are there. An earlier process may have died
// between rename and sync, so their names do not count as durable.
func (t *directories) load() error {
	names, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if i, ok := shardIndex(n.Name()); ok && n.IsDir() {
			t.shards[i].made.Store(true)
			t.shards[i].renamed.Store(1)
		}
	}
	t.root.renamed.Store(1)
	return nil
}

// reload notices which directories are gone.
func (t *directories) reload() {
	for i := range t.shards {
		if _, err := os.Lstat(t.path(i)); err != nil {
			t.shards[i].made.Store(false)
		}
	}
	t.root.renamed.Add(1)
}

// failed gives the error of the sync that failed.
func (t *directories) failed() error {
	if err := t.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// ensure makes a directory unless it was made before.
func (t *directories) ensure(shard int) error {
	state := &t.shards[shard]
	if state.made.Load() {
		return nil
	}
	if err := unix.Mkdir(t.path(shard), 0o700); err != nil && err != unix.EEXIST {
		return err
	}
	t.root.renamed.Add(1)
	state.made.Store(true)
	return nil
}

// makeAgain makes a directory that was made before and is gone. It reports
// whether it did.
func (t *directories) makeAgain(shard int) bool {
	if unix.Mkdir(t.path(shard), 0o700) != nil {
		return false
	}
	t.root.renamed.Add(1)
	return true
}

// named counts a name that a directory got, which the next sync makes durable.
func (t *directories) named(shard int) { t.shards[shard].renamed.Add(1) }

// sync makes the names in the touched directories durable. The root comes first:
// a name is worth nothing in a directory that has none.
func (t *directories) sync(touched *[256]bool) error {
	if err := t.syncOne(&t.root, t.dir); err != nil {
		return err
	}

	first, n := -1, 0
	for i := range touched {
		if touched[i] {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if n == 1 {
		return t.syncOne(&t.shards[first], t.path(first))
	}

	var g errgroup.Group
	g.SetLimit(8)
	for i := range touched {
		if touched[i] {
			g.Go(func() error { return t.syncOne(&t.shards[i], t.path(i)) })
		}
	}
	return g.Wait()
}

// syncOne makes the names that a directory has now durable. Callers that come
// while one syncs share the next sync.
func (t *directories) syncOne(s *dirState, path string) error {
	want := s.renamed.Load()
	if s.synced.Load() >= want {
		return nil
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.synced.Load() >= want {
		return nil
	}
	if err := t.failed(); err != nil {
		return err
	}

	// What is counted after this line may be missing in the sync.
	have := s.renamed.Load()
	err := disk.SyncDir(path)
	if errors.Is(err, fs.ErrNotExist) { // removed by hand, with all in it
		return fmt.Errorf("put blob: %w", storeError(err))
	}
	if err != nil {
		// The kernel reports a failure once and then forgets it, so a second try
		// would pass and prove nothing: the store takes nothing more until it is
		// opened again.
		err = &pipeline.Error{
			Kind: pipeline.Unavailable, Err: err,
			Message: fmt.Sprintf("storage failed: %v: check the disk, then start again", err),
		}
		t.broken.CompareAndSwap(nil, &err)
		return err
	}
	s.synced.Store(have)
	return nil
}
