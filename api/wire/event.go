package wire

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Event is something that happened. Index and N order all events of a cluster, and are
// part of its ID, which no other event has.
type Event struct {
	ID    string    `json:"id"`
	Index uint64    `json:"index"`
	N     int       `json:"n"`
	Type  string    `json:"type"`
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`
	// Text is a sentence for people.
	Text string `json:"text"`

	Run      pipeline.RunID `json:"run,omitempty"`
	Number   uint64         `json:"number,omitempty"`
	Pipeline string         `json:"pipeline,omitempty"`
	Module   string         `json:"module,omitempty"`
	Attempt  int            `json:"attempt,omitempty"`
	Node     string         `json:"node,omitempty"`
	Actor    string         `json:"actor,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Data     EventData      `json:"data,omitzero"`
	// Notice is what a notification says of its run, in what is sent to a webhook.
	Notice *pipeline.RunNotice `json:"notice,omitempty"`
}

// EventData is what some types of events say besides.
type EventData struct {
	// State is of a run, an attempt or an approval; or the role of a token. Outcome is
	// success, failure, cancel or error.
	State    string `json:"state,omitempty"`
	Outcome  string `json:"outcome,omitempty"`
	ExitCode *int   `json:"exitCode,omitempty"`
	// Again is set if the module gets another attempt.
	Again bool `json:"again,omitempty"`
	// Subject is the name of a token, a secret, a schedule or a webhook. Of damage it is
	// the digest of a blob, or blobs, journal or raft.
	Subject string `json:"subject,omitempty"`
	// Count is of modules, attempts, ticks or blobs.
	Count int `json:"count,omitempty"`
	// Term, GapMillis and Previous are of an election: how long there was no leader, and
	// which one was before.
	Term      uint64  `json:"term,omitempty"`
	GapMillis float64 `json:"gapMs,omitempty"`
	Previous  string  `json:"previous,omitempty"`
	// Awaited is how many attempts an election found on the node that led before.
	Awaited int `json:"awaited,omitempty"`
	// From names the nodes that had good copies of what was damaged.
	From string `json:"from,omitempty"`
	// Notify is the name of a notify block, On the event that it notifies of.
	Notify string `json:"notify,omitempty"`
	On     string `json:"on,omitempty"`
}

// EventList has events, oldest first. Those after Index are yet to come. DeletedThrough
// is the index of the newest event that is no longer kept; 0 if all are.
type EventList struct {
	Index          uint64  `json:"index"`
	DeletedThrough uint64  `json:"deletedThrough,omitempty"`
	Events         []Event `json:"events"`
}

// EventEvents is the type of what GET /api/v1/stream sends about events: a
// StreamHappened.
const EventEvents = "events"

// StreamHappened has the events that came. With Reset they are the newest ones, and not
// all that came before them was sent.
type StreamHappened struct {
	Index  uint64  `json:"index"`
	Reset  bool    `json:"reset,omitempty"`
	Events []Event `json:"events"`
}

// EventOf is what the API shows of an event.
func EventOf(cluster string, e *pipeline.Event) Event {
	kind := e.Type.Kind()
	out := Event{ID: fmt.Sprintf("%s-%d-%d", cluster, e.Index, e.N), Index: e.Index, N: e.N, Type: kind.Full(), Name: kind.Name, Time: e.At.UTC(),
		Text: eventText(e), Run: e.Run, Number: e.Number, Pipeline: e.Pipeline, Module: e.Module, Attempt: e.Attempt, Node: e.Node, Actor: e.Actor,
		Reason: e.Reason}
	out.Data = EventData{State: e.State, Outcome: outcomeOf(e), ExitCode: e.ExitCode, Again: e.Again, Subject: e.Subject, Count: e.Count, Term: e.Term,
		GapMillis: float64(e.Gap.Microseconds()) / 1000, Previous: e.Previous, Awaited: e.Awaited, From: e.From, Notify: e.Notify, On: e.On}
	return out
}

// outcomeOf is how a run or an attempt ended, in the words of CDEvents.
func outcomeOf(e *pipeline.Event) string {
	switch e.Type {
	case pipeline.EventRunFinished:
		switch pipeline.RunState(e.State) {
		case pipeline.RunCancelled:
			return "cancel"
		case pipeline.RunFailed:
			return "failure"
		}
		return "success"
	case pipeline.EventAttemptFinished:
		if e.Attempt == 0 || e.State == string(pipeline.AttemptLost) {
			return "error"
		}
		return "failure"
	}
	return ""
}
