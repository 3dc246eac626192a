package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// gitTimeout bounds how long git may list a work tree.
	gitTimeout = 2 * time.Minute
	// maxListing bounds what git may print, in bytes: some millions of files.
	maxListing = 512 << 20
)

// listing holds the files that belong to a work tree and the directories above
// them.
type listing map[string]struct{}

// listFiles asks git which files below dir belong to the work tree whose top is
// top: what it tracks, and what it neither tracks nor ignores. Paths are relative
// to dir, byte for byte as the disk has them. Tracked files that were deleted are
// listed too; a submodule and a repository in the work tree are one entry.
func listFiles(ctx context.Context, dir, top string) (listing, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := gitCommand(ctx, os.Environ(), dir, top, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	files, err := readListing(io.LimitReader(out, maxListing))
	if err != nil {
		cancel() // it may wait for its output to be read
	}
	if waited := cmd.Wait(); waited != nil && err == nil {
		err = gitError(waited, stderr.String())
	}

	return files, err
}

// gitCommand prepares a git that runs no program which the repository names, asks
// for nothing, reaches no network and writes nothing. Every git that this program
// starts is made here. It is left to git whether it trusts the owner of the
// repository (safe.directory), so the user's and the system's settings hold.
//
// No command that is used here runs a pager or a diff program. Filters are not covered: only what compares contents runs them; see filters.
func gitCommand(ctx context.Context, environ []string, dir, top string, args ...string) *exec.Cmd {
	safe := []string{"--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.bareRepository=explicit"}
	cmd := exec.CommandContext(ctx, "git", append(safe, args...)...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second

	// GIT_DIR and others of a hook that runs us are of another repository.
	for _, v := range environ {
		if !strings.HasPrefix(v, "GIT_") || strings.HasPrefix(v, "GIT_CONFIG_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env,
		"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0",
		// A partial clone must not fetch: the transport may be any program.
		"GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_SSH_COMMAND=false",
		// The work tree that was found, and no other one: above it, or by core.worktree.
		"GIT_WORK_TREE="+top, "GIT_CEILING_DIRECTORIES="+filepath.Dir(top), "GIT_DISCOVERY_ACROSS_FILESYSTEM=1")

	return cmd
}

// readListing reads names that end with a zero byte.
func readListing(r io.Reader) (listing, error) {
	files := listing{}
	in := bufio.NewReader(r)
	for {
		name, err := in.ReadString(0)
		if err == io.EOF && name == "" {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("git ls-files: its output is longer than %d bytes or ends too early", maxListing)
		}

		// A repository in the work tree has a slash behind it.
		path := strings.TrimSuffix(name[:len(name)-1], "/")
		for ; path != ""; path = parentOf(path) {
			if _, ok := files[path]; ok {
				break
			}
			files[path] = struct{}{}
		}
	}
}

// gitError is the first line of what git said, without its hints. Warnings come
// before the line that says why it failed.
func gitError(err error, stderr string) error {
	first := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if why, ok := strings.CutPrefix(line, "fatal: "); ok {
			if strings.Contains(why, "ownership") {
				return &ownerError{why}
			}
			return errors.New(why)
		}
		if first == "" {
			first = line
		}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("git is not installed")
	}
	if first == "" {
		return err
	}

	return errors.New(first)
}

// ownerError is what git says of a repository whose owner it does not trust.
type ownerError struct{ text string }

func (e *ownerError) Error() string { return e.text }

// findTop returns the nearest directory at or above dir that is the top of a work
// tree; "" if there is none.
func findTop(dir string) string {
	for !isTop(dir) {
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}

	return dir
}

// isTop reports whether a directory looks like the top of a work tree, so that
// git is worth asking. In worktrees and submodules .git is a file that names the
// real one.
func isTop(dir string) bool {
	path := filepath.Join(dir, gitName)
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if info.IsDir() {
		_, err := os.Lstat(filepath.Join(path, "HEAD"))
		return err == nil
	}
	if !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return false
	}

	text, err := os.ReadFile(path)

	return err == nil && bytes.HasPrefix(text, []byte("gitdir:"))
}

func parentOf(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}
