package executor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// An attempt's folder holds: work, the module's folder; home and tmp, its HOME
// and TMPDIR; script; output.log and output.times. They are joined by hand because the
// attempt's folder is clean already and these are built for every attempt.

// WorkPath is the module's folder in the attempt's folder dir.
func WorkPath(dir string) string { return dir + "/work" }

// HomePath is the module's HOME.
func HomePath(dir string) string { return dir + "/home" }

// TmpPath is the module's TMPDIR.
func TmpPath(dir string) string { return dir + "/tmp" }

// LogPath is the file of the module's output. It does not exist before the
// first byte of output.
func LogPath(dir string) string { return dir + "/" + LogName }

// TimesPath is the file that says when the output was written, as
// pipeline.LogMarks makes it. It is there only where the output did not come at
// once.
func TimesPath(dir string) string { return dir + "/" + TimesName }

// ScriptPath is the file of the module's script; it lies outside its folder.
func ScriptPath(dir string) string { return dir + "/script" }

// Shell runs scripts that name no interpreter of their own.
const Shell = "/bin/sh"

// Prepare makes the folder of an attempt and the folders in it. Parents are
// made as needed. A folder that is there already is an attempt that an earlier
// daemon had prepared but not started: it is emptied and made anew.
func Prepare(dir string) error {
	for range 3 {
		err := os.Mkdir(dir, 0o755)
		switch {
		case err == nil:
			for _, sub := range []string{WorkPath(dir), HomePath(dir), TmpPath(dir)} {
				if err := os.Mkdir(sub, 0o755); err != nil {
					return fmt.Errorf("prepare attempt folder: %w", err)
				}
			}
			return nil
		case errors.Is(err, fs.ErrNotExist):
			err = os.MkdirAll(parent(dir), 0o755)
		case errors.Is(err, fs.ErrExist):
			err = Remove(dir)
		}
		if err != nil {
			return fmt.Errorf("prepare attempt folder: %w", err)
		}
	}
	return fmt.Errorf("prepare attempt folder: %s changes while it is made", dir)
}

func parent(dir string) string {
	if i := strings.LastIndexByte(dir, '/'); i > 0 {
		return dir[:i]
	}
	return "/"
}

// Remove deletes the folder of an attempt with all that is in it, and the
// result that nobody read. What is not there is no error. Folders that the
// module made unreadable are opened up first.
func Remove(dir string) error {
	removeResult(dir)
	if removeSmall(dir) {
		return nil
	}
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	// A module may leave folders without write permission; only what lies in
	// them keeps them from being removed.
	openUp(dir)
	if err = os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove attempt folder: %w", err)
	}
	return nil
}

// removeSmall takes away what most attempts leave: empty folders, a script and
// a log, without listing anything. It reports whether the folder is gone.
func removeSmall(dir string) bool {
	for _, sub := range []string{WorkPath(dir), HomePath(dir), TmpPath(dir)} {
		if err := rmdir(sub); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	if rmdir(dir) == nil {
		return true
	}
	for _, file := range []string{LogPath(dir), ScriptPath(dir), TimesPath(dir)} {
		if err := unlink(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return rmdir(dir) == nil
}

// openUp gives the owner all rights on the folders below dir, as far as it
// may. It follows no links: os.Root refuses those that lead out, and a folder's
// own entry is never a link.
func openUp(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	var walk func(path string)
	walk = func(path string) {
		_ = root.Chmod(path, 0o700) // best effort: RemoveAll tells
		f, err := root.Open(path)
		if err != nil {
			return
		}
		entries, _ := f.ReadDir(-1)
		f.Close()
		for _, e := range entries {
			if e.IsDir() {
				walk(path + "/" + e.Name())
			}
		}
	}
	walk(".")
}

// WriteScript writes a module's script into the attempt's folder dir, outside
// the module's own, and gives the command that runs it: `sh -eu FILE`, or the
// file itself where the script begins with "#!". Only its owner can read it,
// since scripts may hold what others should not see.
func WriteScript(dir, script string) ([]string, error) {
	return writeScript(ScriptPath(dir), script)
}

// WriteHiddenScript is WriteScript for a script in which there is what must not
// reach a disk: it lies where results do. It is run by the interpreter that it
// names, since files there may not be executable themselves.
func WriteHiddenScript(dir, script string) ([]string, error) {
	folder, ok := resultFolder()
	if !ok {
		return WriteScript(dir, script)
	}
	path := folder + "/" + resultName(dir) + scriptSuffix
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("write script: %w", err)
	}
	argv, err := writeScript(path, script)
	if first, _, _ := strings.Cut(script, "\n"); err == nil && strings.HasPrefix(first, "#!") {
		// As the kernel reads it: the interpreter, and at most one argument.
		program, rest, _ := strings.Cut(strings.TrimSpace(first[2:]), " ")
		argv = []string{program}
		if rest = strings.TrimSpace(rest); rest != "" {
			argv = append(argv, rest)
		}
		argv = append(argv, path)
	}
	return argv, err
}

// hookPrefix begins the names of hooks' scripts in an attempt's folder.
const hookPrefix = "hook-"

// WriteHook does the same for a hook's script.
func WriteHook(dir string, when When, script string) ([]string, error) {
	return writeScript(dir+"/"+hookPrefix+string(when), script)
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
