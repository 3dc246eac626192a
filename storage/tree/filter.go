package tree

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Parent gives the directory of a path; "" at the top.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// ValidGlob checks a glob as the language allows it in inputs and outputs:
// relative, inside the directory, "*", "**", "?", "[…]" and "{a,b}".
func ValidGlob(glob string) error {
	switch {
	case glob == "":
		return fmt.Errorf("glob is empty: name a path, or \"**\" for all")
	case !doublestar.ValidatePattern(glob):
		return fmt.Errorf("glob %q: a bracket or a brace does not end, or a \"\\\" stands last", glob)
	case strings.HasPrefix(glob, "/"):
		return fmt.Errorf("glob %q: expected a path relative to the directory", glob)
	}
	for name := range strings.SplitSeq(glob, "/") {
		if name == ".." {
			return fmt.Errorf("glob %q: expected a path inside the directory, without \"..\"", glob)
		}
	}
	return nil
}

// CleanGlob removes what has no meaning: "./" at the start, "/" at the end.
func CleanGlob(glob string) string {
	for strings.HasPrefix(glob, "./") {
		glob = strings.TrimLeft(glob[2:], "/")
	}
	return strings.TrimRight(glob, "/")
}

// Negated reports whether a glob of a list takes away what those before it took: it
// begins with "!". rest is what it matches.
func Negated(glob string) (rest string, negated bool) { return strings.CutPrefix(glob, "!") }

// Filter gives the entries that the globs take: see Filter.Matches.
func (t Tree) Filter(globs []string) Tree {
	f := NewFilter(globs)
	var kept Tree
	for i := range t {
		if f.Matches(t[i].Path) {
			kept = append(kept, t[i])
		}
	}
	return kept
}

// Filter matches paths in the order of a tree against globs, the last of which that
// matches decides.
type Filter struct {
	globs []glob
	// directory was looked at last, and last is the index of the last glob that
	// matched it or a directory above it.
	directory string
	last      int
}

type glob struct {
	text string
	// negated: what it matches is taken away.
	negated bool
	// fixed is the part before the first character with a meaning: a path that
	// does not begin with it cannot match, which settles nearly all of them.
	fixed string
	all   bool // "**"
}

// NewFilter makes one; a glob that ValidGlob refuses matches nothing.
func NewFilter(globs []string) *Filter {
	f := &Filter{}
	for _, text := range globs {
		text, negated := Negated(text)
		if text = CleanGlob(text); text == "" || text == "." {
			f.globs = append(f.globs, glob{all: true, negated: negated})
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
		f.globs = append(f.globs, glob{text: text, negated: negated, fixed: strings.TrimSuffix(fixed, "/"), all: text == "**"})
	}
	return f
}

// Matches reports whether the globs take a path: whether the last one that matches it, or
// a directory above it, is not negated. Paths are quickest in the order of a tree.
func (f *Filter) Matches(path string) bool {
	i := f.lastOf(path, f.lastOfDirectory(Parent(path)))
	return i >= 0 && !f.globs[i].negated
}

// MayTakeBack reports whether the globs may decide otherwise about a path in a directory
// than about the directory: a caller that leaves out a directory may then not leave out
// all that is in it.
func (f *Filter) MayTakeBack(dir string) bool {
	for i := f.lastOf(dir, f.lastOfDirectory(Parent(dir))) + 1; i < len(f.globs); i++ {
		if g := &f.globs[i]; g.negated && (strings.HasPrefix(g.fixed, dir+"/") || strings.HasPrefix(dir+"/", g.fixed)) {
			return true
		}
	}
	return false
}

// lastOfDirectory is the index of the last glob that matches a directory or one above
// it; -1 if none does.
func (f *Filter) lastOfDirectory(dir string) int {
	if dir == "" {
		return -1
	}
	if dir != f.directory {
		last := f.lastOf(dir, f.lastOfDirectory(Parent(dir)))
		f.directory, f.last = dir, last
	}
	return f.last
}

// lastOf is the index of the last glob beyond that matches a path itself; beyond if none
// does.
func (f *Filter) lastOf(path string, beyond int) int {
	for i := len(f.globs) - 1; i > beyond; i-- {
		g := &f.globs[i]
		if g.all || strings.HasPrefix(path, g.fixed) && doublestar.MatchUnvalidated(g.text, path) {
			return i
		}
	}
	return beyond
}
