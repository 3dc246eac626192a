package submission

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// gitLimit bounds how long git may take to tell the facts of a workspace.
const gitLimit = 2 * time.Second

// inRepository reports whether git might know of a repository around dir. It
// says so wherever that cannot be told from the directories alone.
func inRepository(dir string, environ []string) bool {
	for _, kv := range environ {
		if strings.HasPrefix(kv, "GIT_DIR=") || strings.HasPrefix(kv, "GIT_WORK_TREE=") {
			return true
		}
	}

	at, err := filepath.Abs(dir)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}

	if err != nil {
		return true
	}

	for {
		if _, err := os.Lstat(filepath.Join(at, ".git")); !errors.Is(err, fs.ErrNotExist) {
			return true
		}

		// A bare repository is known by its contents.
		if _, err := os.Lstat(filepath.Join(at, "HEAD")); err == nil {
			return true
		}

		up := filepath.Dir(at)
		if up == at {
			return false
		}

		at = up
	}
}

// gitFacts asks git about the working tree at dir. Without git, outside a
// repository, or when git takes too long, the facts that are missing stay
// empty: they never stop a submission.
func gitFacts(ctx context.Context, dir string, environ []string) pipeline.Git {
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		// No lock is taken and no password is asked for.
		cmd.Env = append(environ[:len(environ):len(environ)], "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
		cmd.WaitDelay = 100 * time.Millisecond
		var out bytes.Buffer
		cmd.Stdout = &out
		err := cmd.Run()
		return strings.TrimRight(out.String(), "\n"), err == nil
	}
	var facts pipeline.Git
	if !inRepository(dir, environ) {
		return facts // git would say the same, and take some milliseconds for it
	}

	// One process tells the commit, the branch and the changes.
	status, ok := git("status", "--porcelain=v2", "--branch", "--untracked-files=normal")
	if !ok {
		return facts
	}

	for line := range strings.Lines(status) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "# branch.oid "):
			if oid := line[len("# branch.oid "):]; oid != "(initial)" {
				facts.SHA = oid
			}
		case strings.HasPrefix(line, "# branch.head "):
			if head := line[len("# branch.head "):]; head != "(detached)" {
				facts.Branch = head
			}
		case line != "" && !strings.HasPrefix(line, "#"):
			facts.Dirty = true
		}
	}

	if facts.SHA != "" {
		if tag, ok := git("describe", "--tags", "--exact-match", "HEAD"); ok {
			facts.Tag = tag
		}
	}

	return facts
}
