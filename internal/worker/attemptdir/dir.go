// Package attemptdir lays out the directory of an attempt: where the module
// works, its HOME and TMPDIR, its script, its log and its result. It makes and
// removes such directories, also those that a module left without permissions.
//
// A directory holds work, home, tmp, script, hook-*, and what the executor
// writes: output.log and output.times. The result, and a script that holds
// secrets, lie in memory (/dev/shm) if the machine allows it.
package attemptdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/storage/disk"
)

// Dir is the directory of one attempt: a clean, absolute path. Its methods join
// by hand, since these paths are built for every attempt.
type Dir string

// Name is the last element of the path.
func (d Dir) Name() string { return filepath.Base(string(d)) }

// Work is the module's working directory.
func (d Dir) Work() string { return string(d) + "/work" }

// Home is the module's HOME.
func (d Dir) Home() string { return string(d) + "/home" }

// Tmp is the module's TMPDIR.
func (d Dir) Tmp() string { return string(d) + "/tmp" }

// Script is the file of the module's script; it lies outside Work.
func (d Dir) Script() string { return string(d) + "/script" }

// Notice is the file in which the command of a notification finds what it is about.
func (d Dir) Notice() string { return string(d) + "/notice.json" }

// Log is the file of the module's output; see executor.LogPath.
func (d Dir) Log() string { return executor.LogPath(string(d)) }

// Times is the file that says when the output was written; see
// executor.TimesPath.
func (d Dir) Times() string { return executor.TimesPath(string(d)) }

// subdirectories are those that Prepare makes and the module may change.
func (d Dir) subdirectories() [3]string { return [3]string{d.Work(), d.Home(), d.Tmp()} }

// Prepare makes the directory and those in it. Parents are made as needed. A
// directory that is there already is an attempt that an earlier daemon prepared
// but did not start: it is removed and made again.
func (d Dir) Prepare() error {
	for range 3 {
		err := os.Mkdir(string(d), 0o755)

		switch {
		case err == nil:
			return d.makeSubdirectories()
		case errors.Is(err, fs.ErrNotExist):
			err = os.MkdirAll(filepath.Dir(string(d)), 0o755)
		case errors.Is(err, fs.ErrExist):
			err = d.Remove()
		}

		if err != nil {
			return fmt.Errorf("prepare attempt directory: %w", err)
		}
	}

	return fmt.Errorf("prepare attempt directory: %s changes while it is made", d)
}

func (d Dir) makeSubdirectories() error {
	for _, sub := range d.subdirectories() {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return fmt.Errorf("prepare attempt directory: %w", err)
		}
	}

	return nil
}

// Remove deletes the directory with all that is in it, and the result and a
// script in memory. If nothing is there, that is no error.
// Directories that the module made unreadable are opened up first.
func (d Dir) Remove() error {
	d.RemoveFromMemory()
	if d.removeSmall() {
		return nil
	}

	err := os.RemoveAll(string(d))
	if err == nil {
		return nil
	}

	// A module may leave directories without write permission; only their own
	// entries keep them from being removed.
	disk.OpenUp(string(d))
	if err = os.RemoveAll(string(d)); err != nil {
		return fmt.Errorf("remove attempt directory: %w", err)
	}

	return nil
}

// Empty frees what the module wrote and is not captured: HOME and TMPDIR, and the
// working directory if work is set. Log and result stay. What cannot be deleted
// stays too.
func (d Dir) Empty(work bool) {
	for _, sub := range d.subdirectories() {
		if sub == d.Work() && !work {
			continue
		}
		disk.OpenUp(sub)
		entries, err := os.ReadDir(sub)
		if err != nil {
			continue
		}
		for _, e := range entries {
			_ = os.RemoveAll(filepath.Join(sub, e.Name()))
		}
	}
}

// removeSmall removes what most attempts leave: empty directories, a script and
// a log, without listing anything. It reports whether the directory is gone.
func (d Dir) removeSmall() bool {
	for _, sub := range d.subdirectories() {
		if err := rmdir(sub); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	if rmdir(string(d)) == nil {
		return true
	}

	for _, file := range []string{d.Log(), d.Script(), d.Times()} {
		if err := unlink(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}

	return rmdir(string(d)) == nil
}

// rmdir and unlink are the plain calls: os.Remove would try one after the other.
func rmdir(path string) error {
	if err := syscall.Rmdir(path); err != nil {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

func unlink(path string) error {
	if err := syscall.Unlink(path); err != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}
