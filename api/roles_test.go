package api_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
)

// who may do what: r(ead), s(ubmit), w(orker), a(dmin); * is everybody, and
// the client's method for it, "" where programs call that are not ours.
var table = map[string][2]string{
	"GET /api/health":                                    {"*", "Health"},
	"POST /api/execution/execute":                        {"sa", "Execute"},
	"POST /api/execution/cancel":                         {"sa", "CancelExecution"},
	"POST /api/execution/result":                         {"wa", "Result"},
	"POST /api/workers/register":                         {"wa", "Register"},
	"POST /api/workers/heartbeat":                        {"wa", "Heartbeat"},
	"GET /api/workers":                                   {"rswa", "Workers"},
	"DELETE /api/workers/{id}":                           {"wa", "ForgetWorker"},
	"POST /api/v1/runs":                                  {"sa", "Submit"},
	"GET /api/v1/runs":                                   {"rsa", "Runs"},
	"GET /api/v1/runs/{id}":                              {"rsa", "Run"},
	"POST /api/v1/runs/{id}/cancel":                      {"sa", "Cancel"},
	"POST /api/v1/runs/{id}/retry":                       {"sa", "Retry"},
	"POST /api/v1/runs/{id}/pin":                         {"sa", "Pin"},
	"POST /api/v1/runs/{id}/unpin":                       {"sa", "Pin"},
	"POST /api/v1/runs/{id}/modules/{module}/approve":    {"sa", "Approve"},
	"POST /api/v1/runs/{id}/modules/{module}/reject":     {"sa", "Reject"},
	"GET /api/v1/runs/{id}/why":                          {"rsa", "Why"},
	"POST /api/v1/schedules":                             {"sa", "RegisterSchedule"},
	"GET /api/v1/schedules":                              {"rsa", "Schedules"},
	"GET /api/v1/schedules/{name}":                       {"rsa", "Schedule"},
	"DELETE /api/v1/schedules/{name}":                    {"sa", "RemoveSchedule"},
	"POST /api/v1/schedules/{name}/pause":                {"sa", "PauseSchedule"},
	"POST /api/v1/schedules/{name}/resume":               {"sa", "ResumeSchedule"},
	"POST /api/v1/schedules/{name}/trigger":              {"sa", "TriggerSchedule"},
	"GET /api/v1/locks":                                  {"rsa", "Locks"},
	"GET /api/v1/cache":                                  {"rsa", "Cache"},
	"GET /api/v1/cache/stats":                            {"rsa", "CacheStats"},
	"GET /api/v1/cache/tools":                            {"rsa", "CacheTools"},
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
	"POST /api/v1/estimate":                              {"sa", "Estimate"},
	"POST /api/v1/cache/lookup":                          {"sa", "CacheLookup"},
	"POST /api/v1/cache/prune":                           {"a", "CachePrune"},
	"GET /api/v1/runs/{id}/logs":                         {"rsa", "FollowRun"},
	"POST /api/v1/runs/{id}/logs":                        {"rsa", "FollowRun"},
	"GET /api/v1/runs/{id}/modules/{module}/logs":        {"rsa", "Log"},
	"POST /api/v1/runs/{id}/modules/{module}/exec":       {"a", "Exec"},
	"GET /api/v1/runs/{id}/artifacts":                    {"rsa", "Artifacts"},
	"GET /api/v1/runs/{id}/artifacts/{module}/{path...}": {"rsa", "OpenArtifact"},
	"GET /api/v1/blobs/{digest}":                         {"rswa", "Blob"},
	"PUT /api/v1/blobs/{digest}":                         {"swa", "PutBlob"},
	"POST /api/v1/blobs/missing":                         {"sa", "Missing"},
	"POST /api/v1/blobs":                                 {"sa", "PutBundle"},
	"POST /api/v1/blobs/get":                             {"rsa", "Bundle"},
	"GET /api/v1/members":                                {"rsa", "Members"},
	"POST /api/v1/members/{name}/drain":                  {"a", "Drain"},
	"POST /api/v1/members/{name}/leave":                  {"a", "Leave"},
	"POST /api/v1/leave":                                 {"a", "Leave"},
	"GET /api/v1/raft":                                   {"rsa", "Raft"},
	"POST /api/v1/tokens":                                {"a", "CreateToken"},
	"GET /api/v1/tokens":                                 {"a", "Tokens"},
	"DELETE /api/v1/tokens/{id}":                         {"a", "DeleteToken"},
	"PUT /api/v1/secrets/{name}":                         {"a", "SetSecret"},
	"GET /api/v1/secrets":                                {"sa", "Secrets"},
	"DELETE /api/v1/secrets/{name}":                      {"a", "DeleteSecret"},
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
		if _, ok := reflect.TypeFor[*client.Client]().MethodByName(row[1]); row[1] != "" && !ok {
			t.Errorf("%s: the client has no method %s", name, row[1])
		}
	}
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
		"DELETE /api/workers/{id}", "GET /api/v1/blobs/{digest}", "PUT /api/v1/blobs/{digest}"}
	if !slices.Equal(open, want) {
		t.Errorf("got %q\nwant %q", open, want)
	}
	n := newNode(t, &apitest.Backend{})
	if got := ask(t, n.public.URL, "DELETE /api/workers/ext-other", "", asWorker).StatusCode; got != 403 {
		t.Errorf("forget another worker: got %d, want 403", got)
	}
}
