package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// SnapshotOptions say what belongs to a workspace.
type SnapshotOptions struct {
	// Exclude are globs over the workspace of what is left out besides what the
	// ignore files name; see ValidGlob.
	Exclude []string
	// Skip are absolute paths of files and folders to leave out, such as the
	// file that standard output goes to. Files are known by their inode too.
	Skip []string
	// Warn is told, one line each, what was left out or is doubtful. It is
	// called before Snapshot returns, from its goroutine. It may be nil.
	Warn func(string)
	// Cache is what is remembered of the folder since its last snapshot; it
	// learns from this one. Files that it knows are not read, and not stored: see
	// Refill. It may be nil.
	Cache *StatCache
}

// Snapshot reads a folder into a tree and its files into a store (for many
// files best a *Batch, which the caller then commits; of a *Blobs it makes its
// own). Left out are what .gitignore files name unless git tracks it, what
// .pipelinedignore files name (the same syntax; they have the last word), .git,
// sockets, pipes and devices, and links that lead outside.
//
// Each file is read once: what was hashed is what was stored. One that changes
// meanwhile is taken as it was read, with a warning. A file or folder that
// cannot be read is an error. Of files that opts.Cache knows only the digest is
// taken.
func Snapshot(ctx context.Context, root string, into Putter, opts SnapshotOptions) (Tree, error) {
	abs, err := realPath(root)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	put, commit, discard := collect(into)
	defer discard()
	s := newSnapshot(abs, put, opts)
	tree, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	if err := commit(ctx); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	s.tell(opts.Warn)
	return tree, nil
}

// realPath is absolute and without links.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

func newSnapshot(root string, into Putter, opts SnapshotOptions) *snapshot {
	s := &snapshot{root: root, into: into, exclude: newFilter(opts.Exclude), skip: map[string]bool{}, skipFiles: map[fileID]bool{}}
	if s.cache = opts.Cache; s.cache == nil {
		s.cache = &StatCache{now: time.Now}
	}
	s.began = s.cache.now()
	for _, path := range opts.Skip {
		s.skip[filepath.Clean(path)] = true
		if real, err := filepath.EvalSymlinks(path); err == nil {
			s.skip[real] = true
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			s.skipFiles[idOf(&st)] = true
		}
	}
	return s
}

// collect gives a batch where into is a store, and how to end it.
func collect(into Putter) (put Putter, commit func(context.Context) error, discard func()) {
	b, ok := into.(*Blobs)
	if !ok {
		return into, func(context.Context) error { return nil }, func() {}
	}
	batch := b.NewBatch()
	return batch, batch.Commit, batch.Discard
}

// fileID tells files apart whatever they are called.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// snapshotEntry is an entry of the tree to be. A reader completes it where it
// is a file; one that is no part of the workspace after all loses its path.
type snapshotEntry struct {
	pipeline.TreeEntry
	stat fileStat
	// hit says that the cache knew it, learn that the next one may.
	hit, learn bool
}

type snapshot struct {
	root      string
	into      Putter
	exclude   *filter
	skip      map[string]bool
	skipFiles map[fileID]bool
	cache     *StatCache
	began     time.Time

	entries []*snapshotEntry // in the order of the walk; the walker's alone
	batch   []*snapshotEntry // files that go to a reader next; the walker's alone
	files   chan []*snapshotEntry

	mu sync.Mutex
	// guards following
	warned  []string
	changed []string
}

// run lists folders in this goroutine and reads files in others.
func (s *snapshot) run(ctx context.Context) (Tree, error) {
	g, ctx := errgroup.WithContext(ctx)
	// Listing is quicker than reading: a short queue keeps readers busy.
	s.files = make(chan []*snapshotEntry, 16)
	for range max(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			for batch := range s.files {
				for _, e := range batch {
					if err := s.look(ctx, e); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(s.files)
		top, warning, err := openWorkspace(s.root)
		if err != nil {
			return err
		}
		s.warn(warning)
		if _, err = s.walk(ctx, top, "", false); err != nil {
			return err
		}
		return s.flush(ctx)
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	tree := make(Tree, 0, len(s.entries))
	for _, e := range s.entries {
		if e.Path != "" { // vanished before it was read
			tree = append(tree, e.TreeEntry)
			s.learn(e)
		}
	}
	sortTree(tree)
	return tree, nil
}

// learn lets the cache remember a file.
func (s *snapshot) learn(e *snapshotEntry) {
	if e.hit {
		s.cache.hits++
	}
	if e.hit || e.learn {
		s.cache.next = append(s.cache.next, statRecord{e.Path, e.stat, e.Digest})
	}
}

// readBatch is how many files a reader gets at once.
const readBatch = 64

// flush hands the files that were listed to a reader.
func (s *snapshot) flush(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	select {
	case s.files <- s.batch:
		s.batch = make([]*snapshotEntry, 0, readBatch)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// walk goes through a folder and reports how many entries it has.
func (s *snapshot) walk(ctx context.Context, up *folder, rel string, trackedOnly bool) (int, error) {
	dir := filepath.Join(s.root, filepath.FromSlash(rel))
	names, err := os.ReadDir(dir)
	if err != nil {
		if rel != "" && errors.Is(err, fs.ErrNotExist) {
			s.change(rel)
			return 0, nil
		}
		return 0, unreadable(err)
	}
	f, warning, err := up.enter(s.root, rel, trackedOnly, names)
	if err != nil {
		return 0, err
	}
	s.warn(warning)
	count := 0
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		added, err := s.entry(ctx, f, dir, n)
		if err != nil {
			return 0, err
		}
		count += added
	}
	if count == 0 && rel != "" && !f.trackedOnly {
		info, err := os.Lstat(dir)
		if err != nil {
			s.change(rel)
			return 0, nil
		}
		return 1, s.add(&snapshotEntry{TreeEntry: pipeline.TreeEntry{Path: rel, Dir: true, Mode: uint32(info.Mode().Perm())}})
	}
	return count, nil
}

// entry takes one name of a folder.
func (s *snapshot) entry(ctx context.Context, f *folder, dir string, n fs.DirEntry) (int, error) {
	name := n.Name()
	rel, abs := joinPath(f.rel, name), filepath.Join(dir, name)
	if name == gitName || s.skip[abs] {
		return 0, nil
	}
	if !utf8.ValidString(name) {
		s.warn(fmt.Sprintf("left out %q: its name is not UTF-8", rel))
		return 0, nil
	}
	if s.exclude.matches(rel) {
		return 0, nil
	}
	out, trackedOnly := f.leavesOut(rel, n.IsDir())
	if out {
		return 0, nil
	}
	if reason := checkPath(rel); reason != "" {
		return 0, pipeline.Errorf(pipeline.Invalid, "workspace file %q: %s: rename it, or name it in %s", rel, reason, ownIgnoreFile)
	}
	switch {
	case n.IsDir():
		return s.walk(ctx, f, rel, trackedOnly)
	case n.Type().IsRegular():
		e := &snapshotEntry{TreeEntry: pipeline.TreeEntry{Path: rel}}
		if err := s.add(e); err != nil {
			return 0, err
		}
		if s.batch = append(s.batch, e); len(s.batch) < readBatch {
			return 1, nil
		}
		return 1, s.flush(ctx)
	case n.Type() == fs.ModeSymlink:
		return s.link(rel, abs)
	}
	s.warn(fmt.Sprintf("left out %q: it is a %s", rel, kindOf(n.Type())))
	return 0, nil
}

func (s *snapshot) add(e *snapshotEntry) error {
	if len(s.entries) == MaxTreeEntries {
		return pipeline.Errorf(pipeline.TooLarge, "workspace %s holds more than %d files: leave some out with %s", s.root, MaxTreeEntries, ownIgnoreFile)
	}
	s.entries = append(s.entries, e)
	return nil
}

func (s *snapshot) link(rel, abs string) (int, error) {
	target, err := os.Readlink(abs)
	if err != nil {
		s.change(rel)
		return 0, nil
	}
	if reason := checkLink(rel, target); reason != "" {
		s.warn(fmt.Sprintf("left out %q: %s", rel, reason))
		return 0, nil
	}
	return 1, s.add(&snapshotEntry{TreeEntry: pipeline.TreeEntry{Path: rel, Link: target, Mode: 0o777}})
}

// look completes the entry of a file: by what is remembered of it where it has
// not changed since, else by reading it.
func (s *snapshot) look(ctx context.Context, e *snapshotEntry) error {
	if len(s.cache.old) == 0 {
		return s.read(ctx, e)
	}
	var st unix.Stat_t
	err := disk.RetryEINTR(func() error { return unix.Lstat(s.path(e), &st) })
	if err != nil || s.skipFiles[idOf(&st)] {
		return s.read(ctx, e)
	}
	d, ok := s.cache.find(e.Path, &st)
	if !ok {
		return s.read(ctx, e)
	}
	e.Digest, e.Size, e.Mode = d, st.Size, uint32(st.Mode)&0o777
	e.stat, e.hit = statOf(&st), true
	return ctx.Err()
}

func (s *snapshot) path(e *snapshotEntry) string {
	return s.root + "/" + filepath.FromSlash(e.Path)
}

// read stores a file and completes its entry.
func (s *snapshot) read(ctx context.Context, e *snapshotEntry) error {
	path := s.path(e)
	// It may have become a link or a pipe since it was listed.
	fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		s.change(e.Path)
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
	if before.Mode&unix.S_IFMT != unix.S_IFREG || s.skipFiles[idOf(&before)] {
		e.Path = ""
		return nil
	}
	r := &fdReader{fd: fd, path: path}
	e.Digest, e.Size, err = s.into.Put(ctx, r)
	if err != nil {
		if r.err != nil {
			return unreadable(r.err)
		}
		return fmt.Errorf("store workspace file %s: %w", path, err)
	}
	e.Mode, e.stat = uint32(before.Mode)&0o777, statOf(&before)
	err = unix.Fstat(fd, &after)
	if err != nil || e.Size != before.Size || after.Size != before.Size || after.Mtim != before.Mtim {
		s.change(e.Path)
		return nil
	}
	e.learn = e.stat == statOf(&after) && s.cache.reliable(&before, s.began)
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

func (s *snapshot) warn(text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warned = append(s.warned, text)
}

func (s *snapshot) change(rel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, rel)
}

// tell hands the warnings on.
func (s *snapshot) tell(warn func(string)) {
	if warn == nil {
		return
	}
	for _, w := range s.warnings() {
		warn(w)
	}
}

// warnings gives one line for everything that changed, and one for each thing
// that was left out, but not hundreds.
func (s *snapshot) warnings() []string {
	const many = 20
	lines := s.warned
	slices.Sort(lines)
	if len(lines) > many {
		more := len(lines) - many
		lines = append(lines[:many:many], fmt.Sprintf("%d more were left out", more))
	}
	slices.Sort(s.changed)
	s.changed = slices.Compact(s.changed)
	if n := len(s.changed); n > 0 {
		shown := s.changed[:min(n, 5)]
		text := fmt.Sprintf("changed while it was read, taken as read: %s", strings.Join(shown, ", "))
		if n > len(shown) {
			text += fmt.Sprintf(" and %d more", n-len(shown))
		}
		lines = append(lines, text)
	}
	return lines
}

// kindOf names what is neither file, folder nor link.
func kindOf(t fs.FileMode) string {
	switch {
	case t&fs.ModeNamedPipe != 0:
		return "named pipe"
	case t&fs.ModeSocket != 0:
		return "socket"
	case t&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
