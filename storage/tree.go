package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
)

// Tree is the listing of a folder: its files, links and empty folders, sorted
// by path. A tree that is shared is never changed.
type Tree []pipeline.TreeEntry

// Limits of a tree.
const (
	// MaxTreeEntries is how many entries a tree may have.
	MaxTreeEntries = 1_000_000
	// MaxPathBytes is how long a path, or the target of a link, may be.
	MaxPathBytes = 1024
	// MaxPathDepth is how many names a path may have.
	MaxPathDepth = 64
	// maxNameBytes is how long a name may be on the usual filesystems.
	maxNameBytes = 255
)

// TreeError says which entry of a tree is wrong. Its kind is pipeline.Invalid.
type TreeError struct {
	// Index is the entry's, from 0; -1 where the listing as a whole is meant.
	Index int
	// Path is the entry's, as far as it is known.
	Path   string
	Reason string
}

// Error names the entry.
func (e *TreeError) Error() string {
	switch {
	case e.Index < 0:
		return "tree: " + e.Reason
	case e.Path == "":
		return fmt.Sprintf("tree entry %d: %s", e.Index, e.Reason)
	}
	return fmt.Sprintf("tree entry %d, %q: %s", e.Index, e.Path, e.Reason)
}

// Unwrap gives the error its kind.
func (e *TreeError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Invalid, Message: e.Error()}
}

// EncodeTree checks a tree and gives its blob: the same bytes for the same
// tree. A *TreeError says what is wrong.
func EncodeTree(t Tree) ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	size := 2
	for i := range t {
		size += len(t[i].Path) + len(t[i].Link) + 128
	}
	out, err := appendTree(make([]byte, 0, size), t)
	if err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	return out, nil
}

// DecodeTree reads the blob of a tree and checks all of it: what it returns can
// be laid out without leaving its folder. A *TreeError says what is wrong.
func DecodeTree(blob []byte) (Tree, error) {
	if t, ok := parseTree(blob); ok {
		if err := t.check(); err != nil {
			return nil, err
		}
		return t, nil
	}
	dec := json.NewDecoder(bytes.NewReader(blob))
	dec.DisallowUnknownFields()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, &TreeError{Index: -1, Reason: "not a JSON array"}
	}
	// An entry takes about 150 bytes of JSON; a wrong guess costs a copy.
	t := make(Tree, 0, min(len(blob)/150+1, MaxTreeEntries))
	var c treeChecker
	for dec.More() {
		if len(t) == MaxTreeEntries {
			return nil, &TreeError{Index: -1, Reason: fmt.Sprintf("more than %d entries", MaxTreeEntries)}
		}
		var e pipeline.TreeEntry
		if err := dec.Decode(&e); err != nil {
			return nil, &TreeError{Index: len(t), Reason: err.Error()}
		}
		t = append(t, e)
		if reason := c.next(&t[len(t)-1]); reason != "" {
			return nil, &TreeError{Index: len(t) - 1, Path: e.Path, Reason: reason}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, &TreeError{Index: -1, Reason: "the array does not end"}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, &TreeError{Index: -1, Reason: "there is more after the array"}
	}
	return t, nil
}

func (t Tree) check() error {
	if len(t) > MaxTreeEntries {
		return &TreeError{Index: -1, Reason: fmt.Sprintf("more than %d entries", MaxTreeEntries)}
	}
	var c treeChecker
	for i := range t {
		if reason := c.next(&t[i]); reason != "" {
			return &TreeError{Index: i, Path: t[i].Path, Reason: reason}
		}
	}
	return nil
}

// treeChecker checks entries one after the other.
type treeChecker struct {
	// open are the entries whose path begins the current one's: sorted by bytes,
	// all paths with a common beginning stand together.
	open []*pipeline.TreeEntry
	last string
	any  bool
}

// next gives what is wrong with an entry, "" where nothing is.
func (c *treeChecker) next(e *pipeline.TreeEntry) string {
	if reason := checkPath(e.Path); reason != "" {
		return reason
	}
	if c.any && e.Path <= c.last {
		return fmt.Sprintf("stands after %q: paths must be sorted and different", c.last)
	}
	c.any, c.last = true, e.Path
	for n := len(c.open); n > 0 && !strings.HasPrefix(e.Path, c.open[n-1].Path); n-- {
		c.open = c.open[:n-1]
	}
	for _, o := range c.open {
		if e.Path[len(o.Path)] == '/' {
			return fmt.Sprintf("lies below %q, which is not a folder with entries", o.Path)
		}
	}
	c.open = append(c.open, e)
	return checkEntry(e)
}

func checkEntry(e *pipeline.TreeEntry) string {
	if e.Mode&^0o777 != 0 {
		return fmt.Sprintf("mode %o has more than permission bits", e.Mode)
	}
	switch {
	case e.Dir:
		if e.Link != "" || e.Digest != "" || e.Size != 0 {
			return "a folder has no content"
		}
	case e.Link != "":
		if e.Digest != "" || e.Size != 0 {
			return "a link has no content"
		}
		return checkLink(e.Path, e.Link)
	default:
		if valid(e.Digest) != nil {
			return "a file needs the digest of its content"
		}
		if e.Size < 0 || (e.Size == 0) != (e.Digest == pipeline.EmptyDigest) {
			return fmt.Sprintf("size %d does not fit its digest", e.Size)
		}
	}
	return ""
}

// checkPath gives what is wrong with a path of a tree.
func checkPath(p string) string {
	switch {
	case p == "":
		return "the path is empty"
	case len(p) > MaxPathBytes:
		return fmt.Sprintf("the path is longer than %d bytes", MaxPathBytes)
	case !utf8.ValidString(p):
		return "the path is not UTF-8"
	case strings.IndexByte(p, 0) >= 0:
		return "the path holds a zero byte"
	}
	depth := 0
	for rest, more := p, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		switch {
		case name == "" || name == "." || name == "..":
			return "the path is not clean and relative"
		case len(name) > maxNameBytes:
			return fmt.Sprintf("a name in the path is longer than %d bytes", maxNameBytes)
		}
		if depth++; depth > MaxPathDepth {
			return fmt.Sprintf("the path has more than %d names", MaxPathDepth)
		}
	}
	return ""
}

// checkLink gives what is wrong with the target of a link at path. Going up is
// allowed only at its start and not beyond the root. No entry lies below a
// link, so the folders it starts from are real ones; wherever other links lead
// from there on, they obey the same rule: no chain of them leaves the tree.
func checkLink(path, target string) string {
	switch {
	case len(target) > MaxPathBytes:
		return fmt.Sprintf("the link's target is longer than %d bytes", MaxPathBytes)
	case !utf8.ValidString(target) || strings.IndexByte(target, 0) >= 0:
		return "the link's target is not UTF-8 without zero bytes"
	case target[0] == '/':
		return fmt.Sprintf("the link's target %q is absolute", target)
	}
	up, named := 0, false
	for name := range strings.SplitSeq(target, "/") {
		switch {
		case name == "" || name == ".":
		case name != "..":
			named = true
		case named:
			return fmt.Sprintf("the link's target %q goes up after it went down", target)
		default:
			up++
		}
	}
	if up > strings.Count(path, "/") {
		return fmt.Sprintf("the link's target %q leaves the tree", target)
	}
	return ""
}

// Digests lists the digests of the tree's files, each once, in the order of
// their first files.
func (t Tree) Digests() []pipeline.Digest {
	seen := make(map[pipeline.Digest]struct{}, len(t))
	list := make([]pipeline.Digest, 0, len(t))
	for i := range t {
		d := t[i].Digest
		if _, dup := seen[d]; dup || d == "" {
			continue
		}
		seen[d] = struct{}{}
		list = append(list, d)
	}
	return list
}

// Size is the sum of the files' sizes in bytes.
func (t Tree) Size() int64 {
	var n int64
	for i := range t {
		n += t[i].Size
	}
	return n
}

// Find gives the entry at a path; nil where there is none.
func (t Tree) Find(path string) *pipeline.TreeEntry {
	i, ok := slices.BinarySearchFunc(t, path, func(e pipeline.TreeEntry, p string) int { return strings.Compare(e.Path, p) })
	if !ok {
		return nil
	}
	return &t[i]
}

// Below gives the tree with all paths below a folder.
func (t Tree) Below(folder string) Tree {
	moved := make(Tree, len(t))
	for i := range t {
		moved[i] = t[i]
		moved[i].Path = folder + "/" + t[i].Path
	}
	return moved
}

// sortTree brings entries into a tree's order.
func sortTree(t Tree) {
	slices.SortFunc(t, func(a, b pipeline.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
}

// PutTree stores the blob of a tree.
func PutTree(ctx context.Context, into Putter, t Tree) (pipeline.Digest, error) {
	blob, err := EncodeTree(t)
	if err != nil {
		return "", err
	}
	return into.PutBytes(ctx, blob)
}

// maxTreeBytes bounds the blob of a tree that is read.
const maxTreeBytes = 512 << 20

// Tree reads a tree from its blob. The last few are kept in memory, so that a
// workspace of many files is decoded once and not for every module; the caller
// must not change what it gets.
func (b *Blobs) Tree(d pipeline.Digest) (Tree, error) {
	if t, ok := b.trees.get(d); ok {
		return t, nil
	}
	blob, err := b.ReadAll(d, maxTreeBytes)
	if err != nil {
		return nil, err
	}
	t, err := DecodeTree(blob)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", d, err)
	}
	b.trees.add(d, t)
	return t, nil
}

// MissingOf gives what is not here of a tree and its files: only the tree itself
// if that is not here or turns out to be bad. All of it that is here counts as
// wanted from now on, as with Missing. An error says that the blob is no tree.
func (b *Blobs) MissingOf(tree pipeline.Digest) ([]pipeline.Digest, error) {
	if err := valid(tree); err != nil {
		return nil, err
	}
	if !b.present(tree, -1) {
		return []pipeline.Digest{tree}, nil
	}
	t, err := b.Tree(tree)
	if pipeline.KindOf(err) == pipeline.NotFound {
		return []pipeline.Digest{tree}, nil
	}
	if err != nil {
		return nil, err
	}
	return b.Missing(t.Digests()), nil
}

// treeCache keeps the trees that were read last, by entries.
type treeCache struct {
	mu sync.Mutex
	// guards following
	trees   map[pipeline.Digest]Tree
	order   []pipeline.Digest // oldest first
	entries int
}

// maxCachedEntries bounds the cache to some 40 MB.
const maxCachedEntries = 200_000

func (c *treeCache) get(d pipeline.Digest) (Tree, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.trees[d]
	if ok && c.order[len(c.order)-1] != d {
		i := slices.Index(c.order, d)
		c.order = append(slices.Delete(c.order, i, i+1), d)
	}
	return t, ok
}

func (c *treeCache) add(d pipeline.Digest, t Tree) {
	cost := len(t) + 16 // an empty tree takes room too
	if cost > maxCachedEntries {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.trees[d]; ok {
		return
	}
	if c.trees == nil {
		c.trees = map[pipeline.Digest]Tree{}
	}
	for c.entries += cost; c.entries > maxCachedEntries; c.order = c.order[1:] {
		c.entries -= len(c.trees[c.order[0]]) + 16
		delete(c.trees, c.order[0])
	}
	c.trees[d] = t
	c.order = append(c.order, d)
}
