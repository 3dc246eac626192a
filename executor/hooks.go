package executor

import "time"

// When says at what moment a hook runs.
type When string

// The moments. A Process has at most one hook for each.
const (
	// HookBefore runs before the main process. Its time counts against Timeout
	// and IdleTimeout. If it fails, the attempt has failed, and the main process
	// is not started.
	HookBefore When = "before"
	// HookSuccess and HookFailure run when the main process has ended, with its
	// whole tree; HookAfter runs after either of them, in any case.
	HookSuccess When = "on_success"
	HookFailure When = "on_failure"
	HookAfter   When = "after"
)

func (w When) valid() bool {
	return w == HookBefore || w == HookSuccess || w == HookFailure || w == HookAfter
}

// Hook is a process beside the main one, with the same environment and
// StatusVariable. It has a tree of its own: what it leaves running ends with it.
//
// A hook after the main process that fails makes an attempt fail that had
// succeeded, save HookFailure, which changes nothing. Such hooks may take as long
// as Timeout once more. After a stop or a timeout they have the grace together,
// MinHookTime at least; after a lapse of the lease what is left of its grace.
// They do not run if nothing was started. If the machine cannot start one, an attempt
// that had succeeded has a MachineFault.
type Hook struct {
	When    When     `cbor:"1,keyasint"`
	Argv    []string `cbor:"2,keyasint"`
	WorkDir string   `cbor:"3,keyasint"`
}

// MinHookTime is what hooks have after a stop or a timeout, however short the
// grace.
const MinHookTime = time.Second

// StatusVariable gives hooks the state of the attempt: running (in HookBefore),
// succeeded, failed, timed_out or cancelled.
const StatusVariable = "PIPELINED_STATUS"

// hook gives the hook of a moment; nil if there is none.
func (p *Process) hook(w When) *Hook {
	for i := range p.Hooks {
		if p.Hooks[i].When == w {
			return &p.Hooks[i]
		}
	}
	return nil
}
