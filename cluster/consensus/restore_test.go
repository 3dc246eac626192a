package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// A restored content is on every node, what is proposed after it follows, and a
// node starts again from it although the log has a long gap.
func TestNode_Restore(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	node, fsm := net.open(t, "a", dir)
	if err := node.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	nodes, fsms := []*Node{node}, []*testFSM{fsm}
	apply(t, nodes, "before")
	b, bfsm := net.open(t, "b", t.TempDir())
	if err := node.AddStandby(t.Context(), "b", node.Servers()); err != nil {
		t.Fatal(err)
	}
	fsms = append(fsms, bfsm)
	applied(t, fsms, "before")

	const content = `["x","y"]`
	restore := func(check error) error {
		return node.Restore(t.Context(), Content{Index: 5, Size: int64(len(content)), Data: strings.NewReader(content)}, func() error { return check })
	}
	refused := errors.New("not empty")
	if err := restore(refused); !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	apply(t, nodes, "still")
	applied(t, fsms, "before", "still")

	epoch, _, _, _ := node.lead.now()
	if err := restore(nil); err != nil {
		t.Fatal(err)
	}
	if now, leading, _, _ := node.lead.now(); now != epoch+1 || !leading {
		t.Errorf("epoch %d became %d, leading: %v", epoch, now, leading)
	}
	apply(t, nodes, "z")
	applied(t, fsms, "x", "y", "z")
	if got := node.Status().Applied; got <= restoreGap {
		t.Errorf("the log continues at %d", got)
	}

	if err := errors.Join(b.Close(), node.Close()); err != nil {
		t.Fatal(err)
	}
	node, fsm = net.open(t, "a", dir)
	apply(t, []*Node{node}, "last")
	applied(t, []*testFSM{fsm}, "x", "y", "z", "last")
}

// Of two voters one is left: it is the only voter then, with all that it had.
func TestRecover(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	a, afsm := net.open(t, "a", t.TempDir())
	b, bfsm := net.open(t, "b", dir)
	if err := a.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, []*Node{a}, "one")
	if err := a.AddVoter(t.Context(), "b", a.Servers()); err != nil {
		t.Fatal(err)
	}
	apply(t, []*Node{a}, "two")
	applied(t, []*testFSM{afsm, bfsm}, "one", "two")
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}

	// A node that was killed may not have written down that there is another one.
	if err := os.Remove(filepath.Join(dir, serversFile)); err != nil {
		t.Fatal(err)
	}

	cfg := Config{ID: "b", Dir: dir, FSM: &testFSM{}, Logger: hclog.NewNullLogger()}
	seen, err := Recover(cfg, true)
	if err != nil || len(seen.Before) != 2 || seen.Index == 0 {
		t.Fatalf("%+v, %v", seen, err)
	}
	done, err := Recover(cfg, false)
	if err != nil || done.Index != seen.Index || done.Term != seen.Term {
		t.Fatalf("%+v, %v", done, err)
	}

	b, bfsm = net.open(t, "b", dir)
	apply(t, []*Node{b}, "three")
	applied(t, []*testFSM{bfsm}, "one", "two", "three")
	if got := b.Servers(); !slices.Equal(got, []Server{{ID: "b", Suffrage: Voter}}) {
		t.Errorf("servers: %v", got)
	}

	empty := Config{ID: "x", Dir: t.TempDir(), FSM: &testFSM{}, Logger: hclog.NewNullLogger()}
	if _, err := Recover(empty, true); err == nil {
		t.Error("a directory without state was recovered")
	}
}
