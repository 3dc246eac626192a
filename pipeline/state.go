package pipeline

import "strings"

// Words is a state of a run, a module or an attempt as people say it.
func Words[S RunState | ModuleState | AttemptState](s S) string {
	return strings.ReplaceAll(string(s), "_", " ")
}

// ModuleState is the state of a module of a run.
type ModuleState string

// The states of a module. Waiting and ModuleRunning are live; the others are
// final and never change again within a try of the run.
const (
	ModuleWaiting   ModuleState = "waiting"
	ModuleRunning   ModuleState = "running"
	ModuleSucceeded ModuleState = "succeeded"
	ModuleFailed    ModuleState = "failed"
	ModuleSkipped   ModuleState = "skipped"
	ModuleCancelled ModuleState = "cancelled"
	ModuleCached    ModuleState = "cached"
)

// Final reports whether the state never changes again.
func (s ModuleState) Final() bool {
	switch s {
	case ModuleSucceeded, ModuleFailed, ModuleSkipped, ModuleCancelled, ModuleCached:
		return true
	}
	return false
}

// Success reports whether what depends on the module may run.
func (s ModuleState) Success() bool { return s == ModuleSucceeded || s == ModuleCached }

// RunState is the state of a run.
type RunState string

// The states of a run.
const (
	RunWaiting    RunState = "waiting" // accepted, nothing started
	RunRunning    RunState = "running"
	RunCancelling RunState = "cancelling"
	RunSucceeded  RunState = "succeeded"
	RunWarnings   RunState = "succeeded_with_warnings"
	RunFailed     RunState = "failed"
	RunCancelled  RunState = "cancelled"
)

// Final reports whether the run has finished.
func (s RunState) Final() bool {
	switch s {
	case RunSucceeded, RunWarnings, RunFailed, RunCancelled:
		return true
	}
	return false
}

// AttemptState is the state of one attempt.
type AttemptState string

// The states of an attempt. AttemptAssigned and AttemptRunning are live.
const (
	AttemptAssigned   AttemptState = "assigned"
	AttemptRunning    AttemptState = "running"
	AttemptSucceeded  AttemptState = "succeeded"
	AttemptFailed     AttemptState = "failed"
	AttemptTimedOut   AttemptState = "timed_out"
	AttemptCancelled  AttemptState = "cancelled"
	AttemptLost       AttemptState = "lost"       // its worker died, was drained or was cut off; outside the retry budget
	AttemptSuperseded AttemptState = "superseded" // was lost, and its worker reported later how it had ended
)

// Lost reports whether the attempt was given up with its worker, also if its worker
// reported later how it ended.
func (s AttemptState) Lost() bool {
	return s == AttemptLost || s == AttemptSuperseded
}

// Final reports whether the attempt has finished.
func (s AttemptState) Final() bool {
	return s != AttemptAssigned && s != AttemptRunning && s != ""
}

// Mode is the role of a node in the cluster.
type Mode string

// The modes of a node.
const (
	ModeAuto         Mode = "auto"
	ModeOrchestrator Mode = "orchestrator"
	ModeWorker       Mode = "worker"
	ModeStandalone   Mode = "standalone"
)

// Valid reports whether m is one of the modes.
func (m Mode) Valid() bool {
	switch m {
	case ModeAuto, ModeOrchestrator, ModeWorker, ModeStandalone:
		return true
	}
	return false
}
