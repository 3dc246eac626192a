package executor

import (
	"fmt"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// attempt is one attempt from its acceptance until it is forgotten. One
// goroutine, run, takes its processes, the main one and those of the hooks, from
// start to end.
type attempt struct {
	e      *engine
	p      Process
	cookie string

	// These belong to run's goroutine.
	out     output
	timeout *time.Timer // of HookBefore and the main process; nil if there is none
	end     Status      // what is known of the end so far

	mu sync.Mutex // guards following
	// cur is the process that runs or ran last; nil before the first one.
	cur       *phase
	startedAt time.Time
	// stop is why the main process was to end early.
	stop *stopOrder
	// late says that the main process has ended; only hooks follow, until the
	// time hooksUntil, which is zero if they have no limit.
	late       bool
	hooksUntil time.Time
	// lateStop is what came then.
	lateStop *stopOrder
	// cleaning says that only the cleanup is left, which nothing stops.
	cleaning bool

	// final is set, under the engine's lock, when all has ended.
	final *Status
	// onDisk says that final is on disk; it belongs to the publisher's flush.
	onDisk bool
}

// stopOrder is why and until when an attempt is asked to end.
type stopOrder struct {
	timedOut, lapsed, closing bool
	reason                    string
	killAt                    time.Time
	// hookTime is for how long hooks may run after the end; 0: until killAt.
	hookTime time.Duration
}

func newAttempt(e *engine, p Process) *attempt {
	return &attempt{e: e, p: p, cookie: e.identity.nextCookie()}
}

// run takes the attempt from start to end.
func (a *attempt) run() Status {
	a.out = output{path: LogPath(a.p.Dir), limit: a.p.LogLimit, pipe: -1, fd: -1, tail: -1, mask: mask.NewOutput(a.p.Mask),
		timesPath: TimesPath(a.p.Dir), timesFD: -1, marks: pipeline.LogMarks{Begin: time.Now()}}
	a.end = Status{ExitCode: -1}
	ok := true
	if h := a.p.hook(HookBefore); h != nil {
		ok = a.before(h)
	}
	if ok {
		a.main()
	}
	if a.timeout != nil {
		a.timeout.Stop()
	}
	a.out.idle.stop()
	a.out.idle = nil
	if len(a.p.Hooks) > 0 {
		a.lateHooks()
	}
	a.cleanUp()
	a.out.close()
	return a.finalStatus()
}

// finalStatus puts together how the attempt ended.
func (a *attempt) finalStatus() Status {
	a.mu.Lock()
	st := a.statusLocked()
	a.mu.Unlock()
	end := &a.end
	st.State, st.ExitedAt = Exited, end.ExitedAt
	if st.ExitedAt.IsZero() {
		st.ExitedAt = time.Now()
	}
	st.ExitCode, st.Signal, st.StartError, st.HookFailed, st.MachineFault = end.ExitCode, end.Signal, end.StartError, end.HookFailed, end.MachineFault
	st.CPU, st.MaxRSS, st.Leftover, st.PipeHeld = end.CPU, end.MaxRSS, end.Leftover, end.PipeHeld
	st.OutOfMemory = end.OutOfMemory
	st.LogSize, st.LogDropped = a.out.size, a.out.dropped
	if a.out.err != nil {
		st.LogError = a.out.err.Error()
	}
	hide := a.out.mask.Set()
	st.Added = a.out.mask.Added()
	st.AddedCount = len(st.Added)
	st.Reason, st.StartError, st.HookFailed = hide.String(st.Reason), hide.String(st.StartError), hide.String(st.HookFailed)
	if a.p.Result != "" && !st.StartedAt.IsZero() {
		if err := finishResult(a.p.Result, hide); err != nil {
			st.ResultError = hide.String(err.Error())
		}
	}
	return st
}

// main runs the main process.
func (a *attempt) main() {
	r, ran, err := a.runPhase(a.p.Argv, a.p.WorkDir, a.p.Env, true)
	switch {
	case err != nil:
		a.notStarted(err)
	case ran:
		a.end.ExitCode, a.end.Signal = r.code, r.signal
	}
}

// notStarted notes why the main process, or the hook before it, was not started.
func (a *attempt) notStarted(err *startError) {
	a.end.ExitCode, a.end.StartError, a.end.MachineFault = err.code, err.message, err.machine
}

// runPhase runs one process and waits until its tree is dead. ran is false if
// the attempt was stopped before, or the time of the hooks has passed.
func (a *attempt) runPhase(argv []string, dir string, env []string, main bool) (r result, ran bool, failure *startError) {
	e := a.e
	p := &Process{ID: a.p.ID, Argv: argv, WorkDir: dir, Env: env}
	e.forks <- struct{}{}
	ph, until := a.nextPhase(main)
	if ph == nil {
		<-e.forks
		return r, false, nil
	}
	s := e.groups.get()
	if !a.cleaning { // no other goroutine changes it
		if err := s.limit(&a.p); err != nil {
			e.log.Warn("start without limits", "attempt", a.p.ID, "error", err)
		}
	}
	c, err := e.children.spawn(p, e.identity.variable(a.cookie), s)
	if err != nil && s != nil {
		// Was it the group or the program? Without a group the program's error
		// is the same, and a start that works is the first.
		e.groups.put(s)
		again, errAgain := e.children.spawn(p, e.identity.variable(a.cookie), nil)
		if errAgain == nil {
			e.log.Warn("control groups cannot be used; falling back to sessions and cookies", "error", err)
			e.groups.disable()
			e.children.becomeReaper()
		}
		s, c, err = nil, again, errAgain
	}
	<-e.forks
	var w *watcher
	if err == nil {
		a.begun(c.at) // also if it cannot be watched: something of it may have run
		w, err = ph.watch(&c)
	}
	if err != nil {
		return r, false, explain(p, err)
	}
	defer e.groups.put(s)
	if !until.IsZero() {
		ph.stop(until, false)
	}
	ph.started(c, s)
	defer e.watchers.put(w)
	a.out.begin(c.out, w)
	r = ph.follow(c, w, &a.out)
	if r.code != 0 {
		a.end.OutOfMemory = a.end.OutOfMemory || s.outOfMemory()
	}
	r.bound = r.signal == "SIGKILL" && ph.pastKillTime()
	a.end.ExitedAt, a.end.CPU, a.end.MaxRSS = r.endedAt, a.end.CPU+r.cpu, max(a.end.MaxRSS, r.maxRSS)
	a.end.Leftover, a.end.PipeHeld = a.end.Leftover+r.leftover, a.end.PipeHeld || r.held
	return r, true, nil
}

// cleanUp runs the cleanup, if there is one and anything was started.
func (a *attempt) cleanUp() {
	a.mu.Lock()
	wanted := len(a.p.Cleanup) > 0 && !a.startedAt.IsZero()
	a.cleaning = wanted
	a.mu.Unlock()
	if !wanted {
		return
	}

	end := a.end // what the cleanup takes and how it ends is not the attempt's
	r, _, failure := a.runPhase(a.p.Cleanup, a.p.Dir, a.p.Env, false)
	a.end = end
	switch {
	case failure != nil:
		a.e.log.Error("clean up after an attempt", "attempt", a.p.ID, "error", failure.message)
	case r.code != 0:
		a.e.log.Error("clean up after an attempt", "attempt", a.p.ID, "exit_code", r.code)
	}
}

// nextPhase makes the next process's phase known to those who stop the attempt;
// nil if it must not start any more. until bounds it.
func (a *attempt) nextPhase(main bool) (ph *phase, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cleaning {
		a.cur = newPhase(a, false)
		return a.cur, time.Now().Add(CleanupTime)
	}
	if !a.late && a.stop != nil || a.late && !a.hooksUntil.IsZero() && !time.Now().Before(a.hooksUntil) {
		return nil, until
	}
	a.cur = newPhase(a, main)
	return a.cur, a.hooksUntil
}

// begun starts the clocks with the first process.
func (a *attempt) begun(at time.Time) {
	a.mu.Lock()
	first := a.startedAt.IsZero()
	if first {
		a.startedAt = at
	}
	late := a.late
	a.mu.Unlock()
	if !first || late {
		return
	}
	if limit := a.p.Timeout; limit > 0 {
		a.timeout = time.AfterFunc(limit, func() {
			a.requestStop(stopOrder{timedOut: true, reason: "timed out after " + limit.String()}, a.p.Grace)
		})
	}
	if limit := a.p.IdleTimeout; limit > 0 {
		a.out.idle = newIdleTimeout(limit, func() {
			a.requestStop(stopOrder{timedOut: true, reason: "no output for " + limit.String() + " (idle_timeout)"}, a.p.Grace)
		})
	}
}

// requestStop asks for the end: TERM now, KILL after grace. The first reason
// stays, the earliest KILL counts.
func (a *attempt) requestStop(order stopOrder, grace time.Duration) {
	now := time.Now()
	order.killAt = now.Add(max(grace, 0))
	if !order.lapsed && !order.closing {
		order.hookTime = max(grace, MinHookTime)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.cleaning:
		return
	case a.late || a.stop == nil && a.cur != nil && a.cur.main && a.cur.ended():
		// It came to its end by itself; only hooks may be left.
		if order.timedOut {
			return // fired at the very end
		}
		if a.lateStop == nil {
			a.lateStop = &order
		}
		a.boundHooksLocked(&order, now)
		if a.cur != nil && !a.cur.main {
			a.cur.stop(a.hooksUntil, false)
		}
		return
	case a.stop == nil:
		a.stop = &order
	default:
		a.stop.hookTime = min(a.stop.hookTime, order.hookTime)
		if !order.killAt.Before(a.stop.killAt) {
			return
		}
		a.stop.killAt = order.killAt
	}
	if a.cur != nil {
		a.cur.stop(a.stop.killAt, true)
	}
}

// boundHooksLocked lets the hooks end as an order says, at the latest.
func (a *attempt) boundHooksLocked(o *stopOrder, now time.Time) {
	until := o.killAt
	if o.hookTime > 0 {
		until = now.Add(o.hookTime)
	}
	if a.hooksUntil.IsZero() || until.Before(a.hooksUntil) {
		a.hooksUntil = until
	}
}

func (a *attempt) status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statusLocked()
}

func (a *attempt) statusLocked() Status {
	st := Status{ID: a.p.ID, Dir: a.p.Dir, State: Running, Incarnation: a.e.identity.incarnation, StartedAt: a.startedAt, Meta: a.p.Meta}
	if a.cur != nil {
		st.PID = a.cur.number()
	}
	if o := a.stop; o != nil {
		st.Stopped, st.TimedOut, st.Lapsed, st.Reason = !o.timedOut, o.timedOut, o.lapsed, o.reason
	}
	return st
}

// hookError says how a hook failed; "" if it did not.
func (a *attempt) hookError(h *Hook, r result, ran bool, failure *startError) string {
	what := ""
	switch {
	case failure != nil:
		what = failure.message
	case !ran:
		what = "not started: the time for hooks had passed"
	case r.bound:
		what = "its time had passed"
	case r.signal != "":
		what = "killed by " + r.signal
	case r.code != 0:
		what = fmt.Sprintf("exit code %d", r.code)
	default:
		return ""
	}
	return "hook " + string(h.When) + ": " + what
}
