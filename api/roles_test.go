package api_test

import (
	"context"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
)

// who may do what: r(ead), s(ubmit), w(orker), a(dmin); * is everybody, and
// the client's method for it, "" where programs call that are not ours.
var table = map[string][2]string{
	"GET /api/health":                                    {"*", "Health"},
	"POST /api/execution/execute":                        {"sa", "Executions.Execute"},
	"POST /api/execution/cancel":                         {"sa", "Executions.Cancel"},
	"POST /api/execution/result":                         {"wa", "Executions.Result"},
	"POST /api/workers/register":                         {"wa", "Workers.Register"},
	"POST /api/workers/heartbeat":                        {"wa", "Workers.Heartbeat"},
	"GET /api/workers":                                   {"rswa", "Workers.List"},
	"DELETE /api/workers/{id}":                           {"wa", "Workers.Forget"},
	"POST /api/v1/runs":                                  {"sa", "Runs.Submit"},
	"GET /api/v1/runs":                                   {"rsa", "Runs.List"},
	"GET /api/v1/runs/{id}":                              {"rsa", "Runs.Get"},
	"POST /api/v1/runs/{id}/cancel":                      {"sa", "Runs.Cancel"},
	"POST /api/v1/runs/{id}/retry":                       {"sa", "Runs.Retry"},
	"POST /api/v1/runs/{id}/retry/plan":                  {"sa", "Runs.PlanRetry"},
	"POST /api/v1/runs/{id}/pin":                         {"sa", "Runs.Pin"},
	"POST /api/v1/runs/{id}/unpin":                       {"sa", "Runs.Unpin"},
	"POST /api/v1/runs/{id}/modules/{module}/approve":    {"sa", "Modules.Approve"},
	"POST /api/v1/runs/{id}/modules/{module}/reject":     {"sa", "Modules.Reject"},
	"POST /api/v1/runs/{id}/modules/approve":             {"sa", ""},
	"POST /api/v1/runs/{id}/modules/reject":              {"sa", ""},
	"GET /api/v1/runs/{id}/modules/logs":                 {"rsa", ""},
	"POST /api/v1/runs/{id}/modules/exec":                {"a", ""},
	"GET /api/v1/runs/{id}/artifact":                     {"rsa", ""},
	"GET /api/v1/stream":                                 {"rsa", ""},
	"GET /api/v1/events":                                 {"rsa", "Events.List"},
	"GET /api/v1/runs/{id}/graph":                        {"rsa", "Runs.Graph"},
	"GET /api/v1/whoami":                                 {"rswa", "Tokens.WhoAmI"},
	"POST /api/v1/signin/codes":                          {"rsa", "Tokens.SignInCode"},
	"POST /api/v1/signin":                                {"*", "Tokens.SignIn"},
	"DELETE /api/v1/signin":                              {"rsa", "Tokens.SignOut"},
	"GET /api/v1/runs/{id}/why":                          {"rsa", "Runs.Why"},
	"GET /api/v1/pipelines":                              {"rsa", "Histories.Pipelines"},
	"GET /api/v1/pipelines/history":                      {"rsa", "Histories.Pipeline"},
	"GET /api/v1/runs/{id}/compare":                      {"rsa", "Histories.Compare"},
	"GET /api/v1/runs/{id}/tests":                        {"rsa", "Histories.Tests"},
	"GET /api/v1/approvals":                              {"rsa", "Modules.Approvals"},
	"POST /api/v1/schedules":                             {"sa", "Schedules.Register"},
	"GET /api/v1/schedules":                              {"rsa", "Schedules.List"},
	"GET /api/v1/schedules/{name}":                       {"rsa", "Schedules.Get"},
	"DELETE /api/v1/schedules/{name}":                    {"sa", "Schedules.Remove"},
	"POST /api/v1/schedules/{name}/pause":                {"sa", "Schedules.Pause"},
	"POST /api/v1/schedules/{name}/resume":               {"sa", "Schedules.Resume"},
	"POST /api/v1/schedules/{name}/trigger":              {"sa", "Schedules.Trigger"},
	"POST /api/v1/schedules/{name}/backfill":             {"sa", "Schedules.Backfill"},
	"DELETE /api/v1/schedules/{name}/backfill":           {"sa", "Schedules.StopBackfill"},
	"PUT /api/v1/schedules/{name}":                       {"sa", "Schedules.Update"},
	"GET /metrics":                                       {"rsa", ""},
	"GET /badges/{file}":                                 {"rsa", ""},
	"GET /api/v1/locks":                                  {"rsa", "Cluster.Locks"},
	"GET /api/v1/waiting":                                {"rsa", "Cluster.Waiting"},
	"GET /api/v1/nodes":                                  {"rsa", "Cluster.Nodes"},
	"GET /api/v1/running":                                {"rsa", "Cluster.Running"},
	"GET /api/v1/cache":                                  {"rsa", "Cache.List"},
	"GET /api/v1/cache/stats":                            {"rsa", "Cache.Stats"},
	"GET /api/v1/cache/tools":                            {"rsa", "Cache.Tools"},
	"GET /ac/{key}":                                      {"rsa", ""},
	"PUT /ac/{key}":                                      {"sa", ""},
	"DELETE /ac/{key}":                                   {"sa", ""},
	"GET /cas/{key}":                                     {"rsa", ""},
	"PUT /cas/{key}":                                     {"sa", ""},
	"DELETE /cas/{key}":                                  {"sa", ""},
	"GET /{team}/ac/{key}":                               {"rsa", ""},
	"PUT /{team}/ac/{key}":                               {"sa", ""},
	"DELETE /{team}/ac/{key}":                            {"sa", ""},
	"GET /{team}/cas/{key}":                              {"rsa", ""},
	"PUT /{team}/cas/{key}":                              {"sa", ""},
	"DELETE /{team}/cas/{key}":                           {"sa", ""},
	"GET /v8/artifacts/{hash}":                           {"rsa", ""},
	"PUT /v8/artifacts/{hash}":                           {"sa", ""},
	"POST /v8/artifacts":                                 {"rsa", ""},
	"GET /v8/artifacts/status":                           {"rsa", ""},
	"POST /v8/artifacts/events":                          {"rsa", ""},
	"POST /api/v1/estimate":                              {"sa", "Runs.Estimate"},
	"POST /api/v1/cache/lookup":                          {"sa", "Cache.Lookup"},
	"POST /api/v1/cache/prune":                           {"a", "Cache.Prune"},
	"GET /api/v1/runs/{id}/logs":                         {"rsa", "Runs.Follow"},
	"POST /api/v1/runs/{id}/logs":                        {"rsa", "Runs.Follow"},
	"GET /api/v1/runs/{id}/modules/{module}/logs":        {"rsa", "Modules.Log"},
	"POST /api/v1/runs/{id}/modules/{module}/exec":       {"a", "Modules.Exec"},
	"GET /api/v1/runs/{id}/artifacts":                    {"rsa", "Artifacts.List"},
	"GET /api/v1/runs/{id}/artifacts/{module}/{path...}": {"rsa", "Artifacts.Open"},
	"GET /api/v1/blobs/{digest}":                         {"rswa", "Blobs.Get"},
	"PUT /api/v1/blobs/{digest}":                         {"swa", "Blobs.Put"},
	"POST /api/v1/blobs/missing":                         {"sa", "Blobs.Missing"},
	"POST /api/v1/blobs":                                 {"sa", "Blobs.PutBundle"},
	"POST /api/v1/blobs/get":                             {"rsa", "Blobs.GetBundle"},
	"GET /api/v1/members":                                {"rsa", "Cluster.Members"},
	"POST /api/v1/members/{name}/drain":                  {"a", "Cluster.Drain"},
	"POST /api/v1/members/{name}/leave":                  {"a", "Cluster.Leave"},
	"DELETE /api/v1/members/{name}":                      {"a", "Cluster.Remove"},
	"POST /api/v1/leave":                                 {"a", "Cluster.Leave"},
	"GET /api/v1/raft":                                   {"rsa", "Cluster.Raft"},
	"GET /api/v1/snapshot":                               {"a", "Cluster.SaveSnapshot"},
	"POST /api/v1/snapshot":                              {"a", "Cluster.RestoreSnapshot"},
	"POST /api/v1/tokens":                                {"a", "Tokens.Create"},
	"GET /api/v1/tokens":                                 {"a", "Tokens.List"},
	"DELETE /api/v1/tokens/{id}":                         {"a", "Tokens.Delete"},
	"PUT /api/v1/secrets/{name}":                         {"a", "Secrets.Set"},
	"GET /api/v1/secrets":                                {"sa", "Secrets.List"},
	"DELETE /api/v1/secrets/{name}":                      {"a", "Secrets.Delete"},
	"POST /api/v1/webhooks":                              {"a", "Webhooks.Add"},
	"GET /api/v1/webhooks":                               {"a", "Webhooks.List"},
	"DELETE /api/v1/webhooks/{name}":                     {"a", "Webhooks.Delete"},
	"POST /api/v1/webhooks/{name}/test":                  {"a", "Webhooks.Test"},
	"POST /api/v1/webhooks/{name}/retry":                 {"a", "Webhooks.Retry"},
	"POST /api/v1/webhooks/{name}/rotate":                {"a", "Webhooks.Rotate"},
}

// Every role against every route. What is let through ends otherwise (the
// backend has no functions), but never with 401 or 403.
func TestRoles(t *testing.T) {
	n := newNode(t, &apitest.Backend{})
	wildcard := regexp.MustCompile(`\{[a-z.]+\}`)
	routes := api.Routes()
	if len(routes) != len(table) {
		t.Errorf("there are %d routes, the test knows %d", len(routes), len(table))
	}
	for _, rt := range routes {
		name := rt.Method + " " + rt.Pattern
		row, ok := table[name]
		if !ok {
			t.Errorf("%s: the test does not know who may", name)
			continue
		}
		// The worker of the worker's token, who may remove itself.
		path := wildcard.ReplaceAllString(rt.Pattern, "ext-w1")
		for _, token := range []string{"", "read", "submit", "worker", "admin"} {
			var headers []string
			if token != "" {
				headers = append(headers, "Authorization: Bearer "+token)
			}
			got := ask(t, n.public.URL, rt.Method+" "+path, "", headers...).StatusCode
			switch {
			case row[0] == "*" || token != "" && strings.Contains(row[0], token[:1]):
				if got == 401 || got == 403 {
					t.Errorf("%s as %q: got %d, want it allowed", name, token, got)
				}
			case token == "" && got != 401, token != "" && got != 403:
				t.Errorf("%s as %q: got %d, want it refused", name, token, got)
			}
		}
		if rt.Summary == "" {
			t.Errorf("%s has no summary", name)
		}
		if forwarded := rt.Where == api.OnLeader || rt.Where == api.OnState || rt.Where == api.OnNode; forwarded && rt.Body == api.StreamBody {
			t.Errorf("%s: a stream is passed on, which could not be repeated", name)
		}
		if row[1] != "" && !clientHas(row[1]) {
			t.Errorf("%s: the client has no method %s", name, row[1])
		}
	}
}

// An untrusted token submits, and changes nothing that other submissions use. A node
// that passes its call on says so.
func TestRoles_untrusted(t *testing.T) {
	var by api.Subject
	f, _ := pair(t, &apitest.Backend{}, &apitest.Backend{
		Runs: apitest.Runs{EstimateFunc: func(_ context.Context, s api.Subject, _ wire.SubmitRequest) (wire.Estimate, error) {
			by = s
			return wire.Estimate{}, nil
		}},
	})
	f.backend.Auth.Subjects["u"] = api.Subject{Name: "fork", Role: api.RoleSubmit, Untrusted: true}
	for call, want := range map[string]bool{
		"POST /api/v1/schedules": false, "DELETE /api/v1/schedules/x": false, "POST /api/v1/schedules/x/pause": false,
		"PUT /ac/x": false, "PUT /cas/x": false, "DELETE /ac/x": false, "PUT /team/cas/x": false, "PUT /v8/artifacts/x": false,
		"POST /api/v1/runs": true, "POST /api/v1/runs/x/cancel": true, "GET /ac/x": true, "PUT /api/v1/blobs/x": true,
	} {
		if got := ask(t, f.public.URL, call, "", "Authorization: Bearer u").StatusCode; (got != 403) != want {
			t.Errorf("%s: got %d", call, got)
		}
	}

	for token, want := range map[string]bool{"u": true, "submit": false} {
		// The header of the public port is not believed.
		ask(t, f.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, "Authorization: Bearer "+token, isJSON, "X-Pipelined-Untrusted: true")
		if by.Untrusted != want || by.Role != api.RoleSubmit {
			t.Errorf("%s: the leader saw %+v", token, by)
		}
	}
}

// A token with a number of uses changes nothing that other submissions use, and the
// node that begins its runs knows it.
func TestRoles_uses(t *testing.T) {
	var by api.Subject
	f, _ := pair(t, &apitest.Backend{}, &apitest.Backend{
		Runs: apitest.Runs{EstimateFunc: func(_ context.Context, s api.Subject, _ wire.SubmitRequest) (wire.Estimate, error) {
			by = s
			return wire.Estimate{}, nil
		}},
	})
	f.backend.Auth.Subjects["u"] = api.Subject{Name: "ci", Role: api.RoleSubmit, Use: "t1"}
	for call, want := range map[string]bool{"POST /api/v1/schedules": false, "PUT /ac/x": false, "POST /api/v1/runs": true, "POST /api/v1/runs/x/retry": true} {
		if got := ask(t, f.public.URL, call, "", "Authorization: Bearer u").StatusCode; (got != 403) != want {
			t.Errorf("%s: got %d", call, got)
		}
	}

	for token, want := range map[string]string{"u": "t1", "submit": ""} {
		ask(t, f.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, "Authorization: Bearer "+token, isJSON, "X-Pipelined-Use: another")
		if by.Use != want {
			t.Errorf("%s: the leader saw %+v", token, by)
		}
	}
}

// clientHas reports whether the client has a method: NAME, or GROUP.NAME for one
// of a group of calls.
func clientHas(path string) bool {
	at := reflect.TypeFor[*client.Client]()
	group, name, grouped := strings.Cut(path, ".")
	if !grouped {
		_, ok := at.MethodByName(path)
		return ok
	}

	accessor, ok := at.MethodByName(group)
	if !ok {
		return false
	}

	_, ok = accessor.Type.Out(0).MethodByName(name)

	return ok
}

// The routes that a worker's token opens are few and fixed.
func TestRoles_worker(t *testing.T) {
	var open []string
	for _, rt := range api.Routes() {
		if rt.Worker {
			open = append(open, rt.Method+" "+rt.Pattern)
		}
	}
	want := []string{"POST /api/execution/result", "POST /api/workers/register", "POST /api/workers/heartbeat", "GET /api/workers",
		"DELETE /api/workers/{id}", "GET /api/v1/blobs/{digest}", "PUT /api/v1/blobs/{digest}", "GET /api/v1/whoami"}
	if !slices.Equal(open, want) {
		t.Errorf("got %q\nwant %q", open, want)
	}
	// Whose worker it is, the service knows: the token's id is not a worker's.
	var by api.Subject
	n := newNode(t, &apitest.Backend{Workers: apitest.Workers{ForgetWorkerFunc: func(_ context.Context, s api.Subject, id string) error {
		by = s
		return nil
	}}})
	if got := ask(t, n.public.URL, "DELETE /api/workers/gpu-1", "", asWorker).StatusCode; got != 200 && got != 204 || by.Worker != "ext-w1" || !by.Loopback {
		t.Errorf("forget a worker: got %d for %+v", got, by)
	}
}
