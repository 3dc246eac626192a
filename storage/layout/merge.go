package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// Named is a tree with the name of the module that left it.
type Named struct {
	Name string
	Tree tree.Tree
}

// Merge lays overlays over a base, which they replace where paths meet: a file
// takes the place of a directory with all in it, and the other way round. Two
// overlays with different content at one path, or a file where the other has a
// directory, are an error of kind pipeline.Invalid that names both. The same
// content from both is fine; the file may then do what it may in either.
func Merge(base tree.Tree, overlays ...Named) (tree.Tree, error) {
	n := 0
	for i := range overlays {
		n += len(overlays[i].Tree)
	}
	if n == 0 {
		return base, nil
	}
	m := merger{owner: make(map[string]string, n), directories: map[string]string{}, at: make(map[string]int, n)}
	for i := range overlays {
		for j := range overlays[i].Tree {
			m.add(overlays[i].Name, overlays[i].Tree[j])
		}
	}
	// Not earlier: whether a path is a directory in some overlay is known only now.
	all := m.out[:0:0]
	for _, e := range m.out {
		if name, ok := m.directories[e.Path]; ok {
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
		for dir := tree.Parent(base[i].Path); dir != ""; dir = tree.Parent(dir) {
			if _, ok := m.at[dir]; ok {
				filled[dir] = struct{}{}
			}
		}
	}
	if len(filled) > 0 {
		all = slices.DeleteFunc(all, func(e pipeline.TreeEntry) bool { _, ok := filled[e.Path]; return ok })
	}
	all.Sort()
	if len(all) > tree.MaxEntries {
		return nil, pipeline.Errorf(pipeline.TooLarge, "merge trees: more than %d entries", tree.MaxEntries)
	}
	return all, nil
}

type merger struct {
	out         tree.Tree
	at          map[string]int    // path -> index in out
	owner       map[string]string // path -> overlay
	directories map[string]string // every directory above a path -> an overlay with it
	clashes     []string
}

func (m *merger) add(name string, e pipeline.TreeEntry) {
	for dir := tree.Parent(e.Path); dir != ""; dir = tree.Parent(dir) {
		if _, ok := m.directories[dir]; ok {
			break
		}
		m.directories[dir] = name
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
	if _, ok := m.directories[e.Path]; ok {
		return true
	}
	for dir := tree.Parent(e.Path); dir != ""; dir = tree.Parent(dir) {
		if i, ok := m.at[dir]; ok && !m.out[i].Dir {
			return true
		}
	}
	return false
}
