package submission

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pipelined/pipelined/pipeline/language"
)

// readImport reads the files that the pipeline of a directory imports. A link that leads
// out of the workspace is refused, and so is what is no regular file.
func readImport(dir string) language.ReadImport {
	return func(root, name string) ([]byte, error) {
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
		case err != nil:
			return nil, err
		case info.IsDir():
			return nil, fmt.Errorf("%s is a directory", file)
		case info.Mode()&fs.ModeType != 0:
			return nil, fmt.Errorf("%s is no regular file", file)
		}
		f, err := r.Open(inside)
		if err != nil {
			return nil, err
		}
		defer f.Close()

		return io.ReadAll(io.LimitReader(f, language.MaxSourceBytes+1))
	}
}
