package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// TestMain looks for goroutines left behind. memberlist does not wait for its
// own probes, which end within seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err = goleak.Find(); err == nil {
			break
		}
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testFSM keeps every command it was given, in order.
type testFSM struct {
	mu   sync.Mutex
	cmds []string
}

func (f *testFSM) ApplyBatch(logs []*consensus.Log) ([]any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == 0 { // a command
			f.cmds = append(f.cmds, string(l.Data))
			out[i] = len(f.cmds)
		}
	}
	return out, nil
}

func (f *testFSM) Snapshot() (consensus.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return testSnapshot(append([]string{}, f.cmds...)), nil
}

func (f *testFSM) Restore(r io.ReadCloser) error {
	var cmds []string
	if err := json.NewDecoder(r).Decode(&cmds); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cmds = cmds
	return nil
}

func (f *testFSM) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.cmds...)
}

type testSnapshot []string

func (s testSnapshot) Persist(sink consensus.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([]string(s)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
func (testSnapshot) Release() {}

var testKey = bytes.Repeat([]byte{7}, 32)

// testNode is one node with its own directory; it can be stopped and started.
type testNode struct {
	tb   testing.TB
	cfg  cluster.Config
	dir  string
	fsm  *testFSM
	c    *cluster.Cluster
	stop context.CancelFunc
	done chan error

	mu    sync.Mutex
	id    string
	peers []string
	meta  cluster.Meta
}

// freeIP gives each node of the test process its own loopback address.
var nextIP = struct {
	sync.Mutex
	n int
}{n: 10}

func freeIP() string {
	nextIP.Lock()
	defer nextIP.Unlock()
	nextIP.n++
	return net.IPv4(127, 0, byte(10+os.Getpid()%200), byte(nextIP.n%250+1)).String()
}

func newNode(tb testing.TB, name string, change ...func(*cluster.Config)) *testNode {
	tb.Helper()
	n := &testNode{tb: tb, dir: tb.TempDir()}
	level := hclog.Error
	if os.Getenv("CLUSTER_TEST_LOG") != "" {
		level = hclog.LevelFromString(os.Getenv("CLUSTER_TEST_LOG"))
	}
	n.cfg = cluster.Config{NodeID: pipeline.NodeID("node-" + name), Name: name, Version: "test", Key: testKey,
		Mode: pipeline.ModeAuto, BindAddr: freeIP(), RaftDir: filepath.Join(n.dir, "raft"),
		Logger:  hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: os.Stderr, TimeFormat: "05.000"}),
		Timings: consensus.Timings{Heartbeat: 500 * time.Millisecond, Lease: 400 * time.Millisecond, RPC: 2 * time.Second},
		SaveIdentity: func(id string, peers []string) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.id, n.peers = id, peers
			return nil
		},
		Meta: func() cluster.Meta {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.meta
		},
		PeerHandler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := cluster.PeerFrom(r.Context())
			fmt.Fprintf(w, "%s %s %v", p.ID, p.Mode, ok)
		}),
	}
	n.cfg.Empty = func() bool { return len(n.fsm.all()) == 0 }
	for _, f := range change {
		f(&n.cfg)
	}
	tb.Cleanup(n.kill)
	return n
}

func (n *testNode) open() error {
	n.fsm = &testFSM{}
	cfg := n.cfg
	cfg.FSM = n.fsm
	n.mu.Lock()
	cfg.ClusterID, cfg.RememberedPeers = n.id, n.peers
	n.mu.Unlock()
	var err error
	n.c, err = cluster.Open(cfg)
	return err
}

func (n *testNode) start() *testNode {
	n.tb.Helper()
	if err := n.open(); err != nil {
		n.tb.Fatalf("open %s: %v", n.cfg.Name, err)
	}
	n.run()
	return n
}

func (n *testNode) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan error, 1)
	c, done := n.c, n.done
	go func() { done <- c.Run(ctx) }()
}

// kill stops the node without leaving; it may be started again.
func (n *testNode) kill() {
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	select {
	case err := <-n.done:
		if err != nil {
			n.tb.Errorf("%s ended with %v", n.cfg.Name, err)
		}
	case <-time.After(20 * time.Second):
		n.tb.Fatalf("%s does not stop", n.cfg.Name)
	}
}

// freeze keeps the ports, so that a second start comes up at the same place.
func (n *testNode) freeze() *testNode {
	_, g, _ := net.SplitHostPort(n.c.Addresses().Gossip)
	_, p, _ := net.SplitHostPort(n.c.Addresses().Peer)
	fmt.Sscan(g, &n.cfg.GossipPort)
	fmt.Sscan(p, &n.cfg.PeerPort)
	return n
}

func join(others ...*testNode) func(*cluster.Config) {
	return func(c *cluster.Config) {
		for _, o := range others {
			c.Join = append(c.Join, o.c.Addresses().Gossip)
		}
	}
}

func mode(m pipeline.Mode) func(*cluster.Config) {
	return func(c *cluster.Config) { c.Mode = m }
}

func waitReady(tb testing.TB, nodes ...*testNode) {
	tb.Helper()
	for _, n := range nodes {
		select {
		case <-n.c.Ready():
		case err := <-n.done:
			n.done <- err
			tb.Fatalf("%s ended: %v", n.cfg.Name, err)
		case <-time.After(20 * time.Second):
			tb.Fatalf("%s is not ready", n.cfg.Name)
		}
	}
}

// roles counts the roles of raft as a node sees them.
func roles(n *testNode) map[string]int {
	out := map[string]int{}
	for _, m := range n.c.Members() {
		if m.Status == cluster.StatusAlive {
			out[m.RaftRole]++
		}
	}
	return out
}

// wantRoles waits until every node sees this many leaders, voters (without the
// leader), standbys and others.
func wantRoles(tb testing.TB, nodes []*testNode, voters, standbys, none int) {
	tb.Helper()
	testutil.Eventually(tb, 20*time.Second, func() error {
		for _, n := range nodes {
			r := roles(n)
			if r[cluster.RoleLeader] != 1 || r[cluster.RoleVoter] != voters-1 || r[cluster.RoleStandby] != standbys || r[cluster.RoleNone] != none {
				return fmt.Errorf("%s sees %v, want 1 leader, %d more voters, %d standbys, %d others", n.cfg.Name, r, voters-1, standbys, none)
			}
		}
		return nil
	})
}

// leaderOf waits for a leader that all nodes agree on.
func leaderOf(tb testing.TB, nodes ...*testNode) *testNode {
	tb.Helper()
	var leader *testNode
	testutil.Eventually(tb, 10*time.Second, func() error {
		leader = nil
		for _, n := range nodes {
			m, _, ok := n.c.Leader()
			if !ok {
				return fmt.Errorf("%s knows no leader", n.cfg.Name)
			}
			for _, o := range nodes {
				if o.cfg.NodeID == m.ID {
					if leader != nil && leader != o {
						return errors.New("two leaders")
					}
					leader = o
				}
			}
			if leader == nil {
				return fmt.Errorf("%s takes %s for the leader", n.cfg.Name, m.ID)
			}
		}
		if !leader.c.IsLeader() {
			return errors.New("the leader does not know yet")
		}
		return nil
	})
	return leader
}

func apply(tb testing.TB, n *testNode, cmd string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, _, err := n.c.Apply(ctx, []byte(cmd)); err != nil {
		tb.Fatalf("apply %q on %s: %v", cmd, n.cfg.Name, err)
	}
}
