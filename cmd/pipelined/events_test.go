package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// -since takes a time, a duration before now, and an index.
func TestEvents_since(t *testing.T) {
	f := newFakeCluster(t)
	list := wire.EventList{Index: 12, DeletedThrough: 4}
	for i, ago := range []time.Duration{50 * time.Hour, time.Hour, time.Minute} {
		list.Events = append(list.Events, wire.Event{Index: uint64(10 + i), Name: "run.queued", Time: start.Add(10*time.Second - ago), Text: fmt.Sprintf("text %d", i)})
	}
	f.answers = map[string]any{"GET /api/v1/events": list}

	const gone = "events up to index 4 are no longer kept\n"
	for _, tc := range []struct {
		since, want, stderr string
	}{
		{"0", "text 0, text 1, text 2", gone},
		{"4", "text 0, text 1, text 2", ""},
		{"30d", "text 0, text 1, text 2", gone},
		{"2d", "text 1, text 2", ""},
		{"10m", "text 2", ""},
		{"2026-03-01T11:30:00+00:00", "text 2", ""},
		{"1s", "", ""},
	} {
		code, stdout, stderr := newCommand(t, f).exec("events", "-since", tc.since)
		var got []string
		for line := range strings.Lines(stdout) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), "run.queued")
			got = append(got, strings.TrimSpace(text))
		}
		if code != 0 || strings.Join(got, ", ") != tc.want || stderr != tc.stderr {
			t.Errorf("%s: exit %d, %q, %q", tc.since, code, got, stderr)
		}
	}
}
