package storage

import (
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

// folder is where a walk through a workspace stands: a folder and what decides
// about the names in it.
type folder struct {
	// rel is the folder's path in the workspace, "" for the workspace itself.
	rel  string
	repo *gitRepo
	// git holds the rules of .gitignore files, for paths in the repository; own
	// those of .pipelinedignore files, for paths in the workspace. Where own
	// says something it is final, tracked or not.
	git, own *ignoreList
	// trackedOnly is set inside of a folder that git ignores: only what is
	// tracked all the same belongs to the workspace.
	trackedOnly bool
}

// gitRepo is the repository that a part of a workspace belongs to.
type gitRepo struct {
	// A path in the workspace becomes one in the repository: below is where the
	// workspace lies in it, above where it lies in the workspace. One is "".
	below, above string
	// tracked holds all paths in the index and the folders above them.
	tracked map[string]struct{}
}

func (r *gitRepo) path(rel string) string {
	switch {
	case r == nil:
		return rel
	case r.above != "":
		return rel[len(r.above)+1:]
	case r.below != "":
		return r.below + "/" + rel
	}
	return rel
}

// base is a folder's path in the repository, "" for the repository itself.
func (r *gitRepo) base(rel string) string {
	switch {
	case r == nil:
		return rel
	case rel == r.above:
		return r.below
	}
	return r.path(rel)
}

func (r *gitRepo) tracks(path string) bool {
	if r == nil {
		return false
	}
	_, ok := r.tracked[path]
	return ok
}

// leavesOut reports whether a name in the folder is no part of the workspace;
// inside tells how to go on below it if it is a folder.
func (f *folder) leavesOut(rel string, isDir bool) (out, trackedOnly bool) {
	if ignored, known := f.own.decide(rel, isDir); known {
		// "!dist/" takes in what git ignores.
		return ignored, false
	}
	path := f.repo.path(rel)
	if f.trackedOnly {
		return !f.repo.tracks(path), true
	}
	if ignored, _ := f.git.decide(path, isDir); ignored {
		return !f.repo.tracks(path), true
	}
	return false, false
}

// openWorkspace gives the folder to start from: it looks for the repository
// that the workspace lies in and takes the rules from there down.
func openWorkspace(root string) (*folder, string, error) {
	f := &folder{}
	top, gitDir := findRepo(root)
	if top == "" || top == root {
		// A repository that begins here is found when the folder is entered.
		return f, "", nil
	}
	below, err := filepath.Rel(top, root)
	if err != nil {
		return nil, "", fmt.Errorf("find repository of %s: %w", root, err)
	}
	below = filepath.ToSlash(below)
	warning := f.useRepo(&gitRepo{below: below}, gitDir)
	at := ""
	for name := range strings.SplitSeq(below, "/") {
		rules, err := readIgnore(filepath.Join(top, filepath.FromSlash(at), gitIgnoreFile), at)
		if err != nil {
			return nil, "", err
		}
		f.git = f.git.with(rules)
		at = joinPath(at, name)
		if ignored, _ := f.git.decide(at, true); ignored && !f.repo.tracks(at) {
			// Somebody wants the content of an ignored folder: what ignores the
			// folder as a whole cannot be meant for them.
			f.git = nil
		}
	}
	return f, warning, nil
}

// useRepo enters a repository. The text is a warning, "" for none.
func (f *folder) useRepo(r *gitRepo, gitDir string) (warning string) {
	tracked, err := readTracked(gitDir)
	if err != nil {
		warning = fmt.Sprintf("cannot tell which files git tracks (%v): those that .gitignore names are left out even if tracked", err)
	}
	r.tracked = tracked
	f.repo, f.git, f.trackedOnly = r, nil, false
	common := gitDir
	if text, err := os.ReadFile(filepath.Join(gitDir, "commondir")); err == nil {
		if common = strings.TrimSpace(string(text)); !filepath.IsAbs(common) {
			common = filepath.Join(gitDir, common)
		}
	}
	if rules, err := readIgnore(filepath.Join(common, "info", "exclude"), ""); err == nil {
		f.git = f.git.with(rules)
	}
	return warning
}

// enter gives the state for a folder of the workspace, whose names are known:
// with the rules it holds, and with its repository if one begins in it.
func (f *folder) enter(root, rel string, trackedOnly bool, names []fs.DirEntry) (*folder, string, error) {
	sub := *f
	sub.rel, sub.trackedOnly = rel, trackedOnly
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
	if hasGit {
		if gitDir := gitDirOf(dir); gitDir != "" {
			warning = sub.useRepo(&gitRepo{above: rel}, gitDir)
		}
	}
	if hasGitIgnore {
		rules, err := readIgnore(filepath.Join(dir, gitIgnoreFile), sub.repo.base(rel))
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

// findRepo gives the nearest folder at or above dir that is a repository's, and
// its git folder.
func findRepo(dir string) (top, gitDir string) {
	for {
		if g := gitDirOf(dir); g != "" {
			return dir, g
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", ""
		}
		dir = up
	}
}

// gitDirOf gives the git folder of a working copy; "" where dir is none. In
// worktrees and submodules .git is a file that names it.
func gitDirOf(dir string) string {
	path := filepath.Join(dir, gitName)
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if info.Mode().IsRegular() && info.Size() < 64<<10 {
		text, err := os.ReadFile(path)
		target, ok := strings.CutPrefix(string(text), "gitdir:")
		if err != nil || !ok {
			return ""
		}
		if path = strings.TrimSpace(target); !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
	}
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err != nil {
		return ""
	}
	return path
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
