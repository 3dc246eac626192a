package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain is also the bare raft node that the floors start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == raftNodeCommand {
		fmt.Fprintln(os.Stderr, runFloorNode(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// slow are raft timings for a machine that is busy with other tests.
var slow = timings{heartbeat: time.Second, election: time.Second, lease: 500 * time.Millisecond}

func TestMedianAndPercentile(t *testing.T) {
	for _, tc := range []struct {
		in            []float64
		median        float64
		p, percentile int
	}{
		{nil, 0, 99, 0},
		{[]float64{7}, 7, 50, 7},
		{[]float64{9, 1, 5}, 5, 99, 9},
		{[]float64{4, 1, 3, 2}, 2.5, 50, 2},
	} {
		if got := median(tc.in); got != tc.median {
			t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.median)
		}
		if got := percentile(tc.in, tc.p); got != float64(tc.percentile) {
			t.Errorf("percentile(%v, %d) = %v, want %v", tc.in, tc.p, got, tc.percentile)
		}
	}
}

func TestSeries_ratioIsOfRounds(t *testing.T) {
	var s series
	s.add(20, 10) // a loud minute doubles both sides of a round
	s.add(200, 100)
	s.add(30, 10)
	s.add(0, 10) // not measured
	if got := s.ratio(); got != 2 {
		t.Errorf("ratio = %v, want 2", got)
	}
	if got := s.spread(); got != "2.00 to 3.00" {
		t.Errorf("spread = %q", got)
	}
}

func TestReport(t *testing.T) {
	var s series
	s.add(float64(300*time.Millisecond), float64(100*time.Millisecond))
	r := report{conditions: []string{"here"}, failed: []string{"W9: no"}, peers: []string{"make"}, lines: []line{
		ratioLine("P2", "W1 200", s, 3.5, 2),
		{id: "P18", what: "binary", value: 41, unit: "MB", must: 40, stretch: 30},
		{id: "P6", what: "nothing", must: 1},
	}}

	var b bytes.Buffer
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{
		"| P2 | W1 200 | 300 ms | 100 ms | 3.00 | ≤ 3.50 | ≤ 2.00 | must | 3.00 to 3.00 |",
		"| 41 MB | ≤ 40 MB | ≤ 30 MB | **missed** |", "| not measured |", "- here", "W9: no", "- make",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestRunShape_ordersLayers(t *testing.T) {
	n := 0
	got := make(chan int, 6) // holds every call
	calls := func() error { got <- n; return nil }
	if _, err := runShape(shape{3, 2}, calls); err != nil {
		t.Fatal(err)
	}
	if len(got) != 6 {
		t.Errorf("%d calls, want 6", len(got))
	}
	if _, err := runShape(shape{2, 2}, func() error { return fmt.Errorf("no") }); err == nil {
		t.Error("an error of the work was lost")
	}
}

func TestSpawnFloor(t *testing.T) {
	if took, err := spawnFloor(shape{2, 3}, []string{"true"}); err != nil || took <= 0 {
		t.Errorf("took %v, %v", took, err)
	}
	if _, err := spawnFloor(shape{1, 1}, []string{"false"}); err == nil {
		t.Error("a command that fails went unseen")
	}
}

func TestTools(t *testing.T) {
	found, missing := tools()
	if len(found)+len(missing) != 2 {
		t.Fatalf("found %d and misses %d tools, want 2 in all", len(found), len(missing))
	}
	for _, tool := range found {
		if _, err := tool.run(t.TempDir(), shape{3, 2}); err != nil {
			t.Errorf("%s: %v", tool.name, err)
		}
		if _, err := tool.runMany(t.TempDir(), 3, 2); err != nil {
			t.Errorf("%s: %v", tool.name, err)
		}
	}
}

func TestFloorCluster(t *testing.T) {
	c, err := startFloor(t.TempDir(), 3, slow)
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	if took, err := c.work(shape{2, 2}, []string{"true"}); err != nil || took <= 0 {
		t.Errorf("work took %v, %v", took, err)
	}

	if took, err := c.submissions(20, 4); err != nil || len(took) != 20 {
		t.Errorf("%d submissions, %v", len(took), err)
	}

	if took, err := c.failover([]string{"true"}); err != nil || took <= 0 {
		t.Errorf("failover took %v, %v", took, err)
	}

	if u, err := measure(c.nodes[0].proc.pid()); err != nil || u.rss < 1<<20 || u.cpu < 0 {
		t.Errorf("usage of a node: %+v, %v", u, err)
	}
}

func TestBootFloor(t *testing.T) {
	if took, err := bootFloor(t.TempDir(), slow); err != nil || took <= 0 {
		t.Errorf("took %v, %v", took, err)
	}
}

func TestFanOut(t *testing.T) {
	took, err := fanOut(10, 3, func(i int) error {
		if i == 5 {
			return fmt.Errorf("five")
		}
		return nil
	})
	if err == nil || len(took) != 10 {
		t.Errorf("%d, %v; want the error of the fifth", len(took), err)
	}
}

func TestProcess_stop(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := start(os.Environ(), log, "sh", "-c", "trap '' TERM; echo up; exec sleep 60")
	if err != nil {
		t.Fatal(err)
	}

	if err := eventually(10*time.Second, 5*time.Millisecond, func() error {
		if p.output() != "up" {
			return fmt.Errorf("printed %q", p.output())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	p.stop(15, 50*time.Millisecond) // it does not listen, so it is killed
	if !p.exited() {
		t.Error("still there")
	}

	if _, err := exec.Command("kill", "-0", fmt.Sprint(p.pid())).CombinedOutput(); err == nil {
		t.Error("its process still answers")
	}
}

// Two binaries are compared by what both measured, round by round.
func TestPairReport(t *testing.T) {
	r := &pairReport{conditions: []string{"here"}}
	r.add([]line{{what: "a", figure: 20e6, value: 2}, {what: "b", value: 3, unit: "MB"}, {what: "new"}},
		[]line{{what: "a", figure: 10e6, value: 1}, {what: "b", value: 4, unit: "MB"}, {what: "gone", value: 1}})
	r.add([]line{{what: "a", figure: 30e6}}, []line{{what: "a", figure: 10e6}})
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"| a | 25 ms | 10 ms | 2.50 | 2.00 to 3.00 |", "| b | 3 | 4 | 0.75 | 0.75 to 0.75 |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}

	if strings.Contains(b.String(), "gone") {
		t.Error("a line that one binary did not measure is shown")
	}
}
