package executor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// ReadResult reads the file at path, in which a module left its result. The file
// stays, so that a later daemon reads the same if this one dies before it has
// recorded the outcome. ReadResult follows no link, waits for no pipe, and reads
// no more than a result may hold. If there is no file, the error is
// fs.ErrNotExist; if it is no regular file, of kind Invalid; if it is larger than
// pipeline.MaxResultBytes, TooLarge. One that IsExhausted says nothing of the file.
func ReadResult(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err == syscall.ENOENT {
		return nil, fs.ErrNotExist
	}
	if IsExhausted(err) {
		return nil, fmt.Errorf("result: read $PIPELINED_OUTPUT: %w", err)
	}
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "result: read $PIPELINED_OUTPUT: %w", err)
	}

	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, pipeline.Errorf(pipeline.Invalid, "result: $PIPELINED_OUTPUT is no longer a regular file")
	}
	if st.Size() > pipeline.MaxResultBytes {
		return nil, ResultTooLarge(st.Size())
	}

	data, err := io.ReadAll(io.LimitReader(f, pipeline.MaxResultBytes+1))
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return data, nil
}

// ResultTooLarge is the error of kind TooLarge for a result of n bytes.
func ResultTooLarge(n int64) error {
	return pipeline.Errorf(pipeline.TooLarge,
		"result: $PIPELINED_OUTPUT holds %d bytes, the limit is %d (64 KiB); big data belongs in an output file",
		n, pipeline.MaxResultBytes)
}

// finishResult makes the result of an ended process ready to be read: values of
// set, which may be nil, are hidden in the file itself, so that a later daemon
// that does not know them cannot show them. It must end before the exit is
// reported. An error says that a result was, or may have been, lost.
func finishResult(path string, set *mask.Set) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		// No result, unless the place for it has vanished: cleaners of temporary
		// files and the end of a login session empty /dev/shm.
		if _, err := os.Lstat(filepath.Dir(path)); err != nil {
			return fmt.Errorf("its directory was removed while the module ran: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read result: %w", err)
	}
	if set == nil {
		return nil
	}

	was := st.Size()
	data, err := ReadResult(path)

	var text []byte
	size := int64(-1)
	var tooLarge *pipeline.Error
	switch {
	case IsExhausted(err):
		return err
	case errors.As(err, &tooLarge) && tooLarge.Kind == pipeline.TooLarge:
		size = was // an empty file of the same size: the reader reports the same error
	case err != nil:
		text = []byte(set.String(err.Error())) // not a valid result, and the reader says so
	default:
		text = maskText(data, set)
	}

	if err := os.RemoveAll(path); err != nil { // also if it is a link or a directory
		return fmt.Errorf("replace result: %w", err)
	}
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write masked result: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.Write(text)
	if err == nil && size >= 0 {
		err = f.Truncate(size)
	}

	return errors.Join(err, f.Close())
}

// maskText hides values in the text of a result. In a JSON object it does so
// value by value, since a mark in the place of a number would be no JSON. Text
// that is not UTF-8 stays so, because the reader refuses it.
func maskText(data []byte, set *mask.Set) []byte {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) > 0 && trimmed[0] == '{' && utf8.Valid(data) {
		if text := set.JSON(data); len(text) <= pipeline.MaxResultBytes {
			return text
		}
	}

	return set.Bytes(data)
}
