package monitoring

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// series are those of a node's page with their values, without the libraries' own:
// some of these begin with time, whatever runs.
func series(t *testing.T, n *harness.Node, token string) map[string]float64 {
	t.Helper()
	status, text := get(t, n.URL+"/metrics", token)
	if status != http.StatusOK {
		t.Fatalf("/metrics of %s: %d %s", n.Name, status, text)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "memberlist_") || strings.HasPrefix(line, "raft_") {
			continue
		}
		// A label's value may have spaces: the last one stands before the number.
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[line[:i]] = value
	}
	return all
}

// runs has a run of each of some pipelines, with one module of a command, and returns
// when all have ended.
func runs(t *testing.T, n *harness.Node, token string, from, to int, command string) {
	t.Helper()
	numbers := make(chan int, to-from) // all of them
	for i := from; i < to; i++ {
		numbers <- i
	}
	close(numbers)

	before := ended(series(t, n, token))
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for i := range numbers {
				source := strings.NewReplacer("small", fmt.Sprintf("p%d", i), "true", command).Replace(small)
				if _, err := (submitter{n.URL, token}).run(t.Context(), source); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	testutil.Eventually(t, 4*harness.Wait, func() error {
		if now := ended(series(t, n, token)); now < before+to-from {
			return fmt.Errorf("%d of %d runs have ended", now-before, to-from)
		}
		return nil
	})
}

// ended is the number of runs that have.
func ended(all map[string]float64) (n int) {
	for name, value := range all {
		if strings.HasPrefix(name, "cicd_pipeline_run_duration_seconds_count{") && strings.Contains(name, `"pending"`) {
			n += int(value)
		}
	}
	return n
}

// A node that has seen 1,000 pipelines has the series that it had after 200: the first
// 100 names are labels, and all others share one.
func TestSeries_bounded(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	token := strings.TrimSpace(c.OK("token", "create", "-address", n.URL, "-role", "submit"))

	runs(t, n, token, 0, 100, "true")
	runs(t, n, token, 0, 200, "false")
	runs(t, n, token, 100, 200, "true")
	few := series(t, n, token)
	runs(t, n, token, 200, 600, "true")
	runs(t, n, token, 600, 1000, "false")
	many := series(t, n, token)

	names := 0
	for name := range many {
		if strings.HasPrefix(name, "cicd_pipeline_run_errors_total{") {
			names++
		}
		if _, ok := few[name]; !ok {
			t.Errorf("not there after 200 pipelines: %s", name)
		}
	}
	if names != 101 {
		t.Errorf("%d names of pipelines, want 100 and _other", names)
	}
	if len(many) > 12_000 {
		t.Errorf("%d series, more than 12000", len(many))
	}
	t.Logf("%d series after 200 pipelines, %d after 1000; load %s", len(few), len(many), load(t))
}
