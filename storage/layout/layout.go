// Package layout makes the directories that modules work in: trees laid out as
// copies or as overlays over directories that are kept prepared. It captures
// the outputs that modules leave there.
//
// It knows nothing of attempts or processes. What a module wrote is checked
// before it is used, and every path below its directory is opened through
// os.Root, so that neither ".." nor a planted link leads out.
package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// Time is the modification time of every file that is laid out, so that
// the same tree is the same directory everywhere: 2000-01-01 UTC.
func Time() time.Time { return time.Unix(946_684_800, 0).UTC() }

// Fetch makes blobs present in the store it belongs to.
type Fetch func(ctx context.Context, want []pipeline.Digest) error

// Options say how a tree is laid out.
type Options struct {
	// Fetch gets blobs that are missing or turn out to be corrupt. Without it
	// they are an error.
	Fetch Fetch
	// Overwrite replaces files that are in the way. Without it they are an
	// error (fs.ErrExist).
	Overwrite bool

	// link gives files that need no copy, since no one ever writes into either.
	link *linkSource
	// retime sets the times of directories that were there before, too.
	retime bool
}

// linkSource is a directory that holds a tree laid out.
type linkSource struct {
	dir  string
	tree tree.Tree
}

// link links a file of the source, if it has one of that content and mode at the
// same place: two files of a tree must not become one.
func (s *linkSource) link(e *pipeline.TreeEntry, to string) bool {
	if s == nil || e.Link != "" {
		return false
	}
	o := s.tree.Find(e.Path)
	return o != nil && *o == *e && unix.Linkat(unix.AT_FDCWD, s.dir+"/"+e.Path, unix.AT_FDCWD, to+"/"+e.Path, 0) == nil
}

// Write writes the files of a tree into an existing directory, which the tree
// cannot leave whatever lies in it. Files are copies: what a module does to
// them never reaches the store. Each blob is verified while it is copied; a
// missing one is a *blob.MissingError, a corrupt one a *blob.CorruptError. After an error
// a part of the tree may be there.
func Write(ctx context.Context, t tree.Tree, dir string, b *blob.Store) error {
	return WriteWith(ctx, t, dir, b, Options{})
}

// WriteWith is Write with options.
func WriteWith(ctx context.Context, t tree.Tree, dir string, b *blob.Store, opts Options) error {
	if len(t) == 0 {
		return nil
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("lay out: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("lay out: %w", err)
	}
	defer root.Close()
	l := &layout{root: root, dir: dir, blobs: b, opts: opts}
	directories, err := l.makeDirectories(ctx, t)
	if err != nil {
		return fmt.Errorf("lay out: %w", disk.Classify(err))
	}
	left, err := l.files(ctx, t, opts.Fetch != nil)
	if err == nil && len(left) > 0 {
		if err = opts.Fetch(ctx, left.Digests()); err == nil {
			_, err = l.files(ctx, left, false)
		}
	}
	if err != nil {
		return fmt.Errorf("lay out: %w", disk.Classify(err))
	}
	return l.finishDirectories(t, directories)
}

type layout struct {
	root  *os.Root
	dir   string
	blobs *blob.Store
	opts  Options
}

// makeDirectories makes every directory of the tree, each once, and lists them.
func (l *layout) makeDirectories(ctx context.Context, t tree.Tree) ([]string, error) {
	var made []string
	seen := map[string]struct{}{"": {}}
	var need func(dir string) error
	need = func(dir string) error {
		if _, ok := seen[dir]; ok {
			return nil
		}
		if err := need(tree.Parent(dir)); err != nil {
			return err
		}
		seen[dir] = struct{}{}
		err := l.root.Mkdir(dir, 0o755)
		reused := errors.Is(err, fs.ErrExist)
		if reused {
			err = l.reuseDirectory(dir)
		}
		if err == nil && (!reused || l.opts.retime) {
			made = append(made, dir)
		}
		return err
	}
	for i := range t {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		dir := tree.Parent(t[i].Path)
		if t[i].Dir {
			dir = t[i].Path
		}
		if err := need(dir); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// reuseDirectory accepts a real directory that was there before; a link to one would
// put files where the tree does not say.
func (l *layout) reuseDirectory(dir string) error {
	info, err := l.root.Lstat(dir)
	if err != nil || info.IsDir() {
		return err
	}
	if !l.opts.Overwrite {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	}
	if err := l.root.Remove(dir); err != nil {
		return err
	}
	return l.root.Mkdir(dir, 0o755)
}

// finishDirectories sets the modes and times of directories, when nothing is written
// into them any more.
func (l *layout) finishDirectories(t tree.Tree, made []string) error {
	for i := range t {
		if t[i].Dir && t[i].Mode != 0o755 {
			if err := l.root.Chmod(t[i].Path, fs.FileMode(t[i].Mode)); err != nil {
				return fmt.Errorf("lay out: %w", err)
			}
		}
	}
	for _, dir := range made {
		if err := l.root.Chtimes(dir, Time(), Time()); err != nil {
			return fmt.Errorf("lay out: %w", err)
		}
	}
	return nil
}

// files writes files and links. With tolerant it goes on where a blob is missing
// or corrupt and gives the entries left over.
func (l *layout) files(ctx context.Context, t tree.Tree, tolerant bool) (left tree.Tree, err error) {
	const chunk = 64 // fewer files are not worth a goroutine
	workers := min(runtime.GOMAXPROCS(0), len(t)/chunk)
	if workers <= 1 {
		return l.filesIn(ctx, t, tolerant)
	}
	g, ctx := errgroup.WithContext(ctx)
	parts := make([]tree.Tree, workers)
	for i := range workers {
		// Neighbours share directories: each worker takes one stretch of the tree.
		part := t[i*len(t)/workers : (i+1)*len(t)/workers]
		g.Go(func() (err error) {
			parts[i], err = l.filesIn(ctx, part, tolerant)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(parts...), nil
}

func (l *layout) filesIn(ctx context.Context, t tree.Tree, tolerant bool) (left tree.Tree, err error) {
	w := layoutWriter{layout: l, directory: l.root}
	defer w.close()
	for i := range t {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t[i].Dir {
			continue
		}
		err := w.write(&t[i])
		var missing *blob.MissingError
		var corrupt *blob.CorruptError
		if tolerant && (errors.As(err, &missing) || errors.As(err, &corrupt)) {
			left = append(left, t[i])
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return left, nil
}

// layoutWriter writes entries one after the other and keeps the directory of the
// last one open: each step of a path costs two system calls.
type layoutWriter struct {
	*layout
	at        string
	directory *os.Root
}

func (w *layoutWriter) close() {
	if w.directory != w.root {
		w.directory.Close()
	}
}

func (w *layoutWriter) enter(dir string) error {
	if dir == w.at {
		return nil
	}
	next := w.root
	if dir != "" {
		var err error
		if next, err = w.root.OpenRoot(dir); err != nil {
			return err
		}
	}
	if w.directory != w.root {
		w.directory.Close()
	}
	w.at, w.directory = dir, next
	return nil
}

func (w *layoutWriter) write(e *pipeline.TreeEntry) error {
	if w.opts.link.link(e, w.dir) {
		return nil
	}
	if err := w.enter(tree.Parent(e.Path)); err != nil {
		return err
	}
	name := path.Base(e.Path)
	if e.Link != "" {
		err := w.directory.Symlink(e.Link, name)
		if w.opts.Overwrite && errors.Is(err, fs.ErrExist) {
			if err = w.directory.RemoveAll(name); err == nil {
				err = w.directory.Symlink(e.Link, name)
			}
		}
		return err
	}
	src, err := w.blobs.Open(e.Digest)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Size() != e.Size {
		if err := w.blobs.Verify(e.Digest); err != nil {
			return err
		}
		return pipeline.Errorf(pipeline.Invalid, "tree entry %q says %d bytes and its blob has %d", e.Path, e.Size, src.Size())
	}
	return w.file(name, e, src)
}

func (w *layoutWriter) file(name string, e *pipeline.TreeEntry, src *blob.Reader) (err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := w.directory.OpenFile(name, flags, 0o600)
	if w.opts.Overwrite && errors.Is(err, fs.ErrExist) {
		if err = w.directory.RemoveAll(name); err == nil {
			f, err = w.directory.OpenFile(name, flags, 0o600)
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = w.directory.Chtimes(name, Time(), Time())
		}
		if err != nil {
			w.directory.Remove(name)
		}
	}()
	if err := src.CopyTo(f); err != nil {
		return err
	}
	return f.Chmod(fs.FileMode(e.Mode))
}
