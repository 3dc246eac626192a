package storage

import "io/fs"

// The names of this file are for storage/workspace, until trees are a package of
// their own.

// CheckPath returns what is wrong with a path of a tree; "" for nothing.
func CheckPath(path string) string { return checkPath(path) }

// CheckLink returns what is wrong with the target of a link at path; "" for
// nothing.
func CheckLink(path, target string) string { return checkLink(path, target) }

// Sort brings entries into a tree's order.
func (t Tree) Sort() { sortTree(t) }

// Globs matches paths, in the order of a tree, against globs.
type Globs struct{ filter *filter }

// NewGlobs takes globs as ValidGlob allows them; others match nothing.
func NewGlobs(globs []string) Globs { return Globs{newFilter(globs)} }

// Match reports whether a glob matches a path or a directory above it.
func (g Globs) Match(path string) bool { return g.filter.matches(path) }

// Collect returns a batch if into is a store, with the functions that commit and
// discard it; otherwise into itself, which the caller commits.
var Collect = collect

// TypeName names what is neither file, directory nor link.
func TypeName(t fs.FileMode) string { return kindOf(t) }
