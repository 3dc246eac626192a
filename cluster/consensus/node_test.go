package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestNode_single(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	n, fsm := net.open(t, "a", dir)
	if n.HasState() {
		t.Error("state in an empty directory")
	}

	if _, _, err := n.Apply(t.Context(), []byte("x")); !errors.Is(err, pipeline.ErrNotLeader) {
		t.Errorf("apply without a cluster: %v", err)
	}

	if err := n.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 5*time.Second, func() error { return n.Barrier(t.Context()) })

	i, resp, err := n.Apply(t.Context(), []byte("x"))
	if err != nil || resp != "x done" || i == 0 {
		t.Fatalf("got %d, %v, %v", i, resp, err)
	}

	if _, _, err := n.Apply(t.Context(), make([]byte, MaxCommand+1)); pipeline.KindOf(err) != pipeline.TooLarge {
		t.Errorf("a command too large: %v", err)
	}

	if err := n.Bootstrap(t.Context()); err == nil {
		t.Error("began a second cluster")
	}

	if _, err := n.VerifyLeader(t.Context()); err != nil {
		t.Error(err)
	}

	if _, err := Open(Config{ID: "a", Dir: dir, FSM: &testFSM{}}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second node in the directory: %v", err)
	}

	if err := n.Snapshot(t.Context()); err != nil {
		t.Error(err)
	}

	if _, _, err := n.Apply(t.Context(), []byte("y")); err != nil {
		t.Error(err)
	}

	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	if _, _, err := n.Apply(t.Context(), []byte("z")); !errors.Is(err, pipeline.ErrNotLeader) {
		t.Errorf("apply after the end: %v", err)
	}

	if got := fsm.all(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("applied %q", got)
	}

	n, fsm = net.open(t, "a", dir)
	testutil.Eventually(t, 20*time.Second, func() error { return n.Barrier(t.Context()) })

	if got := fsm.all(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("replayed %q", got)
	}
}

func TestNode_ApplyAsync_keepsOrder(t *testing.T) {
	nodes, fsms := three(t, newNetwork(t))
	var futures []*Future
	var want []string
	for i := range 500 {
		cmd := fmt.Sprint(i)
		want = append(want, cmd)
		futures = append(futures, nodes[0].ApplyAsync([]byte(cmd)))
	}
	var last uint64
	for i, f := range futures {
		index, resp, err := f.Wait(t.Context())
		if err != nil || resp != want[i]+" done" || index <= last {
			t.Fatalf("%d: %d after %d, %v, %v", i, index, last, resp, err)
		}
		last = index
	}
	for i, f := range fsms {
		testutil.Eventually(t, 20*time.Second, func() error {
			if got := f.all(); !slices.Equal(got, want) {
				return fmt.Errorf("node %d has %d commands", i, len(got))
			}
			return nil
		})
	}
}

func TestNode_Apply_leadershipLost(t *testing.T) {
	net := newNetwork(t)
	nodes, fsms := three(t, net)
	net.isolate("a", true)

	// The leader does not know yet: it accepts the command, and cannot report
	// its outcome.
	_, _, err := nodes[0].Apply(t.Context(), []byte("lost"))
	if !errors.Is(err, pipeline.ErrUnknownOutcome) || pipeline.KindOf(err) != pipeline.Unknown {
		t.Fatalf("got %v, want an unknown outcome", err)
	}

	if !errors.Is(err, raft.ErrLeadershipLost) {
		t.Errorf("the cause is %v", errors.Unwrap(err))
	}

	if _, _, err := nodes[0].Apply(t.Context(), []byte("refused")); !errors.Is(err, pipeline.ErrNotLeader) {
		t.Errorf("after the loss: %v", err)
	}

	var next *Node
	testutil.Eventually(t, 20*time.Second, func() error {
		for _, n := range nodes[1:] {
			if _, _, err := n.Apply(t.Context(), []byte("kept")); err == nil {
				next = n
				return nil
			}
		}
		return errors.New("no leader")
	})

	net.isolate("a", false)
	testutil.Eventually(t, 20*time.Second, func() error {
		if got := fsms[0].all(); !slices.Equal(got, []string{"kept"}) {
			return fmt.Errorf("the old leader has %q", got)
		}
		return nil
	})

	if id, _, ok := nodes[0].Leader(); !ok || id != next.instance.id {
		t.Errorf("the old leader follows %q", id)
	}
}

func TestNode_Apply_canceled(t *testing.T) {
	net := newNetwork(t)
	nodes, _ := three(t, net)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := nodes[0].ApplyAsync([]byte("x"))
	if _, _, err := f.Wait(ctx); err != nil && !errors.Is(err, pipeline.ErrUnknownOutcome) {
		t.Errorf("given up: %v", err)
	}
	if _, _, err := f.Wait(t.Context()); err != nil {
		t.Errorf("waited again: %v", err)
	}
}

func TestNode_Lead(t *testing.T) {
	net := newNetwork(t)
	nodes, _ := three(t, net)
	ctx, cancel := context.WithCancel(t.Context())
	var leading atomic.Int32
	terms := make(chan uint64, 100)
	done := make(chan error, 3)
	for _, n := range nodes {
		go func() {
			done <- n.Lead(ctx, func(ctx context.Context, term uint64) error {
				leading.Add(1)
				defer leading.Add(-1)
				terms <- term
				<-ctx.Done()
				return nil
			})
		}()
	}

	first := <-terms
	net.isolate("a", true)

	if second := <-terms; second <= first {
		t.Errorf("term %d after %d", second, first)
	}

	testutil.Eventually(t, 20*time.Second, func() error {
		if n := leading.Load(); n != 1 {
			return fmt.Errorf("%d lead", n)
		}
		return nil
	})

	cancel()

	for range nodes {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}

	if n := leading.Load(); n != 0 {
		t.Errorf("%d still lead", n)
	}
}

func TestNode_change_expectsConfiguration(t *testing.T) {
	nodes, _ := three(t, newNetwork(t))
	old := nodes[0].Servers()
	if err := nodes[0].Demote(t.Context(), "c", old); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].Remove(t.Context(), "c", old); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("a change of something else: %v", err)
	}
	if err := nodes[0].Remove(t.Context(), "c", nodes[0].Servers()); err != nil {
		t.Error(err)
	}
	if err := nodes[1].Remove(t.Context(), "a", nodes[1].Servers()); !errors.Is(err, pipeline.ErrNotLeader) && pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("a change by a follower: %v", err)
	}
}

// TestNode_electsVoterThatOthersDoNotKnow: the leader dies when one of the two
// others has not yet received that the last one is a voter now.
func TestNode_electsVoterThatOthersDoNotKnow(t *testing.T) {
	net := newNetwork(t)
	a, _ := net.open(t, "a", t.TempDir())
	b, _ := net.open(t, "b", t.TempDir())
	c, _ := net.open(t, "c", t.TempDir())
	if err := a.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 20*time.Second, func() error { return a.Barrier(t.Context()) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	must(a.AddStandby(t.Context(), "b", a.Servers()))
	must(a.AddStandby(t.Context(), "c", a.Servers()))
	must(a.AddVoter(t.Context(), "b", a.Servers()))
	testutil.Eventually(t, 20*time.Second, func() error {
		if !slices.Equal(b.Servers(), a.Servers()) || !slices.Equal(c.Servers(), a.Servers()) {
			return errors.New("not yet everywhere")
		}
		return nil
	})

	net.isolate("b", true)
	must(a.AddVoter(t.Context(), "c", a.Servers()))
	net.isolate("a", true)
	net.isolate("b", false)
	testutil.Eventually(t, 20*time.Second, func() error {
		if !c.IsLeader() {
			return errors.New("c does not lead")
		}
		return nil
	})
}

func TestNode_snapshotReachesStraggler(t *testing.T) {
	net := newNetwork(t)
	nodes, fsms := three(t, net)
	net.isolate("c", true)
	rc := nodes[0].instance.raft.ReloadableConfig()
	rc.TrailingLogs = 5

	if err := nodes[0].instance.raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}

	for i := range 50 {
		if _, _, err := nodes[0].Apply(t.Context(), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err, errors.Unwrap(err))
		}
		// The log goes only when there are snapshots behind each other.
		if i >= 40 {
			if err := nodes[0].Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	if first, err := nodes[0].state.store.FirstIndex(); err != nil || first < 20 {
		t.Fatalf("the log begins at %d, %v: nothing needs the snapshot", first, err)
	}

	net.isolate("c", false)
	testutil.Eventually(t, 20*time.Second, func() error {
		if got := fsms[2].all(); len(got) != 50 {
			return fmt.Errorf("the straggler has %d", len(got))
		}
		return nil
	})
}

func TestNode_TransferLeadership(t *testing.T) {
	nodes, _ := three(t, newNetwork(t))
	if err := nodes[0].TransferLeadership(t.Context()); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, 20*time.Second, func() error {
		if nodes[1].IsLeader() == nodes[2].IsLeader() {
			return errors.New("nobody took over")
		}
		return nil
	})
	if err := nodes[0].TransferLeadership(t.Context()); err == nil || nodes[0].proposer.transferring.Load() {
		t.Errorf("it does not lead any more: %v; as if it still handed over: %v", err, nodes[0].proposer.transferring.Load())
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		in, want error
	}{
		{nil, nil},
		{raft.ErrNotLeader, pipeline.ErrNotLeader},
		{raft.ErrEnqueueTimeout, pipeline.ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, pipeline.ErrNotLeader},
		{raft.ErrLeadershipLost, pipeline.ErrUnknownOutcome},
		{raft.ErrRaftShutdown, pipeline.ErrUnknownOutcome},
		{raft.ErrAbortedByRestore, pipeline.ErrUnknownOutcome},
		{errors.New("no space left on device"), pipeline.ErrUnknownOutcome},
	} {
		got := outcome(c.in)
		if !errors.Is(got, c.want) || c.in != nil && !errors.Is(got, c.in) {
			t.Errorf("%v: got %v, want %v", c.in, got, c.want)
		}
	}
}

// TestEpochs_flap plays raft's LeaderCh, which keeps only the newest value: two
// wins in a row are two epochs, and the second begins when the first has ended.
func TestEpochs_flap(t *testing.T) {
	var e epochs
	e.init()
	var term atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	type span struct {
		term uint64
		end  bool
	}

	events := make(chan span, 10)
	release := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- e.run(ctx, func() (uint64, bool) { return term.Load(), true },
			func(ctx context.Context, term uint64) error {
				events <- span{term, false}
				<-ctx.Done()
				<-release // slow to end
				events <- span{term, true}
				return nil
			}, func(error) {})
	}()

	term.Store(1)
	e.set(true)

	if got := <-events; got != (span{1, false}) {
		t.Fatalf("got %+v", got)
	}

	term.Store(3)
	e.set(true) // the false between them went by unseen

	select {
	case got := <-events:
		t.Fatalf("%+v before the first epoch had ended", got)
	case release <- struct{}{}:
	}

	for _, want := range []span{{1, true}, {3, false}} {
		if got := <-events; got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}

	e.set(false)
	release <- struct{}{}

	if got := <-events; got != (span{3, true}) {
		t.Fatalf("got %+v", got)
	}

	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestEpochs_retriesWithinTerm(t *testing.T) {
	var e epochs
	e.init()
	e.set(true)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := e.run(ctx, func() (uint64, bool) { return 1, true }, func(context.Context, uint64) error {
		if calls++; calls == 3 {
			cancel()
		}
		return errors.New("not yet")
	}, func(error) {})
	if !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// TestNode_succeedsAtOnce: a leader whose process is gone is followed without
// waiting for its heartbeats; one that only lost its connections is not.
func TestNode_succeedsAtOnce(t *testing.T) {
	net := newNetwork(t)
	var gone atomic.Bool
	net.gone = func(context.Context, string) bool { return gone.Load() }
	nodes, _ := three(t, net)
	term := nodes[0].Status().Term
	testutil.Eventually(t, 20*time.Second, func() error {
		for _, n := range nodes[1:] {
			if id, _, _ := n.Leader(); id != "a" {
				return fmt.Errorf("%s follows %q", n.instance.id, id)
			}
		}
		_, err := nodes[0].VerifyLeader(t.Context())
		return err
	})

	net.isolate("a", true)
	net.isolate("a", false)

	if err := nodes[0].Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}

	if now := nodes[0].Status().Term; now != term {
		t.Errorf("term %d after %d: a leader was deposed that was there", now, term)
	}

	gone.Store(true)
	began := time.Now()
	net.isolate("a", true)
	testutil.Eventually(t, 20*time.Second, func() error {
		if nodes[1].IsLeader() == nodes[2].IsLeader() {
			return errors.New("nobody took over")
		}
		return nil
	})

	d := time.Since(began)
	t.Logf("a new leader after %v", d)

	// raft alone needs a heartbeat timeout at least.
	if d > 800*time.Millisecond {
		t.Errorf("a new leader after %v only", d)
	}
}

// TestNode_candidateBelievesInDeadLeader: a node that was made a candidate at once
// notes the leader that sends it a heartbeat then; if that leader is gone, the
// node still gives its vote to another one.
func TestNode_candidateBelievesInDeadLeader(t *testing.T) {
	net := newNetwork(t)
	net.gone = func(context.Context, string) bool { return false }
	nodes, _ := three(t, net)
	for _, n := range nodes {
		testutil.Eventually(t, 20*time.Second, func() error {
			if id, _, _ := n.Leader(); id != "a" {
				return fmt.Errorf("%s follows %q", n.instance.id, id)
			}
			return nil
		})
	}
	// b misses an entry, so only c can be elected.
	net.isolate("b", true)
	if _, _, err := nodes[0].Apply(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	net.isolate("a", true)
	b := nodes[1]
	b.failover.stand()
	// It stands in the next term; a leader of that term has sent a heartbeat.
	testutil.Eventually(t, 20*time.Second, func() error {
		term := b.instance.raft.CurrentTerm()
		beat := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("a"), Addr: []byte("a")}, Term: term}
		if err := b.trans.inject(t.Context(), beat); err != nil {
			return err
		}
		if b.instance.raft.State() != raft.Candidate || b.instance.leader() != "a" {
			b.failover.stand()
			return errors.New("it is no candidate that believes in a")
		}
		return nil
	})

	net.isolate("b", false)
	testutil.Eventually(t, 20*time.Second, func() error {
		if !nodes[1].IsLeader() && !nodes[2].IsLeader() {
			return errors.New("no leader")
		}
		return nil
	})
}

// A majority that has lost what it had acknowledged cuts committed entries off the
// other nodes: they say so, and end, as their state has them applied.
func TestNode_majorityRolledBack(t *testing.T) {
	net := newNetwork(t)
	nodes, fsms := three(t, net)
	dirs := []string{nodes[0].state.dir, nodes[1].state.dir, nodes[2].state.dir}
	apply(t, nodes[:1], "kept")
	applied(t, fsms, "kept")

	// Copies of b and c as they are now, and what is committed after that.
	var old []string
	for i, id := range []string{"b", "c"} {
		net.isolate(id, true)
		if err := nodes[i+1].Close(); err != nil {
			t.Fatal(err)
		}
		old = append(old, t.TempDir())
		if err := os.CopyFS(old[i], os.DirFS(dirs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	net.isolate("b", false)
	b, _ := net.open(t, "b", dirs[1])
	apply(t, []*Node{nodes[0], b}, "lost")
	testutil.Eventually(t, 20*time.Second, func() error {
		if all := fsms[0].all(); all[len(all)-1] != "lost" {
			return fmt.Errorf("a has applied %q", all)
		}
		return nil
	})

	net.isolate("a", true)
	net.isolate("b", true)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	net.isolate("b", false)
	net.isolate("c", false)
	b, _ = net.open(t, "b", old[0])
	c, _ := net.open(t, "c", old[1])
	apply(t, []*Node{b, c}, "other")
	net.isolate("a", false)

	select {
	case err := <-nodes[0].Fatal():
		if !strings.Contains(err.Error(), "committed entries") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a says nothing")
	}
}
