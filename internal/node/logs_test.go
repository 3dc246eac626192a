package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// follow gives what a client is sent of a run's output, as text, and the time
// of each line.
func follow(t *testing.T, c *client.Client, id pipeline.RunID, o client.FollowOptions) (string, map[string]time.Time) {
	t.Helper()
	var text strings.Builder
	times := map[string]time.Time{}
	o.Once = true
	err := c.Runs().Follow(t.Context(), id, o, func(e wire.LogEvent) error {
		text.Write(e.Bytes())
		for line := range bytes.Lines(e.Bytes()) {
			times[strings.TrimSpace(string(line))] = e.Time
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), times
}

// TestLogs_partsAndTimes reads parts of an output at every node, while it is
// written and when it is over, and wants the same times of it both times.
func TestLogs_partsAndTimes(t *testing.T) {
	nodes := openCluster(t, 3)
	// Followers learn the other nodes, which take the tokens of the cluster only.
	token, err := nodes[0].Tokens().Create(t.Context(), wire.TokenRequest{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range nodes {
		if nodes[i], err = client.New(client.Config{Addresses: c.Addresses()[:1],
			TokenSource: func(context.Context, string) (string, error) { return token.Token, nil }}); err != nil {
			t.Fatal(err)
		}
	}
	gates := t.TempDir()
	gate := func(i int) string { return filepath.Join(gates, fmt.Sprint(i)) }
	source := fmt.Sprintf(`pipeline "p" {
  module "m" {
    script = <<-SH
      echo early; echo too
      while [ ! -e %s ]; do sleep 0.02; done
      echo late
      while [ ! -e %s ]; do sleep 0.02; done
      printf end
    SH
  }
}`, gate(1), gate(2))
	made, err := nodes[0].Runs().Submit(t.Context(), client.NewKey(), wire.SubmitRequest{Source: source, FileName: "test.hcl"})
	if err != nil {
		t.Fatal(err)
	}
	id := made.ID
	has := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if got, _ := follow(t, nodes[0], id, client.FollowOptions{}); got != want {
				return fmt.Errorf("the output is %q, not %q", got, want)
			}
			return nil
		})
	}
	open := func(i int) {
		t.Helper()
		began := time.Now()
		eventually(t, func() error { // what is tested is that time passes
			if d := time.Since(began); d < 400*time.Millisecond {
				return fmt.Errorf("only %s have passed", d)
			}
			return nil
		})
		if err := os.WriteFile(gate(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has("early\ntoo\n")
	open(1)
	has("early\ntoo\nlate\n")
	var before map[string]time.Time
	read := func(state, end string) {
		t.Helper()
		for i, c := range nodes {
			if got, _ := follow(t, c, id, client.FollowOptions{Lines: 2}); got != "too\nlate\n"+end && got != "late\n"+end {
				t.Errorf("%s, n%d: the last 2 lines are %q", state, i+1, got)
			}
			_, times := follow(t, c, id, client.FollowOptions{Times: true})
			if d := times["late"].Sub(times["early"]); d < 300*time.Millisecond || d > time.Minute {
				t.Errorf("%s, n%d: late came %s after early: %v", state, i+1, d, times)
			}
			if before == nil {
				before = times
			}
			if d := times["late"].Sub(before["late"]).Abs(); d > time.Millisecond {
				t.Errorf("%s, n%d: the time of a line is another one by %s", state, i+1, d)
			}
			if got, _ := follow(t, c, id, client.FollowOptions{Since: times["late"].Add(-50 * time.Millisecond)}); got != "late\n"+end {
				t.Errorf("%s, n%d: since shortly before late there is %q", state, i+1, got)
			}
			if got, _ := follow(t, c, id, client.FollowOptions{Since: time.Now().Add(time.Hour)}); got != "" {
				t.Errorf("%s, n%d: since a time to come there is %q", state, i+1, got)
			}
			r, _, err := c.Modules().Log(t.Context(), id, "m", client.LogOptions{})
			if err != nil {
				t.Fatalf("%s, n%d: %v", state, i+1, err)
			}
			all, err := io.ReadAll(r)
			r.Close()
			if err != nil || string(all) != "early\ntoo\nlate\n"+end {
				t.Errorf("%s, n%d: the bytes are %q, %v", state, i+1, all, err)
			}
		}
	}
	read("running", "")
	open(2)
	eventually(t, func() error {
		r, err := nodes[0].Runs().Get(t.Context(), id)
		if err == nil && !r.State.Final() {
			err = fmt.Errorf("the run is %s", r.State)
		}
		return err
	})
	read("over", "end")
}
