package keys_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/cluster/keys"
)

func TestLoadOrCreate_processes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf", "pipelined", "cluster.key")
	var all []*loader
	for range 8 {
		p := startLoader(t, path)
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
	again, created, err := keys.LoadOrCreate(path)
	if err != nil || created || keys.Format(again) != key {
		t.Errorf("load: another key, or made again: %v, %v", created, err)
	}
}

// loader is another process that loads the key, or creates it.
type loader struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startLoader runs this test binary again, see TestMain. It loads the key once
// it has read a line.
func startLoader(tb testing.TB, path string) *loader {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loaderEnv+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &loader{in: in, out: bufio.NewReader(out)}
}

// line waits for the next line that the process prints.
func (l *loader) line(tb testing.TB) string {
	tb.Helper()
	text, err := l.out.ReadString('\n')
	if err != nil || strings.HasPrefix(text, "error:") {
		tb.Fatalf("loader: %s %v", text, err)
	}
	return strings.TrimSpace(text)
}

// loaderEnv holds the path of the key in the environment of a loader.
const loaderEnv = "KEYS_TEST_LOAD"

// load is the whole duty of a loader.
func load(path string) {
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	key, created, err := keys.LoadOrCreate(path)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(keys.Format(key), created)
}

func TestCreate_exists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	first := keys.Generate()
	if err := keys.Create(path, first); err != nil {
		t.Fatal(err)
	}

	if err := keys.Create(path, keys.Generate()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that the file exists", err)
	}
	if got, err := keys.Load(path); err != nil || !bytes.Equal(got, first) {
		t.Errorf("the key was replaced: %v", err)
	}
}

func TestDefaultFile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/etc/xdg")
	if got := keys.DefaultFile("/var/lib/pipelined"); got != "/etc/xdg/pipelined/cluster.key" {
		t.Errorf("with XDG_CONFIG_HOME: got %s", got)
	}
	t.Setenv("XDG_CONFIG_HOME", "not/absolute")
	if got := keys.DefaultFile("/var/lib/pipelined"); strings.HasPrefix(got, "not/") || !filepath.IsAbs(got) {
		t.Errorf("with a relative XDG_CONFIG_HOME: got %s", got)
	}
}

func TestLoad(t *testing.T) {
	good := keys.Generate()
	text := keys.Format(good)
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
		"empty":          {"", 0o600, "the file is empty"},
		"short":          {text[:40], 0o600, "not a cluster key"},
		"long":           {text + text, 0o600, "not a cluster key"},
		"not base64":     {strings.Repeat("!", 44), 0o600, "not a cluster key"},
		"much too large": {strings.Repeat(text, 1000), 0o600, "not a cluster key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cluster.key")
			if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil { // past the umask
				t.Fatal(err)
			}
			for _, load := range []func() ([]byte, error){
				func() ([]byte, error) { return keys.Load(path) },
				func() ([]byte, error) { key, _, err := keys.LoadOrCreate(path); return key, err },
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
	if _, err := keys.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want not exist", err)
	}
	dir := t.TempDir()
	if _, err := keys.Load(dir); err == nil || !strings.Contains(err.Error(), "rmdir "+dir) {
		t.Errorf("a directory: %v", err)
	}
}

// TestLoad_owner: root takes no key whose owner may read and replace it, even if
// the mode keeps all other users out.
func TestLoad_owner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a file to another user")
	}
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := keys.Create(path, keys.Generate()); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link} {
		if _, err := keys.Load(name); err == nil || !strings.Contains(err.Error(), "belongs to another user (65534)") || !strings.Contains(err.Error(), "chown 0 "+name) {
			t.Errorf("got %v", err)
		}
		if _, _, err := keys.LoadOrCreate(name); err == nil {
			t.Error("LoadOrCreate takes it")
		}
	}
	if err := os.Chown(path, 0, 65534); err != nil { // a group that the mode keeps out
		t.Fatal(err)
	}
	if _, err := keys.Load(path); err != nil {
		t.Error(err)
	}
}

func TestLoadOrCreate_danglingLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.Symlink("/nowhere/at/all", path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keys.LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("got %v, want it to name where the link leads", err)
	}
}
