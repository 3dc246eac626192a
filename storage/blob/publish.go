package blob

import (
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/disk"
)

// syncOneByOne is up to how many files a batch syncs each by itself; beyond, one
// sync of the whole filesystem is quicker, even though it writes what others
// have pending too.
const syncOneByOne = 64

// syncFiles makes the bytes of staged files durable.
func (w *writer) syncFiles(items []staged) error {
	n := 0
	for i := range items {
		if items[i].tmp != "" {
			n++
		}
	}

	if n > syncOneByOne {
		if ok, err := disk.SyncFilesystem(w.tmp.lock()); ok {
			if err != nil {
				return fmt.Errorf("put blobs: %w", storeError(err))
			}
			return nil
		}
	}

	var g errgroup.Group
	g.SetLimit(8)
	for i := range items {
		if items[i].tmp == "" {
			continue
		}
		if n == 1 {
			return syncFile(items[i].tmp)
		}
		g.Go(func() error { return syncFile(items[i].tmp) })
	}
	return g.Wait()
}

// syncFile opens a file anew to sync it: that is cheaper than to hold thousands
// open, and the kernel reports to a new descriptor the
// errors that were not reported yet.
func syncFile(path string) error {
	fd, err := disk.OpenFD(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("put blobs: %w", err)
	}

	err = errors.Join(disk.Fdatasync(fd), unix.Close(fd))
	if err != nil {
		return fmt.Errorf("put blobs: sync: %w", disk.Classify(err))
	}
	return nil
}

// publish gives staged blobs their names. The bytes must be durable already
// if the store syncs; the names are when publish returns.
func (w *writer) publish(items []staged) error {
	var touched [256]bool

	for i := range items {
		if items[i].size == 0 {
			continue
		}

		shard := shardOf(items[i].digest)
		touched[shard] = true
		if items[i].tmp == "" {
			continue // here already, but its name may not be durable yet
		}

		if err := w.name(shard, items[i]); err != nil {
			for _, rest := range items[i:] {
				rest.discard()
			}
			return err
		}
	}

	if err := w.at("renamed"); err != nil {
		return err
	}
	if w.noSync {
		return nil
	}
	return w.dirs.sync(&touched)
}

// name gives a staged blob its name. With the lock held, a reader that found the
// old file bad cannot quarantine the new one.
func (w *writer) name(shard int, s staged) error {
	if err := w.dirs.ensure(shard); err != nil {
		return fmt.Errorf("put blob: %w", storeError(err))
	}
	if s.size > smallBlob {
		w.sums.save(s.digest, s.sums)
	}

	w.files.mu.RLock()
	err := w.files.name(s.tmp, s.digest)
	if err == unix.ENOENT && w.dirs.makeAgain(shard) { // removed by hand
		err = w.files.name(s.tmp, s.digest)
	}
	w.files.mu.RUnlock()

	if err != nil {
		return fmt.Errorf("put blob: %w", storeError(err))
	}
	w.dirs.named(shard)
	return nil
}
