package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/internal/testutil"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(checkEnv); dir != "" {
		os.Exit(checkMain(dir))
	}
	goleak.VerifyTestMain(m)
}

// testFSM keeps every command, in batches as they come.
type testFSM struct {
	mu   sync.Mutex
	cmds []string
	// disk is why nothing can be written; nil while it can.
	disk error
}

func (f *testFSM) setDisk(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disk = err
}

func (f *testFSM) ApplyBatch(logs []*raft.Log) ([]any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disk != nil {
		return nil, f.disk
	}
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			f.cmds = append(f.cmds, string(l.Data))
			out[i] = string(l.Data) + " done"
		}
	}
	return out, nil
}

func (f *testFSM) Snapshot() (raft.FSMSnapshot, error) { return testSnapshot(f.all()), nil }

func (f *testFSM) Restore(r io.ReadCloser) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disk != nil {
		return f.disk
	}
	return json.NewDecoder(r).Decode(&f.cmds)
}

func (f *testFSM) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.cmds...)
}

type testSnapshot []string

func (s testSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([]string(s)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
func (testSnapshot) Release() {}

// network connects nodes by pipes and can cut them off.
type network struct {
	mu    sync.Mutex
	nodes map[string]*Node
	cut   map[string]bool
	conns map[string][]net.Conn
	wg    sync.WaitGroup
	gone  func(context.Context, string) bool
	// delay is how long each write takes, in nanoseconds.
	delay atomic.Int64
}

// delayed is a connection of a network.
type delayed struct {
	net.Conn
	network *network
}

func (d *delayed) Write(p []byte) (int, error) {
	if by := d.network.delay.Load(); by > 0 {
		<-time.After(time.Duration(by))
	}
	return d.Conn.Write(p)
}

func newNetwork(tb testing.TB) *network {
	n := &network{nodes: map[string]*Node{}, cut: map[string]bool{}, conns: map[string][]net.Conn{}}
	tb.Cleanup(n.wg.Wait)
	return n
}

func (n *network) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(_ context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		node := n.nodes[to]
		if node == nil || n.cut[from] || n.cut[to] {
			return nil, fmt.Errorf("%s cannot reach %s", from, to)
		}
		a, b := net.Pipe()
		for _, id := range []string{from, to} {
			n.conns[id] = append(n.conns[id], a, b)
		}
		n.wg.Go(func() { node.Serve(&delayed{b, n}, from) })
		return &delayed{a, n}, nil
	}
}

// isolate disconnects a node from the others, or reconnects it.
func (n *network) isolate(id string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = on
	if on {
		for _, c := range n.conns[id] {
			c.Close()
		}
		n.conns[id] = nil
	}
}

func (n *network) open(tb testing.TB, id, dir string) (*Node, *testFSM) {
	tb.Helper()
	log := hclog.NewNullLogger()
	if l := os.Getenv("CLUSTER_TEST_LOG"); l != "" {
		log = hclog.New(&hclog.LoggerOptions{Name: id, Level: hclog.LevelFromString(l), Output: os.Stderr, TimeFormat: "05.000"})
	}

	fsm := &testFSM{}
	node, err := Open(Config{ID: id, Dir: dir, FSM: fsm, Dial: n.dialer(id), Gone: n.gone, Logger: log, Timings: Timings{Heartbeat: 800 * time.Millisecond, Lease: 800 * time.Millisecond, RPC: 800 * time.Millisecond, Stall: time.Second, Stuck: time.Second}})
	if err != nil {
		tb.Fatalf("open %s: %v", id, err)
	}

	n.mu.Lock()
	n.nodes[id] = node
	n.mu.Unlock()
	tb.Cleanup(func() { node.Close() })

	return node, fsm
}

// three makes a cluster of three voters, the first of which leads.
func three(tb testing.TB, n *network) (nodes []*Node, fsms []*testFSM) {
	tb.Helper()

	for _, id := range []string{"a", "b", "c"} {
		node, fsm := n.open(tb, id, tb.TempDir())
		nodes, fsms = append(nodes, node), append(fsms, fsm)
	}

	ctx := tb.Context()
	if err := nodes[0].Bootstrap(ctx); err != nil {
		tb.Fatal(err)
	}

	testutil.Eventually(tb, 20*time.Second, func() error { return nodes[0].Barrier(ctx) })

	for _, id := range []string{"b", "c"} {
		if err := nodes[0].AddStandby(ctx, id, nodes[0].Servers()); err != nil {
			tb.Fatal(err)
		}
	}

	for _, id := range []string{"b", "c"} {
		if err := nodes[0].AddVoter(ctx, id, nodes[0].Servers()); err != nil {
			tb.Fatal(err)
		}
	}

	return nodes, fsms
}

// apply commits a command on whichever node leads.
func apply(tb testing.TB, nodes []*Node, cmd string) {
	tb.Helper()
	testutil.Eventually(tb, 30*time.Second, func() error {
		for _, n := range nodes {
			if _, _, err := n.Apply(tb.Context(), []byte(cmd)); err == nil {
				return nil
			}
		}
		return errors.New("no node commits")
	})
}

// applied waits until every state machine has these commands.
func applied(tb testing.TB, fsms []*testFSM, want ...string) {
	tb.Helper()
	testutil.Eventually(tb, 20*time.Second, func() error {
		for i, f := range fsms {
			if got := f.all(); !slices.Equal(got, want) {
				return fmt.Errorf("node %d has applied %q, want %q", i, got, want)
			}
		}
		return nil
	})
}

// soloConfig is of a node that is its whole cluster.
func soloConfig(dir string, fsm FSM, trailing uint64, log hclog.Logger) Config {
	return Config{ID: "a", Dir: dir, FSM: fsm, Logger: log, Check: checkElsewhere,
		Timings: Timings{Heartbeat: 200 * time.Millisecond, Lease: 200 * time.Millisecond, Trailing: trailing}}
}
