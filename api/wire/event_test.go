package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Every type of event has a sentence that can be read without the rest.
func TestEventOf_text(t *testing.T) {
	code := 3
	run := pipeline.Event{Run: "r", Number: 12, Pipeline: "release"}
	of := func(t pipeline.EventType, change func(*pipeline.Event)) pipeline.Event {
		e := run
		e.Type = t
		if change != nil {
			change(&e)
		}
		return e
	}
	module := func(e *pipeline.Event) { e.Module, e.Attempt, e.Node = "unit[a]", 2, "beta" }
	seen := map[pipeline.EventType]bool{}
	for _, tc := range []struct {
		e    pipeline.Event
		want string
	}{
		{of(pipeline.EventRunQueued, func(e *pipeline.Event) { e.Actor = "ann" }), "release 12 was submitted by ann"},
		{of(pipeline.EventRunQueued, func(e *pipeline.Event) {
			e.Actor, e.Subject, e.Reason = "ann", "release", "due at 2026-01-01T00:00:00Z"
		}),
			"release 12 was made by its schedule, due at 2026-01-01T00:00:00Z"},
		{of(pipeline.EventRunStarted, nil), "release 12 started"},
		{of(pipeline.EventRunFinished, func(e *pipeline.Event) { e.State = "succeeded_with_warnings" }), "release 12 succeeded with warnings"},
		{of(pipeline.EventRunFinished, func(e *pipeline.Event) { e.State, e.Reason = "failed", "test failed" }), "release 12 failed: test failed"},
		{of(pipeline.EventRunFinished, func(e *pipeline.Event) { e.State, e.Reason = "cancelled", "by ann" }), "release 12 was cancelled: by ann"},
		{of(pipeline.EventRunCancelling, func(e *pipeline.Event) { e.Actor, e.Reason = "ann", "by ann" }), "release 12 is being cancelled: by ann"},
		{of(pipeline.EventRunCancelling, func(e *pipeline.Event) { e.Actor, e.Reason = "ann", "wrong branch" }), "release 12 is being cancelled by ann: wrong branch"},
		{of(pipeline.EventRunRetried, func(e *pipeline.Event) { e.Actor, e.Count = "ann", 1 }), "release 12 was retried by ann: 1 module"},
		{of(pipeline.EventRunNotified, func(e *pipeline.Event) { e.Subject, e.On, e.Notify = "chat", "failure", "team" }), "release 12 notifies webhook chat of its failure (team)"},
		{of(pipeline.EventRunNotified, func(e *pipeline.Event) { e.On, e.Notify, e.Reason = "failure", "team", "no webhook chat" }),
			"release 12 could not notify of its failure (team): no webhook chat"},
		{of(pipeline.EventAttemptStarted, func(e *pipeline.Event) { module(e); e.Reason = "exit code 3" }), "release 12: unit[a] runs again on beta, attempt 2: exit code 3"},
		{of(pipeline.EventAttemptFinished, func(e *pipeline.Event) { module(e); e.State, e.ExitCode = "failed", &code }), "release 12: unit[a] failed on beta, attempt 2: exit code 3"},
		{of(pipeline.EventAttemptFinished, func(e *pipeline.Event) { module(e); e.State, e.Again, e.Reason = "lost", true, "beta was lost" }),
			"release 12: unit[a] was lost on beta, attempt 2: beta was lost; it runs again"},
		{of(pipeline.EventAttemptFinished, func(e *pipeline.Event) { e.Module, e.State, e.Reason = "unit[a]", "failed", "expression too expensive" }),
			"release 12: unit[a] failed: expression too expensive"},
		{of(pipeline.EventModuleReopened, func(e *pipeline.Event) { module(e); e.Reason = "output_lost" }), "release 12: unit[a] has to run again: output_lost"},
		{of(pipeline.EventApprovalAsked, func(e *pipeline.Event) { module(e); e.Reason = "deploy?" }), "release 12: unit[a] waits for an approval: deploy?"},
		{of(pipeline.EventApprovalDecided, func(e *pipeline.Event) { module(e); e.Actor, e.State = "bob", "approved" }), "release 12: unit[a] was approved by bob"},
		{of(pipeline.EventApprovalDecided, func(e *pipeline.Event) { module(e); e.State = "rejected" }), "release 12: unit[a] was rejected by its timeout"},
		{pipeline.Event{Type: pipeline.EventLeaderChanged, Node: "beta", Previous: "alpha", Term: 8, Gap: 38 * time.Millisecond, Count: 3},
			"beta leads in term 8, 38 ms after alpha; it adopted 3 attempts"},
		{pipeline.Event{Type: pipeline.EventLeaderChanged, Node: "beta", Previous: "alpha", Term: 8, Gap: 38 * time.Millisecond, Count: 2, Awaited: 1},
			"beta leads in term 8, 38 ms after alpha; it adopted 2 attempts and waits for 1 on alpha"},
		{pipeline.Event{Type: pipeline.EventLeaderChanged, Node: "beta", Previous: "alpha", Term: 8, Awaited: 2},
			"beta leads in term 8; it waits for 2 attempts on alpha"},
		{pipeline.Event{Type: pipeline.EventLeaderChanged, Node: "beta", Previous: "beta", Term: 9, Gap: 74 * time.Second}, "beta leads in term 9, after 1m14s without a leader"},
		{pipeline.Event{Type: pipeline.EventLeaderChanged, Node: "alpha", Term: 2}, "alpha leads in term 2"},
		{pipeline.Event{Type: pipeline.EventNodeDraining, Node: "beta", Actor: "ann"}, "beta is draining, asked by ann"},
		{pipeline.Event{Type: pipeline.EventNodeUndrained, Node: "beta"}, "beta gets work again"},
		{pipeline.Event{Type: pipeline.EventWorkerRegistered, Node: "x"}, "external worker x registered"},
		{pipeline.Event{Type: pipeline.EventWorkerRemoved, Node: "x", Reason: "its token was revoked"}, "external worker x was removed: its token was revoked"},
		{pipeline.Event{Type: pipeline.EventNodeJoined, Node: "x"}, "x joined"},
		{pipeline.Event{Type: pipeline.EventNodeLost, Node: "x"}, "x does not answer"},
		{pipeline.Event{Type: pipeline.EventNodeReturned, Node: "x"}, "x answers again"},
		{pipeline.Event{Type: pipeline.EventNodeLeft, Node: "x"}, "x left"},
		{pipeline.Event{Type: pipeline.EventWebhookAdded, Subject: "chat", Actor: "ann"}, "webhook chat was added by ann"},
		{pipeline.Event{Type: pipeline.EventWebhookRemoved, Subject: "chat"}, "webhook chat was removed"},
		{pipeline.Event{Type: pipeline.EventWebhookOff, Subject: "chat", Reason: "answered 410"}, "webhook chat was switched off: answered 410"},
		{pipeline.Event{Type: pipeline.EventTokenCreated, Subject: "ci", State: "submit", Actor: "ann"}, "token ci with the role submit was created by ann"},
		{pipeline.Event{Type: pipeline.EventTokenRevoked, Subject: "ci"}, "token ci was revoked"},
		{pipeline.Event{Type: pipeline.EventSecretSet, Subject: "S", Actor: "ann"}, "secret S was set by ann"},
		{pipeline.Event{Type: pipeline.EventSecretRemoved, Subject: "S"}, "secret S was removed"},
		{pipeline.Event{Type: pipeline.EventScheduleRegistered, Subject: "p"}, "schedule p was registered"},
		{pipeline.Event{Type: pipeline.EventSchedulePaused, Subject: "p"}, "schedule p was paused"},
		{pipeline.Event{Type: pipeline.EventScheduleResumed, Subject: "p"}, "schedule p was resumed"},
		{pipeline.Event{Type: pipeline.EventScheduleRemoved, Subject: "p"}, "schedule p was removed"},
		{pipeline.Event{Type: pipeline.EventBackfillStarted, Subject: "p", Count: 30, Actor: "ann", Reason: "A to B"}, "schedule p: a backfill of 30 ticks began by ann: A to B"},
		{pipeline.Event{Type: pipeline.EventBackfillEnded, Subject: "p", Count: 1}, "schedule p: its backfill ended, 1 run did not succeed"},
		{pipeline.Event{Type: pipeline.EventScheduleSkipped, Subject: "p", Count: 2, Reason: "missed"}, "schedule p skipped 2 ticks: missed"},
		{pipeline.Event{Type: pipeline.EventDataDamaged, Node: "x", Subject: "0123456789abcdef", Count: 1}, "x: blob 0123456789ab is damaged"},
		{pipeline.Event{Type: pipeline.EventDataDamaged, Node: "x", Subject: "blobs", Count: 3}, "x: 3 blobs are damaged"},
		{pipeline.Event{Type: pipeline.EventDataDamaged, Node: "x", Subject: "journal", Count: 1, Reason: "why"}, "x: the journal is damaged: why"},
		{pipeline.Event{Type: pipeline.EventDataDamaged, Node: "x", Subject: "raft", Count: 1, Reason: "why"}, "x: raft's directory is damaged: why"},
		{pipeline.Event{Type: pipeline.EventDataRepaired, Node: "x", Subject: "0123456789abcdef", Count: 1, From: "y"}, "x: blob 0123456789ab was replaced by a good copy from y"},
		{pipeline.Event{Type: pipeline.EventDataRepaired, Node: "x", Subject: "blobs", Count: 3, From: "y, z"}, "x: 3 blobs were replaced by good copies from y, z"},
		{pipeline.Event{Type: pipeline.EventDataRepaired, Node: "x", Subject: "raft", Count: 1, Reason: "it joined again"}, "x: raft's directory was repaired: it joined again"},
	} {
		seen[tc.e.Type] = true
		if got := wire.EventOf("c1", &tc.e).Text; got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.e.Type.Kind().Name, got, tc.want)
		}
	}
	for i, k := range pipeline.EventKinds {
		if int(k.Type) != i+1 || !seen[k.Type] {
			t.Errorf("%s: number %d at place %d, with a sentence: %t", k.Name, k.Type, i+1, seen[k.Type])
		}
	}
	if got := wire.EventOf("c1", &pipeline.Event{Type: 200}); got.Text == "" {
		t.Error("an event of a newer version has no text")
	}
}

// The form is that of the examples in the specifications of CloudEvents and CDEvents.
func TestCloudEventOf(t *testing.T) {
	code := 3
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, tc := range []struct {
		e    pipeline.Event
		want string
	}{
		{pipeline.Event{Index: 7, At: at, Type: pipeline.EventRunFinished, Run: "r1", Number: 12, Pipeline: "release", State: "failed", Reason: "test failed"},
			`{"specversion":"1.0","id":"c1-7-0","source":"/pipelined/c1","type":"dev.cdevents.pipelinerun.finished.0.3.0","subject":"r1","time":"2026-03-04T05:06:07Z","datacontenttype":"application/json",` +
				`"data":{"context":{"version":"0.5.0","id":"c1-7-0","source":"/pipelined/c1","type":"dev.cdevents.pipelinerun.finished.0.3.0","timestamp":"2026-03-04T05:06:07Z"},` +
				`"subject":{"id":"r1","source":"/pipelined/c1","type":"pipelineRun","content":{"pipelineName":"release","uri":"http://n:1/runs/r1","outcome":"failure","errors":"test failed"}}`},
		{pipeline.Event{Index: 7, N: 2, At: at, Type: pipeline.EventAttemptFinished, Run: "r1", Pipeline: "release", Module: "u[a/b]", Attempt: 1, State: "lost", ExitCode: &code},
			`"subject":{"id":"r1/u[a/b]/1","source":"/pipelined/c1","type":"taskRun","content":{"taskName":"u[a/b]","uri":"http://n:1/runs/r1?m=u%5Ba%2Fb%5D","pipelineRun":{"id":"r1"},"outcome":"error"}}`},
		{pipeline.Event{Index: 8, At: at, Type: pipeline.EventLeaderChanged, Node: "beta", Previous: "alpha", Term: 8, Gap: 38500 * time.Microsecond},
			`"subject":{"id":"beta","source":"/pipelined/c1","type":"pipelined-leader","content":{}},"customDataContentType":"application/json","customData":` +
				`{"id":"c1-8-0","index":8,"n":0,"type":"dev.cdeventsx.pipelined-leader.changed.0.1.0","name":"leader.changed","time":"2026-03-04T05:06:07Z",` +
				`"text":"beta leads in term 8, 38 ms after alpha","node":"beta","data":{"term":8,"gapMs":38.5,"previous":"alpha"}}}}`},
	} {
		b, err := json.Marshal(wire.CloudEventOf(wire.EventOf("c1", &tc.e), "http://n:1/"))
		if err != nil || !strings.Contains(string(b), tc.want) {
			t.Errorf("%v\n got %s\nwant %s", err, b, tc.want)
		}
	}
}
