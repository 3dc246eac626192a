package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// memoryDir is where results lie while their modules run: in memory, so that
// what may be secret never reaches a disk.
const memoryDir = "/dev/shm"

// resultPath is where the module of the attempt's folder dir writes its
// result: on tmpfs in a folder that only this user can enter, else in dir. The
// name follows from dir, so that a daemon that starts again finds it. The file
// is made by the module itself.
func resultPath(dir string) string {
	if folder, ok := resultFolder(); ok {
		return folder + "/" + resultName(dir)
	}
	return diskResultPath(dir)
}

func diskResultPath(dir string) string { return dir + "/result" }

func resultName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:16])
}

// resultFolder makes the folder on tmpfs. One that is not this user's alone is
// not used: anybody may make names in /dev/shm.
func resultFolder() (string, bool) {
	uid := os.Geteuid()
	folder := memoryDir + "/pipelined-" + strconv.Itoa(uid)
	var st syscall.Stat_t
	if err := syscall.Lstat(folder, &st); err != nil {
		if syscall.Mkdir(folder, 0o700) != nil || syscall.Lstat(folder, &st) != nil {
			return "", false
		}
	}
	ok := st.Mode&syscall.S_IFMT == syscall.S_IFDIR && st.Mode&0o077 == 0 && int(st.Uid) == uid
	return folder, ok
}

// ReadResult reads the result that the module of the attempt's folder dir left,
// and deletes the file whatever it held. nil means none. Errors are ParseResult's
// or say that the file is no file; they are meant for the module's author.
func ReadResult(dir string) (json.RawMessage, error) {
	path := resultPath(dir)
	data, err := takeFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if other := diskResultPath(dir); other != path {
			data, err = takeFile(other)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return ParseResult(data)
}

// maskResult hides values in the result that a module left, where it lies, so
// that ReadResult gives nothing that must not be seen, also to a later daemon
// that does not know the values. Numbers in which a value is found become text.
func maskResult(dir string, set *mask.Set) error {
	path := resultPath(dir)
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		path = diskResultPath(dir)
		st, err = os.Lstat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mask result: %w", err)
	}
	was := st.Size()
	data, err := takeFile(path)
	var text []byte
	size := int64(-1)
	var tooLarge *pipeline.Error
	switch {
	case errors.As(err, &tooLarge) && tooLarge.Kind == pipeline.TooLarge:
		size = was // ReadResult finds the same
	case err != nil:
		text = []byte(set.String(err.Error())) // no result, and ReadResult says so
	default:
		text = maskText(data, set)
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
// value by value, since a mark in the place of a number would be no JSON.
func maskText(data []byte, set *mask.Set) []byte {
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
		return set.Bytes(data)
	}
	object, err := ParseResult(data)
	if err != nil {
		return set.Bytes(data) // ReadResult finds the same fault
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return set.Bytes(data)
	}
	text, err := json.Marshal(set.Value(v))
	if err != nil || len(text) > pipeline.MaxResultBytes {
		return set.Bytes(data)
	}
	return text
}

// takeFile reads and deletes a file that a module made. It follows no link,
// waits for no pipe, and reads one byte more than a result may have.
func takeFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if err == syscall.ENOENT {
			return nil, fs.ErrNotExist
		}
		defer os.RemoveAll(path)
		return nil, pipeline.Errorf(pipeline.Invalid, "result: read $PIPELINED_OUTPUT: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	defer os.RemoveAll(path) // whatever it is
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, pipeline.Errorf(pipeline.Invalid, "result: $PIPELINED_OUTPUT is no regular file any more")
	}
	if st.Size() > pipeline.MaxResultBytes {
		return nil, errResultTooLarge(st.Size())
	}
	data, err := io.ReadAll(io.LimitReader(f, pipeline.MaxResultBytes+1))
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return data, nil
}

// scriptSuffix ends the name of a script that lies beside the results.
const scriptSuffix = ".script"

// removeResult deletes a result that nobody read, and a script beside it.
func removeResult(dir string) {
	if folder, ok := resultFolder(); ok {
		_ = unlink(folder + "/" + resultName(dir) + scriptSuffix) // mostly there is none
		if err := unlink(folder + "/" + resultName(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = os.RemoveAll(folder + "/" + resultName(dir)) // a folder, then; nothing else can be done
		}
	}
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
