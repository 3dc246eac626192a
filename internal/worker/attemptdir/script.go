package attemptdir

import (
	"fmt"
	"os"
	"strings"

	"github.com/pipelined/pipelined/executor"
)

// Shell runs scripts that name no interpreter of their own.
const Shell = "/bin/sh"

// hookPrefix begins the names of hooks' scripts in an attempt's directory.
const hookPrefix = "hook-"

// WriteScript writes a module's script into the attempt's directory, outside the
// module's own, and returns the command that runs it: `sh -eu FILE`, or the file
// itself if the script begins with "#!". Only its owner can read it.
func (d Dir) WriteScript(script string) ([]string, error) {
	return writeScript(d.Script(), script)
}

// WriteHiddenScript is WriteScript for a script that holds a secret, which must
// not reach a disk: it lies beside the results, in memory. It is run by the
// interpreter that it names, since files there may not be executable. If the
// machine has no such place, it lies in the directory.
func (d Dir) WriteHiddenScript(script string) ([]string, error) {
	path, ok := d.hiddenScript()
	if !ok {
		return d.WriteScript(script)
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("write script: %w", err)
	}

	argv, err := writeScript(path, script)
	if err != nil {
		return nil, err
	}

	first, _, _ := strings.Cut(script, "\n")
	if !strings.HasPrefix(first, "#!") {
		return argv, nil
	}

	// As the kernel reads it: the interpreter, and at most one argument.
	program, rest, _ := strings.Cut(strings.TrimSpace(first[2:]), " ")
	argv = []string{program}
	if rest = strings.TrimSpace(rest); rest != "" {
		argv = append(argv, rest)
	}

	return append(argv, path), nil
}

// WriteHook is WriteScript for the script of a hook.
func (d Dir) WriteHook(when executor.When, script string) ([]string, error) {
	return writeScript(string(d)+"/"+hookPrefix+string(when), script)
}

func writeScript(path, script string) ([]string, error) {
	mode, argv := os.FileMode(0o600), []string{Shell, "-eu", path}
	if strings.HasPrefix(script, "#!") {
		mode, argv = 0o700, []string{path}
	}

	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return nil, fmt.Errorf("write script: %w", err)
	}
	_, err = f.WriteString(script)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("write script: %w", err)
	}

	return argv, nil
}
