package worker

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

const secret = "correct-horse-battery"

// holds reports which files below the bench's directory hold the secret.
func (b *bench) holds() (files []string) {
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // removed meanwhile
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		b.tb.Error(err)
	}
	return files
}

// Secrets reach the module and nothing else, also when the daemon starts again
// in the middle; what had not begun is sent again by its leader.
func TestWorker_secrets(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	s := b.spec("secret", `touch `+dir+`/up; while [ ! -e `+dir+`/go ]; do sleep 0.02; done; [ ${#S} = 21 ]; echo "it is $S"; echo "r=$S" > $PIPELINED_OUTPUT`)
	s.Secrets, s.Env = map[string]string{"S": secret}, map[string]string{"S": "declared"}
	s.Hooks.OnSuccess = `echo "hook $S $PIPELINED_STATUS"; echo made > made`
	s.Outputs = []string{"made"}
	next := b.spec("next", `echo "$T" | rev`, "secret")
	next.Secrets, next.Mask = map[string]string{"T": "abcdefgh"}, []string{"hgfedcba", secret}
	b.take(s, next)
	testutil.Eventually(t, 20*time.Second, func() error { _, err := os.Stat(filepath.Join(dir, "up")); return err })
	if files := b.holds(); files != nil {
		t.Errorf("the secret is in %q", files)
	}
	b.stop()
	b.open()
	res, err := b.w.Sync(t.Context(), peer.SyncRequest{Term: 1, Lease: time.Second})
	if err != nil || len(res.Attempts) != 1 || res.Attempts[0].ID != id("secret") {
		t.Fatalf("after the restart: %+v, %v", res.Attempts, err)
	}
	b.take(next)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := b.outcome("secret")
	if o.State != pipeline.AttemptSucceeded || string(o.Result) != `{"r":"***"}` || o.OutputCount != 1 {
		t.Errorf("%s, %q, result %s, %d outputs", o.State, o.Reason, o.Result, o.OutputCount)
	}
	if n := b.outcome("next"); n.State != pipeline.AttemptSucceeded || n.LogSize != 4 {
		t.Errorf("next: %s, %q, log of %d bytes", n.State, n.Reason, n.LogSize)
	}
	if files := b.holds(); files != nil {
		t.Errorf("the secret is in %q", files)
	}
}

func TestWorker_hooks(t *testing.T) {
	b := newBench(t)
	before := b.spec("before", "echo main")
	before.Hooks.Before = "exit 3"
	after := b.spec("after", "true")
	after.Hooks.After = "#!/bin/sh\n[ $(pwd) = $PIPELINED_WORKSPACE ] && exit 4"
	stopped := b.spec("stopped", "sleep 60")
	stopped.Timeout, stopped.Hooks.OnFailure = 100*time.Millisecond, "echo $PIPELINED_STATUS > state; "
	stopped.Outputs = []string{"state"}
	b.take(before, after, stopped)
	for module, want := range map[string]struct {
		state  pipeline.AttemptState
		reason string
	}{
		"before":  {pipeline.AttemptFailed, "hook before: exit code 3"},
		"after":   {pipeline.AttemptFailed, "hook after: exit code 4"},
		"stopped": {pipeline.AttemptTimedOut, "timed out after 100ms"},
	} {
		if o := b.outcome(module); o.State != want.state || o.Reason != want.reason {
			t.Errorf("%s: %s, %q", module, o.State, o.Reason)
		}
	}
	if o := b.outcome("stopped"); o.OutputCount != 1 {
		t.Errorf("%d outputs, want what the hook made", o.OutputCount)
	}
}

// The secret of the registry is not the module's, and takes no variable from it.
func TestWithSecrets_registryAuth(t *testing.T) {
	s := &pipeline.Spec{Env: map[string]string{"REGISTRY": "host", "A": "a"}, Secrets: map[string]string{"REGISTRY": "me:secret", "A": "b"}}
	s.Container.RegistryAuth = "REGISTRY"
	if got, want := withSecrets(s, ""), map[string]string{"REGISTRY": "host", "A": "b"}; !maps.Equal(got, want) {
		t.Errorf("the environment is %v, want %v", got, want)
	}
}
