package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MarkerFile marks a directory whose children are ours to remove, see Mark.
const MarkerFile = ".pipelined"

// Mark makes dir if need be and marks it as one whose children RemoveAll may
// remove. It is for directories whose children come and go, and tells the filesystem
// so. It may be called again.
func Mark(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make work directory: %w", Classify(err))
	}
	SpreadDirs(dir)
	f, err := os.OpenFile(filepath.Join(dir, MarkerFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark work directory: %w", Classify(err))
	}
	return f.Close()
}

// RemoveAll removes the directory dir and all below it, read-only directories
// included. root must hold dir and be marked with Mark: nothing else is ever
// removed. No link is followed, and a directory that is gone already is no error.
func RemoveAll(root, dir string) error {
	name, err := filepath.Rel(root, dir)
	if err != nil || !filepath.IsLocal(name) || name == "." || name == MarkerFile {
		return fmt.Errorf("remove directory %s: not a directory in %s", dir, root)
	}
	parent, err := os.OpenRoot(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	defer parent.Close()
	if info, err := parent.Lstat(MarkerFile); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("remove directory %s: %s is not a work directory (it holds no file %q)", dir, root, MarkerFile)
	}
	// A process that could not be killed may still make files: the second and the
	// third pass are for those.
	for range 3 {
		if err = parent.RemoveAll(name); err == nil {
			return nil
		}
		openUp(parent, name)
	}
	return fmt.Errorf("remove directory: %w", err)
}

// OpenUp gives the owner every right on the directories below dir, and on dir, as
// far as that is possible: a module may have taken them away. No link is
// followed.
func OpenUp(dir string) {
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return // the removal that follows says why
	}
	defer parent.Close()
	openUp(parent, filepath.Base(dir))
}

// openUp gives its owner access to every directory below name. What cannot be
// changed shows in the removal that follows.
func openUp(root *os.Root, name string) {
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() {
		return
	}
	if info.Mode().Perm()&0o700 != 0o700 {
		if root.Chmod(name, info.Mode().Perm()|0o700) != nil {
			return
		}
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		return
	}
	defer sub.Close()
	dir, err := sub.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	for {
		names, err := dir.ReadDir(256)
		for _, n := range names {
			if n.IsDir() {
				openUp(sub, n.Name())
			}
		}
		if err != nil {
			return
		}
	}
}
