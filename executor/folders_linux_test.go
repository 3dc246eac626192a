package executor

import (
	"os"
	"path/filepath"
	"testing"
)

// A folder is used again only where it is as it was made.
func TestFolders(t *testing.T) {
	for name, c := range map[string]struct {
		leave  func(dir string) error
		pooled bool
	}{
		"nothing":       {func(string) error { return nil }, true},
		"times":         {func(d string) error { return os.WriteFile(TimesPath(d), []byte("x"), 0o600) }, true},
		"output":        {func(d string) error { return os.WriteFile(LogPath(d), []byte("x"), 0o600) }, true},
		"script":        {func(d string) error { _, err := WriteScript(d, "true"); return err }, true},
		"a file":        {func(d string) error { return os.WriteFile(WorkPath(d)+"/f", nil, 0o600) }, false},
		"a hidden file": {func(d string) error { return os.WriteFile(HomePath(d)+"/.f", nil, 0o600) }, false},
		"a folder":      {func(d string) error { return os.Mkdir(TmpPath(d)+"/f", 0o700) }, false},
		"a mode":        {func(d string) error { return os.Chmod(WorkPath(d), 0o777) }, false},
		"no home":       {func(d string) error { return os.Remove(HomePath(d)) }, false},
		"a link": {func(d string) error {
			if err := os.Remove(TmpPath(d)); err != nil {
				return err
			}
			return os.Symlink("/", TmpPath(d))
		}, false},
		"a stranger": {func(d string) error { return os.WriteFile(d+"/f", nil, 0o600) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			f, err := NewFolders(filepath.Join(root, "spare"), 2)
			if err != nil {
				t.Fatal(err)
			}
			a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
			if err := f.Prepare(a); err != nil {
				t.Fatal(err)
			}
			if err := c.leave(a); err != nil {
				t.Fatal(err)
			}
			if err := f.Remove(a); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(a); !os.IsNotExist(err) {
				t.Errorf("the folder is still there: %v", err)
			}
			if pooled := len(f.free) == 1; pooled != c.pooled {
				t.Errorf("pooled: %t, want %t", pooled, c.pooled)
			}
			if err := f.Prepare(b); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(b)
			if err != nil || len(entries) != 3 {
				t.Errorf("the next folder holds %v, %v", entries, err)
			}
			if entries, err := os.ReadDir(WorkPath(b)); err != nil || len(entries) > 0 {
				t.Errorf("the next work folder holds %v, %v", entries, err)
			}
		})
	}
}
