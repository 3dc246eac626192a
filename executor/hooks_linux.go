package executor

import (
	"slices"
	"time"
)

const (
	// lateHookLimit is how long the start of a hook after the main process is tried
	// again if the machine cannot start it: the module has run, and need not run
	// again for that.
	lateHookLimit = 5 * time.Second
	lateHookPause = 250 * time.Millisecond
)

// runHook runs a hook and gives how it failed, "" if it did not, and what kept it
// from its start.
func (a *attempt) runHook(h *Hook, status string) (r result, why string, failure *startError) {
	env := slices.DeleteFunc(slices.Clone(a.p.Env), func(kv string) bool {
		return len(kv) > len(StatusVariable) && kv[:len(StatusVariable)+1] == StatusVariable+"="
	})
	r, ran, failure := a.runPhase(h.Argv, h.WorkDir, append(env, StatusVariable+"="+status), false)
	if failure != nil {
		r.code = failure.code
	}
	return r, a.hookError(h, r, ran, failure), failure
}

// before runs the hook before the main process, and reports whether that one may
// start.
func (a *attempt) before(h *Hook) bool {
	a.mu.Lock()
	stopped := a.stop != nil
	a.mu.Unlock()
	if stopped {
		return false
	}
	a.out.announce("hook " + string(h.When))
	r, failed, failure := a.runHook(h, "running")
	if failure != nil && failure.machine {
		a.notStarted(failure)
	}
	a.mu.Lock()
	stopped = a.stop != nil
	a.mu.Unlock()
	if stopped || failed == "" {
		return !stopped
	}
	if !a.end.MachineFault {
		a.end.ExitCode, a.end.HookFailed = r.code, failed
	}
	return false
}

// lateHooks runs the hooks after the main process.
func (a *attempt) lateHooks() {
	status, failed := a.closeMain()
	if status == "" {
		return
	}
	turn := HookSuccess
	if failed {
		turn = HookFailure
	}
	for _, when := range []When{turn, HookAfter} {
		h := a.p.hook(when)
		if h == nil {
			continue
		}
		why := "hook " + string(when) + ": not started: the attempt was to end"
		var failure *startError
		if !a.hooksOver() {
			why, failure = a.lateHook(h, status)
		}
		if why == "" {
			continue
		}
		if failed || when == HookFailure {
			a.out.announce(why)
			continue
		}
		a.end.HookFailed, failed = why, true
		if failure != nil && failure.machine {
			a.end.StartError, a.end.MachineFault = why, true
		}
		if status == "succeeded" {
			status = "failed" // what comes after it
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lateStop != nil && a.stop == nil && a.end.HookFailed != "" && a.end.ExitCode == 0 && a.end.Signal == "" {
		// It would have succeeded, had it not been stopped.
		a.stop = a.lateStop
	}
}

// lateHook runs a hook after the main process. It tries again for a while if the
// machine cannot start it.
func (a *attempt) lateHook(h *Hook, status string) (why string, failure *startError) {
	a.out.announce("hook " + string(h.When))
	for began := time.Now(); ; time.Sleep(lateHookPause) {
		_, why, failure = a.runHook(h, status)
		if failure == nil || !failure.machine || failure.ran || time.Since(began) >= lateHookLimit || a.hooksOver() {
			return why, failure
		}
	}
}

// closeMain ends the time in which the main process can be stopped, and gives
// how that one stands; "" if a stop or a fault of the machine came before anything
// was started.
func (a *attempt) closeMain() (status string, failed bool) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = true
	switch o := a.stop; {
	case a.startedAt.IsZero() && (o != nil || a.end.MachineFault):
		return "", true
	case o != nil:
		a.boundHooksLocked(o, now)
		if o.timedOut {
			return "timed_out", true
		}
		return "cancelled", true
	}
	if a.p.Timeout > 0 && a.hooksUntil.IsZero() {
		a.hooksUntil = now.Add(a.p.Timeout)
	}
	if a.end.ExitCode != 0 || a.end.Signal != "" || a.end.StartError != "" {
		return "failed", true
	}
	return "succeeded", false
}

// hooksOver reports whether there is no time for another hook because the
// attempt was stopped.
func (a *attempt) hooksOver() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return (a.stop != nil || a.lateStop != nil) && !a.hooksUntil.IsZero() && !time.Now().Before(a.hooksUntil)
}
