package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpen_missingKey: a data directory that was created with a key never gets
// a new one by itself; the error names both and what to do.
func TestOpen_missingKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	key := filepath.Join(t.TempDir(), "cluster.key")
	cfg := Config{Name: "n1", DataDir: dir, KeyFile: key, Embedded: true, Slots: 1}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}

	_, err = Open(t.Context(), cfg)
	want := "cluster key " + key + " is missing, but " + dir + " was created with it: restore the key, or start over with: mv " + dir + " " + dir + ".old"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a new key was created")
	}
}
