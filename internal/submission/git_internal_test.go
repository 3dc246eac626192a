package submission

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
)

func TestGitFacts(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES=" + filepath.Dir(dir),
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"}
	if got := gitFacts(ctx, dir, env); got != (pipeline.Git{}) {
		t.Errorf("outside a repository: %+v", got)
	}
	if got := gitFacts(ctx, dir, []string{"PATH=/nowhere"}); got != (pipeline.Git{}) {
		t.Errorf("%+v", got)
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not here")
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "trunk")
	if got := gitFacts(ctx, dir, env); got != (pipeline.Git{Branch: "trunk"}) {
		t.Errorf("before a commit: %+v", got)
	}
	writeFile(t, dir, "a", "1")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	clean := gitFacts(ctx, dir, env)
	if len(clean.SHA) < 40 || clean.Branch != "trunk" || clean.Dirty || clean.Tag != "" {
		t.Errorf("%+v", clean)
	}
	git("tag", "v1")
	writeFile(t, dir, "b", "2")
	git("checkout", "-q", "--detach")
	want := pipeline.Git{SHA: clean.SHA, Tag: "v1", Dirty: true}
	if diff := cmp.Diff(want, gitFacts(ctx, dir, env)); diff != "" {
		t.Error(diff)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if got := gitFacts(done, dir, env); got != (pipeline.Git{}) {
		t.Errorf("too late: %+v", got)
	}
}
