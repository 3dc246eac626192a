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

// Filter gives the entries that a glob matches: the entry itself or a directory
// above it. A glob that ValidGlob refuses matches nothing.
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

// Filter matches paths in the order of a tree against globs.
type Filter struct {
	globs []glob
	// directory was looked at last, and was matched or not.
	directory string
	matched   bool
}

type glob struct {
	text string
	// fixed is the part before the first character with a meaning: a path that
	// does not begin with it cannot match, which settles nearly all of them.
	fixed string
	all   bool // "**"
}

// NewFilter makes one; a glob that ValidGlob refuses matches nothing.
func NewFilter(globs []string) *Filter {
	f := &Filter{}
	for _, text := range globs {
		if text = CleanGlob(text); text == "" || text == "." {
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

// Matches reports whether a glob matches the path or a directory above it. The
// paths come in the order of a tree.
func (f *Filter) Matches(path string) bool {
	return f.directoryMatches(Parent(path)) || f.one(path)
}

// directoryMatches reports whether a directory or one above it is matched.
func (f *Filter) directoryMatches(dir string) bool {
	if dir == "" {
		return false
	}
	if dir != f.directory {
		matched := f.directoryMatches(Parent(dir)) || f.one(dir)
		f.directory, f.matched = dir, matched
	}
	return f.matched
}

func (f *Filter) one(path string) bool {
	for i := range f.globs {
		g := &f.globs[i]
		if g.all || strings.HasPrefix(path, g.fixed) && doublestar.MatchUnvalidated(g.text, path) {
			return true
		}
	}
	return false
}
