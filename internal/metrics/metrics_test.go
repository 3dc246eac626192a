package metrics_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

// page reads what a set measures, as Prometheus does, and gives its series.
func page(tb testing.TB, s *metrics.Set) map[string]string {
	tb.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}

	out := map[string]string{}
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			i := strings.LastIndexByte(line, ' ')
			out[line[:i]] = line[i+1:]
		}
	}
	return out
}

func expect(tb testing.TB, got map[string]string, want map[string]string) {
	tb.Helper()
	for name, value := range want {
		if got[name] != value {
			tb.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestLeader_events(t *testing.T) {
	s := metrics.New("v1")
	run := pipeline.Run{Pipeline: "release", SubmittedAt: start, StartedAt: start.Add(2 * time.Second)}
	s.Leader.RunEnded(&run, pipeline.RunSucceeded, start.Add(10*time.Second))
	s.Leader.RunEnded(&run, pipeline.RunFailed, start.Add(10*time.Second))
	run.TimedOut = true
	s.Leader.RunEnded(&run, pipeline.RunFailed, start.Add(10*time.Second))

	lost := pipeline.Outcome{State: pipeline.AttemptLost}
	s.Leader.AttemptEnded("release", &lost, time.Time{}, true)
	s.Leader.AttemptEnded("release", &lost, time.Time{}, false)
	ok := pipeline.Outcome{State: pipeline.AttemptSucceeded, StartedAt: start, FinishedAt: start.Add(-time.Second)}
	s.Leader.AttemptEnded("release", &ok, start.Add(-3*time.Second), false)
	s.Leader.Superseded()
	s.Leader.Assigned(true)
	s.Leader.Assigned(false)
	s.Leader.CacheHit()
	s.Leader.Led(3, 40*time.Millisecond)
	s.Leader.Led(0, 0) // the first leader of a cluster has no predecessor

	expect(t, page(t, s), map[string]string{
		`cicd_pipeline_run_duration_seconds_sum{cicd_pipeline_name="release",cicd_pipeline_result="success",cicd_pipeline_run_state="executing",error_type=""}`:                "8",
		`cicd_pipeline_run_duration_seconds_count{cicd_pipeline_name="release",cicd_pipeline_result="failure",cicd_pipeline_run_state="executing",error_type="module_failed"}`: "1",
		`cicd_pipeline_run_duration_seconds_count{cicd_pipeline_name="release",cicd_pipeline_result="timeout",cicd_pipeline_run_state="executing",error_type="timeout"}`:       "1",
		`cicd_pipeline_run_duration_seconds_sum{cicd_pipeline_name="release",cicd_pipeline_result="",cicd_pipeline_run_state="pending",error_type=""}`:                         "6",
		`cicd_pipeline_run_errors_total{cicd_pipeline_name="release",error_type="lost"}`:                                                                                       "2",
		`cicd_system_errors_total{cicd_system_component="worker",error_type="lost"}`:                                                                                           "2",
		`pipelined_attempts_total{outcome="lost"}`:                    "2",
		`pipelined_attempts_total{outcome="superseded"}`:              "1",
		`pipelined_attempts_total{outcome="failed"}`:                  "0",
		`pipelined_attempts_repeated_total`:                           "1",
		`pipelined_attempts_adopted_total`:                            "3",
		`pipelined_attempt_duration_seconds_sum{outcome="succeeded"}`: "0", // two clocks
		`pipelined_attempt_queue_seconds_sum`:                         "3",
		`pipelined_assignments_total`:                                 "2",
		`pipelined_cache_lookups_total{result="miss"}`:                "1",
		`pipelined_cache_lookups_total{result="hit"}`:                 "1",
		`pipelined_failover_seconds_count`:                            "1",
		`pipelined_build_info{version="v1"}`:                          "1",
	})
}

// Names of pipelines are the one label that users choose: beyond the first hundred
// they share a series.
func TestLeader_namesAreBounded(t *testing.T) {
	s := metrics.New("v1")
	submit := func(from, to int) {
		for i := from; i < to; i++ {
			run := pipeline.Run{Pipeline: fmt.Sprintf("pipeline-%d", i), SubmittedAt: start}
			s.Leader.RunEnded(&run, []pipeline.RunState{pipeline.RunSucceeded, pipeline.RunFailed, pipeline.RunCancelled}[i%3], start.Add(time.Second))
			s.Leader.AttemptEnded(run.Pipeline, &pipeline.Outcome{State: pipeline.AttemptFailed}, time.Time{}, false)
		}
	}

	submit(0, 200)
	few := page(t, s)
	submit(200, 1000)
	many := page(t, s)
	if len(many) != len(few) {
		t.Errorf("%d series after 200 pipelines, %d after 1000", len(few), len(many))
	}
	if len(many) > 12_000 {
		t.Errorf("%d series", len(many))
	}
	expect(t, many, map[string]string{
		`cicd_pipeline_run_errors_total{cicd_pipeline_name="_other",error_type="failed"}`:      "900",
		`cicd_pipeline_run_errors_total{cicd_pipeline_name="pipeline-99",error_type="failed"}`: "1",
	})
}

func TestHTTP(t *testing.T) {
	s := metrics.New("v1")
	done := s.HTTP.Stream("logs")
	s.HTTP.Served("GET /api/v1/runs", 200, time.Second, false)
	s.HTTP.Served("GET /api/v1/runs/{id}/logs", 200, time.Hour, true)
	s.HTTP.Served("GET /api/v1/runs", 500, time.Second, false)
	expect(t, page(t, s), map[string]string{
		`pipelined_streams{kind="logs"}`:                                                    "1",
		`pipelined_http_requests_total{code="200",route="GET /api/v1/runs"}`:                "1",
		`pipelined_http_request_duration_seconds_count{route="GET /api/v1/runs"}`:           "2",
		`pipelined_http_request_duration_seconds_count{route="GET /api/v1/runs/{id}/logs"}`: "",
		`cicd_system_errors_total{cicd_system_component="api",error_type="internal"}`:       "1",
	})
	done()
	expect(t, page(t, s), map[string]string{`pipelined_streams{kind="logs"}`: "0"})
}

// States come from the leader alone, so that a maximum over all nodes is right.
func TestStates(t *testing.T) {
	s := metrics.New("v1")
	leading, term := false, uint64(0)
	s.Watch(metrics.Sources{
		Raft: func() (metrics.RaftState, bool) {
			return metrics.RaftState{Leading: leading, Term: term, Commit: 7, Applied: 6, LastContact: time.Second, Lag: map[string]uint64{"b": 2}}, true
		},
		Health:     func() int { return 1 },
		Disk:       func() metrics.Disk { return metrics.Disk{Free: 5, Blobs: 100, Logs: 30} },
		OneCopy:    func() int { return 4 },
		Members:    func() map[string]int { return map[string]int{"alive": 3} },
		CacheBytes: func() int64 { return 9 },
		Census: func(context.Context) (metrics.Census, bool) {
			return metrics.Census{Runs: map[metrics.RunKey]int{{Pipeline: "p", State: "executing"}: 2}, Waiting: map[string]int{"lock": 3},
				Workers: map[string]int{"busy": 1}, Backlog: 8}, true
		},
	})

	follower := page(t, s)
	expect(t, follower, map[string]string{
		`pipelined_raft_is_leader`:                "0",
		`pipelined_raft_term_changes_total`:       "0",
		`pipelined_raft_last_contact_seconds`:     "1",
		`pipelined_disk_free_bytes`:               "5",
		`pipelined_blobs_one_copy`:                "4",
		`pipelined_blob_bytes{form="compressed"}`: "30",
		`pipelined_blob_bytes{form="plain"}`:      "70",
		`pipelined_members{status="alive"}`:       "",
		`pipelined_planner_backlog`:               "",
	})

	leading, term = true, 3
	page(t, s)
	term = 5
	expect(t, page(t, s), map[string]string{
		`pipelined_raft_is_leader`:                                                             "1",
		`pipelined_raft_term_changes_total`:                                                    "2",
		`pipelined_raft_peer_lag_entries{peer="b"}`:                                            "2",
		`pipelined_members{status="alive"}`:                                                    "3",
		`pipelined_planner_backlog`:                                                            "8",
		`pipelined_modules_waiting{reason="lock"}`:                                             "3",
		`cicd_worker_count{cicd_worker_state="busy"}`:                                          "1",
		`cicd_pipeline_run_active{cicd_pipeline_name="p",cicd_pipeline_run_state="executing"}`: "2",
		`pipelined_cache_bytes`:                                                                "9",
	})
}

// A nil part measures nothing, and a zero set has no page.
func TestSet_zero(t *testing.T) {
	var s metrics.Set
	s.Watch(metrics.Sources{})
	if s.Handler() != nil {
		t.Error("a set that measures nothing has a page")
	}

	s.HTTP.Served("GET /", 500, time.Second, false)
	s.HTTP.Stream("logs")()
	s.Raft.Committed(time.Second)
	s.Raft.Applied(time.Second)
	s.Raft.Flushed(time.Second)
	s.Gossip.Probed(time.Second)
	s.Fabric.Sent(1)
	s.Fabric.Received(1)
	s.Fabric.Damaged()
	s.Leader.RunEnded(&pipeline.Run{}, pipeline.RunSucceeded, start)
	s.Leader.AttemptEnded("p", &pipeline.Outcome{}, start, true)
	s.Leader.Superseded()
	s.Leader.Planned(time.Second)
	s.Leader.Assigned(true)
	s.Leader.CacheHit()
	s.Leader.Led(1, time.Second)
}

func BenchmarkLeader_AttemptEnded(b *testing.B) {
	s := metrics.New("v1")
	o := pipeline.Outcome{State: pipeline.AttemptSucceeded, StartedAt: start, FinishedAt: start.Add(time.Second)}
	b.ReportAllocs()
	for b.Loop() {
		s.Leader.AttemptEnded("release", &o, start, false)
	}
}

// TestRaft_recent sums up the commits of the last seconds alone.
func TestRaft_recent(t *testing.T) {
	r := metrics.New("v1").Raft
	if got := r.Recent(time.Now()); got != (metrics.Commits{}) {
		t.Errorf("before any commit: %+v", got)
	}
	for i := range 1000 {
		r.Committed(time.Duration(i) * time.Millisecond)
	}
	// The newest 512 are kept: 488 ms to 999 ms.
	want := metrics.Commits{Count: 512, Median: 743 * time.Millisecond, P99: 994 * time.Millisecond}
	if got := r.Recent(time.Now()); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := r.Recent(time.Now().Add(time.Minute)); got != (metrics.Commits{}) {
		t.Errorf("a minute later: %+v", got)
	}
	var none *metrics.Raft
	if got := none.Recent(time.Now()); got != (metrics.Commits{}) {
		t.Errorf("nothing is measured: %+v", got)
	}
}
