package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/pipeline"
)

// factsTimeout bounds how long git may take to tell the facts of a work tree.
const factsTimeout = 2 * time.Second

// GitFacts asks git about the work tree that dir lies in; they are zero if it lies
// in none. A work tree that git does not read (it is not installed, distrusts the
// owner, or takes too long) is an error, which names it. environ is the environment
// that git gets, as os.Environ gives it.
//
// Changes in submodules do not count as changes of the work tree: to see them, git
// would run another git with the settings of the submodule.
func GitFacts(ctx context.Context, dir string, environ []string) (pipeline.Git, error) {
	abs, err := realPath(dir)
	if err != nil {
		return pipeline.Git{}, nil // reading the pipeline reports it
	}
	top := findTop(abs)
	if top == "" {
		return pipeline.Git{}, nil
	}

	limited, cancel := context.WithTimeoutCause(ctx, factsTimeout, fmt.Errorf("no answer within %s", factsTimeout))
	defer cancel()
	q := &gitQuery{dir: abs, top: top, environ: environ}
	facts, err := q.facts(limited)
	switch {
	case err == nil:
		return facts, nil
	case ctx.Err() != nil:
		return pipeline.Git{}, context.Cause(ctx)
	case limited.Err() != nil:
		err = context.Cause(limited)
	}

	return pipeline.Git{}, &GitError{Top: top, Err: err}
}

// GitError is why git tells nothing of the work tree at Top.
type GitError struct {
	Top string
	Err error
}

func (e *GitError) Error() string {
	return fmt.Sprintf("git does not read the repository %s: %v", e.Top, e.Err)
}

func (e *GitError) Unwrap() error { return e.Err }

// Advice says what may help, "" for nothing.
func (e *GitError) Advice() string {
	var owner *ownerError
	if errors.As(e.Err, &owner) {
		return "if you trust its owner: git config --global --add safe.directory " + e.Top
	}

	return ""
}

// gitQuery asks git about one work tree.
type gitQuery struct {
	dir, top string
	environ  []string
}

// output runs git and returns what it printed.
func (q *gitQuery) output(ctx context.Context, args ...string) (string, error) {
	cmd := gitCommand(ctx, q.environ, q.dir, q.top, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.WaitDelay = 100 * time.Millisecond
	if err := cmd.Run(); err != nil {
		return "", gitErrorOf(err, stderr.String())
	}

	return out.String(), nil
}

// gitErrorOf keeps the exit code, which tells "nothing found" from a refusal.
func gitErrorOf(err error, stderr string) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && stderr == "" {
		return err
	}

	return gitError(err, stderr)
}

func (q *gitQuery) facts(ctx context.Context) (pipeline.Git, error) {
	var facts pipeline.Git
	var tag string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		// A commit without a tag, or no commit, is no error of the work tree.
		out, err := q.output(gctx, "describe", "--tags", "--exact-match", "HEAD")
		if err == nil {
			tag = strings.TrimRight(out, "\n")
		}
		return nil
	})
	g.Go(func() (err error) {
		facts, err = q.status(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return facts, err
	}
	if facts.SHA != "" {
		facts.Tag = tag
	}

	return facts, nil
}

// status asks for the commit, the branch and whether there are changes.
func (q *gitQuery) status(ctx context.Context) (pipeline.Git, error) {
	var facts pipeline.Git
	off, err := q.filters(ctx)
	if err != nil {
		return facts, err
	}

	status, err := q.output(ctx, append(off, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--no-renames", "--ignore-submodules=dirty")...)
	if err != nil {
		return facts, err
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

	return facts, nil
}

// filters returns the options that switch off the filters which the repository's
// own configuration names: to compare a file, git runs them. A filter that the
// user or the system has set up (git-lfs) stays as they set it up, since files
// would look changed without it.
func (q *gitQuery) filters(ctx context.Context) ([]string, error) {
	text, err := q.output(ctx, "config", "-z", "--show-scope", "--get-regexp", `^filter\..*\.(clean|process|required)$`)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil, nil // there is none
	}
	if err != nil {
		return nil, err
	}

	trusted, own := map[string]string{}, []string{}
	fields := strings.Split(text, "\x00") // scope, then name and value with a newline between
	for i := 0; i+1 < len(fields); i += 2 {
		name, value, _ := strings.Cut(fields[i+1], "\n")
		switch scope := fields[i]; scope {
		case "system", "global", "command":
			trusted[name] = value
		default:
			own = append(own, name)
		}
	}

	slices.Sort(own)
	var off []string
	for _, name := range slices.Compact(own) {
		// -c ends the name at the first "=".
		if strings.Contains(name, "=") {
			return nil, fmt.Errorf("its configuration has a filter with = in its name, %q, which cannot be switched off", name)
		}
		value := trusted[name]
		if value == "" && strings.HasSuffix(name, ".required") {
			value = "false"
		}
		off = append(off, "-c", name+"="+value)
	}

	return off, nil
}
