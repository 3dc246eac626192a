package monitoring

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// collected is what a collector has received: spans by trace, span and name.
type collected struct {
	mu    sync.Mutex // guards following
	spans map[string]string
}

// collect serves what a collector of OpenTelemetry does over HTTP.
func collect(t *testing.T) (*collected, string) {
	t.Helper()
	c := &collected{spans: map[string]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		c.add(&in)
	}))
	t.Cleanup(srv.Close)
	return c, srv.URL
}

func (c *collected) add(in *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range in.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans[fmt.Sprintf("%x-%x", s.TraceId, s.SpanId)] = s.Name
			}
		}
	}
}

// grpcCollector is a collector over gRPC.
type grpcCollector struct {
	collector.UnimplementedTraceServiceServer
	to *collected
}

// Export takes spans of a node.
func (g grpcCollector) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	g.to.add(in)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *collected) name(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[id]
}

// traced runs a pipeline, and returns its id and what a module saw in TRACEPARENT, once
// the collector has the span of that name.
func traced(t *testing.T, c *harness.Cluster, n *harness.Node, exported *collected) (id, span string) {
	t.Helper()
	file := c.WriteFile("p.hcl", "pipeline \"traced\" {\n  module \"say\" { script = \"echo \\\"$TRACEPARENT\\\"\" }\n}\n")
	id = strings.TrimSpace(c.OK("submit", "-detach", "-address", n.URL, file))
	c.OK("wait", "-address", n.URL, id)
	parent := strings.TrimSpace(c.OK("logs", "-address", n.URL, id, "say"))
	span = strings.TrimSuffix(parent[strings.LastIndex(parent, "00-")+3:], "-01")
	testutil.Eventually(t, harness.Wait, func() error {
		if got := exported.name(span); got != "execute" {
			return fmt.Errorf("the span of TRACEPARENT (%s) is %q in the collector", parent, got)
		}
		return nil
	})
	return id, span
}

// TestTraces: a collector gets the trace of a run, under the run's id, and the module
// has seen the id of the span that is its own. The leader that follows exports it again
// under the same ids.
func TestTraces(t *testing.T) {
	exported, endpoint := collect(t)
	c := harness.New(t)
	c.Env = append(c.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint)
	for range 3 {
		c.Add()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	leader := c.Leader()

	id, span := traced(t, c, leader, exported)
	if !strings.HasPrefix(span, id+"-") {
		t.Fatalf("TRACEPARENT has %s in run %s", span, id)
	}

	// With TRACEPARENT, the run is a child in that trace.
	const caller = "4bf92f3577b34da6a3ce929d0e0e4736"
	c.Env = append(c.Env, "TRACEPARENT=00-"+caller+"-00f067aa0ba902b7-01")
	if id, span := traced(t, c, leader, exported); !strings.HasPrefix(span, caller+"-") {
		t.Fatalf("TRACEPARENT has %s in run %s, submitted in trace %s", span, id, caller)
	}

	exported.mu.Lock()
	before := len(exported.spans)
	exported.spans = map[string]string{}
	exported.mu.Unlock()
	if before < 6 { // run, module, attempt, wait, dispatch, execute
		t.Errorf("%d spans", before)
	}
	leader.Kill()
	testutil.Eventually(t, harness.Wait, func() error {
		if exported.name(span) != "execute" {
			return fmt.Errorf("the next leader has not exported the run again")
		}
		return nil
	})
}

// TestTraces_grpc: the other protocol brings the same spans.
func TestTraces_grpc(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exported, srv := &collected{spans: map[string]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, grpcCollector{to: exported})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	c := harness.New(t)
	c.Env = append(c.Env, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+l.Addr().String())
	c.Add().Start()
	c.Whole()
	if id, span := traced(t, c, c.Leader(), exported); !strings.HasPrefix(span, id+"-") {
		t.Errorf("TRACEPARENT has %s in run %s", span, id)
	}
}
