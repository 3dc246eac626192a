package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// An agent that has ended may have been killed: what became of its node, another one says.
func TestLeave_ended(t *testing.T) {
	for status, tc := range map[string]struct {
		exit int
		want string
	}{
		"left":   {0, "node-1 has left"},
		"failed": {exitFailed, "node-1 has not left: its agent ended before, and the others count it as failed"},
		"":       {exitUnavailable, "whether node-1 has left is unknown"}, // none answers
		// Of raft a worker knows nothing: neither from a list without the node, nor from one
		// that has it as left, which is what it announced.
		"worker":       {exitUnavailable, "whether node-1 has left is unknown: its agent has ended, and no other node says how (only workers answer)"},
		"worker, left": {exitUnavailable, "whether node-1 has left is unknown: its agent has ended, and no other node says how (only workers answer)"},
	} {
		other, leaving := newFakeCluster(t), newFakeCluster(t)
		node := leaving.members[0]
		leaving.members = append(leaving.members, wire.Member{ID: "n2", Name: "node-2", HTTP: other.address(), Status: "alive"})
		node.Status = status
		other.members = []wire.Member{node}
		switch status {
		case "left":
			other.members = []wire.Member{{ID: "n2", Name: "node-2", HTTP: other.Server.URL, Mode: pipeline.ModeAuto}}
		case "worker":
			other.health.Role, other.members = "worker", []wire.Member{{ID: "n2", Name: "node-2", HTTP: "https://" + other.address(), Mode: pipeline.ModeWorker}}
		case "worker, left":
			other.health.Role, other.members[0].Status = "worker", "left"
		}

		// Its process ends with the call, and so does the other one if it must not answer.
		at := httptest.NewUnstartedServer(nil)
		at.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			leaving.ServeHTTP(w, r)
			if r.URL.Path == "/api/v1/leave" {
				at.Listener.Close()
				w.Header().Set("Connection", "close")
				if status == "" {
					other.Listener.Close()
				}
			}
		})
		at.Start()
		leaving.members[0].HTTP = strings.TrimPrefix(at.URL, "http://")
		t.Cleanup(at.Close)

		c := newCommand(t, leaving)
		code, _, stderr := c.exec("leave", "-yes", "-address", strings.TrimPrefix(at.URL, "http://"))
		if code != tc.exit || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, %s", status, code, stderr)
		}
	}
}
