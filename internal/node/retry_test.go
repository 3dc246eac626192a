package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// TestRetry_sameRequest sends a retry twice with one Idempotency-Key, the second
// time when the first has ended: the module must not run again.
func TestRetry_sameRequest(t *testing.T) {
	n, c := openTest(t)
	r := runToEnd(t, c, "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n")
	retry := func(key string) {
		t.Helper()
		body, err := json.Marshal(wire.RetryRequest{From: []string{"m"}})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.HTTPAddr()+"/api/v1/runs/"+string(r.ID)+"/retry", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		token, err := n.Token("test", "admin")
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(wire.HeaderIdempotencyKey, key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("retry answers %d", resp.StatusCode)
		}
		eventually(t, func() error {
			run, err := c.Runs().Get(t.Context(), r.ID)
			if err == nil && !run.State.Final() {
				err = fmt.Errorf("the run is %s", run.State)
			}
			return err
		})
	}
	for i, key := range []string{"one", "one", "two", "one"} {
		retry(key)
		run, err := c.Runs().Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(run.Modules[0].Attempts), []int{2, 2, 3, 3}[i]; got != want || run.State != pipeline.RunSucceeded {
			t.Errorf("after request %d, %q: %d attempts, want %d; the run is %s", i+1, key, got, want, run.State)
		}
	}
	if _, err := c.Runs().Retry(t.Context(), r.ID, wire.RetryRequest{From: []string{"mm"}}); err == nil || !strings.Contains(err.Error(), `did you mean "m"?`) {
		t.Errorf("a name that is not there: %v", err)
	}
}
