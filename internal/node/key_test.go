package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func newKey(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "cluster.key")
	if err := keys.Create(path, keys.Generate()); err != nil {
		t.Fatal(err)
	}
	return path
}

// join makes the node of a data directory that none uses a member of a cluster,
// which it was too short for.
func join(t *testing.T, dir string) {
	t.Helper()
	d, err := storage.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	file, _, err := d.ReadNode()
	if err != nil {
		t.Fatal(err)
	}
	file.ClusterID = "c1"
	if err := d.WriteNode(file); err != nil {
		t.Fatal(err)
	}
}

// openError is why a node cannot be opened.
func openError(t *testing.T, cfg Config) string {
	t.Helper()
	cfg.Name, cfg.Embedded, cfg.Slots = "n1", true, 1
	n, err := Open(t.Context(), cfg)
	if err == nil {
		n.close()
		return ""
	}
	return err.Error()
}

// TestOpen_anotherKey: a data directory is bound to a key once its node belongs to
// a cluster; the error names both, and a command that helps.
func TestOpen_anotherKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 { // the second key is taken: the node never joined
		if err := openError(t, Config{DataDir: dir, KeyFile: newKey(t)}); err != "" {
			t.Fatal(err)
		}
	}

	join(t, dir)
	other := newKey(t)
	err := openError(t, Config{DataDir: dir, KeyFile: other})
	for _, want := range []string{other, dir, "mv " + dir + " " + dir + ".old"} {
		if !strings.Contains(err, want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}

	none := filepath.Join(t.TempDir(), "clutser.key")
	err = openError(t, Config{DataDir: filepath.Join(t.TempDir(), "data"), KeyFile: none})
	if want := "cluster key " + none + " does not exist: name another with -key-file, or create it with: pipelined keygen -o " + none; err != want {
		t.Errorf("a file that was named: %q, want %q", err, want)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a key was created for a typo")
	}
}

// TestOpen_lostFiles: a node whose data directory lost a part neither hangs nor begins
// anew by itself.
func TestOpen_lostFiles(t *testing.T) {
	for _, lost := range []string{"node.json", "raft"} {
		dir := filepath.Join(t.TempDir(), "data")
		_, c, stop := startNode(t, Config{Name: "n1", DataDir: dir, Mode: pipeline.ModeStandalone})
		runToEnd(t, c, independent(1))
		stop()
		if err := os.RemoveAll(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}

		for range 2 { // the first attempt changes nothing
			err := openError(t, Config{DataDir: dir, Key: []byte(strings.Repeat("k", 32))})
			if !strings.HasPrefix(err, filepath.Join(dir, lost)+" is missing, but ") || !strings.HasSuffix(err, "mv "+dir+" "+dir+".old") {
				t.Errorf("without %s: %q", lost, err)
			}
		}
	}
}

// TestOpen_leftCluster names the directory of a node that has left, and the command.
func TestOpen_leftCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := Config{DataDir: dir, OwnKey: true}
	if err := openError(t, cfg); err != "" {
		t.Fatal(err)
	}
	if _, err := keys.Load(KeyPath(dir)); err != nil {
		t.Errorf("its own key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "raft", "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openError(t, cfg); !strings.Contains(err, "this node has left its cluster") || !strings.HasSuffix(err, "mv "+dir+" "+dir+".old") {
		t.Errorf("got %q", err)
	}

	// Recovery says the same of it: -join would lead to this error.
	for _, rejoin := range []bool{false, true} {
		_, err := Recover(RecoverConfig{DataDir: dir, DryRun: true, Rejoin: rejoin, Logger: hclog.NewNullLogger()})
		if !errors.Is(err, cluster.ErrLeft) || !strings.HasSuffix(err.Error(), "mv "+dir+" "+dir+".old") {
			t.Errorf("recover: got %v", err)
		}
	}
}

// TestOpen_missingKey: a data directory that was created with a key never gets
// a new one by itself; the error names both and what to do.
func TestOpen_missingKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	key := newKey(t)
	cfg := Config{Name: "n1", DataDir: dir, KeyFile: key, Embedded: true, Slots: 1}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	join(t, dir)
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
