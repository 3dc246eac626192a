package attemptdir

import (
	"os"
	"path/filepath"
	"testing"
)

// A directory is used again only where it is as it was made.
func TestPool(t *testing.T) {
	for name, c := range map[string]struct {
		leave  func(dir Dir) error
		pooled bool
	}{
		"nothing":       {func(Dir) error { return nil }, true},
		"times":         {func(d Dir) error { return os.WriteFile(d.Times(), []byte("x"), 0o600) }, true},
		"output":        {func(d Dir) error { return os.WriteFile(d.Log(), []byte("x"), 0o600) }, true},
		"script":        {func(d Dir) error { _, err := d.WriteScript("true", ""); return err }, true},
		"a file":        {func(d Dir) error { return os.WriteFile(d.Work()+"/f", nil, 0o600) }, false},
		"a hidden file": {func(d Dir) error { return os.WriteFile(d.Home()+"/.f", nil, 0o600) }, false},
		"a directory":   {func(d Dir) error { return os.Mkdir(d.Tmp()+"/f", 0o700) }, false},
		"a mode":        {func(d Dir) error { return os.Chmod(d.Work(), 0o777) }, false},
		"no home":       {func(d Dir) error { return os.Remove(d.Home()) }, false},
		"a link": {func(d Dir) error {
			if err := os.Remove(d.Tmp()); err != nil {
				return err
			}
			return os.Symlink("/", d.Tmp())
		}, false},
		"a stranger": {func(d Dir) error { return os.WriteFile(string(d)+"/f", nil, 0o600) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			f, err := NewPool(filepath.Join(root, "spare"), 2)
			if err != nil {
				t.Fatal(err)
			}
			a, b := Dir(filepath.Join(root, "a")), Dir(filepath.Join(root, "b"))
			if err := f.Prepare(a); err != nil {
				t.Fatal(err)
			}
			if err := c.leave(a); err != nil {
				t.Fatal(err)
			}
			if err := f.Remove(a); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(string(a)); !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v", err)
			}
			if pooled := len(f.free) == 1; pooled != c.pooled {
				t.Errorf("pooled: %t, want %t", pooled, c.pooled)
			}
			if err := f.Prepare(b); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(string(b))
			if err != nil || len(entries) != 3 {
				t.Errorf("the next directory holds %v, %v", entries, err)
			}
			if entries, err := os.ReadDir(b.Work()); err != nil || len(entries) > 0 {
				t.Errorf("the next work directory holds %v, %v", entries, err)
			}
		})
	}
}
