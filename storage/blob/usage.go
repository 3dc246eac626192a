package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// missingStep is how many digests one goroutine of missing looks for.
const missingStep = 1024

// usedEvery is how old the time of a file gets, in seconds, before it is
// changed again: a use need not cost a write each time.
const usedEvery = 60

// usage records when blobs were last used, so that a sweep spares those that are
// in use. The record is the modification time of their files.
type usage struct {
	files *files
	dirs  *directories
	clean *cleanMemory
}

// Info is what Walk reports of a blob.
type Info struct {
	Digest pipeline.Digest
	// Size is the length of its bytes.
	Size int64
	// UsedAt is when it was last put or asked for with Missing, to the minute.
	UsedAt time.Time
}

// present reports whether the blob is here in its whole length, any length if
// size is negative, and marks it as used. A sweep must not come between the two,
// hence the lock.
func (u *usage) present(d pipeline.Digest, size int64) bool {
	u.files.mu.RLock()
	defer u.files.mu.RUnlock()

	var st unix.Stat_t
	path, err := u.files.find(d, &st)
	if err != nil || size >= 0 && st.Size != size {
		return false
	}

	sec, _ := st.Mtim.Unix()
	now := time.Now()
	if age := now.Unix() - sec; age > usedEvery || age < -usedEvery {
		u.clean.keep(d, func() error { return os.Chtimes(path, now, now) })
	}
	return true
}

// missing gives those of the digests that are not here, and marks the others as
// used.
func (u *usage) missing(digests []pipeline.Digest) []pipeline.Digest {
	// The list of a workspace may have 100,000 entries.
	missing := make([]bool, len(digests))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(digests); from += missingStep {
		g.Go(func() error {
			for i := from; i < min(from+missingStep, len(digests)); i++ {
				d := digests[i]
				missing[i] = d != pipeline.EmptyDigest && (ValidDigest(d) != nil || !u.present(d, -1))
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil

	var list []pipeline.Digest
	seen := map[pipeline.Digest]struct{}{}
	for i, d := range digests {
		if _, dup := seen[d]; !missing[i] || dup {
			continue
		}
		seen[d] = struct{}{}
		list = append(list, d)
	}
	return list
}

// deleteUnused removes a blob that was not used since the given time. It looks at
// the time under the lock under which it removes the file: a use that present
// has confirmed comes before or finds nothing.
func (u *usage) deleteUnused(d pipeline.Digest, since time.Time) (bool, error) {
	if err := ValidDigest(d); err != nil {
		return false, err
	}
	u.files.mu.Lock()
	defer u.files.mu.Unlock()

	info, err := os.Lstat(u.files.path(d))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(since) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete blob: %w", err)
	}
	return true, u.files.deleteLocked(d)
}

// walk calls f for each blob that has a file, see Store.Walk.
func (u *usage) walk(ctx context.Context, f func(Info) error) error {
	for i := range u.dirs.shards {
		if !u.dirs.shards[i].made.Load() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}

		names, err := os.ReadDir(u.dirs.path(i))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, n := range names {
			d := pipeline.Digest(n.Name())
			if ValidDigest(d) != nil || shardOf(d) != i {
				continue
			}
			info, err := n.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue // deleted meanwhile
			}
			if err := f(Info{Digest: d, Size: info.Size(), UsedAt: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}
