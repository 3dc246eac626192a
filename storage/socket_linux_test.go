package storage_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/storage"
)

// nobody is a user other than ours.
const nobody = 65534

// asNobody runs a helper as another user, see TestMain. The test must be root's.
func asNobody(t *testing.T, args ...string) string {
	t.Helper()
	// The test binary lies below a directory of root's.
	bin, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	exe := filepath.Join(dir, "test")
	if err := os.WriteFile(exe, bin, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "STORAGE_TEST_HELPER="+strings.Join(args, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return string(out)
}

// needsRoot skips a test that becomes another user.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
}

// openDir gives a directory that every user can reach and write to.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func listenSocket(t *testing.T, dir string) (net.Listener, string) {
	t.Helper()
	d, err := storage.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		_ = d.Close()
	})
	return l, d.SocketPath()
}

// TestSocket wants a socket for this user alone, whatever the length of its path and
// whatever an earlier process left there.
func TestSocket(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", strings.Repeat("long/", 40) + "d"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Run("left behind", func(t *testing.T) { listenSocket(t, dir) }) // closed, and not removed, when it ends
		l, path := listenSocket(t, dir)
		if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%d bytes: %v, %v", len(path), err, info)
		}

		client, err := storage.DialSocket(t.Context(), path)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(path), err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := server.(interface{ LocalUser() string }).LocalUser(); got != me.Username {
			t.Errorf("the caller is %q, want %q", got, me.Username)
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if b := make([]byte, 1); true {
			if _, err := server.Read(b); err != nil || b[0] != 'x' {
				t.Errorf("%v, %q", err, b)
			}
		}
		client.Close()
		server.Close()
	}
}

// TestSocket_otherCaller: a process of another user gets nothing, even if it can
// reach the socket.
func TestSocket_otherCaller(t *testing.T) {
	needsRoot(t)
	dir := openDir(t)
	l, path := listenSocket(t, dir)
	accepted := make(chan error, 1)
	go func() { // ends with the listener
		_, err := l.Accept()
		accepted <- err
	}()
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	if out := asNobody(t, "call", path); !strings.Contains(out, "the call ended") {
		t.Errorf("got %s", out)
	}
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection of another user was accepted (%v)", err)
	}
}

// TestDialSocket_otherServer: a socket that another user serves is not ours, whatever
// agent.json says.
func TestDialSocket_otherServer(t *testing.T) {
	needsRoot(t)
	path := filepath.Join(openDir(t), "api.sock")
	served := make(chan string, 1)
	go func() { served <- asNobody(t, "serve", path) }()
	var err error
	testutil.Eventually(t, 30*time.Second, func() error {
		var conn net.Conn
		if conn, err = storage.DialSocket(t.Context(), path); err == nil {
			conn.Close()
			t.Fatal("connected")
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return err // does not listen yet
		}
		return nil
	})
	if want := fmt.Sprintf("belongs to a process of user %d", nobody); !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	<-served
}
