package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
)

// entry is an entry of the tree to be. A reader completes it if it is a file; one
// that is no part of the workspace after all loses its path.
type entry struct {
	pipeline.TreeEntry
	stat fileStat
	// hit says that the cache knew it, learn that the next one may.
	hit, learn bool
}

// reader completes entries. Its methods may be called from several goroutines.
type reader struct {
	root  string
	into  blob.Putter
	skip  map[fileID]bool
	cache *StatCache
	began time.Time
	found *findings
}

// fileID tells files apart whatever they are called.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

func newReader(root string, into blob.Putter, opts Options, found *findings) *reader {
	r := &reader{root: root, into: into, skip: map[fileID]bool{}, cache: opts.Cache, found: found}
	if r.cache == nil {
		r.cache = &StatCache{now: time.Now}
	}
	r.began = r.cache.now()
	for _, path := range opts.Skip {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			r.skip[idOf(&st)] = true
		}
	}

	return r
}

// complete fills in the entry of a file: from the cache if it has not changed
// since, else by reading it.
func (r *reader) complete(ctx context.Context, e *entry) error {
	if len(r.cache.old) == 0 {
		return r.read(ctx, e)
	}

	var st unix.Stat_t
	err := disk.RetryEINTR(func() error { return unix.Lstat(r.path(e), &st) })
	if err != nil || r.skip[idOf(&st)] {
		return r.read(ctx, e) // which says what is wrong
	}
	d, ok := r.cache.find(e.Path, &st)
	if !ok {
		return r.read(ctx, e)
	}
	e.Digest, e.Size, e.Mode = d, st.Size, uint32(st.Mode)&0o777
	e.stat, e.hit = statOf(&st), true

	return ctx.Err()
}

func (r *reader) path(e *entry) string {
	return r.root + "/" + filepath.FromSlash(e.Path)
}

// read stores a file and completes its entry.
func (r *reader) read(ctx context.Context, e *entry) error {
	path := r.path(e)
	// It may have become a link or a pipe since it was listed.
	fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		r.found.change(e.Path)
		e.Path = ""

		return nil
	}
	if err != nil {
		return unreadable(err)
	}
	defer unix.Close(fd)

	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return unreadable(&fs.PathError{Op: "stat", Path: path, Err: err})
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG || r.skip[idOf(&before)] {
		e.Path = ""
		return nil
	}

	in := &fdReader{fd: fd, path: path}
	e.Digest, e.Size, err = r.into.Put(ctx, in)
	if err != nil {
		if in.err != nil {
			return unreadable(in.err)
		}

		return fmt.Errorf("store workspace file %s: %w", path, err)
	}

	e.Mode, e.stat = uint32(before.Mode)&0o777, statOf(&before)
	err = unix.Fstat(fd, &after)
	if err != nil || e.Size != before.Size || after.Size != before.Size || after.Mtim != before.Mtim {
		r.found.change(e.Path)
		return nil
	}
	e.learn = e.stat == statOf(&after) && r.cache.reliable(&before, r.began)

	return nil
}

// fdReader reads a file that is open without an os.File.
type fdReader struct {
	fd   int
	path string
	err  error
}

func (r *fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			r.err = &fs.PathError{Op: "read", Path: r.path, Err: err}
			return 0, r.err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func unreadable(err error) error {
	return pipeline.Errorf(pipeline.Invalid, "read workspace: %w: make it readable, or name it in %s", err, ownIgnoreFile)
}
