package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

const pausedPipeline = `pipeline "read" {
  workspace { exclude = ["**"] }
  module "m" { script = "sleep 3600" }
}
`

// caller speaks HTTP to the nodes of a cluster, over connections of its own.
type caller struct {
	tb     testing.TB
	token  string
	client http.Client
}

func newCaller(tb testing.TB, c *harness.Cluster) *caller {
	tb.Helper()
	token := strings.TrimSpace(c.OK("token", "create", "-role", "admin", "-address", c.Leader().URL))
	x := &caller{tb: tb, token: token, client: http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{}}}
	tb.Cleanup(x.client.CloseIdleConnections)
	return x
}

// answer is what a node answered; status is 0 if it did not.
type answer struct {
	status int
	body   []byte
	header http.Header
	took   time.Duration
}

func (x *caller) do(n *harness.Node, method, path, body, key string) answer {
	req, err := http.NewRequestWithContext(x.tb.Context(), method, n.URL+path, strings.NewReader(body))
	if err != nil {
		x.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+x.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	began := time.Now()
	res, err := x.client.Do(req)
	if err != nil {
		return answer{took: time.Since(began)}
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body) // a body that breaks off fails the checks of its content
	return answer{res.StatusCode, text, res.Header, time.Since(began)}
}

// submit submits a pipeline and returns the id of its run, "" if it was not
// accepted.
func (x *caller) submit(n *harness.Node, source, key string) (id string, a answer) {
	doc, err := json.Marshal(map[string]string{"source": source, "fileName": "p.hcl"})
	if err != nil {
		x.tb.Fatal(err)
	}
	a = x.do(n, "POST", "/api/v1/runs", string(doc), key)
	var out struct{ ID string }
	if a.status == 201 || a.status == 200 {
		_ = json.Unmarshal(a.body, &out) // an id that is missing is an error of the caller
	}
	return out.ID, a
}

// A leader that was paused, and replaced meanwhile, does not answer from its old
// state: neither reads that come when it continues, nor one that waits since
// before the pause.
func TestRead_afterPauseOfLeader(t *testing.T) {
	c := harness.Start(t, 3)
	x := newCaller(t, c)
	old := c.Leader()
	id, a := x.submit(old, pausedPipeline, "")
	if id == "" {
		t.Fatalf("submit: %d %s", a.status, a.body)
	}
	testutil.Eventually(t, harness.Wait, func() error {
		if a := x.do(old, "GET", "/api/v1/runs/"+id, "", ""); !strings.Contains(string(a.body), `"running"`) {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})

	for round := range 3 {
		if round > 0 {
			c.Whole()
			old = c.Leader()
			if id, a = x.submit(old, pausedPipeline, ""); id == "" {
				t.Fatalf("submit: %d %s", a.status, a.body)
			}
		}
		checkPaused(t, c, x, old, id)
	}
}

// checkPaused pauses the leader, cancels the run through the next one, and reads.
func checkPaused(t *testing.T, c *harness.Cluster, x *caller, old *harness.Node, id string) {
	t.Helper()
	const readers = 16
	var wg sync.WaitGroup
	defer wg.Wait()
	waited := make(chan answer, 1)
	wg.Go(func() {
		waited <- x.do(old, "GET", "/api/v1/runs/"+id+"?index=999999999&wait=2s", "", "")
	})

	// Until it waits there.
	testutil.Eventually(t, harness.Wait, func() error { _, err := old.Health(); return err })
	resume := pause(t, old)
	defer resume()

	others := c.Others(old)
	testutil.Eventually(t, harness.Wait, func() error {
		a := x.do(others[0], "POST", "/api/v1/runs/"+id+"/cancel", "{}", "")
		if a.status != 200 && a.status != 409 {
			return fmt.Errorf("cancel: %d %s", a.status, a.body)
		}
		return nil
	})

	// They are in its sockets when it continues.
	answers := make(chan answer, readers)
	for range readers {
		wg.Go(func() { answers <- x.do(old, "GET", "/api/v1/runs/"+id, "", "") })
	}
	testutil.Eventually(t, harness.Wait, func() error {
		if n := unread(t, old); n < readers {
			return fmt.Errorf("%d requests wait", n)
		}
		return nil
	})
	resume()

	check := func(what string, a answer) {
		t.Helper()
		switch {
		case a.status == 503 || a.status == 0 || a.header.Get("X-Pipelined-Stale") != "":
		case a.status != 200 || !strings.Contains(string(a.body), `"cancel`):
			t.Errorf("%s: %d, from before the run was cancelled: %.300s", what, a.status, a.body)
		}
	}
	for range readers {
		check("a read", <-answers)
	}
	check("a read that waited", <-waited)
}

// unread counts the connections to a node's API with bytes that it has not read.
func unread(t *testing.T, n *harness.Node) (count int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr(n.IP).As4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], 8080) // as Linux prints it
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && f[1] == local && !strings.HasSuffix(f[4], ":00000000") {
			count++
		}
	}
	return count
}
