package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// TestGroups makes each call of each group once and checks what the node gets:
// method, path, query and body.
func TestGroups(t *testing.T) {
	const digest = pipeline.Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

	for _, tc := range []struct {
		name string
		call func(ctx context.Context, c *client.Client) error
		want string // METHOD PATH[?QUERY]
		body string // a part of it
	}{
		{"Runs.Submit", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().Submit(ctx, "key", wire.SubmitRequest{Source: "text"})
			return err
		}, "POST /api/v1/runs", `"source":"text"`},
		{"Runs.List", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().List(ctx, client.ListOptions{Limit: 3, State: pipeline.RunFailed, Pipeline: "p", Cursor: "c", Stale: true})
			return err
		}, "GET /api/v1/runs?cursor=c&limit=3&pipeline=p&stale=1&state=failed", ""},
		{"Runs.Get", func(ctx context.Context, c *client.Client) error { _, err := c.Runs().Get(ctx, "r/1"); return err }, "GET /api/v1/runs/r%2F1", ""},
		{"Runs.Wait", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().Wait(ctx, "r1", 7, 1500, 5)
			return err
		}, "GET /api/v1/runs/r1?index=7&since=5&wait=1.5%C2%B5s", ""},
		{"Runs.Cancel", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().Cancel(ctx, "r1", "why")
			return err
		}, "POST /api/v1/runs/r1/cancel", `"reason":"why"`},
		{"Runs.Pin", func(ctx context.Context, c *client.Client) error { _, err := c.Runs().Pin(ctx, "r1"); return err }, "POST /api/v1/runs/r1/pin", ""},
		{"Runs.Unpin", func(ctx context.Context, c *client.Client) error { _, err := c.Runs().Unpin(ctx, "r1"); return err }, "POST /api/v1/runs/r1/unpin", ""},
		{"Runs.Retry", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().Retry(ctx, "r1", wire.RetryRequest{From: []string{"m"}})
			return err
		}, "POST /api/v1/runs/r1/retry", `"from":["m"]`},
		{"Runs.PlanRetry", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().PlanRetry(ctx, "r1", wire.RetryRequest{Variables: map[string]string{"v": "1"}})
			return err
		}, "POST /api/v1/runs/r1/retry/plan", `"variables":{"v":"1"}`},
		{"Runs.Why", func(ctx context.Context, c *client.Client) error { _, err := c.Runs().Why(ctx, "r1", "m"); return err }, "GET /api/v1/runs/r1/why?module=m", ""},
		{"Runs.Estimate", func(ctx context.Context, c *client.Client) error {
			_, err := c.Runs().Estimate(ctx, wire.SubmitRequest{})
			return err
		}, "POST /api/v1/estimate", "{"},
		{"Modules.Approve", func(ctx context.Context, c *client.Client) error {
			_, err := c.Modules().Approve(ctx, "r1", "m[a]", "ok")
			return err
		}, "POST /api/v1/runs/r1/modules/m%5Ba%5D/approve", `"comment":"ok"`},
		{"Modules.Reject", func(ctx context.Context, c *client.Client) error {
			_, err := c.Modules().Reject(ctx, "r1", "m", "no")
			return err
		}, "POST /api/v1/runs/r1/modules/m/reject", `"reason":"no"`},
		{"Artifacts.List", func(ctx context.Context, c *client.Client) error {
			_, err := c.Artifacts().List(ctx, "r1", "m")
			return err
		}, "GET /api/v1/runs/r1/artifacts?module=m", ""},
		{"Blobs.Missing", func(ctx context.Context, c *client.Client) error {
			_, err := c.Blobs().Missing(ctx, []pipeline.Digest{digest})
			return err
		}, "POST /api/v1/blobs/missing", string(digest)},
		{"Blobs.MissingOf", func(ctx context.Context, c *client.Client) error {
			_, err := c.Blobs().MissingOf(ctx, digest)
			return err
		}, "POST /api/v1/blobs/missing", `"tree":"` + string(digest)},
		{"Blobs.Put", func(ctx context.Context, c *client.Client) error {
			return c.Blobs().Put(ctx, digest, strings.NewReader("text"))
		}, "PUT /api/v1/blobs/" + string(digest), "text"},
		{"Blobs.PutBundle", func(ctx context.Context, c *client.Client) error {
			_, err := c.Blobs().PutBundle(ctx, strings.NewReader("bundle"))
			return err
		}, "POST /api/v1/blobs", "bundle"},
		{"Blobs.Has", func(ctx context.Context, c *client.Client) error { _, _, err := c.Blobs().Has(ctx, digest); return err }, "HEAD /api/v1/blobs/" + string(digest), ""},
		{"Schedules.Register", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().Register(ctx, "", wire.SubmitRequest{FileName: "p.hcl"})
			return err
		}, "POST /api/v1/schedules", `"fileName":"p.hcl"`},
		{"Schedules.Update", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().Update(ctx, "s", "", wire.SubmitRequest{FileName: "p.hcl"})
			return err
		}, "PUT /api/v1/schedules/s", `"fileName":"p.hcl"`},
		{"Schedules.List", func(ctx context.Context, c *client.Client) error { _, err := c.Schedules().List(ctx); return err }, "GET /api/v1/schedules", ""},
		{"Schedules.Get", func(ctx context.Context, c *client.Client) error { _, err := c.Schedules().Get(ctx, "s"); return err }, "GET /api/v1/schedules/s", ""},
		{"Schedules.Pause", func(ctx context.Context, c *client.Client) error { _, err := c.Schedules().Pause(ctx, "s"); return err }, "POST /api/v1/schedules/s/pause", ""},
		{"Schedules.Resume", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().Resume(ctx, "s")
			return err
		}, "POST /api/v1/schedules/s/resume", ""},
		{"Schedules.Trigger", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().Trigger(ctx, "s", wire.TriggerRequest{})
			return err
		}, "POST /api/v1/schedules/s/trigger", ""},
		{"Schedules.Backfill", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().Backfill(ctx, "s", wire.BackfillRequest{From: "2026-11-01"})
			return err
		}, "POST /api/v1/schedules/s/backfill", `"from":"2026-11-01"`},
		{"Schedules.StopBackfill", func(ctx context.Context, c *client.Client) error {
			_, err := c.Schedules().StopBackfill(ctx, "s")
			return err
		}, "DELETE /api/v1/schedules/s/backfill", ""},
		{"Schedules.Remove", func(ctx context.Context, c *client.Client) error { return c.Schedules().Remove(ctx, "s") }, "DELETE /api/v1/schedules/s", ""},
		{"Secrets.Set", func(ctx context.Context, c *client.Client) error {
			_, err := c.Secrets().Set(ctx, "S", "v")
			return err
		}, "PUT /api/v1/secrets/S", `"value":"v"`},
		{"Secrets.List", func(ctx context.Context, c *client.Client) error { _, err := c.Secrets().List(ctx); return err }, "GET /api/v1/secrets", ""},
		{"Secrets.Delete", func(ctx context.Context, c *client.Client) error { return c.Secrets().Delete(ctx, "S") }, "DELETE /api/v1/secrets/S", ""},
		{"Tokens.Create", func(ctx context.Context, c *client.Client) error {
			_, err := c.Tokens().Create(ctx, wire.TokenRequest{Role: "read"})
			return err
		}, "POST /api/v1/tokens", `"role":"read"`},
		{"Tokens.List", func(ctx context.Context, c *client.Client) error { _, err := c.Tokens().List(ctx); return err }, "GET /api/v1/tokens", ""},
		{"Tokens.Delete", func(ctx context.Context, c *client.Client) error { return c.Tokens().Delete(ctx, "t1") }, "DELETE /api/v1/tokens/t1", ""},
		{"Cache.List", func(ctx context.Context, c *client.Client) error {
			_, err := c.Cache().List(ctx, "p", 5, "c")
			return err
		}, "GET /api/v1/cache?cursor=c&limit=5&pipeline=p", ""},
		{"Cache.Tools", func(ctx context.Context, c *client.Client) error {
			_, err := c.Cache().Tools(ctx, "bazel", 0, "")
			return err
		}, "GET /api/v1/cache/tools?kind=bazel", ""},
		{"Cache.Stats", func(ctx context.Context, c *client.Client) error { _, err := c.Cache().Stats(ctx); return err }, "GET /api/v1/cache/stats", ""},
		{"Cache.Prune", func(ctx context.Context, c *client.Client) error {
			_, err := c.Cache().Prune(ctx, wire.CachePrune{All: true})
			return err
		}, "POST /api/v1/cache/prune", `"all":true`},
		{"Cache.Lookup", func(ctx context.Context, c *client.Client) error {
			_, err := c.Cache().Lookup(ctx, wire.SubmitRequest{})
			return err
		}, "POST /api/v1/cache/lookup", "{"},
		{"Executions.Cancel", func(ctx context.Context, c *client.Client) error {
			return c.Executions().Cancel(ctx, wire.CancelExecution{ExecutionID: "x"})
		}, "POST /api/execution/cancel", `"executionId":"x"`},
		{"Executions.Result", func(ctx context.Context, c *client.Client) error {
			_, err := c.Executions().Result(ctx, wire.ExecuteResponse{ExecutionID: "x"})
			return err
		}, "POST /api/execution/result", `"executionId":"x"`},
		{"Workers.List", func(ctx context.Context, c *client.Client) error { _, err := c.Workers().List(ctx); return err }, "GET /api/workers", ""},
		{"Workers.Brief", func(ctx context.Context, c *client.Client) error { _, err := c.Workers().Brief(ctx); return err }, "GET /api/workers?brief=1", ""},
		{"Workers.Register", func(ctx context.Context, c *client.Client) error {
			_, err := c.Workers().Register(ctx, wire.RegisterRequest{})
			return err
		}, "POST /api/workers/register", "{"},
		{"Workers.Heartbeat", func(ctx context.Context, c *client.Client) error {
			_, err := c.Workers().Heartbeat(ctx, wire.HeartbeatRequest{WorkerID: "w"})
			return err
		}, "POST /api/workers/heartbeat", `"workerId":"w"`},
		{"Workers.Forget", func(ctx context.Context, c *client.Client) error { return c.Workers().Forget(ctx, "w") }, "DELETE /api/workers/w", ""},
		{"Cluster.Members", func(ctx context.Context, c *client.Client) error { _, err := c.Cluster().Members(ctx); return err }, "GET /api/v1/members", ""},
		{"Cluster.Raft", func(ctx context.Context, c *client.Client) error { _, err := c.Cluster().Raft(ctx); return err }, "GET /api/v1/raft", ""},
		{"Cluster.Waiting", func(ctx context.Context, c *client.Client) error { _, err := c.Cluster().Waiting(ctx); return err }, "GET /api/v1/waiting", ""},
		{"Cluster.Nodes", func(ctx context.Context, c *client.Client) error { _, err := c.Cluster().Nodes(ctx); return err }, "GET /api/v1/nodes", ""},
		{"Cluster.Locks", func(ctx context.Context, c *client.Client) error { _, err := c.Cluster().Locks(ctx); return err }, "GET /api/v1/locks", ""},
		{"Cluster.Drain", func(ctx context.Context, c *client.Client) error {
			return c.Cluster().Drain(ctx, "n", wire.DrainRequest{Off: true})
		}, "POST /api/v1/members/n/drain", `"off":true`},
		{"Cluster.Leave", func(ctx context.Context, c *client.Client) error { return c.Cluster().Leave(ctx, "") }, "POST /api/v1/leave", ""},
		{"Cluster.Leave of a node", func(ctx context.Context, c *client.Client) error { return c.Cluster().Leave(ctx, "n") }, "POST /api/v1/members/n/leave", ""},
		{"Health", func(ctx context.Context, c *client.Client) error { _, err := c.Health(ctx); return err }, "GET /api/health", ""},
	} {
		var got, body, token string
		c := serveAll(t, func(w http.ResponseWriter, r *http.Request) {
			got, token = r.Method+" "+r.URL.RequestURI(), r.Header.Get("Authorization")
			b, _ := io.ReadAll(r.Body) // a body that breaks off is shorter than wanted
			body = string(b)
			_, _ = io.WriteString(w, "{}")
		})

		if err := tc.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got != tc.want || !strings.Contains(body, tc.body) || token != "Bearer secret" {
			t.Errorf("%s: got %s with %q and %q, want %s with %q", tc.name, got, body, token, tc.want, tc.body)
		}
	}
}

// TestGroups_errors wants each call's refusal with the kind and the text that the
// node gave.
func TestGroups_errors(t *testing.T) {
	for _, kind := range []pipeline.Kind{pipeline.Invalid, pipeline.NotFound, pipeline.Conflict, pipeline.Forbidden} {
		c := serveAll(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(wire.HeaderKind, kind.String())
			w.WriteHeader(http.StatusTeapot) // the kind counts, not the status
			_ = json.NewEncoder(w).Encode(wire.Problem{Kind: kind.String(), Detail: "refused because of it"})
		})

		_, err := c.Runs().Get(t.Context(), "r1")
		if pipeline.KindOf(err) != kind || err.Error() != "refused because of it" {
			t.Errorf("%s: got %v of kind %s", kind, err, pipeline.KindOf(err))
		}
		if err := c.Tokens().Delete(t.Context(), "t"); pipeline.KindOf(err) != kind {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

// serveAll makes a client of a node that answers with handler.
func serveAll(tb testing.TB, handler http.HandlerFunc) *client.Client {
	tb.Helper()

	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)

	c, err := client.New(client.Config{Addresses: []string{server.URL}, Token: "secret"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.CloseIdle)

	return c
}
