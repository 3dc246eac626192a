package storage_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/storage"
)

func TestLoadOrCreateKey_processes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf", "pipelined", "cluster.key")
	var all []*process
	for range 8 {
		p := startHelper(t, "key", path)
		p.line(t)
		all = append(all, p)
	}
	for _, p := range all {
		if _, err := io.WriteString(p.in, "go\n"); err != nil {
			t.Fatal(err)
		}
	}
	var key string
	made := 0
	for _, p := range all {
		words := strings.Fields(p.line(t))
		if key == "" {
			key = words[0]
		}
		if words[0] != key {
			t.Errorf("two processes have different keys")
		}
		if words[1] == "true" {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d processes say that they made the key, want 1", made)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the key there is more: %v, %v", left, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	again, created, err := storage.LoadOrCreateKey(path)
	if err != nil || created || storage.FormatKey(again) != key {
		t.Errorf("load: another key, or made again: %v, %v", created, err)
	}
}

func TestLoadKey(t *testing.T) {
	good := storage.NewKey()
	text := storage.FormatKey(good)
	tests := map[string]struct {
		text string
		mode fs.FileMode
		want string // "" for the key
	}{
		"good":           {text + "\n", 0o600, ""},
		"no newline":     {text, 0o400, ""},
		"CRLF":           {" " + text + "\r\n", 0o600, ""},
		"group reads":    {text, 0o640, "chmod 600"},
		"others read":    {text, 0o604, "chmod 600"},
		"others write":   {text, 0o602, "chmod 600"},
		"empty":          {"", 0o600, "not a cluster key"},
		"short":          {text[:40], 0o600, "not a cluster key"},
		"long":           {text + text, 0o600, "not a cluster key"},
		"not base64":     {strings.Repeat("!", 44), 0o600, "not a cluster key"},
		"much too large": {strings.Repeat(text, 1000), 0o600, "not a cluster key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.key")
			writeFile(t, path, test.text, test.mode)
			for _, load := range []func() ([]byte, error){
				func() ([]byte, error) { return storage.LoadKey(path) },
				func() ([]byte, error) { key, _, err := storage.LoadOrCreateKey(path); return key, err },
			} {
				key, err := load()
				if test.want == "" {
					if err != nil || !bytes.Equal(key, good) {
						t.Errorf("got %v, want the key", err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
					t.Fatalf("got %v, want it to name the file and say %q", err, test.want)
				}
				if test.text != "" && strings.Contains(err.Error(), text[:20]) {
					t.Error("the error tells the key")
				}
			}
		})
	}
	if _, err := storage.LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want not exist", err)
	}
	if _, err := storage.LoadKey(t.TempDir()); err == nil {
		t.Error("a folder was read as a key")
	}
}

func TestLoadOrCreateKey_danglingLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.Symlink("/nowhere/at/all", path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := storage.LoadOrCreateKey(path); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("got %v, want it to name where the link leads", err)
	}
}

func TestKeyFingerprint(t *testing.T) {
	a, b := storage.NewKey(), storage.NewKey()
	if bytes.Equal(a, b) || storage.KeyFingerprint(a) == storage.KeyFingerprint(b) {
		t.Error("two keys are the same")
	}
	if fp := storage.KeyFingerprint(a); len(fp) != 16 || fp != storage.KeyFingerprint(bytes.Clone(a)) {
		t.Errorf("fingerprint %q", fp)
	}
}
