package submission

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/pipelined/pipelined/pipeline/language"
)

// readImport reads the files that the pipeline of a directory imports. A link that leads
// out of the workspace is refused, and so is what is no regular file. A file that was read
// by another path, such as "../ci/a.hcl" of "a.hcl" in ci, or a link, has nothing more to
// say to the same pipeline: its text is a comment.
func readImport(dir string) language.ReadImport {
	type importedFile struct {
		fs.FileInfo
		by, path string
	}
	var before []importedFile

	return func(root, by, name string) (_ []byte, err error) {
		defer func() { // the mistake has the path, as it is written
			if system := (*fs.PathError)(nil); errors.As(err, &system) {
				err = system.Err
			}
		}()

		top, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(root)))
		if err != nil {
			return nil, err
		}
		file, err := filepath.Abs(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		inside, err := filepath.Rel(top, file)
		if err != nil {
			return nil, err
		}

		r, err := os.OpenRoot(top)
		if err != nil {
			return nil, err
		}
		defer r.Close()

		// Opening a pipe waits for its other end.
		info, err := r.Stat(inside)
		switch {
		case errors.Is(err, syscall.ENOTDIR):
			return nil, fs.ErrNotExist
		case err != nil:
			if _, outside := os.Stat(file); outside == nil {
				return nil, errors.New("a link in its path is absolute, or leads out of the workspace")
			}
			return nil, err
		case info.IsDir():
			return nil, fmt.Errorf("%s is a directory", file)
		case info.Mode()&fs.ModeType != 0:
			return nil, fmt.Errorf("%s is no regular file", file)
		}

		if i := slices.IndexFunc(before, func(b importedFile) bool { return b.by == by && os.SameFile(b.FileInfo, info) }); i >= 0 {
			return fmt.Appendf(nil, "# the same file as %s\n", before[i].path), nil
		}
		before = append(before, importedFile{info, by, name})

		f, err := r.Open(inside)
		if err != nil {
			return nil, err
		}
		defer f.Close()

		return io.ReadAll(io.LimitReader(f, language.MaxSourceBytes+1))
	}
}
