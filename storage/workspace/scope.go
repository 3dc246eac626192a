package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names of the files that say what is left out of a workspace.
const (
	gitIgnoreFile = ".gitignore"
	ownIgnoreFile = ".pipelinedignore"
	gitName       = ".git"
)

// maxIgnoreBytes bounds a file of ignore rules.
const maxIgnoreBytes = 1 << 20

// mode is what decides about the names in a directory, besides .pipelinedignore.
type mode int

const (
	// byRules: the rules of .gitignore files. There is no work tree, or git does
	// not list it, or .pipelinedignore takes in what git ignores.
	byRules mode = iota
	// byList: what git lists belongs to the workspace.
	byList
	// listedOnly: git ignores the directory as a whole, so that only what it
	// tracks there all the same belongs to the workspace; no empty directories.
	listedOnly
)

// workTree is the work tree of git that a part of a workspace belongs to. The
// zero value is none.
type workTree struct {
	// below is the workspace's path in the work tree, above the work tree's in the
	// workspace. One of them is "".
	below, above string
	// files is nil if git does not list them; paths are relative to the workspace,
	// or to above.
	files listing
}

// path is what a path in the workspace is in the work tree.
func (t *workTree) path(rel string) string {
	switch {
	case t.above != "" && rel == t.above:
		return ""
	case t.above != "":
		return rel[len(t.above)+1:]
	case rel == "":
		return t.below
	}

	return joinPath(t.below, rel)
}

func (t *workTree) lists(rel string) bool {
	if t.above != "" {
		rel = t.path(rel)
	}
	_, ok := t.files[rel]

	return ok
}

// scope is a directory of the workspace and what decides about the names in it.
type scope struct {
	// rel is the directory's path in the workspace, "" for the workspace itself.
	rel  string
	mode mode
	tree *workTree
	// git holds the rules of .gitignore files, for paths in the work tree; own
	// those of .pipelinedignore files, for paths in the workspace. What own says is
	// final, tracked or not.
	git, own *ignoreList
}

// ignored reports whether .gitignore files name a path.
func (s *scope) ignored(rel string, isDir bool) bool {
	ignored, _ := s.git.decide(s.tree.path(rel), isDir)

	return ignored
}

// leavesOut reports whether a name in the directory is no part of the workspace;
// below is the mode for what is below it.
func (s *scope) leavesOut(rel string, kind fs.FileMode) (out bool, below mode) {
	isDir := kind.IsDir()
	if ignored, known := s.own.decide(rel, isDir); known {
		return ignored, byRules // "!dist/" takes in what git ignores
	}

	switch {
	case s.tree.lists(rel):
		if isDir && s.mode == byList && s.ignored(rel, true) {
			return false, listedOnly
		}

		return false, s.mode
	case s.mode == listedOnly:
		return true, listedOnly
	case s.mode == byList && (kind.IsRegular() || kind == fs.ModeSymlink):
		return true, byList
	}

	// git lists neither empty directories nor special files, of which a warning
	// tells; without a listing, everything is decided here.
	return s.ignored(rel, isDir), s.mode
}

// keepsEmpty reports whether the directory, of whose names none belongs to the
// workspace, does so itself. If git ignores a file in it that no known rule names
// (core.excludesFile, info/exclude), the directory may be ignored as a whole.
func (s *scope) keepsEmpty(names []fs.DirEntry) bool {
	if s.mode != byList || s.tree.lists(s.rel) {
		return s.mode != listedOnly
	}
	for _, n := range names {
		rel := joinPath(s.rel, n.Name())
		if _, known := s.own.decide(rel, false); !known && n.Type().IsRegular() && !s.ignored(rel, false) {
			return false
		}
	}

	return true
}

// openScope returns what decides above the workspace: it looks for the work tree
// that the workspace lies in and reads the rules from there down. The text is a
// warning, "" for none.
func openScope(ctx context.Context, root string) (*scope, string, error) {
	s := &scope{tree: &workTree{}}
	top := findTop(root)
	if top == "" || top == root {
		// A work tree that begins here is found when the directory is entered.
		return s, "", nil
	}

	below, err := filepath.Rel(top, root)
	if err != nil {
		return nil, "", fmt.Errorf("find work tree of %s: %w", root, err)
	}
	below = filepath.ToSlash(below)
	warning := s.useTree(ctx, &workTree{below: below}, root, top)
	if len(s.tree.files) == 0 {
		// git lists nothing: see below.
		s.mode, s.tree.files = byRules, nil
	}

	at := ""
	for name := range strings.SplitSeq(below, "/") {
		rules, err := readIgnore(filepath.Join(top, filepath.FromSlash(at), gitIgnoreFile), at)
		if err != nil {
			return nil, "", err
		}
		s.git = s.git.with(rules)

		at = joinPath(at, name)
		ignored, _ := s.git.decide(at, true)
		switch {
		case ignored && s.mode == byRules:
			// The workspace is the content of an ignored directory: what ignores the
			// directory as a whole cannot be meant for it.
			s.git = nil
		case ignored:
			s.mode = listedOnly
		}
	}

	return s, warning, nil
}

// useTree enters a work tree, of which dir is the part that belongs to the
// workspace.
func (s *scope) useTree(ctx context.Context, tree *workTree, dir, top string) (warning string) {
	files, err := listFiles(ctx, dir, top)
	if err != nil {
		warning = fmt.Sprintf("git does not list the files of %s (%v): what .gitignore files name is left out even if git tracks it", top, err)
		files = nil
	}
	tree.files = files
	s.tree, s.git, s.mode = tree, nil, byList
	if files == nil {
		s.mode = byRules
	}

	return warning
}

// enter returns the scope of a directory below, whose names are known: with the
// rules it holds, and with its work tree if one begins in it.
func (s *scope) enter(ctx context.Context, root, rel string, m mode, names []fs.DirEntry) (*scope, string, error) {
	sub := *s
	sub.rel, sub.mode = rel, m
	dir, warning := filepath.Join(root, filepath.FromSlash(rel)), ""

	var hasGit, hasGitIgnore, hasOwn bool
	for _, n := range names {
		switch n.Name() {
		case gitName:
			hasGit = true
		case gitIgnoreFile:
			hasGitIgnore = n.Type().IsRegular()
		case ownIgnoreFile:
			hasOwn = n.Type().IsRegular()
		}
	}

	if hasGit && isTop(dir) {
		warning = sub.useTree(ctx, &workTree{above: rel}, dir, dir)
	}
	if hasGitIgnore {
		rules, err := readIgnore(filepath.Join(dir, gitIgnoreFile), sub.tree.path(rel))
		if err != nil {
			return nil, "", err
		}
		sub.git = sub.git.with(rules)
	}
	if hasOwn {
		rules, err := readIgnore(filepath.Join(dir, ownIgnoreFile), rel)
		if err != nil {
			return nil, "", err
		}
		sub.own = sub.own.with(rules)
	}

	return &sub, warning, nil
}

// readIgnore reads a file of rules; one that is not there has none.
func readIgnore(path, base string) ([]ignoreRule, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	defer f.Close()

	text, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	if len(text) > maxIgnoreBytes {
		return nil, fmt.Errorf("read ignore rules: %s is longer than %d bytes", path, maxIgnoreBytes)
	}

	return parseIgnore(text, base), nil
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}

	return dir + "/" + name
}
