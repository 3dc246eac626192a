package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// openTest opens an embedded node on free ports and runs it until the end of
// the test.
func openTest(tb testing.TB) (*Node, *client.Client) {
	tb.Helper()
	return openNode(tb, Config{Name: "n1"})
}

// openCluster opens n nodes in this process and waits until all of them vote.
func openCluster(tb testing.TB, n int) []*client.Client {
	tb.Helper()
	first, c := openNode(tb, Config{Name: "n1"})
	clients := []*client.Client{c}
	for i := 1; i < n; i++ {
		_, c := openNode(tb, Config{Name: fmt.Sprintf("n%d", i+1), Join: []string{first.cluster.Addresses().Gossip}})
		clients = append(clients, c)
	}
	eventually(tb, func() error {
		if h := first.Health(tb.Context()); len(h.Voters) != n {
			return fmt.Errorf("voters are %v", h.Voters)
		}
		return nil
	})
	return clients
}

// eventually waits until fn gives no error.
func eventually(tb testing.TB, fn func() error) {
	tb.Helper()
	testutil.Eventually(tb, 30*time.Second, fn)
}

// openNode opens an embedded node as cfg says and runs it until the end of the
// test.
func openNode(tb testing.TB, cfg Config) (*Node, *client.Client) {
	tb.Helper()
	n, c, stop := startNode(tb, cfg)
	tb.Cleanup(stop)
	return n, c
}

// startNode is openNode with a function that stops the node.
func startNode(tb testing.TB, cfg Config) (*Node, *client.Client, func()) {
	tb.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = tb.TempDir()
	}
	cfg.Key, cfg.Embedded = []byte(strings.Repeat("k", 32)), true
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: cfg.Name, Level: hclog.Error, Output: os.Stderr})
	if cfg.Slots == 0 {
		cfg.Slots = 2
	}
	n, err := Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop := func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("run: %v", err)
			}
		case <-time.After(30 * time.Second):
			tb.Error("the node does not stop")
		}
	}
	select {
	case <-n.Ready():
	case err := <-ended:
		tb.Fatal(err)
	case <-time.After(30 * time.Second):
		tb.Fatal("the node is not ready")
	}
	c, err := n.Client("test")
	if err != nil {
		tb.Fatal(err)
	}
	return n, c, stop
}

// The node of `pipelined run` is a cluster of one like any other: what it did
// is on the disk, in the log and the state that every node has, and is there
// when it is opened again.
func TestNode_keepsItsState(t *testing.T) {
	dir := t.TempDir()
	_, c, stop := startNode(t, Config{Name: "n1", DataDir: dir})
	first := runToEnd(t, c, "pipeline \"p\" {\n  module \"m\" { command = [\"echo\", \"kept\"] }\n}\n")
	stop()
	for _, pattern := range []string{"raft/*.db", "state/*.db", "journal.db"} {
		if files, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(files) != 1 {
			t.Errorf("%s: %v, %v", pattern, files, err)
		}
	}
	_, c, stop = startNode(t, Config{Name: "n1", DataDir: dir})
	defer stop()
	again, err := c.Runs().Get(t.Context(), first.ID)
	if err != nil || again.State != pipeline.RunSucceeded || len(again.Modules) != 1 || again.Modules[0].Attempts[0].LogSize != 5 {
		t.Errorf("read again: %+v, %v", again, err)
	}
	if r := runToEnd(t, c, "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n"); r.Number != first.Number+1 {
		t.Errorf("the next run has the number %d after %d", r.Number, first.Number)
	}
}

// independent is a pipeline of n modules that do nothing, two at a time.
func independent(n int) string {
	var b strings.Builder
	b.WriteString("pipeline \"w1\" {\n  max_parallel = 2\n")
	for i := range n {
		fmt.Fprintf(&b, "  module \"m%d\" { command = [\"true\"] }\n", i)
	}
	b.WriteString("}\n")
	return b.String()
}

// chain is a pipeline of n modules, each depending on the one before.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("pipeline \"w2\" {\n  module \"m0\" { command = [\"true\"] }\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  module \"m%d\" {\n    command = [\"true\"]\n    depends_on = [module.m%d]\n  }\n", i, i-1)
	}
	b.WriteString("}\n")
	return b.String()
}

// runToEnd submits a pipeline and waits for its end.
func runToEnd(tb testing.TB, c *client.Client, source string) wire.Run {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	made, err := c.Runs().Submit(ctx, client.NewKey(), wire.SubmitRequest{Source: source, FileName: "test.hcl"})
	if err != nil {
		tb.Fatal(err)
	}
	var index uint64
	for {
		r, err := c.Runs().Wait(ctx, made.ID, index, time.Minute, index)
		if err != nil {
			tb.Fatal(err)
		}
		if r.State.Final() {
			if r, err = c.Runs().Get(ctx, made.ID); err != nil {
				tb.Fatal(err)
			}
			return r
		}
		index = r.Index
	}
}

func TestNode_cluster(t *testing.T) {
	for _, c := range openCluster(t, 3) {
		if r := runToEnd(t, c, chain(3)); r.State != pipeline.RunSucceeded {
			t.Errorf("run is %s: %s", r.State, r.Reason)
		}
	}
}

func TestNode_run(t *testing.T) {
	_, c := openTest(t)
	r := runToEnd(t, c, chain(5))
	if r.State != pipeline.RunSucceeded || len(r.Modules) != 5 {
		t.Errorf("run is %s with %d modules", r.State, len(r.Modules))
	}
}

func benchmark(b *testing.B, nodes int, source string, modules int) {
	c := openCluster(b, nodes)[0]
	var total time.Duration
	for b.Loop() {
		r := runToEnd(b, c, source)
		if r.State != pipeline.RunSucceeded {
			b.Fatalf("run is %s: %s", r.State, r.Reason)
		}
		total += r.FinishedAt.Sub(r.SubmittedAt)
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N*modules), "µs/module")
}

// BenchmarkRun measures a node in this process from the acceptance of a run to
// its end: the whole way through HTTP, raft, disk and real processes.
func BenchmarkRun(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		b.Run(fmt.Sprintf("independent200/nodes%d", nodes), func(b *testing.B) { benchmark(b, nodes, independent(200), 200) })
		b.Run(fmt.Sprintf("chain50/nodes%d", nodes), func(b *testing.B) { benchmark(b, nodes, chain(50), 50) })
	}
}
