package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// Capture takes the outputs that a module left in its directory: what the globs of
// required and those of optional match, a directory with all that is in it. In each of
// the two lists, the last glob that matches decides; see tree.Filter.
//
// Nothing outside of the directory is ever read. A link stays a link where what it
// leads to is an output too; where it leads to another file in the directory that
// file's content is taken, and an absolute link stays as it is. A relative link that
// leaves the directory is an error of kind pipeline.Invalid, as are names that no tree
// can hold. Special files are left out.
//
// Of a *blob.Store it makes its own batch; a *blob.Batch is left for the caller to
// commit.
func Capture(ctx context.Context, dir string, required, optional []string, into blob.Putter) (outputs tree.Tree, notes Notes, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, notes, fmt.Errorf("capture outputs: %w", err)
	}
	defer root.Close()
	put, commit, discard := blob.Collect(into)
	defer discard()
	c := &capture{root: root, into: put, entries: map[string]*pipeline.TreeEntry{}}
	if notes.Missing, err = c.globs(ctx, required); err != nil {
		return nil, notes, captureError(err)
	}
	if _, err := c.globs(ctx, optional); err != nil {
		return nil, notes, captureError(err)
	}
	if outputs, err = c.finish(ctx); err == nil {
		err = commit(ctx)
	}
	if err != nil {
		return nil, notes, captureError(err)
	}
	notes.LeftOut = c.leftOut
	return outputs, notes, nil
}

// Notes say what a capture did not take.
type Notes struct {
	// Missing are the required globs that matched nothing, or of whose matches later ones
	// left nothing.
	Missing []string
	// LeftOut are special files that a glob named, each with its kind.
	LeftOut []string
}

func captureError(err error) error { return fmt.Errorf("capture outputs: %w", err) }

type capture struct {
	root    *os.Root
	into    blob.Putter
	entries map[string]*pipeline.TreeEntry // by path; files have no digest until finish
	leftOut []string
	// filter decides about each file; nil takes all that a glob matches.
	filter *tree.Filter
}

// globs takes what a list of globs leaves, and gives those that took nothing.
func (c *capture) globs(ctx context.Context, list []string) (missing []string, err error) {
	negated := func(g string) bool { _, is := tree.Negated(g); return is }
	c.filter = nil
	if slices.ContainsFunc(list, negated) {
		c.filter = tree.NewFilter(list)
	}
	for _, g := range list {
		if negated(g) {
			continue
		}
		n, err := c.glob(ctx, g)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			missing = append(missing, g)
		}
	}
	return missing, nil
}

// glob takes what one glob matches and tells how much that was.
func (c *capture) glob(ctx context.Context, glob string) (int, error) {
	if err := tree.ValidGlob(glob); err != nil {
		return 0, &pipeline.Error{Kind: pipeline.Invalid, Message: err.Error(), Err: err}
	}
	pattern := tree.CleanGlob(glob)
	if pattern == "" || pattern == "." {
		pattern = "**"
	}
	if !strings.ContainsAny(pattern, `*?[{\`) {
		return c.path(ctx, pattern, glob)
	}
	base, _ := doublestar.SplitPattern(pattern)
	depth := tree.MaxPathDepth
	if !strings.Contains(pattern, "**") && !strings.Contains(pattern, "{") {
		depth = strings.Count(pattern, "/") + 1
	}
	if base != "." {
		info, err := c.root.Stat(base)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return 0, nil
		}
		if err != nil {
			return 0, outside(base, err)
		}
	}
	// "out/**" matches "out" itself: then all of it is wanted, and it is there.
	if base != "." && doublestar.MatchUnvalidated(pattern, base) {
		return c.path(ctx, base, glob)
	}
	return c.search(ctx, base, pattern, glob, depth)
}

// path takes what lies at a path.
func (c *capture) path(ctx context.Context, p, glob string) (int, error) {
	info, err := c.root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return 0, nil
	}
	if err != nil {
		return 0, outside(p, err)
	}
	return c.take(ctx, p, info.Mode().Type(), glob)
}

// search matches the names in a directory, at most depth parts deep, and takes
// those that match.
func (c *capture) search(ctx context.Context, dir, pattern, glob string, depth int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	names, err := c.list(dir)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, n := range names {
		p := n.Name()
		if dir != "." {
			p = dir + "/" + p
		}
		if doublestar.MatchUnvalidated(pattern, p) {
			taken, err := c.take(ctx, p, n.Type(), glob)
			if err != nil {
				return 0, err
			}
			count += taken
			continue
		}
		if n.IsDir() && strings.Count(p, "/")+1 < depth {
			found, err := c.search(ctx, p, pattern, glob, depth)
			if err != nil {
				return 0, err
			}
			count += found
		}
	}
	return count, nil
}

func (c *capture) list(dir string) ([]fs.DirEntry, error) {
	f, err := c.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since it was listed
	}
	if err != nil {
		return nil, outside(dir, err)
	}
	defer f.Close()
	names, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", dir, err)
	}
	slices.SortFunc(names, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return names, nil
}

// take takes a file, a link, or a directory with all that is in it, and tells how much
// that was: 1 at least, unless the filter leaves nothing. glob is what named it, "" for
// what is only inside of a directory that was named.
func (c *capture) take(ctx context.Context, p string, kind fs.FileMode, glob string) (int, error) {
	if _, dup := c.entries[p]; dup {
		return 1, nil
	}
	if !c.wants(p) && !(kind.IsDir() && c.filter.MayTakeBack(p)) {
		return 0, nil
	}
	if reason := tree.CheckPath(p); reason != "" {
		return 0, pipeline.Errorf(pipeline.Invalid, "output %q: %s", p, reason)
	}

	switch {
	case kind.IsDir():
		n, err := c.directory(ctx, p)
		if c.filter == nil {
			n = max(n, 1)
		}
		return n, err
	case kind.IsRegular():
		return 1, c.add(&pipeline.TreeEntry{Path: p})
	case kind == fs.ModeSymlink:
		return 1, c.link(p)
	case glob != "":
		c.leftOut = append(c.leftOut, fmt.Sprintf("%s (a %s)", p, tree.KindOf(kind)))
		return 1, nil
	}
	return 0, nil
}

// wants reports whether the filter takes a path.
func (c *capture) wants(p string) bool { return c.filter == nil || c.filter.Matches(p) }

func (c *capture) add(e *pipeline.TreeEntry) error {
	if len(c.entries) >= tree.MaxEntries {
		return pipeline.Errorf(pipeline.TooLarge, "more than %d files: narrow the globs in outputs", tree.MaxEntries)
	}
	c.entries[e.Path] = e
	return nil
}

func (c *capture) link(p string) error {
	target, err := c.root.Readlink(p)
	if err != nil {
		return outside(p, err)
	}
	// One that leads into the module's directory must do so wherever it is laid out.
	if rest, inside := strings.CutPrefix(target, c.root.Name()+"/"); inside && rest != "" {
		if relative := strings.Repeat("../", strings.Count(p, "/")) + rest; tree.CheckLink(p, relative) == "" {
			target = relative
		}
	}
	if reason := tree.CheckTarget(p, target); reason != "" {
		return pipeline.Errorf(pipeline.Invalid, "output %q: %s: only links that stay in the module's directory can be outputs", p, reason)
	}
	return c.add(&pipeline.TreeEntry{Path: p, Link: target, Mode: 0o777})
}

// directory takes what is in a directory, or the directory if nothing is, and tells how
// much that was.
func (c *capture) directory(ctx context.Context, p string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	names, err := c.list(p)
	if err != nil {
		return 0, err
	}
	if len(names) == 0 && c.wants(p) {
		info, err := c.root.Lstat(p)
		if err != nil || !info.IsDir() {
			return 0, nil // gone since it was listed
		}
		return 1, c.add(&pipeline.TreeEntry{Path: p, Dir: true, Mode: uint32(info.Mode().Perm())})
	}
	count := 0
	for _, n := range names {
		taken, err := c.take(ctx, p+"/"+n.Name(), n.Type(), "")
		if err != nil {
			return 0, err
		}
		count += taken
	}
	return count, nil
}

// finish decides about links, stores the files and sorts.
func (c *capture) finish(ctx context.Context) (tree.Tree, error) {
	// A glob may name a link and, through it, what it leads to: a tree has only
	// the link.
	directories := map[string]struct{}{}
	for p := range c.entries {
		through := false
		for dir := tree.Parent(p); dir != "" && !through; dir = tree.Parent(dir) {
			o := c.entries[dir]
			through = o != nil && o.Link != ""
		}
		if through {
			delete(c.entries, p)
			continue
		}
		for dir := tree.Parent(p); dir != ""; dir = tree.Parent(dir) {
			directories[dir] = struct{}{}
		}
	}
	list := make(tree.Tree, 0, len(c.entries))
	for _, e := range c.entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		kept, err := *e, error(nil)
		switch {
		case e.Link != "" && !c.holds(e, directories):
			err = c.follow(ctx, &kept)
		case e.Link == "" && !e.Dir:
			err = c.file(ctx, &kept)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, kept)
	}
	list.Sort()
	return list, nil
}

// holds reports whether a link stays: what it leads to is captured too, or lies outside.
// directories are those with something in them.
func (c *capture) holds(e *pipeline.TreeEntry, directories map[string]struct{}) bool {
	if path.IsAbs(e.Link) {
		return true
	}
	target := path.Join(path.Dir(e.Path), e.Link)
	if _, ok := directories[target]; ok || target == "." {
		return true
	}
	for p := target; p != ""; p = tree.Parent(p) {
		if o := c.entries[p]; o != nil && (p == target || o.Link != "") {
			return true
		}
	}
	return false
}

// follow replaces a link by the file that it leads to. One that leads nowhere
// stays.
func (c *capture) follow(ctx context.Context, e *pipeline.TreeEntry) error {
	info, err := c.root.Stat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return outside(e.Path, err)
	case info.IsDir():
		return pipeline.Errorf(pipeline.Invalid, "output %q is a link to the directory %q, which is not among the outputs: name that directory in outputs too", e.Path, e.Link)
	}
	e.Link = ""
	return c.file(ctx, e)
}

// file stores the content of a regular file.
func (c *capture) file(ctx context.Context, e *pipeline.TreeEntry) error {
	// A process of the module that is still there may swap it for a pipe.
	f, err := c.root.OpenFile(e.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return outside(e.Path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read output %q: %w", e.Path, err)
	}
	if !info.Mode().IsRegular() {
		return pipeline.Errorf(pipeline.Invalid, "output %q is a %s: only files, directories and links can be outputs", e.Path, tree.KindOf(info.Mode().Type()))
	}
	e.Mode = uint32(info.Mode().Perm())
	// struct{} hides ReadFrom and its kin: the store must see every byte.
	e.Digest, e.Size, err = c.into.Put(ctx, struct{ io.Reader }{f})
	if err != nil {
		return fmt.Errorf("store output %q: %w", e.Path, err)
	}
	return nil
}

// outside explains the error that os.Root gives for paths that leave it.
func outside(p string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		var errno unix.Errno
		if !errors.As(err, &errno) {
			return pipeline.Errorf(pipeline.Invalid, "output %q: a link on the way leaves the module's directory: only what lies in it can be an output", p)
		}
	}
	return fmt.Errorf("read output %q: %w", p, err)
}
