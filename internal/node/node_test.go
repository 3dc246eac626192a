package node

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// openTest opens an embedded node on free ports and runs it until the end of
// the test.
func openTest(tb testing.TB) (*Node, *client.Client) {
	tb.Helper()
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	n, err := Open(tb.Context(), Config{DataDir: tb.TempDir(), Name: "n1", Key: []byte(strings.Repeat("k", 32)), Embedded: true,
		Slots: 2, Logger: log})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("run: %v", err)
			}
		case <-time.After(30 * time.Second):
			tb.Error("the node does not stop")
		}
	})
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
	return n, c
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
	made, err := c.Submit(ctx, client.NewKey(), wire.SubmitRequest{Source: source, FileName: "test.hcl"})
	if err != nil {
		tb.Fatal(err)
	}
	var index uint64
	for {
		r, err := c.WaitRun(ctx, made.ID, index, time.Minute, 0)
		if err != nil {
			tb.Fatal(err)
		}
		if r.State.Final() {
			return r
		}
		index = r.Index
	}
}

func TestNode_run(t *testing.T) {
	_, c := openTest(t)
	r := runToEnd(t, c, chain(5))
	if r.State != pipeline.RunSucceeded || len(r.Modules) != 5 {
		t.Errorf("run is %s with %d modules", r.State, len(r.Modules))
	}
}

func benchmark(b *testing.B, source string, modules int) {
	_, c := openTest(b)
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
	b.Run("independent200", func(b *testing.B) { benchmark(b, independent(200), 200) })
	b.Run("chain50", func(b *testing.B) { benchmark(b, chain(50), 50) })
}
