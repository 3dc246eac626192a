package service

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// What the limits do not keep, by the age, number and bytes of runs.
func TestRetentionCount(t *testing.T) {
	now := time.Now()
	runs := []pipeline.Run{} // newest first, an hour apart
	for i := range 6 {
		runs = append(runs, pipeline.Run{ID: pipeline.RunID(strconv.Itoa(i)), Pipeline: []string{"a", "b"}[i%2], FinishedAt: now.Add(-time.Duration(i) * time.Hour)})
	}
	runs[4].Pinned = true
	for name, tc := range map[string]struct {
		l                     Retain
		runs, artifacts, logs []pipeline.RunID
	}{
		"none":      {l: Retain{KeepRuns: 100}},
		"number":    {l: Retain{KeepRuns: 3}, runs: []pipeline.RunID{"3", "5"}},
		"age":       {l: Retain{KeepRuns: 100, KeepRunsFor: 150 * time.Minute}, runs: []pipeline.RunID{"3", "5"}},
		"logs":      {l: Retain{KeepRuns: 100, MaxLogs: 20}, logs: []pipeline.RunID{"2", "3", "5"}},
		"artifacts": {l: Retain{KeepRuns: 100, MaxArtifacts: 350}, artifacts: []pipeline.RunID{"3", "5"}},
		"ages": {l: Retain{KeepRuns: 100, KeepLogsFor: 270 * time.Minute, KeepArtifactsFor: 90 * time.Minute}, logs: []pipeline.RunID{"5"},
			artifacts: []pipeline.RunID{"2", "3", "5"}},
		"quota": {l: Retain{KeepRuns: 100, Quota: map[string]int64{"b": 150}}, artifacts: []pipeline.RunID{"3", "5"}, logs: []pipeline.RunID{"3", "5"}},
	} {
		c := newRetentionCount(&tc.l, now)
		for i := range runs {
			c.add(i, &runs[i], 10, 100)
		}
		if !slices.Equal(c.beyond.runs, tc.runs) || !slices.Equal(c.beyond.artifacts, tc.artifacts) || !slices.Equal(c.beyond.logs, tc.logs) {
			t.Errorf("%s: %+v", name, c.beyond)
		}
	}
}
