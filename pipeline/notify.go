package pipeline

import (
	"slices"
	"time"
)

// The events of a run that a notification may be about. A run that succeeded is a
// recovery if the run of its pipeline that ended before it had failed, cancelled and
// untrusted runs left out.
const (
	NotifyStart    = "start"
	NotifyFailure  = "failure"
	NotifySuccess  = "success"
	NotifyRecovery = "recovery"
)

// DefaultNotifyTimeout bounds the command of a notification: the run ends after it.
const DefaultNotifyTimeout = 5 * time.Minute

// DeferredNotify is the key of a notification's message in Module.Deferred.
const DeferredNotify = "notify.message"

// Notify is a notify block of a pipeline. The command of one is a module
// (HookNotify); Webhook is "" then.
type Notify struct {
	Name string `json:"name"`
	// On are its events.
	On []string `json:"on"`
	// Webhook is the name of the webhook of the cluster that it goes to.
	Webhook string `json:"webhook,omitempty"`
	// Message goes along with what is sent. Deferred is its expression if it names the
	// run, Expensive as in Module.
	Message   string        `json:"message,omitempty"`
	Deferred  *DeferredExpr `json:"deferred,omitempty"`
	Expensive bool          `json:"expensive,omitempty"`
}

// NotifyTarget is what the state machine knows of a notify block with a webhook.
type NotifyTarget struct {
	Name    string   `json:"name"`
	On      []string `json:"on"`
	Webhook string   `json:"webhook"`
}

// NotifyTargets are those of the pipeline's notify blocks that go to webhooks.
func (p *Pipeline) NotifyTargets() []NotifyTarget {
	var list []NotifyTarget
	for _, n := range p.Notify {
		if n.Webhook != "" {
			list = append(list, NotifyTarget{Name: n.Name, On: n.On, Webhook: n.Webhook})
		}
	}
	return list
}

// NotifyEvent is the event of on that the end of a run in a state is; "" if it is none
// of them. before reports that the run of its pipeline which ended before it had failed.
func NotifyEvent(on []string, s RunState, before bool) string {
	switch s {
	case RunFailed:
		return oneEvent(on, NotifyFailure)
	case RunSucceeded, RunWarnings:
		if before && slices.Contains(on, NotifyRecovery) {
			return NotifyRecovery
		}
		return oneEvent(on, NotifySuccess)
	}
	return ""
}

func oneEvent(on []string, event string) string {
	if slices.Contains(on, event) {
		return event
	}
	return ""
}

// The states of a Notice.
const (
	NoticeWaiting   = "waiting"
	NoticeDelivered = "delivered"
	// NoticeGaveUp is not sent again by itself.
	NoticeGaveUp = "given up"
	// NoticeUnsent had no webhook that takes it.
	NoticeUnsent = "not sent"
)

// MaxNotices bounds the notices that a run remembers.
const MaxNotices = 32

// Notice is what became of a notification to a webhook. It is kept with its run.
type Notice struct {
	Name    string `json:"name"`
	Event   string `json:"event"`
	Webhook string `json:"webhook"`
	State   string `json:"state"`
	// Reason says more about the state: what the receiver answered, or why it was not
	// sent.
	Reason string `json:"reason,omitempty"`
	// At is when it came into its state.
	At time.Time `json:"at"`
	// Index and N are those of its event.
	Index uint64 `json:"index,omitempty"`
	N     int    `json:"n,omitempty"`
}

// Bounds of what a notification says of the modules that failed.
const (
	MaxNoticeModules   = 5
	MaxNoticeLines     = 10
	MaxNoticeLineBytes = 200
)

// RunNotice is what a notification says of its run.
type RunNotice struct {
	Event    string   `json:"event"`
	Pipeline string   `json:"pipeline"`
	Run      RunID    `json:"run"`
	Number   uint64   `json:"number"`
	Status   RunState `json:"status"`
	Reason   string   `json:"reason,omitempty"`
	// Submitter and Schedule are who or what made it.
	Submitter string `json:"submitter,omitempty"`
	Schedule  string `json:"schedule,omitempty"`
	// Seconds is how long it took, or has taken so far.
	Seconds float64 `json:"seconds,omitempty"`
	// Message is that of the notify block.
	Message string `json:"message,omitempty"`
	// Failed are modules that failed, at most MaxNoticeModules, and More how many
	// others did.
	Failed []FailedModule `json:"failed,omitempty"`
	More   int            `json:"more,omitempty"`
}

// FailedModule is a module that failed, in a RunNotice.
type FailedModule struct {
	Module   string `json:"module"`
	Reason   string `json:"reason,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	ExitCode *int   `json:"exitCode,omitempty"`
	Worker   string `json:"worker,omitempty"`
	// Lines are the last of its output; Note is why there are none.
	Lines []string `json:"lines,omitempty"`
	Note  string   `json:"note,omitempty"`
	// Log, LogSize and Holders are where its output is, for who reads it.
	Log     Digest   `json:"log,omitempty"`
	LogSize int64    `json:"logSize,omitempty"`
	Holders []NodeID `json:"holders,omitempty"`
}
