package workspace_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/storage/workspace"
)

// plainGit keeps the settings of the user and the machine out of a test.
func plainGit(t *testing.T) {
	t.Helper()
	needGit(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
}

// repository makes a work tree with these files, of which some are tracked.
func repository(t *testing.T, files map[string]string, tracked ...string) string {
	t.Helper()
	plainGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	testutil.WriteFiles(t, dir, files)
	if len(tracked) > 0 {
		gitIn(t, dir, append([]string{"add", "-f"}, tracked...)...)
		gitIn(t, dir, "commit", "-q", "-m", "x")
	}

	return dir
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := snapshotFiles(t, dir, workspace.Options{}); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// fallsBack expects a snapshot by .gitignore files alone and a warning that holds
// these words.
func fallsBack(t *testing.T, dir, words string, want ...string) {
	t.Helper()
	tree, _, warned := takeSnapshot(t, dir, workspace.Options{})
	if got := paths(tree); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], words) || !strings.Contains(warned[0], dir) {
		t.Errorf("warnings %q, want one with %q", warned, words)
	}
}

func TestSnapshot_deletedTrackedFile(t *testing.T) {
	dir := repository(t, map[string]string{"a": "", "b/c": "", "b/d": "", "e/f": ""}, ".")
	if err := os.Remove(filepath.Join(dir, "b/c")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "e")); err != nil {
		t.Fatal(err)
	}
	testutil.WriteFiles(t, dir, map[string]string{"e": "now a file"})
	wantFiles(t, dir, "a", "b/d", "e")
}

// A submodule goes by its own rules and its own index.
func TestSnapshot_submodule(t *testing.T) {
	lib := repository(t, map[string]string{".gitignore": "*.o\n", "lib.o": "", "lib.c": ""}, ".")
	dir := repository(t, map[string]string{".gitignore": "*.c\n", "a": "", "b.c": ""}, ".")
	gitIn(t, dir, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib, "sub/lib")
	testutil.WriteFiles(t, dir, map[string]string{"sub/lib/other.o": "", "sub/lib/new": ""})
	wantFiles(t, dir, ".gitignore", ".gitmodules", "a", "b.c", "sub/lib/.gitignore", "sub/lib/lib.c", "sub/lib/lib.o", "sub/lib/new")

	// One that is not checked out is an empty directory.
	gitIn(t, dir, "commit", "-q", "-m", "submodule")
	bare := t.TempDir()
	gitIn(t, bare, "clone", "-q", dir, "clone")
	tree, _, warned := takeSnapshot(t, filepath.Join(bare, "clone"), workspace.Options{})
	if got, want := paths(tree), []string{".gitignore", ".gitmodules", "a", "b.c", "sub/lib"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q; warnings %q", got, want, warned)
	}
}

// The root may be given by a path that goes up, and through a link.
func TestSnapshot_rootAbove(t *testing.T) {
	dir := repository(t, map[string]string{".gitignore": "*.o\n", "ci/p.hcl": "", "a.o": "", "b": "", "ci/c.o": ""}, "b")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "ci"), link); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, filepath.Join(dir, "ci")+"/..", ".gitignore", "b", "ci/p.hcl")
	wantFiles(t, link, "p.hcl")
}

func TestSnapshot_namesOfAnyBytes(t *testing.T) {
	dir := repository(t, map[string]string{"bad\xff": "", "tab\there": "", `quote"back\slash`: "", "line\nbreak": "", "ü": ""}, "ü")
	tree, _, warned := takeSnapshot(t, dir, workspace.Options{})
	if got, want := paths(tree), []string{"line\nbreak", `quote"back\slash`, "tab\there", "ü"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "UTF-8") {
		t.Errorf("warnings %q", warned)
	}
}

// What git does not list: empty directories, pipes.
func TestSnapshot_emptyDirectories(t *testing.T) {
	dir := repository(t, map[string]string{".gitignore": "*.log\nignored/\n", "a": "", "logs/x.log": "", "ignored/f": "", "elsewhere/x.global": "", "deep/elsewhere/y.global": ""}, "a")
	testutil.WriteFiles(t, os.Getenv("HOME"), map[string]string{".gitconfig": "[core]\n\texcludesFile = ~/all\n", "all": "elsewhere\n*.global\n"})
	for _, d := range []string{"void", "ignored/void", "in/void"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"fifo", "fifo.log"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	tree, _, warned := takeSnapshot(t, dir, workspace.Options{})
	// "deep" holds nothing but what is ignored.
	if got, want := paths(tree), []string{".gitignore", "a", "deep", "in/void", "logs", "void"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], `"fifo"`) {
		t.Errorf("warnings %q, want one about the fifo", warned)
	}
}

// .pipelinedignore has the last word in a work tree as anywhere else.
func TestSnapshot_ownRulesInWorkTree(t *testing.T) {
	dir := repository(t, map[string]string{
		".gitignore": "*.o\ndist/\n/vendor/\n", ".pipelinedignore": "!keep.o\n!dist/\ndist/big\n/docs\n/tracked\n", "a.o": "", "keep.o": "", "dist/x": "", "dist/y.o": "", "dist/z.o": "",
		"dist/big": "", "docs/a": "", "sub/.pipelinedignore": "local\n!a.o\n", "sub/local": "", "sub/a.o": "", "vendor/v": "", "tracked": "", "only/keep.o": "", "vendor/t/u": ""}, "tracked", "dist/z.o", "vendor/t/u")
	wantFiles(t, dir, ".gitignore", ".pipelinedignore", "dist/x", "dist/z.o", "keep.o", "only/keep.o", "sub/.pipelinedignore", "sub/a.o", "vendor/t/u")
}

func TestSnapshot_withoutGit(t *testing.T) {
	dir := repository(t, map[string]string{".gitignore": "*.o\n", "a.o": "", "b": "", "sub/c.o": "", "sub/d": ""}, "a.o", "b")
	t.Setenv("PATH", t.TempDir())
	fallsBack(t, dir, "executable file not found", ".gitignore", "b", "sub/d")
	sub := filepath.Join(dir, "sub")
	tree, _, warned := takeSnapshot(t, sub, workspace.Options{})
	if got, want := paths(tree), []string{"d"}; !slices.Equal(got, want) || len(warned) != 1 {
		t.Errorf("below the top: got %q, want %q; warnings %q", got, want, warned)
	}
}

// git does not trust a repository of another user unless safe.directory says so.
func TestSnapshot_foreignRepository(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a repository to another user")
	}
	dir := repository(t, map[string]string{".gitignore": "*.o\n", "a.o": "", "b": ""}, "a.o", "b")
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error { return os.Lchown(path, 4242, 4242) })
	if err != nil {
		t.Fatal(err)
	}
	fallsBack(t, dir, "dubious ownership", ".gitignore", "b")

	testutil.WriteFiles(t, os.Getenv("HOME"), map[string]string{".gitconfig": "[safe]\n\tdirectory = *\n"})
	wantFiles(t, dir, ".gitignore", "a.o", "b")
}

// A bare repository is a directory like any other, wherever it lies.
func TestSnapshot_bareRepository(t *testing.T) {
	plainGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "--bare")
	tree, _, warned := takeSnapshot(t, dir, workspace.Options{})
	if tree.Find("HEAD") == nil || len(warned) > 0 {
		t.Errorf("got %q, warnings %q", paths(tree), warned)
	}

	outer := repository(t, map[string]string{"a": ""}, "a")
	gitIn(t, outer, "init", "-q", "--bare", "inner")
	tree, _, warned = takeSnapshot(t, filepath.Join(outer, "inner"), workspace.Options{})
	if tree.Find("HEAD") == nil || len(warned) != 1 || !strings.Contains(warned[0], "bare") {
		t.Errorf("in a work tree: got %q, warnings %q", paths(tree), warned)
	}
}

// A directory that only looks like a work tree, and one whose settings lead
// elsewhere.
func TestSnapshot_brokenRepository(t *testing.T) {
	dir := repository(t, map[string]string{".gitignore": "*.o\n", "a.o": "", "b": ""}, "b")
	index := filepath.Join(dir, ".git", "index")
	testutil.WriteFile(t, index, "no index", 0o644)
	fallsBack(t, dir, "index", ".gitignore", "b")

	if err := os.Remove(index); err != nil {
		t.Fatal(err)
	}
	gitIn(t, dir, "add", "-f", "a.o")
	gitIn(t, dir, "config", "core.worktree", t.TempDir())
	wantFiles(t, dir, ".gitignore", "a.o", "b")
}

// Nothing that a repository names is run, and nothing of a hook's environment is
// used.
func TestSnapshot_hostileRepository(t *testing.T) {
	dir := repository(t, map[string]string{"a": "", "b": "", "evil.sh": ""}, "a")
	mark := filepath.Join(t.TempDir(), "ran")
	evil := filepath.Join(dir, ".git", "evil.sh")
	testutil.WriteFile(t, evil, "#!/bin/sh\necho $0 $* >>"+mark+"\n", 0o755)
	for _, key := range []string{"core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass", "pager.ls-files", "alias.ls-files", "diff.external", "filter.x.clean", "filter.x.smudge",
		"filter.x.process", "uploadpack.packObjectsHook", "credential.helper"} {
		gitIn(t, dir, "config", key, evil)
	}
	gitIn(t, dir, "config", "core.hooksPath", filepath.Join(dir, ".git"))
	for _, hook := range []string{"post-index-change", "fsmonitor-watchman", "pre-commit"} {
		testutil.WriteFile(t, filepath.Join(dir, ".git", hook), "#!/bin/sh\necho hook >>"+mark+"\n", 0o755)
	}
	testutil.WriteFiles(t, dir, map[string]string{".gitattributes": "* filter=x diff=x\n"})
	index, err := os.Stat(filepath.Join(dir, ".git", "index"))
	if err != nil {
		t.Fatal(err)
	}

	other := repository(t, map[string]string{"x": ""}, "x")
	t.Setenv("GIT_DIR", filepath.Join(other, ".git"))
	t.Setenv("GIT_WORK_TREE", other)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(other, ".git", "index"))
	wantFiles(t, dir, ".gitattributes", "a", "b", "evil.sh")

	if text, err := os.ReadFile(mark); err == nil {
		t.Errorf("a program of the repository ran: %s", text)
	}
	if now, err := os.Stat(filepath.Join(dir, ".git", "index")); err != nil || !os.SameFile(index, now) || now.ModTime() != index.ModTime() {
		t.Errorf("the index was written: %v", err)
	}
}

// fakeGit puts a git in front of the real one and returns a file that gets a line
// each time it is started.
func fakeGit(t *testing.T, script string) (starts string) {
	t.Helper()
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	starts = filepath.Join(bin, "starts")
	testutil.WriteFile(t, filepath.Join(bin, "git"), fmt.Sprintf("#!/bin/sh\necho >>%s\nreal=%s\n%s\n", starts, real, script), 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	return starts
}

// A snapshot starts git once, and not at all outside of a work tree.
func TestSnapshot_startsGitOnce(t *testing.T) {
	files := map[string]string{".gitignore": "*.o\n"}
	for i := range 200 {
		files[fmt.Sprintf("d%d/e%d/f.o", i%9, i)] = ""
		files[fmt.Sprintf("d%d/e%d/.gitignore", i%9, i)] = "*.x\n"
	}
	dir := repository(t, files, "d1/e1/f.o")
	starts := fakeGit(t, `exec "$real" "$@"`)
	for _, root := range []string{dir, filepath.Join(dir, "d1", "e1")} {
		if got := snapshotFiles(t, root, workspace.Options{}); !slices.ContainsFunc(got, func(p string) bool { return strings.HasSuffix(p, "f.o") }) {
			t.Errorf("%s: the tracked file is left out: %q", root, got)
		}
		if text, err := os.ReadFile(starts); err != nil || len(text) != 1 {
			t.Errorf("%s: git was started %d times, %v", root, len(text), err)
		}
		os.Remove(starts)
	}

	snapshotFiles(t, t.TempDir(), workspace.Options{})
	if _, err := os.Stat(starts); err == nil {
		t.Error("git was started outside of a work tree")
	}
}

// A git that fails, or prints what is no listing, counts for nothing.
func TestSnapshot_oddGit(t *testing.T) {
	dir := repository(t, map[string]string{".gitignore": "*.o\n", "a.o": "", "b": ""}, "a.o", "b")
	path := os.Getenv("PATH")
	for words, script := range map[string]string{
		"no such thing":    `printf 'b\0'; echo 'fatal: no such thing' >&2; exit 128`,
		"exit status 3":    `exit 3`,
		"ends too early":   `printf 'a.o\0b'`,
		"signal: killed":   `kill -9 $$`,
		"broken hint line": `printf 'fatal: broken hint line\nhint: more\n' >&2; exit 1`,
	} {
		fakeGit(t, script)
		fallsBack(t, dir, words, ".gitignore", "b")
		t.Setenv("PATH", path)
	}
}
