package attemptdir_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/worker/attemptdir"
)

// TestDir_memoryNameTaken: a directory of another user under the plain name sends
// neither scripts nor results to the disk, and what lies in a directory with a
// random ending is found once the plain name is free.
func TestDir_memoryNameTaken(t *testing.T) {
	mem := t.TempDir()
	attemptdir.SetMemoryDir(t, mem)
	plain := filepath.Join(mem, "pipelined-"+strconv.Itoa(os.Geteuid()))
	for name, take := range map[string]func() error{
		"open to others": func() error { return os.Mkdir(plain, 0o755) },
		"a file":         func() error { return os.WriteFile(plain, nil, 0o600) },
		"a link":         func() error { return os.Symlink(t.TempDir(), plain) },
		"another user's": func() error {
			if err := os.Mkdir(plain, 0o700); err != nil || os.Geteuid() != 0 {
				return err
			}
			return os.Chown(plain, 65534, 65534)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := take(); err != nil {
				t.Fatal(err)
			}
			dir := prepared(t)
			argv, err := dir.WriteHiddenScript("echo secret", "")
			if err != nil {
				t.Fatal(err)
			}
			script, result := argv[len(argv)-1], dir.Result()
			for _, path := range []string{script, result} {
				own := filepath.Dir(path)
				if filepath.Dir(own) != mem || !strings.HasPrefix(own, plain) {
					t.Errorf("%s is not in a directory of this user in %s", path, mem)
				}
				if info, err := os.Lstat(own); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
					t.Errorf("%s: %v, %v", own, info, err)
				}
			}
			write(t, result, "a=1\n")

			if err := os.RemoveAll(plain); err != nil {
				t.Fatal(err)
			}
			if got, err := dir.ReadResult(); string(got) != `{"a":"1"}` || err != nil {
				t.Errorf("the result: %s, %v", got, err)
			}
			if err := dir.Remove(); err != nil {
				t.Error(err)
			}
			gone(t, script)
			gone(t, result)
			if err := os.RemoveAll(plain); err != nil {
				t.Fatal(err)
			}
		})
	}
}
