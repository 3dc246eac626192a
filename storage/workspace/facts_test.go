package workspace_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/workspace"
)

func factsOf(t *testing.T, dir string) pipeline.Git {
	t.Helper()
	facts, err := workspace.GitFacts(t.Context(), dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}

	return facts
}

func TestGitFacts(t *testing.T) {
	if got := factsOf(t, t.TempDir()); got != (pipeline.Git{}) {
		t.Errorf("outside a repository: %+v", got)
	}

	dir := repository(t, nil)
	gitIn(t, dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
	if got := factsOf(t, dir); got != (pipeline.Git{Branch: "trunk"}) {
		t.Errorf("before a commit: %+v", got)
	}

	testutil.WriteFiles(t, dir, map[string]string{"a/b": "1"})
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "one")
	clean := factsOf(t, filepath.Join(dir, "a"))
	if len(clean.SHA) < 40 || clean.Branch != "trunk" || clean.Dirty || clean.Tag != "" {
		t.Errorf("%+v", clean)
	}

	gitIn(t, dir, "tag", "v1")
	testutil.WriteFiles(t, dir, map[string]string{"b": "2"})
	gitIn(t, dir, "checkout", "-q", "--detach")
	want := pipeline.Git{SHA: clean.SHA, Tag: "v1", Dirty: true}
	if diff := cmp.Diff(want, factsOf(t, dir)); diff != "" {
		t.Error(diff)
	}

	// A hook of git that runs us names its own repository.
	t.Setenv("GIT_DIR", filepath.Join(t.TempDir(), "other"))
	if diff := cmp.Diff(want, factsOf(t, dir)); diff != "" {
		t.Error(diff)
	}

	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := workspace.GitFacts(done, dir, os.Environ()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What git refuses is an error that names the repository and what helps.
func TestGitFacts_refused(t *testing.T) {
	dir := repository(t, map[string]string{"a": ""}, ".")
	testutil.WriteFiles(t, dir, map[string]string{".git/config": "[core]\n\trepositoryformatversion = 99\n"})
	_, err := workspace.GitFacts(t.Context(), dir, os.Environ())
	var refused *workspace.GitError
	if !errors.As(err, &refused) || refused.Top != dir || !strings.Contains(err.Error(), "version") {
		t.Errorf("another format: %v", err)
	}

	if os.Getuid() != 0 {
		t.Skip("needs root, to give a directory to another user")
	}

	foreign := repository(t, map[string]string{"a": ""}, ".")
	if err := os.Chown(foreign, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err = workspace.GitFacts(t.Context(), foreign, os.Environ())
	if !errors.As(err, &refused) || !strings.Contains(refused.Advice(), "safe.directory "+foreign) {
		t.Errorf("another owner: %v", err)
	}
}

// TestGit_runsNothing has a repository whose configuration names a program in every
// way that git has for it. None may run, neither for the facts nor for the listing.
func TestGit_runsNothing(t *testing.T) {
	lib := repository(t, map[string]string{"c": "1"}, ".")
	dir := repository(t, map[string]string{"a": "1", ".gitattributes": "* filter=x\nb filter=y\n", "b": "1"}, ".")
	gitIn(t, dir, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib, "sub")
	gitIn(t, dir, "commit", "-q", "-m", "two")

	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "program")
	testutil.WriteFiles(t, filepath.Dir(program), map[string]string{"program": "#!/bin/sh\necho \"$0 $*\" >> " + ran + "\ncat\n"})
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"post-index-change", "post-checkout", "fsmonitor-watchman"} {
		if err := os.Symlink(program, filepath.Join(dir, ".git/hooks", hook)); err != nil {
			t.Fatal(err)
		}
	}

	// An included file is a part of the configuration.
	testutil.WriteFiles(t, dir, map[string]string{".git/more": "[filter \"y\"]\n\tprocess = " + program + " process\n\trequired\n"})
	for _, at := range []string{dir, filepath.Join(dir, "sub")} {
		for name, value := range map[string]string{"core.fsmonitor": program, "core.pager": program, "pager.status": program, "core.sshCommand": program,
			"diff.external": program, "filter.x.clean": program, "filter.x.required": "true", "core.editor": program, "core.askPass": program,
			"credential.helper": program, "gpg.program": program, "alias.status": "!" + program, "status.submoduleSummary": "true"} {
			gitIn(t, at, "config", name, value)
		}
	}
	gitIn(t, dir, "config", "include.path", "more")
	// What is switched off here is not in the submodule, if it has another name.
	gitIn(t, filepath.Join(dir, "sub"), "config", "filter.z.clean", program)

	// The contents must be compared: same size, another time.
	testutil.WriteFiles(t, dir, map[string]string{"a": "2", "b": "2", "sub/c": "2", "sub/.gitattributes": "* filter=z\n"})
	if got := factsOf(t, dir); !got.Dirty || got.SHA == "" {
		t.Errorf("%+v", got)
	}
	snapshotFiles(t, dir, workspace.Options{})
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("programs of the repository ran:\n%s", text)
	}
}

// Filters of the user are theirs: without them the files look changed. A repository
// cannot put another program in their place.
func TestGitFacts_filtersOfTheUser(t *testing.T) {
	dir := repository(t, map[string]string{".gitattributes": "*.up filter=up\n", "a.up": "abc"})
	home := os.Getenv("HOME")
	testutil.WriteFiles(t, home, map[string]string{".gitconfig": "[filter \"up\"]\n\tclean = tr a-z A-Z\n\trequired = true\n[user]\n\tname = a\n\temail = a@b\n"})
	testutil.WriteFiles(t, dir, map[string]string{"x": ""})
	gitIn(t, dir, "-c", "filter.up.clean=tr a-z A-Z", "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "one")

	testutil.WriteFiles(t, dir, map[string]string{"a.up": "abc"}) // another time
	if got := factsOf(t, dir); got.Dirty {
		t.Error("the user's filter was not applied")
	}

	ran := filepath.Join(t.TempDir(), "ran")
	gitIn(t, dir, "config", "filter.up.clean", "touch "+ran+"; tr a-z A-Z")
	testutil.WriteFiles(t, dir, map[string]string{"a.up": "abc"})
	if got := factsOf(t, dir); got.Dirty {
		t.Error("the user's filter was not applied")
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the repository's filter ran")
	}

	gitIn(t, dir, "config", "filter.a=b.clean", "true")
	if _, err := workspace.GitFacts(t.Context(), dir, os.Environ()); err == nil {
		t.Error("a filter that cannot be switched off is accepted")
	}
}
