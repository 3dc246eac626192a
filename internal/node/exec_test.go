package node

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// runSession collects what a process at a node writes until it ends.
func runSession(t *testing.T, c *client.Client, id pipeline.RunID, module, input string, in wire.ExecRequest) (string, wire.ExecStatus) {
	t.Helper()
	stream, err := c.Modules().Exec(t.Context(), id, module, in)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	out := &wire.ExecWriter{W: stream}
	if input != "" {
		if err := out.Frame(wire.ExecInput, []byte(input)); err != nil {
			t.Fatal(err)
		}
	}
	if !in.TTY {
		if err := out.Frame(wire.ExecEOF, nil); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	for {
		kind, b, err := wire.ReadExecFrame(stream, nil)
		if err != nil {
			t.Fatalf("after %q: %v", text.String(), err)
		}
		if kind == wire.ExecExit {
			var st wire.ExecStatus
			if err := json.Unmarshal(b, &st); err != nil {
				t.Fatal(err)
			}
			return text.String(), st
		}
		text.Write(b)
	}
}

// TestExec looks into the directory of a running module from every node, and into
// that of one that failed.
func TestExec(t *testing.T) {
	first, c := openNode(t, Config{Name: "n1", KeepWork: true})
	_, c2 := openNode(t, Config{Name: "n2", KeepWork: true, Join: []string{first.cluster.Addresses().Gossip}})
	token, err := c.Tokens().Create(t.Context(), wire.TokenRequest{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*client.Client{c, c2}
	for i, c := range nodes {
		if nodes[i], err = client.New(client.Config{Addresses: c.Addresses()[:1],
			TokenSource: func(context.Context, string) (string, error) { return token.Token, nil }}); err != nil {
			t.Fatal(err)
		}
	}
	gate := filepath.Join(t.TempDir(), "gate")
	source := fmt.Sprintf(`pipeline "p" {
  on_failure = "continue"
  variable "hidden" {
    sensitive = true
    default   = "quite-secret"
  }
  module "m" {
    env    = { COLOUR = "green", HIDDEN = var.hidden }
    script = "echo made > file; while [ ! -e %s ]; do sleep 0.02; done"
  }
  module "fails" {
    env    = { COLOUR = "blue" }
    script = "echo left > behind; exit 3"
  }
  module "later" {
    depends_on = [module.m]
    command    = ["true"]
  }
}`, gate)
	made, err := nodes[0].Runs().Submit(t.Context(), client.NewKey(), wire.SubmitRequest{Source: source, FileName: "test.hcl"})
	if err != nil {
		t.Fatal(err)
	}
	id := made.ID
	eventually(t, func() error {
		r, err := nodes[0].Runs().Get(t.Context(), id)
		if err == nil && (r.Modules[0].State != pipeline.ModuleRunning || r.Modules[1].State != pipeline.ModuleFailed) {
			err = fmt.Errorf("m is %s, fails is %s", r.Modules[0].State, r.Modules[1].State)
		}
		return err
	})
	for i, c := range nodes {
		out, st := runSession(t, c, id, "m", "from here", wire.ExecRequest{Command: []string{"sh", "-c", `cat file; cat; echo " [$COLOUR$HIDDEN] $PIPELINED_MODULE"; exit 7`}})
		if out != "made\nfrom here [green] m\n" || st.ExitCode != 7 {
			t.Errorf("n%d: %q, %+v", i+1, out, st)
		}
		out, st = runSession(t, c, id, "fails", "", wire.ExecRequest{Command: []string{"sh", "-c", "cat behind; echo $COLOUR"}})
		if out != "left\nblue\n" || st.ExitCode != 0 {
			t.Errorf("n%d: %q, %+v", i+1, out, st)
		}
		out, st = runSession(t, c, id, "m", "stty size; exit 5\n", wire.ExecRequest{Command: []string{"sh"}, TTY: true, Columns: 77, Rows: 33})
		if !strings.Contains(out, "33 77") || st.ExitCode != 5 {
			t.Errorf("n%d: %q, %+v", i+1, out, st)
		}
		if _, st := runSession(t, c, id, "m", "", wire.ExecRequest{Command: []string{"no-such-program"}}); st.ExitCode != 127 || !strings.Contains(st.Message, "no-such-program") {
			t.Errorf("n%d: %+v", i+1, st)
		}
		if _, err := c.Modules().Exec(t.Context(), id, "later", wire.ExecRequest{}); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("n%d: a module that has not begun: %v", i+1, err)
		}
	}
	// The end of the module is the end of whoever looks.
	until := wire.ExecRequest{Command: []string{"sh", "-c", "touch " + gate + "; exec sleep 1000"}}
	if _, st := runSession(t, nodes[1], id, "m", "", until); st.Message == "" || st.ExitCode == 0 {
		t.Errorf("at the module's end: %+v", st)
	}
	if _, err := nodes[1].Modules().Exec(t.Context(), id, "m", wire.ExecRequest{}); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("after the end of a module that succeeded: %v", err)
	}
}
