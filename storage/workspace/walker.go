package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// readBatch is how many files a reader gets at once.
const readBatch = 64

// walker lists what belongs to a workspace, in one goroutine.
type walker struct {
	root    string
	exclude *tree.Filter
	skip    map[string]bool // absolute paths
	private func(dir string, names []fs.DirEntry) bool
	found   *findings

	entries []*entry // in the order of the walk
	batch   []*entry // files that go to a reader next
	files   chan []*entry
}

func newWalker(root string, opts Options, found *findings) *walker {
	w := &walker{root: root, exclude: tree.NewFilter(opts.Exclude), skip: map[string]bool{}, private: opts.Private, found: found,
		// Listing is quicker than reading: a short queue keeps readers busy.
		files: make(chan []*entry, 16)}
	for _, path := range opts.Skip {
		w.skip[filepath.Clean(path)] = true
		if real, err := filepath.EvalSymlinks(path); err == nil {
			w.skip[real] = true
		}
	}

	return w
}

// run hands all files to the readers and closes their channel.
func (w *walker) run(ctx context.Context) error {
	defer close(w.files)
	top, warning, err := openScope(ctx, w.root)
	if err != nil {
		return err
	}
	w.found.warn(warning)

	if _, err = w.walk(ctx, top, "", top.mode); err != nil {
		return err
	}

	return w.flush(ctx)
}

// flush hands the files that were listed to a reader.
func (w *walker) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	select {
	case w.files <- w.batch:
		w.batch = make([]*entry, 0, readBatch)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// walk goes through a directory and reports how many entries it has.
func (w *walker) walk(ctx context.Context, up *scope, rel string, m mode) (int, error) {
	dir := filepath.Join(w.root, filepath.FromSlash(rel))
	names, err := os.ReadDir(dir)
	if err != nil {
		if rel != "" && errors.Is(err, fs.ErrNotExist) {
			w.found.change(rel)
			return 0, nil
		}

		return 0, unreadable(err)
	}
	if w.private != nil && w.private(dir, names) {
		w.found.warn(fmt.Sprintf("left out %q: keys, state and configuration of pipelined never go along", cmp.Or(rel, ".")))
		return 0, nil
	}
	s, warning, err := up.enter(ctx, w.root, rel, m, names)
	if err != nil {
		return 0, err
	}
	w.found.warn(warning)

	count := 0
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		added, err := w.name(ctx, s, dir, n)
		if err != nil {
			return 0, err
		}
		count += added
	}
	if count > 0 || rel == "" || w.exclude.Matches(rel) || !s.keepsEmpty(names) {
		return count, nil
	}

	info, err := os.Lstat(dir)
	if err != nil {
		w.found.change(rel)
		return 0, nil
	}

	return 1, w.add(&entry{TreeEntry: pipeline.TreeEntry{Path: rel, Dir: true, Mode: uint32(info.Mode().Perm())}})
}

// name adds what one name of a directory stands for, and reports how many entries
// that is.
func (w *walker) name(ctx context.Context, s *scope, dir string, n fs.DirEntry) (int, error) {
	name := n.Name()
	rel, abs := joinPath(s.rel, name), filepath.Join(dir, name)
	if name == gitName || w.skip[abs] {
		return 0, nil
	}
	if !utf8.ValidString(name) {
		w.found.warn(fmt.Sprintf("left out %q: its name is not UTF-8", rel))
		return 0, nil
	}
	if w.exclude.Matches(rel) && !(n.IsDir() && w.exclude.MayTakeBack(rel)) {
		return 0, nil
	}
	out, below := s.leavesOut(rel, n.Type())
	if out {
		return 0, nil
	}
	if reason := tree.CheckPath(rel); reason != "" {
		return 0, pipeline.Errorf(pipeline.Invalid, "workspace file %q: %s: rename it, or name it in %s", rel, reason, ownIgnoreFile)
	}

	switch {
	case n.IsDir():
		return w.walk(ctx, s, rel, below)
	case n.Type().IsRegular():
		return w.file(ctx, rel)
	case n.Type() == fs.ModeSymlink:
		return w.link(rel, abs)
	}
	w.found.warn(fmt.Sprintf("left out %q: it is a %s", rel, tree.KindOf(n.Type())))

	return 0, nil
}

func (w *walker) file(ctx context.Context, rel string) (int, error) {
	e := &entry{TreeEntry: pipeline.TreeEntry{Path: rel}}
	if err := w.add(e); err != nil {
		return 0, err
	}
	if w.batch = append(w.batch, e); len(w.batch) < readBatch {
		return 1, nil
	}

	return 1, w.flush(ctx)
}

func (w *walker) link(rel, abs string) (int, error) {
	target, err := os.Readlink(abs)
	if err != nil {
		w.found.change(rel)
		return 0, nil
	}
	if reason := tree.CheckLink(rel, target); reason != "" {
		w.found.warn(fmt.Sprintf("left out %q: %s", rel, reason))
		return 0, nil
	}

	return 1, w.add(&entry{TreeEntry: pipeline.TreeEntry{Path: rel, Link: target, Mode: 0o777}})
}

func (w *walker) add(e *entry) error {
	if len(w.entries) == tree.MaxEntries {
		return pipeline.Errorf(pipeline.TooLarge, "workspace %s holds more than %d files: leave some out with %s", w.root, tree.MaxEntries, ownIgnoreFile)
	}
	w.entries = append(w.entries, e)

	return nil
}
