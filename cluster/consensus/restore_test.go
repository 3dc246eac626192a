package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/testutil"
)

// keep waits until every state machine has these commands.
func keep(tb testing.TB, fsms []*testFSM, want ...string) {
	tb.Helper()
	testutil.Eventually(tb, 20*time.Second, func() error {
		for i, f := range fsms {
			if got := f.all(); !slices.Equal(got, want) {
				return fmt.Errorf("node %d has %q", i, got)
			}
		}
		return nil
	})
}

// put applies a command on whichever node leads.
func put(tb testing.TB, nodes []*Node, cmd string) {
	tb.Helper()
	testutil.Eventually(tb, 20*time.Second, func() error {
		for _, n := range nodes {
			if n.IsLeader() {
				_, _, err := n.Apply(tb.Context(), []byte(cmd))
				return err
			}
		}
		return errors.New("no leader")
	})
}

// A restored content is on every node, what is proposed after it follows, and a
// node starts again from it although the log has a long gap.
func TestNode_Restore(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	node, fsm := net.open(t, "a", dir)
	if err := node.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	nodes, fsms := []*Node{node}, []*testFSM{fsm}
	put(t, nodes, "before")
	b, bfsm := net.open(t, "b", t.TempDir())
	if err := node.AddStandby(t.Context(), "b", node.Servers()); err != nil {
		t.Fatal(err)
	}
	fsms = append(fsms, bfsm)
	keep(t, fsms, "before")

	const content = `["x","y"]`
	restore := func(check error) error {
		return node.Restore(t.Context(), Content{Index: 5, Size: int64(len(content)), Data: strings.NewReader(content)}, func() error { return check })
	}
	refused := errors.New("not empty")
	if err := restore(refused); !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	put(t, nodes, "still")
	keep(t, fsms, "before", "still")

	epoch, _, _, _ := node.lead.now()
	if err := restore(nil); err != nil {
		t.Fatal(err)
	}
	if now, leading, _, _ := node.lead.now(); now != epoch+1 || !leading {
		t.Errorf("epoch %d became %d, leading: %v", epoch, now, leading)
	}
	put(t, nodes, "z")
	keep(t, fsms, "x", "y", "z")
	if got := node.Status().Applied; got <= restoreGap {
		t.Errorf("the log continues at %d", got)
	}

	if err := errors.Join(b.Close(), node.Close()); err != nil {
		t.Fatal(err)
	}
	node, fsm = net.open(t, "a", dir)
	put(t, []*Node{node}, "last")
	keep(t, []*testFSM{fsm}, "x", "y", "z", "last")
}

// Of two voters one is left: it is the only voter then, with all that it had.
func TestRecover(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	a, afsm := net.open(t, "a", t.TempDir())
	b, bfsm := net.open(t, "b", dir)
	if err := a.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, []*Node{a}, "one")
	if err := a.AddVoter(t.Context(), "b", a.Servers()); err != nil {
		t.Fatal(err)
	}
	put(t, []*Node{a}, "two")
	keep(t, []*testFSM{afsm, bfsm}, "one", "two")
	if err := errors.Join(a.Close(), b.Close()); err != nil {
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
	put(t, []*Node{b}, "three")
	keep(t, []*testFSM{bfsm}, "one", "two", "three")
	if got := b.Servers(); !slices.Equal(got, []Server{{ID: "b", Suffrage: Voter}}) {
		t.Errorf("servers: %v", got)
	}

	empty := Config{ID: "x", Dir: t.TempDir(), FSM: &testFSM{}, Logger: hclog.NewNullLogger()}
	if _, err := Recover(empty, true); err == nil {
		t.Error("a directory without state was recovered")
	}
}
