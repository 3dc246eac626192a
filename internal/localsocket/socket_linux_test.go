package localsocket_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/localsocket"
)

// A socket is made at a path of any length, in the place of one that was left
// behind, and both ends know whose the other one is.
func TestSocket(t *testing.T) {
	for _, name := range []string{"s", strings.Repeat("long/", 40) + "s"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		former, err := localsocket.Listen(path)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(path), err)
		}
		former.Close()
		l, err := localsocket.Listen(path)
		if err != nil {
			t.Fatalf("%d bytes, again: %v", len(path), err)
		}
		defer l.Close()
		if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%d bytes: %v, %v", len(path), info, err)
		}

		client, err := localsocket.Dial(t.Context(), path)
		if err != nil {
			t.Fatalf("%d bytes: %v", len(path), err)
		}
		defer client.Close()
		server, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if uid, ours, err := localsocket.PeerUser(client); int(uid) != os.Geteuid() || !ours || err != nil {
			t.Errorf("the server is user %d, ours %t, %v", uid, ours, err)
		}
		if uid, ours, err := localsocket.PeerUser(server); int(uid) != os.Geteuid() || !ours || err != nil {
			t.Errorf("the client is user %d, ours %t, %v", uid, ours, err)
		}
	}

	if _, err := localsocket.Dial(t.Context(), filepath.Join(t.TempDir(), strings.Repeat("none/", 40)+"s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
