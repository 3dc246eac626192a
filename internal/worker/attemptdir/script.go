package attemptdir

import (
	"fmt"
	"os"
	"strings"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// Shell runs scripts that name no interpreter of their own.
const Shell = "/bin/sh"

// hookPrefix begins the names of hooks' scripts in an attempt's directory.
const hookPrefix = "hook-"

// WriteScript writes a module's script into the attempt's directory, outside the
// module's own, and returns the command that runs it: `sh -eu FILE`, or with the
// shell bash `bash -euo pipefail FILE`, or the interpreter that the script names by
// "#!", since files there may not be executable (noexec). Only its owner can read it.
func (d Dir) WriteScript(script, shell string) ([]string, error) {
	return writeScript(d.Script(), script, shell)
}

// WriteHiddenScript is WriteScript for a script that holds a secret, which must
// not reach a disk: it lies beside the results, in memory. If the machine has no such
// place, it lies in the directory.
func (d Dir) WriteHiddenScript(script, shell string) ([]string, error) {
	path, ok := d.hiddenScript()
	if !ok {
		return d.WriteScript(script, shell)
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("write script: %w", err)
	}
	return writeScript(path, script, shell)
}

// WriteHook is WriteScript for the script of a hook.
func (d Dir) WriteHook(when executor.When, script, shell string) ([]string, error) {
	return writeScript(string(d)+"/"+hookPrefix+string(when), script, shell)
}

func writeScript(path, script, shell string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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

	return append(interpreter(script, shell), path), nil
}

// interpreter is what runs a script: its shell, or what its first line names, read as
// the kernel reads it, with at most one argument. A carriage return at its end (CRLF)
// is no part of it.
func interpreter(script, shell string) []string {
	first, _, _ := strings.Cut(script, "\n")
	line, named := strings.CutPrefix(first, "#!")
	if line = strings.TrimSpace(line); !named || line == "" {
		if shell == pipeline.ShellBash {
			return []string{"bash", "-euo", "pipefail"}
		}
		return []string{Shell, "-eu"}
	}

	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return []string{line}
	}
	return []string{line[:i], strings.TrimSpace(line[i:])}
}
