// Package tree is the listing of a directory: its files, links and empty
// directories, with the digests of the files. A tree is checked before it is
// used, since it may come from outside.
//
// A Tree that is shared is never changed.
package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// Tree is the listing of a directory: its files, links and empty directories, sorted
// by path. A tree that is shared is never changed.
type Tree []pipeline.TreeEntry

// Limits of a tree.
const (
	// MaxEntries is how many entries a tree may have.
	MaxEntries = 1_000_000
	// MaxPathBytes is how long a path, or the target of a link, may be.
	MaxPathBytes = 1024
	// MaxPathDepth is how many names a path may have.
	MaxPathDepth = 64
	// maxNameBytes is how long a name may be on the usual filesystems.
	maxNameBytes = 255
)

// Error says which entry of a tree is wrong. Its kind is pipeline.Invalid.
type Error struct {
	// Index is the entry's, from 0; -1 where the listing as a whole is meant.
	Index int
	// Path is the entry's, as far as it is known.
	Path   string
	Reason string
}

// Error names the entry.
func (e *Error) Error() string {
	switch {
	case e.Index < 0:
		return "tree: " + e.Reason
	case e.Path == "":
		return fmt.Sprintf("tree entry %d: %s", e.Index, e.Reason)
	}
	return fmt.Sprintf("tree entry %d, %q: %s", e.Index, e.Path, e.Reason)
}

// Unwrap gives the error its kind.
func (e *Error) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Invalid, Message: e.Error()}
}

// Encode checks a tree and gives its blob: the same bytes for the same
// tree. An *Error says what is wrong.
func Encode(t Tree) ([]byte, error) {
	if err := t.Check(); err != nil {
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

// Decode reads the blob of a tree and checks all of it: what it returns can
// be laid out without leaving its directory. An *Error says what is wrong.
func Decode(blob []byte) (Tree, error) {
	if t, ok := parseTree(blob); ok {
		if err := t.Check(); err != nil {
			return nil, err
		}
		return t, nil
	}
	dec := json.NewDecoder(bytes.NewReader(blob))
	dec.DisallowUnknownFields()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, &Error{Index: -1, Reason: "not a JSON array"}
	}
	// An entry takes about 150 bytes of JSON; a wrong guess costs a copy.
	t := make(Tree, 0, min(len(blob)/150+1, MaxEntries))
	var c treeChecker
	for dec.More() {
		if len(t) == MaxEntries {
			return nil, &Error{Index: -1, Reason: fmt.Sprintf("more than %d entries", MaxEntries)}
		}
		var e pipeline.TreeEntry
		if err := dec.Decode(&e); err != nil {
			return nil, &Error{Index: len(t), Reason: err.Error()}
		}
		t = append(t, e)
		if reason := c.next(&t[len(t)-1]); reason != "" {
			return nil, &Error{Index: len(t) - 1, Path: e.Path, Reason: reason}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, &Error{Index: -1, Reason: "the array does not end"}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, &Error{Index: -1, Reason: "there is more after the array"}
	}
	return t, nil
}

// Check says what is wrong with a tree: a tree that is right can be laid out
// without leaving its directory. The error is an *Error.
func (t Tree) Check() error {
	if len(t) > MaxEntries {
		return &Error{Index: -1, Reason: fmt.Sprintf("more than %d entries", MaxEntries)}
	}
	var c treeChecker
	for i := range t {
		if reason := c.next(&t[i]); reason != "" {
			return &Error{Index: i, Path: t[i].Path, Reason: reason}
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
	if reason := CheckPath(e.Path); reason != "" {
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
			return fmt.Sprintf("lies below %q, which is not a directory with entries", o.Path)
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
			return "a directory has no content"
		}
	case e.Link != "":
		if e.Digest != "" || e.Size != 0 {
			return "a link has no content"
		}
		return CheckTarget(e.Path, e.Link)
	default:
		if blob.ValidDigest(e.Digest) != nil {
			return "a file needs the digest of its content"
		}
		if e.Size < 0 || (e.Size == 0) != (e.Digest == pipeline.EmptyDigest) {
			return fmt.Sprintf("size %d does not fit its digest", e.Size)
		}
	}
	return ""
}

// CheckPath gives what is wrong with a path of a tree.
func CheckPath(p string) string {
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

// CheckLink gives what is wrong with the target of a link at path. Going up is
// allowed only at its start and not beyond the root. No entry lies below a
// link, so the directories it starts from are real ones; wherever other links lead
// from there on, they obey the same rule: no chain of them leaves the tree.
func CheckLink(linkPath, target string) string {
	if reason := checkText(target); reason != "" {
		return reason
	}
	if path.IsAbs(target) {
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
	if up > strings.Count(linkPath, "/") {
		return fmt.Sprintf("the link's target %q leaves the tree", target)
	}
	return ""
}

// CheckTarget is CheckLink for trees of what modules left, in which links may be
// absolute too: they lead to what the machine has at that path. Nothing is ever
// written or read through one.
func CheckTarget(linkPath, target string) string {
	if path.IsAbs(target) {
		return checkText(target)
	}
	return CheckLink(linkPath, target)
}

func checkText(target string) string {
	switch {
	case len(target) > MaxPathBytes:
		return fmt.Sprintf("the link's target is longer than %d bytes", MaxPathBytes)
	case !utf8.ValidString(target) || strings.IndexByte(target, 0) >= 0:
		return "the link's target is not UTF-8 without zero bytes"
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

// DirectoryOf is the name of the directory for a module's files. An instance's key may
// be anything, as a URL; if it makes no clean path, its slashes become underlines.
func DirectoryOf(module string) string {
	if CheckPath(module) == "" {
		return module
	}
	return strings.ReplaceAll(module, "/", "_")
}

// Below gives the tree with all paths below a directory.
func (t Tree) Below(directory string) Tree {
	moved := make(Tree, len(t))
	for i := range t {
		moved[i] = t[i]
		moved[i].Path = directory + "/" + t[i].Path
	}
	return moved
}

// Sort brings entries into a tree's order.
func (t Tree) Sort() {
	slices.SortFunc(t, func(a, b pipeline.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
}
