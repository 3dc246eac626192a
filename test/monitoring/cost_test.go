package monitoring

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// thousand is a pipeline whose modules run four at a time, for some 15 s.
const thousand = `pipeline "thousand" {
  max_parallel = 4
  workspace { exclude = ["**"] }
  module "m" {
    for_each = range(1000)
    command  = ["sleep", "0.05"]
  }
}
`

// waiting is one in which nothing changes.
const waiting = `pipeline "waiting" {
  workspace { exclude = ["**"] }
  module "ask" {
    approval { message = "go on?" }
  }
}
`

// What viewers cost while a run of 1,000 modules goes: the processor time of all nodes
// from its submission to its end, in rounds with and without viewers, one after the
// other. PIPELINED_MEASURE_ROUNDS=10 asks for it.
func TestViewers_cost(t *testing.T) {
	n := wanted(t)
	c := harness.Start(t, 3)
	leader := c.Leader()
	token := strings.TrimSpace(c.OK("token", "create", "-role", "submit", "-address", leader.URL))

	run := func(viewing int) float64 {
		before := worked(t, c.Nodes...)
		created, err := submitter{leader.URL, token}.run(t.Context(), thousand)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var open viewers
		open.watch(ctx, viewing, leader, token, "runs", "cluster", "run:"+string(created.ID))
		// One long request: asking again and again would cost more than what is measured.
		if r := c.CLI("wait", "-quiet", "-timeout", "5m", "-address", leader.URL, string(created.ID)); r.Code != 0 {
			t.Fatalf("wait: %d %s", r.Code, r.Stderr)
		}
		took := worked(t, c.Nodes...) - before
		cancel()
		open.done.Wait()
		if viewing > 0 && open.events.Load() < 10 {
			t.Errorf("%d viewers saw only %d events", viewing, open.events.Load())
		}
		return took
	}
	run(0) // the first run finds empty caches
	for _, viewing := range []int{1, 10} {
		compare(t, n, fmt.Sprintf("%d viewers of a run of 1,000 modules", viewing), "s of CPU", func(with bool) float64 {
			if with {
				return run(viewing)
			}
			return run(0)
		})
	}
}

// What 50 viewers of a run cost in which nothing changes, in percent of a core.
func TestViewers_still(t *testing.T) {
	n := wanted(t)
	c := harness.Start(t, 1)
	node := c.Nodes[0]
	token := strings.TrimSpace(c.OK("token", "create", "-role", "submit", "-address", node.URL))
	created, err := submitter{node.URL, token}.run(t.Context(), waiting)
	if err != nil {
		t.Fatal(err)
	}

	compare(t, n, "50 viewers of a run in which nothing changes", "% of a core", func(with bool) float64 {
		ctx, cancel := context.WithCancel(t.Context())
		var open viewers
		defer open.done.Wait()
		defer cancel()
		if with {
			open.watch(ctx, 50, node, token, "runs", "cluster", "run:"+string(created.ID))
			testutil.Eventually(t, harness.Wait, func() error {
				if open.events.Load() < 150 {
					return fmt.Errorf("%d events", open.events.Load())
				}
				return nil
			})
		}
		before, began := worked(t, node), time.Now()
		<-time.After(8 * time.Second)
		return 100 * (worked(t, node) - before) / time.Since(began).Seconds()
	})
}

// wanted is how many rounds are asked for.
func wanted(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(rounds))
	if err != nil || n < 1 {
		t.Skip(rounds + " is not set to a number, like 10")
	}
	return n
}

// compare measures in pairs, of which every other begins with what is compared, and
// logs the medians of both and of the differences.
func compare(t *testing.T, n int, what, unit string, measure func(with bool) float64) {
	t.Helper()
	var without, with, more []float64
	for i := range n {
		first := measure(i%2 == 1)
		second := measure(i%2 == 0)
		if i%2 == 1 {
			first, second = second, first
		}
		without, with, more = append(without, first), append(with, second), append(more, second-first)
		t.Logf("%s, round %d: %.2f without, %.2f with; load %s", what, i+1, first, second, load(t))
	}
	for _, list := range [][]float64{without, with, more} {
		slices.Sort(list)
	}
	half, quarter := n/2, n/4
	t.Logf("%s: %.2f %s without (%.2f to %.2f), %.2f with (%.2f to %.2f); difference %+.2f, half of them %+.2f to %+.2f", what,
		without[half], unit, without[0], without[n-1], with[half], with[0], with[n-1], more[half], more[quarter], more[n-1-quarter])
}

// worked is the processor time that agents have taken, in seconds.
func worked(t *testing.T, nodes ...*harness.Node) (sum float64) {
	t.Helper()
	for _, n := range nodes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
		if err != nil {
			t.Fatal(err)
		}
		// Fields 14 and 15, counted behind the name, in ticks of 10 ms.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(string(f))
			if err != nil {
				t.Fatal(err)
			}
			sum += float64(ticks) / 100
		}
	}
	return sum
}
