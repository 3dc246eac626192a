package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestWorker_idleTimeout(t *testing.T) {
	b := newBench(t)
	s := b.spec("silent", "echo x; sleep 60")
	s.IdleTimeout = 100 * time.Millisecond
	b.take(s)
	if o := b.outcome("silent"); o.State != pipeline.AttemptTimedOut || o.Reason != "no output for 100ms (idle_timeout)" || o.LogSize != 2 {
		t.Errorf("%s, %q, log of %d bytes", o.State, o.Reason, o.LogSize)
	}
}

// A worker that no leader speaks to ends what has on_disconnect = "kill", TERM
// first, and leaves the rest alone.
func TestWorker_onDisconnect(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	kill := b.spec("kill", "trap 'echo term > "+dir+"/term; exit 0' TERM; echo > "+dir+"/up; while :; do sleep 0.02; done")
	kill.OnDisconnect = pipeline.DisconnectKill
	keep := b.spec("keep", "while [ ! -e "+dir+"/go ]; do sleep 0.02; done")
	keep.OnDisconnect = pipeline.DisconnectKeep
	// Without a lease nothing is started that could not be ended in time.
	early := kill
	early.ID = id("early")
	b.take(early)
	sync := func() []peer.Held {
		t.Helper()
		res, err := b.w.Sync(t.Context(), peer.SyncRequest{Term: 1, Lease: time.Second, Heard: executor.BootTime()})
		if err != nil {
			t.Fatal(err)
		}
		return res.Attempts
	}
	testutil.Eventually(t, 20*time.Second, func() error {
		if n := b.w.Load(); n > 0 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	sync()
	b.take(kill, keep)
	testutil.Eventually(t, 20*time.Second, func() error {
		if list := sync(); len(list) != 2 {
			t.Fatalf("%+v", list)
		}
		_, err := os.Stat(filepath.Join(dir, "up"))
		return err
	})
	if o := b.outcome("kill"); o.State != pipeline.AttemptLost || o.Reason != "lost contact with the cluster" {
		t.Errorf("kill: %s, %q", o.State, o.Reason)
	}
	if _, err := os.Stat(filepath.Join(dir, "term")); err != nil {
		t.Error("killed without TERM")
	}
	if n := b.w.Load(); n != 1 {
		t.Errorf("%d attempts run, want the one to be kept", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := b.outcome("keep"); o.State != pipeline.AttemptSucceeded {
		t.Errorf("keep: %s, %q", o.State, o.Reason)
	}
}
