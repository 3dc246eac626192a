package storage_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/storage"
)

func openDataDir(tb testing.TB, path string) *storage.DataDir {
	tb.Helper()
	d, err := storage.OpenDataDir(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	return d
}

func TestOpenDataDir_makesLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := openDataDir(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of %s: got %v, %v, want 0700", path, info.Mode(), err)
	}
	for _, dir := range []string{d.RaftDir(), d.StateDir(), d.BlobsDir(), d.WorkDir(), d.CachesDir(), d.KeeperDir()} {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || filepath.Dir(dir) != path {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	openDataDir(t, path)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Errorf("an open data directory keeps mode %v", info.Mode())
	}
}

func TestOpenDataDir_locked(t *testing.T) {
	path := t.TempDir()
	holder := startHelper(t, "lock", path)
	holder.line(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		_, err := storage.OpenDataDir(p)
		var locked *storage.LockedError
		if !errors.As(err, &locked) {
			t.Fatalf("open %s: got %v, want a *LockedError", p, err)
		}
		if locked.PID != holder.cmd.Process.Pid || locked.Path != path || locked.Command == "" {
			t.Errorf("got %+v, want pid %d", locked, holder.cmd.Process.Pid)
		}
		if text := locked.Error(); !strings.Contains(text, "process ") || !strings.Contains(text, "-data-dir") {
			t.Errorf("the error does not say who and what to do: %s", text)
		}
	}
	// A crash gives the lock up.
	holder.kill()
	openDataDir(t, link)
}

func TestOpenDataDir_refuses(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"foreign":        {map[string]string{"thesis.tex": "x"}, "thesis.tex"},
		"newer":          {map[string]string{"format": "pipelined 99\n"}, "format 99"},
		"other's format": {map[string]string{"format": "hello\n"}, "not one of ours"},
		"no version":     {map[string]string{"format": "pipelined x\n"}, "names no version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range test.files {
				writeFile(t, filepath.Join(dir, file), text, 0o644)
			}
			_, err := storage.OpenDataDir(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want it to say %q", err, test.want)
			}
			left, _ := os.ReadDir(dir)
			if len(left) != len(test.files) {
				t.Errorf("the refused directory was changed: %v", left)
			}
		})
	}
}

func TestOpenDataDir_halfWritten(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "lock"), "", 0o600)
	writeFile(t, filepath.Join(dir, ".format.123"), "pipel", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	openDataDir(t, dir)
}

func TestOpenDataDir_crashAfterFormat(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "format"), "pipelined 1\n", 0o600)
	d := openDataDir(t, dir)
	if _, err := os.Stat(d.BlobsDir()); err != nil {
		t.Error(err)
	}
}

func TestDataDir_nodeFile(t *testing.T) {
	d := openDataDir(t, t.TempDir())
	if _, ok, err := d.ReadNode(); ok || err != nil {
		t.Fatalf("a new directory has a node: %v, %v", ok, err)
	}
	want := storage.NodeFile{Version: 1, ID: "n1", ClusterID: "c", Name: "a", KeyFingerprint: "f", Peers: []string{"127.0.0.2:7946"}}
	if err := d.WriteNode(want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := d.ReadNode()
	if !ok || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v, want %+v", got, ok, err, want)
	}
	path := filepath.Join(d.Path(), "node.json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v", info.Mode(), err)
	}
	if err := d.WriteNode(storage.NodeFile{}); err == nil {
		t.Error("a node without id was written")
	}
	for text, want := range map[string]string{"{": "start over as a new node with: mv " + d.Path() + " ", `{"version": 7, "id": "x"}`: "version is 7", `{"version": 1}`: "no node id", "": "restore"} {
		writeFile(t, path, text, 0o600)
		_, _, err := d.ReadNode()
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("node file %q: got %v, want it to say %q", text, err, want)
		}
	}
}

func TestAgentFiles(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root's place is fixed; only its form can be looked at.
		if got := storage.DefaultDataDir("127.0.0.2"); got != "/var/lib/pipelined/agents/127.0.0.2" {
			t.Errorf("got %s", got)
		}
	} else {
		t.Setenv("XDG_STATE_HOME", t.TempDir())
		d := openDataDir(t, storage.DefaultDataDir("127.0.0.1"))
		if err := d.WriteAgent(storage.AgentFile{PID: os.Getpid(), Name: "a"}); err != nil {
			t.Fatal(err)
		}
		if got := storage.AgentFiles(); len(got) != 1 || got[0] != d.AgentPath() {
			t.Errorf("got %v, want %s", got, d.AgentPath())
		}
	}
	for bind, want := range map[string]string{"::1": "__1", "../x": ".._x", "": "default", "..": "default", "fe80::1%eth0": "fe80__1_eth0"} {
		if got := filepath.Base(storage.DefaultDataDir(bind)); got != want {
			t.Errorf("bind %q: got %q, want %q", bind, got, want)
		}
	}
}

func TestDataDir_agentFile(t *testing.T) {
	d := openDataDir(t, t.TempDir())
	want := storage.AgentFile{PID: os.Getpid(), Name: "a", ID: "n", HTTP: "127.0.0.1:8080", Peer: "127.0.0.1:7947", Gossip: "127.0.0.1:7946",
		HTTPScheme: "http", StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := d.WriteAgent(want); err != nil {
		t.Fatal(err)
	}
	got, err := storage.ReadAgentFile(d.AgentPath())
	if err != nil || !reflect.DeepEqual(got, want) || !got.Running() {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := errors.Join(d.RemoveAgent(), d.RemoveAgent()); err != nil {
		t.Errorf("remove twice: %v", err)
	}
	if _, err := storage.ReadAgentFile(d.AgentPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
	if (storage.AgentFile{PID: 1 << 30}).Running() || (storage.AgentFile{}).Running() {
		t.Error("an agent that cannot be there is running")
	}
	if text, _ := json.Marshal(want); !strings.Contains(string(text), `"httpScheme":"http"`) {
		t.Errorf("agent.json: %s", text)
	}
}

func writeFile(tb testing.TB, path, text string, mode fs.FileMode) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		tb.Fatal(err)
	}
}
