package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
)

const (
	// compactFrom is the size of a log's file from which compaction pays.
	compactFrom = 64 << 20
	// compactBatch is how much is copied in one transaction.
	compactBatch = 4 << 20
)

// compactLog rewrites the log's file if more than half of it is free: bbolt
// never shrinks it (H20). It must run before the file is opened. If it fails,
// the file is unchanged and the node starts nevertheless.
func compactLog(path string, from int64, log hclog.Logger) {
	info, err := os.Stat(path)
	if err != nil || info.Size() < from {
		return
	}

	before := info.Size()
	tmp := path + ".compact"
	if err := rewriteIfSparse(path, tmp); err != nil {
		if !errors.Is(err, errDense) {
			log.Warn("cannot compact raft's log", "error", err)
		}
		os.Remove(tmp)
		return
	}

	if info, err = os.Stat(path); err == nil {
		log.Info("compacted raft's log", "before", before, "after", info.Size())
	}
}

var errDense = errors.New("most of the file is in use")

// rewriteIfSparse copies path to tmp and puts it in its place.
func rewriteIfSparse(path, tmp string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()

	src, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	defer src.Close()

	info, err := os.Stat(path)
	if err != nil {
		return err
	}

	if free := src.Stats().FreePageN * src.Info().PageSize; int64(free) < info.Size()/2 {
		return errDense
	}

	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}

	dst, err := bbolt.Open(tmp, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return err
	}

	if err := bbolt.Compact(dst, src, compactBatch); err != nil {
		dst.Close()
		return err
	}

	if err := errors.Join(dst.Sync(), dst.Close()); err != nil {
		return err
	}

	if err := os.Rename(tmp, path); err != nil {
		return err
	}

	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()

	return dir.Sync()
}
