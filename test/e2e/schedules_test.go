package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// tickEvery is the time between the ticks of the schedule.
const tickEvery = 2 * time.Second

// A schedule of every two seconds whose leaders are killed one after the other:
// each tick makes exactly one run, and the module of each run is started exactly
// once, which the modules witness themselves. PIPELINED_TICKS says over how many
// ticks; of six of them, one sees a kill.
func TestSchedule_oneRunATick(t *testing.T) {
	ticks := 8
	if text := os.Getenv("PIPELINED_TICKS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 4 {
			t.Fatalf("PIPELINED_TICKS=%q: want a number, 4 at least", text)
		}
		ticks = n
	}
	c := harness.Start(t, 3)
	dir := filepath.Join(c.Dir, "ran")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := c.WriteFile("ticks.hcl", fmt.Sprintf(`pipeline "ticks" {
  workspace {
    exclude = ["**"]
  }
  schedule {
    cron     = "*/2 * * * * *"
    timezone = "Asia/Kolkata"
    catch_up = "all"
  }
  module "m" {
    script = "echo \"$PIPELINED_TICK ${run.tick}\" >> %s/$PIPELINED_RUN_ID"
  }
}
`, dir))
	c.OK("submit", "-register", "-address", c.Nodes[1].URL, file)
	kills := max(2, ticks/6)
	for i := range kills {
		waitForTicks(t, c, (i+1)*ticks/(kills+1))
		n := c.Leader()
		n.Kill()
		n.Start()
		c.Whole()
	}
	waitForTicks(t, c, ticks)
	c.OK("schedules", "pause", "-address", c.Nodes[0].URL, "ticks")

	runs := runsOf(t, c, "ticks")
	var rows strings.Builder
	for i := range runs {
		r := &runs[i]
		testutil.Eventually(t, harness.Wait, func() error {
			now, err := c.Run(string(r.ID))
			if err == nil && !now.State.Final() {
				err = fmt.Errorf("run %s is %s", r.ID, now.State)
			}
			r.State = now.State
			return err
		})
		if r.State != pipeline.RunSucceeded || r.Schedule != "ticks" || r.Tick == nil {
			t.Fatalf("run %s is %s, of schedule %q, tick %v", r.ID, r.State, r.Schedule, r.Tick)
		}
		b, err := os.ReadFile(filepath.Join(dir, string(r.ID)))
		if starts := strings.Count(string(b), "\n"); err != nil || starts != 1 {
			t.Errorf("the module of run %s was started %d times: %v", r.ID, starts, err)
		}
		if tick := r.Tick.Format(time.RFC3339); string(b) != tick+" "+tick+"\n" || !strings.HasSuffix(tick, "+05:30") {
			t.Errorf("the module of run %s saw the tick %q, want %q", r.ID, b, tick)
		}
		if i > 0 && r.Tick.Sub(*runs[i-1].Tick) != tickEvery {
			t.Errorf("between the ticks %s and %s lie %s, want %s", runs[i-1].Tick, r.Tick, r.Tick.Sub(*runs[i-1].Tick), tickEvery)
		}
		fmt.Fprintf(&rows, "| %s | %d ms |\n", r.Tick.Format(time.TimeOnly), r.SubmittedAt.Sub(*r.Tick).Milliseconds())
	}
	t.Logf("%d ticks, %d kills\n| tick | its run was made after |\n|---|---|\n%s", len(runs), kills, rows.String())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(runs) {
		t.Errorf("modules of %d runs ran, of %d: %v", len(entries), len(runs), err)
	}
}

// A backfill of 30 days, two of them at a time, whose leaders are killed five times:
// each day has one run, whose module is started once and sees its day; then the same
// command makes none.
func TestSchedule_backfill(t *testing.T) {
	c := harness.Start(t, 3)
	dir := filepath.Join(c.Dir, "days")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := c.WriteFile("days.hcl", fmt.Sprintf(`pipeline "days" {
  workspace {
    exclude = ["**"]
  }
  schedule {
    cron     = "0 3 * * *"
    timezone = "Europe/Berlin"
  }
  module "m" {
    script = <<-SH
      sleep 0.3
      echo "$PIPELINED_RUN_ID ${run.tick}" >> %s/$(echo $PIPELINED_TICK | cut -c 1-10)
    SH
  }
}
`, dir))
	c.OK("submit", "-register", "-address", c.Nodes[0].URL, file)
	command := []string{"schedules", "backfill", "-from", "2025-10-11", "-to", "2025-11-09", "-max-parallel", "2", "-json", "-address", c.Nodes[1].URL, "days"}
	began := time.Now()
	c.OK(command...)

	const days, kills = 30, 5
	most := 0
	waitForBackfill := func(done func(b *wire.Backfill) bool) (last wire.Backfill) {
		testutil.Eventually(t, 2*time.Minute, func() error {
			r := c.CLI("schedules", "show", "-json", "-address", liveURL(c), "days")
			var s wire.Schedule
			if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || s.Backfill == nil {
				return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
			last = *s.Backfill
			most = max(most, last.Running)
			if !done(&last) {
				return fmt.Errorf("the backfill is %+v", last)
			}
			return nil
		})
		return last
	}
	for i := range kills {
		waitForBackfill(func(b *wire.Backfill) bool { return b.Succeeded >= (i+1)*days/(kills+1) })
		n := c.Leader()
		n.Kill()
		n.Start()
		c.Whole()
	}
	b := waitForBackfill(func(b *wire.Backfill) bool { return b.FinishedAt != nil })
	t.Logf("30 days, %d leaders killed, took %s", kills, time.Since(began).Round(100*time.Millisecond))
	if b.Ticks != days || b.Runs != days || b.Succeeded != days || b.HadRuns+b.Failed != 0 || most > 2 {
		t.Errorf("%d at once at most; got %+v", most, b)
	}

	runs := runsOf(t, c, "days")
	if len(runs) != days {
		t.Errorf("%d runs were made, want %d", len(runs), days)
	}
	day := time.Date(2025, 10, 11, 0, 0, 0, 0, time.UTC)
	for i := range runs {
		r := &runs[i]
		date := day.AddDate(0, 0, i).Format(time.DateOnly)
		tick := r.Tick.Format(time.RFC3339)
		text, err := os.ReadFile(filepath.Join(dir, date))
		if want := fmt.Sprintf("%s %s\n", r.ID, tick); err != nil || string(text) != want || !strings.HasPrefix(tick, date+"T03:00:00+0") || r.Trigger != pipeline.TriggerBackfill {
			t.Errorf("day %s: %q by run %s with the tick %s (%s), want %q: %v", date, text, r.ID, tick, r.Trigger, want, err)
		}
	}

	// The same command again.
	for i := range command {
		if strings.HasPrefix(command[i], "http") {
			command[i] = liveURL(c)
		}
	}
	c.OK(command...)
	if b = waitForBackfill(func(b *wire.Backfill) bool { return b.FinishedAt != nil }); b.HadRuns != days || b.Runs != 0 {
		t.Errorf("the same days again: %+v", b)
	}
}

// A run with other values, and files that were taken anew, survive the leader that made
// them so.
func TestSchedule_updated(t *testing.T) {
	c := harness.Start(t, 3)
	source := `pipeline "said" {
  variable "who" {}
  schedule {
    cron    = "@yearly"
    overlap = "allow"
  }
  module "m" {
    command = ["echo", "first", var.who]
  }
}
`
	file := c.WriteFile("said/said.hcl", source)
	c.OK("submit", "-register", "-var", "who=ann", "-address", c.Nodes[0].URL, file)
	after := func(args ...string) string {
		out := c.OK(append(args, "-address", liveURL(c))...)
		n := c.Leader()
		n.Kill()
		n.Start()
		c.Whole()
		return strings.TrimSpace(out)
	}
	says := func(id, want string) {
		t.Helper()
		c.OK("wait", "-address", liveURL(c), id)
		if got := c.OK("logs", "-address", liveURL(c), id); !strings.Contains(got, want+"\n") {
			t.Errorf("run %s wrote %q, want %q", id, got, want)
		}
	}

	says(after("schedules", "trigger", "-var", "who=bob", "said"), "first bob")
	c.WriteFile("said/said.hcl", strings.Replace(source, "first", "second", 1))
	says(after("schedules", "trigger", "said"), "first ann")
	after("schedules", "update", "-files", "said", file)
	says(after("schedules", "trigger", "said"), "second ann")
}

// runsOf gives the runs of a pipeline, in the order of their ticks.
func runsOf(t *testing.T, c *harness.Cluster, name string) []wire.RunSummary {
	t.Helper()
	var list struct {
		Runs []wire.RunSummary `json:"runs"`
	}
	out := c.OK("list", "-json", "-limit", "1000", "-pipeline", name, "-address", liveURL(c))
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Runs, func(a, b wire.RunSummary) int { return a.Tick.Compare(*b.Tick) })
	return list.Runs
}

// waitForTicks waits until the schedule has made so many runs.
func waitForTicks(t *testing.T, c *harness.Cluster, n int) {
	t.Helper()
	testutil.Eventually(t, time.Duration(n)*tickEvery+harness.Wait, func() error {
		r := c.CLI("schedules", "show", "-json", "-address", liveURL(c), "ticks")
		if r.Code != 0 {
			return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
		var s wire.Schedule
		if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
			return err
		}
		if s.Skipped > 0 {
			t.Fatalf("%d ticks were skipped: %s", s.Skipped, r.Stdout)
		}
		if s.Fired < uint64(n) {
			return fmt.Errorf("%d ticks of %d have made runs", s.Fired, n)
		}
		return nil
	})
}

// What H stands for is the same on every node, before and after a leader was killed and
// when the pipeline is registered again.
func TestSchedule_spread(t *testing.T) {
	c := harness.Start(t, 3)
	file := c.WriteFile("spread.hcl", `pipeline "spread" {
  workspace {
    exclude = ["**"]
  }
  schedule {
    cron = ["H H * * *", "H/15 * * * *"]
  }
  module "m" {
    command = ["true"]
  }
}
`)
	planned := c.OK("plan", "-address", c.Nodes[0].URL, file)
	c.OK("submit", "-register", "-address", c.Nodes[0].URL, file)
	leader := c.Leader()
	leader.Kill()
	leader.Start()
	c.Whole()
	for _, n := range c.Nodes {
		var list wire.ScheduleList
		text := c.OK("schedules", "-json", "-address", n.URL)
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Schedules) != 1 {
			t.Fatalf("%v in %s", err, text)
		}
		cron := strings.Join(list.Schedules[0].Cron, "; ")
		if !strings.Contains(planned, "schedule: "+cron+" in UTC\n") || strings.Contains(cron, "H") {
			t.Errorf("%s has %q, and the plan was %s", n.Name, cron, planned)
		}
		c.OK("submit", "-register", "-address", n.URL, file)
	}
}
