package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// failLog makes every write of a node's log fail, until the function that it
// returns is called.
func failLog(n *Node, err error) (repair func()) {
	f := func() error { return err }
	n.state.store.inject.Store(&f)
	return func() { n.state.store.inject.Store(nil) }
}

// stallLog makes every write of a node's log hang, until the function that it
// returns is called.
func stallLog(n *Node) (repair func()) {
	gate := make(chan struct{})
	f := func() error { <-gate; return nil }
	n.state.store.inject.Store(&f)
	return sync.OnceFunc(func() { n.state.store.inject.Store(nil); close(gate) })
}

func alive(tb testing.TB, n *Node) {
	tb.Helper()
	select {
	case err := <-n.Fatal():
		tb.Errorf("the node ended: %v", err)
	default:
	}
}

func unfit(n *Node, want error) error {
	if err := n.Storage(); !errors.Is(err, want) {
		return fmt.Errorf("Storage: got %v, want %v", err, want)
	}
	if n.IsLeader() {
		return errors.New("it leads")
	}
	return nil
}

// A leader whose log or state cannot be written, or whose disk stands still,
// leaves leadership to another, follows again when the disk works, and has then
// applied what the others have. It does not end.
func TestStorage_leaderOfThree(t *testing.T) {
	for name, tc := range map[string]struct {
		want  error
		spoil func(*Node, *testFSM) func()
	}{
		"log":   {unix.EIO, func(n *Node, _ *testFSM) func() { return failLog(n, unix.EIO) }},
		"state": {unix.ENOSPC, func(_ *Node, f *testFSM) func() { f.setDisk(unix.ENOSPC); return func() { f.setDisk(nil) } }},
		"stall": {ErrStorageStalled, func(n *Node, _ *testFSM) func() { return stallLog(n) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes, fsms := three(t, newNetwork(t))
			apply(t, nodes, "before")

			repair := tc.spoil(nodes[0], fsms[0])
			defer repair()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _, err := nodes[0].Apply(ctx, []byte("lost or not"))
			cancel()
			if kind := pipeline.KindOf(err); kind != pipeline.Unknown && kind != pipeline.Unavailable {
				t.Errorf("a command meanwhile: %v", err)
			}
			testutil.Eventually(t, 20*time.Second, func() error { return unfit(nodes[0], tc.want) })
			apply(t, nodes[1:], "meanwhile")
			alive(t, nodes[0])

			repair()
			testutil.Eventually(t, 20*time.Second, func() error { return nodes[0].Storage() })
			apply(t, nodes[1:], "after")
			testutil.Eventually(t, 20*time.Second, func() error {
				if others, own := fsms[1].all(), fsms[0].all(); !slices.Equal(others, own) {
					return fmt.Errorf("it has applied %q, the others %q", own, others)
				}
				return nil
			})
			alive(t, nodes[0])
		})
	}
}

// The only node of a cluster stops leading and leads again by itself; what was
// committed is applied once.
func TestStorage_onlyNode(t *testing.T) {
	for name, spoil := range map[string]func(*Node, *testFSM) func(){
		"log":   func(n *Node, _ *testFSM) func() { return failLog(n, unix.EROFS) },
		"state": func(_ *Node, f *testFSM) func() { f.setDisk(unix.EROFS); return func() { f.setDisk(nil) } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, fsm := newNetwork(t).open(t, "a", t.TempDir())
			if err := n.Bootstrap(t.Context()); err != nil {
				t.Fatal(err)
			}
			apply(t, []*Node{n}, "before")

			terms := make(chan uint64, 8) // more than there are
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1) // Lead's result
			go func() {
				ended <- n.Lead(ctx, func(ctx context.Context, term uint64) error {
					terms <- term
					<-ctx.Done()
					return nil
				})
			}()
			<-terms

			repair := spoil(n, fsm)
			defer repair()
			f := n.ApplyAsync([]byte("meanwhile"))
			testutil.Eventually(t, 20*time.Second, func() error { return unfit(n, unix.EROFS) })
			if _, _, err := n.Apply(t.Context(), []byte("refused")); !errors.Is(err, pipeline.ErrNotLeader) {
				t.Errorf("a command while unfit: %v", err)
			}

			repair()
			<-terms // the leader's duty begins again
			apply(t, []*Node{n}, "after")
			want := []string{"before", "after"}
			if _, _, err := f.Wait(t.Context()); err == nil {
				want = []string{"before", "meanwhile", "after"}
			}
			if got := fsm.all(); !slices.Equal(got, want) {
				t.Errorf("applied %q, want %q", got, want)
			}
			alive(t, n)
			cancel()
			<-ended
		})
	}
}

// A node that cannot write is closed at once, and what it has committed is
// applied by the next start.
func TestStorage_closed(t *testing.T) {
	dir := t.TempDir()
	net := newNetwork(t)
	n, fsm := net.open(t, "a", dir)
	if err := n.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, []*Node{n}, "before")
	fsm.setDisk(unix.ENOSPC)
	f := n.ApplyAsync([]byte("meanwhile"))
	testutil.Eventually(t, 20*time.Second, func() error { return unfit(n, unix.ENOSPC) })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Wait(t.Context()); pipeline.KindOf(err) != pipeline.Unknown {
		t.Errorf("a committed command that was not applied: %v", err)
	}

	n, fsm = net.open(t, "a", dir)
	apply(t, []*Node{n}, "after")
	if got := fsm.all(); !slices.Equal(got, []string{"before", "meanwhile", "after"}) {
		t.Errorf("applied %q", got)
	}
}

// A node whose disk hangs is closed all the same, also if it is just trying whether
// the disk works again.
func TestStorage_closedWhileItHangs(t *testing.T) {
	n, _ := newNetwork(t).open(t, "a", t.TempDir())
	if err := n.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, []*Node{n}, "before")
	failLog(n, unix.EIO)
	n.ApplyAsync([]byte("meanwhile"))
	testutil.Eventually(t, 20*time.Second, func() error { return unfit(n, unix.EIO) })
	repair := stallLog(n)
	testutil.Eventually(t, 20*time.Second, func() error {
		if n.state.store.stalled(n.storage.clock) == 0 {
			return errors.New("nothing is written")
		}
		return nil
	})

	closed := make(chan error, 1)
	go func() { closed <- n.Close() }() // ends with repair at the latest
	select {
	case err := <-closed:
		if err == nil {
			t.Error("it is said to be closed although a write hangs")
		}
	case <-time.After(20 * time.Second):
		t.Error("it is not closed while the disk hangs")
	}
	repair()
}

// A snapshot that cannot be restored because the disk is full is not damaged: the
// start fails, and leaves everything as it is for the next one.
func TestOpen_fullDisk(t *testing.T) {
	dir := t.TempDir()
	net := newNetwork(t)
	n, _ := net.open(t, "a", dir)
	if err := n.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, []*Node{n}, "x")
	if err := errors.Join(n.Snapshot(t.Context()), n.Close()); err != nil {
		t.Fatal(err)
	}

	_, err := Open(Config{ID: "a", Dir: dir, FSM: &testFSM{disk: unix.ENOSPC}, Dial: net.dialer("a")})
	var damage *DamageError
	if !errors.Is(err, unix.ENOSPC) || errors.As(err, &damage) {
		t.Errorf("start on a full disk: %v", err)
	}

	_, fsm := net.open(t, "a", dir)
	applied(t, []*testFSM{fsm}, "x")
}

// StepDown moves leadership to another voter, and it may come back later.
func TestNode_StepDown(t *testing.T) {
	nodes, _ := three(t, newNetwork(t))
	apply(t, nodes, "before")
	nodes[0].StepDown()
	testutil.Eventually(t, 20*time.Second, func() error {
		if nodes[0].IsLeader() || nodes[1].IsLeader() == nodes[2].IsLeader() {
			return errors.New("no other node leads")
		}
		return nil
	})
	apply(t, nodes, "after")
	testutil.Eventually(t, 20*time.Second, func() error {
		if nodes[0].trans.muted.Load() {
			return errors.New("it still withholds its messages")
		}
		return nil
	})
}
