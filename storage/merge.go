package storage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipelined/pipelined/pipeline"
)

// NamedTree is a tree with the name of the module that left it.
type NamedTree struct {
	Name string
	Tree Tree
}

// Merge lays overlays over a base, which they replace where paths meet: a file
// takes the place of a folder with all in it, and the other way round. Two
// overlays with different content at one path, or a file where the other has a
// folder, are an error of kind pipeline.Invalid that names both. The same
// content from both is fine; the file may then do what it may in either.
func Merge(base Tree, overlays ...NamedTree) (Tree, error) {
	n := 0
	for i := range overlays {
		n += len(overlays[i].Tree)
	}
	if n == 0 {
		return base, nil
	}
	m := merger{owner: make(map[string]string, n), folders: map[string]string{}, at: make(map[string]int, n)}
	for i := range overlays {
		for j := range overlays[i].Tree {
			m.add(overlays[i].Name, overlays[i].Tree[j])
		}
	}
	// Not earlier: whether a path is a folder in some overlay is known only now.
	all := m.out[:0:0]
	for _, e := range m.out {
		if name, ok := m.folders[e.Path]; ok {
			if e.Dir {
				continue // empty in one, not in the other
			}
			m.clash(e.Path, m.owner[e.Path], name)
		}
		all = append(all, e)
	}
	if len(m.clashes) > 0 {
		return nil, m.err()
	}
	filled := map[string]struct{}{} // empty in an overlay, but not in the base
	for i := range base {
		if m.covers(&base[i]) {
			continue
		}
		all = append(all, base[i])
		for dir := parent(base[i].Path); dir != ""; dir = parent(dir) {
			if _, ok := m.at[dir]; ok {
				filled[dir] = struct{}{}
			}
		}
	}
	if len(filled) > 0 {
		all = slices.DeleteFunc(all, func(e pipeline.TreeEntry) bool { _, ok := filled[e.Path]; return ok })
	}
	sortTree(all)
	if len(all) > MaxTreeEntries {
		return nil, pipeline.Errorf(pipeline.TooLarge, "merge trees: more than %d entries", MaxTreeEntries)
	}
	return all, nil
}

type merger struct {
	out     Tree
	at      map[string]int    // path -> index in out
	owner   map[string]string // path -> overlay
	folders map[string]string // every folder above a path -> an overlay with it
	clashes []string
}

func (m *merger) add(name string, e pipeline.TreeEntry) {
	for dir := parent(e.Path); dir != ""; dir = parent(dir) {
		if _, ok := m.folders[dir]; ok {
			break
		}
		m.folders[dir] = name
	}
	i, ok := m.at[e.Path]
	if !ok {
		m.at[e.Path] = len(m.out)
		m.owner[e.Path] = name
		m.out = append(m.out, e)
		return
	}
	if o := &m.out[i]; o.Digest != e.Digest || o.Link != e.Link || o.Dir != e.Dir {
		m.clash(e.Path, m.owner[e.Path], name)
	} else {
		o.Mode |= e.Mode
	}
}

func (m *merger) clash(path, a, b string) {
	m.clashes = append(m.clashes, fmt.Sprintf("%q comes from both %q and %q with different content", path, a, b))
}

func (m *merger) err() error {
	const few = 5
	shown, more := m.clashes, ""
	if len(shown) > few {
		shown, more = shown[:few], fmt.Sprintf("; and %d more", len(m.clashes)-few)
	}
	return pipeline.Errorf(pipeline.Invalid, "outputs of dependencies clash: %s%s: write them to different paths, or set layout = \"by-module\"", strings.Join(shown, "; "), more)
}

// covers reports whether an overlay has something at, above or below an entry
// of the base.
func (m *merger) covers(e *pipeline.TreeEntry) bool {
	if _, ok := m.at[e.Path]; ok {
		return true
	}
	if _, ok := m.folders[e.Path]; ok {
		return true
	}
	for dir := parent(e.Path); dir != ""; dir = parent(dir) {
		if i, ok := m.at[dir]; ok && !m.out[i].Dir {
			return true
		}
	}
	return false
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// ValidGlob checks a glob as the language allows it in inputs and outputs:
// relative, inside the folder, "*", "**", "?", "[…]" and "{a,b}".
func ValidGlob(glob string) error {
	switch {
	case glob == "":
		return fmt.Errorf("glob is empty: name a path, or \"**\" for all")
	case !doublestar.ValidatePattern(glob):
		return fmt.Errorf("glob %q: a bracket or a brace does not end, or a \"\\\" stands last", glob)
	case strings.HasPrefix(glob, "/"):
		return fmt.Errorf("glob %q: want a path relative to the folder", glob)
	}
	for name := range strings.SplitSeq(glob, "/") {
		if name == ".." {
			return fmt.Errorf("glob %q: want a path inside the folder, without \"..\"", glob)
		}
	}
	return nil
}

// cleanGlob removes what has no meaning: "./" at the start, "/" at the end.
func cleanGlob(glob string) string {
	for strings.HasPrefix(glob, "./") {
		glob = strings.TrimLeft(glob[2:], "/")
	}
	return strings.TrimRight(glob, "/")
}

// Filter gives the entries that a glob matches: the entry itself or a folder
// above it. A glob that ValidGlob refuses matches nothing.
func (t Tree) Filter(globs []string) Tree {
	f := newFilter(globs)
	var kept Tree
	for i := range t {
		if f.matches(t[i].Path) {
			kept = append(kept, t[i])
		}
	}
	return kept
}

// filter matches paths in the order of a tree against globs.
type filter struct {
	globs []glob
	// folder was looked at last, and was matched or not.
	folder  string
	matched bool
}

type glob struct {
	text string
	// fixed is the part before the first character with a meaning: a path that
	// does not begin with it cannot match, which settles nearly all of them.
	fixed string
	all   bool // "**"
}

func newFilter(globs []string) *filter {
	f := &filter{}
	for _, text := range globs {
		if text = cleanGlob(text); text == "" || text == "." {
			f.globs = append(f.globs, glob{all: true})
			continue
		}
		if ValidGlob(text) != nil {
			continue
		}
		fixed := text
		if i := strings.IndexAny(text, `*?[{\`); i >= 0 {
			fixed = text[:i]
		}
		// "cmd/**" matches "cmd" itself.
		f.globs = append(f.globs, glob{text: text, fixed: strings.TrimSuffix(fixed, "/"), all: text == "**"})
	}
	return f
}

func (f *filter) matches(path string) bool {
	return f.folderMatches(parent(path)) || f.one(path)
}

// folderMatches reports whether a folder or one above it is matched.
func (f *filter) folderMatches(dir string) bool {
	if dir == "" {
		return false
	}
	if dir != f.folder {
		matched := f.folderMatches(parent(dir)) || f.one(dir)
		f.folder, f.matched = dir, matched
	}
	return f.matched
}

func (f *filter) one(path string) bool {
	for i := range f.globs {
		g := &f.globs[i]
		if g.all || strings.HasPrefix(path, g.fixed) && doublestar.MatchUnvalidated(g.text, path) {
			return true
		}
	}
	return false
}
