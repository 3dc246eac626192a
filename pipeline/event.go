package pipeline

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Event is something that happened in the cluster, as the state keeps it. The entry of
// the log that made it happen gives Index and At; N is its position among the events
// of that entry. Fields that say nothing about a type are zero.
type Event struct {
	Index uint64    `cbor:"-"`
	N     int       `cbor:"-"`
	At    time.Time `cbor:"-"`

	Type EventType `cbor:"1,keyasint"`
	// Run, Number and Pipeline are of the run that the event is about, Module and
	// Attempt what of it.
	Run      RunID  `cbor:"2,keyasint,omitempty"`
	Number   uint64 `cbor:"3,keyasint,omitempty"`
	Pipeline string `cbor:"4,keyasint,omitempty"`
	Module   string `cbor:"5,keyasint,omitempty"`
	Attempt  int    `cbor:"6,keyasint,omitempty"`
	// Node is the name of the node or external worker.
	Node string `cbor:"7,keyasint,omitempty"`
	// Actor is who asked for it; "" is the cluster itself.
	Actor  string `cbor:"8,keyasint,omitempty"`
	Reason string `cbor:"9,keyasint,omitempty"`
	// Subject is the name of a token, a secret, a schedule or a webhook; or what was
	// damaged, which is the digest of a blob or one of DamagedBlobs and its like.
	Subject string `cbor:"10,keyasint,omitempty"`
	// State is that of the run or the attempt, the decision about an approval, or the
	// role of a token.
	State    string `cbor:"11,keyasint,omitempty"`
	ExitCode *int   `cbor:"12,keyasint,omitempty"`
	// Again is set if the module gets another attempt.
	Again bool `cbor:"13,keyasint,omitempty"`
	// Count is how many modules, attempts, ticks or blobs the event is about.
	Count int `cbor:"14,keyasint,omitempty"`
	// Term, Previous and Gap are of an election: the name of the leader before, and
	// how long there was none; 0 is not known.
	Term     uint64        `cbor:"15,keyasint,omitempty"`
	Previous string        `cbor:"16,keyasint,omitempty"`
	Gap      time.Duration `cbor:"17,keyasint,omitempty"`
	// From are the names of the nodes from which data were repaired, with commas.
	From string `cbor:"18,keyasint,omitempty"`
	// Awaited is how many attempts an elected leader found on the one before.
	Awaited int `cbor:"19,keyasint,omitempty"`
	// Notify is the name of the notify block, On what it notifies of.
	Notify string `cbor:"20,keyasint,omitempty"`
	On     string `cbor:"21,keyasint,omitempty"`
}

// MaxEventText is how many bytes of a text an event keeps.
const MaxEventText = 512

// Bounded returns the event with its texts cut to what the state keeps.
func (e Event) Bounded() Event {
	for _, s := range []*string{&e.Pipeline, &e.Module, &e.Node, &e.Actor, &e.Reason, &e.Subject, &e.State, &e.Previous, &e.From, &e.Notify, &e.On} {
		*s = CutText(*s, MaxEventText)
	}
	return e
}

// CutText cuts a text to n bytes, or a few less: never within a character, since half of
// one could not be read back from the state.
func CutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// EventType is the type of an event. The numbers are stored: a new type gets the next
// one.
type EventType uint8

// The types of events.
const (
	EventRunQueued EventType = iota + 1
	EventRunStarted
	EventRunFinished
	EventRunCancelling
	EventRunRetried
	EventAttemptStarted
	EventAttemptFinished
	EventModuleReopened
	EventApprovalAsked
	EventApprovalDecided
	EventLeaderChanged
	EventNodeDraining
	EventNodeUndrained
	EventWorkerRegistered
	EventWorkerRemoved
	EventTokenCreated
	EventTokenRevoked
	EventSecretSet
	EventSecretRemoved
	EventScheduleRegistered
	EventSchedulePaused
	EventScheduleResumed
	EventScheduleRemoved
	EventScheduleSkipped
	EventNodeJoined
	EventNodeLost
	EventNodeReturned
	EventNodeLeft
	EventWebhookAdded
	EventWebhookRemoved
	EventWebhookOff
	EventDataDamaged
	EventDataRepaired
	EventBackfillStarted
	EventBackfillEnded
	EventRunNotified
)

// Subjects of events of damage, if it is not a single blob.
const (
	DamagedBlobs   = "blobs"
	DamagedJournal = "journal"
	DamagedRaft    = "raft"
)

// EventKind describes a type of events. CDEvent is its name in CDEvents, without the
// version; Version is that of the type. Name and CDEvent are for users.
type EventKind struct {
	Type    EventType
	Name    string
	CDEvent string
	Version string
	// About says when it happens.
	About string
}

// Full is the name of the type with its version.
func (k EventKind) Full() string { return k.CDEvent + "." + k.Version }

// Matches reports whether a name means this type: the name, its first part, or the
// name in CDEvents with or without the version.
func (k EventKind) Matches(name string) bool {
	first, _, _ := strings.Cut(k.Name, ".")
	version, is := strings.CutPrefix(name, k.CDEvent)
	return name == k.Name || name == first || is && (version == "" || version[0] == '.' && version[1:] == k.Version)
}

func standard(t EventType, name, cdevent, about string) EventKind {
	return EventKind{t, name, "dev.cdevents." + cdevent, "0.3.0", about}
}

func own(t EventType, name, about string) EventKind {
	return EventKind{t, name, "dev.cdeventsx.pipelined-" + name, "0.1.0", about}
}

// EventKinds are all types of events, by number.
var EventKinds = []EventKind{
	standard(EventRunQueued, "run.queued", "pipelinerun.queued", "a run was submitted, or made by its schedule"),
	standard(EventRunStarted, "run.started", "pipelinerun.started", "the first module of a run was assigned, or waits for its approval"),
	standard(EventRunFinished, "run.finished", "pipelinerun.finished", "a run ended; `count` is how many of its modules failed"),
	own(EventRunCancelling, "run.cancelling", "a run was cancelled, or is being stopped"),
	own(EventRunRetried, "run.retried", "a finished run was resumed; `count` is how many modules run again"),
	standard(EventAttemptStarted, "attempt.started", "taskrun.started", "a module was assigned again: its second attempt or a later one"),
	standard(EventAttemptFinished, "attempt.finished", "taskrun.finished", "an attempt failed, timed out or was lost, or a module failed without one"),
	own(EventModuleReopened, "module.reopened", "a module that succeeded runs again, because its outputs are gone"),
	own(EventApprovalAsked, "approval.asked", "a module waits for an approval; `reason` is the question"),
	own(EventApprovalDecided, "approval.decided", "an approval was decided; `reason` is the comment"),
	own(EventLeaderChanged, "leader.changed", "a node was elected; `gapMs` is the time without a leader; it adopted `count` attempts, and waits for `awaited` on the one before"),
	own(EventNodeDraining, "node.draining", "a node or external worker gets no more work"),
	own(EventNodeUndrained, "node.undrained", "draining is off: a node or external worker gets work again"),
	own(EventWorkerRegistered, "worker.registered", "an external worker registered"),
	own(EventWorkerRemoved, "worker.removed", "an external worker was removed"),
	own(EventTokenCreated, "token.created", "a token was created; `state` is its role"),
	own(EventTokenRevoked, "token.revoked", "a token was revoked"),
	own(EventSecretSet, "secret.set", "a secret was set or replaced"),
	own(EventSecretRemoved, "secret.removed", "a secret was removed"),
	own(EventScheduleRegistered, "schedule.registered", "a schedule was registered or replaced"),
	own(EventSchedulePaused, "schedule.paused", "a schedule was paused"),
	own(EventScheduleResumed, "schedule.resumed", "a schedule was resumed"),
	own(EventScheduleRemoved, "schedule.removed", "a schedule was removed"),
	own(EventScheduleSkipped, "schedule.skipped", "a schedule skipped `count` ticks"),
	own(EventNodeJoined, "node.joined", "a node joined the cluster"),
	own(EventNodeLost, "node.lost", "a node does not answer, by gossip"),
	own(EventNodeReturned, "node.returned", "a node that was lost answers again"),
	own(EventNodeLeft, "node.left", "a node left the cluster, or was removed"),
	own(EventWebhookAdded, "webhook.added", "a webhook was added"),
	own(EventWebhookRemoved, "webhook.removed", "a webhook was removed"),
	own(EventWebhookOff, "webhook.off", "a webhook was switched off; `reason` says why"),
	own(EventDataDamaged, "data.damaged", "a node found damage on its disk: of `count` blobs, or of its `journal` or `raft` directory (`subject`)"),
	own(EventDataRepaired, "data.repaired", "what was damaged is good again; `from` names the nodes that had good copies"),
	own(EventBackfillStarted, "schedule.backfill_started", "a backfill of a schedule began, of `count` ticks; `reason` is its interval"),
	own(EventBackfillEnded, "schedule.backfill_ended", "a backfill of a schedule ended; `count` of its runs did not succeed; `reason` says why it was stopped"),
	own(EventRunNotified, "run.notified", "a [notification](language.md#notifications) is sent to a webhook (`subject`); `reason` says why it is not"),
}

// Kind describes the type of an event. A type of a newer version has no name.
func (t EventType) Kind() EventKind {
	if i := int(t) - 1; i >= 0 && i < len(EventKinds) {
		return EventKinds[i]
	}
	return EventKind{Type: t}
}
