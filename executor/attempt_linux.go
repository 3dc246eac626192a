package executor

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// attempt is one process from its acceptance until it is forgotten. One
// goroutine, run, takes it from start to end; another exists only while it is
// being stopped.
type attempt struct {
	e      *engine
	p      Process
	cookie string
	// silence ends the process when it says nothing for too long; nil where it
	// may. It belongs to run's goroutine.
	silence *silence

	mu sync.Mutex // guards following
	// pid is set once the process has started. From the moment reaped is set
	// the number may be another's, so signals are sent under mu only.
	pid       int
	startedAt time.Time
	reaped    bool
	tree      tree
	stop      *stopOrder
	wait      unix.WaitStatus
	usage     unix.Rusage

	// reapedCh is closed when reaped is set, and when nothing was started.
	reapedCh chan struct{}
	// hurry has a token when the end of the grace was moved.
	hurry chan struct{}

	// final is set, under the engine's lock, when all is over.
	final *Status
	// kept says that final is on disk; it belongs to the engine's flush.
	kept bool
}

// stopOrder is why and until when a process is asked to end.
type stopOrder struct {
	timedOut, lapsed bool
	reason           string
	killAt           time.Time
}

func newAttempt(e *engine, p Process) *attempt {
	return &attempt{e: e, p: p, cookie: e.nextCookie(), reapedCh: make(chan struct{}), hurry: make(chan struct{}, 1)}
}

// run starts the process and returns how all of it ended.
func (a *attempt) run() Status {
	a.e.forks <- struct{}{}
	if st, stopped := a.stoppedBeforeStart(); stopped {
		<-a.e.forks
		close(a.reapedCh)
		return st
	}
	s := a.e.groups.get()
	c, err := a.e.spawn(&a.p, a.cookieEnv(), s)
	if err != nil && s != nil {
		// Was it the group or the program? Without a group the program's error
		// is the same, and a start that works is the first.
		a.e.groups.put(s)
		again, errAgain := a.e.spawn(&a.p, a.cookieEnv(), nil)
		if errAgain == nil {
			a.e.log.Warn("control groups cannot be used; falling back to sessions and cookies", "error", err)
			a.e.groups.disable()
			a.e.becomeReaper()
		}
		s, c, err = nil, again, errAgain
	}
	<-a.e.forks
	var w *watcher
	if err == nil {
		w, err = a.watch(&c)
	}
	if err != nil {
		close(a.reapedCh)
		failure := explain(&a.p, err)
		st := a.status()
		st.State, st.ExitedAt, st.ExitCode, st.StartError = Exited, time.Now(), failure.code, failure.message
		return st
	}
	defer a.e.groups.put(s)
	a.started(c, s)
	if a.p.Timeout > 0 {
		timer := time.AfterFunc(a.p.Timeout, func() {
			a.requestStop(stopOrder{timedOut: true, reason: "timed out after " + a.p.Timeout.String()}, a.p.Grace)
		})
		defer timer.Stop()
	}
	if limit := a.p.IdleTimeout; limit > 0 {
		a.silence = newSilence(limit, func() {
			a.requestStop(stopOrder{timedOut: true, reason: "no output for " + limit.String() + " (idle_timeout)"}, a.p.Grace)
		})
		defer a.silence.end()
	}
	defer a.e.watchers.put(w)
	return a.follow(c, w)
}

// watch begins to watch a process that was just started. One that cannot be
// watched (there are no handles left) is killed: it was never told of.
func (a *attempt) watch(c *child) (w *watcher, err error) {
	if c.pidfd < 0 {
		c.pidfd, err = watchable(c.pid)
	}
	if err == nil {
		w, err = a.e.watchers.get()
	}
	if err == nil {
		err = firstError(w.add(c.out, watchOutput), w.add(c.pidfd, watchProcess))
	}
	if err == nil {
		return w, nil
	}
	_ = unix.Kill(-c.pid, unix.SIGKILL)
	for {
		if _, waitErr := unix.Wait4(c.pid, nil, 0, nil); waitErr != unix.EINTR {
			break
		}
	}
	a.e.removeMain(c.pid)
	unix.Close(c.out)
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
	if w != nil {
		w.file.Close()
	}
	return nil, &startError{message: fmt.Sprintf("the process was started but cannot be watched, and was killed: %v", err), code: 126}
}

// stoppedBeforeStart answers for what was stopped while it waited for its turn.
func (a *attempt) stoppedBeforeStart() (Status, bool) {
	a.mu.Lock()
	stop := a.stop
	a.mu.Unlock()
	if stop == nil {
		return Status{}, false
	}
	st := a.status()
	st.State, st.ExitedAt, st.ExitCode = Exited, time.Now(), -1
	return st, true
}

// started publishes the process, and carries out a Stop that came meanwhile.
func (a *attempt) started(c child, s *slot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pid, a.startedAt = c.pid, c.at
	if s != nil {
		a.tree = s
	} else {
		a.tree = &sweepTree{e: a.e, cookie: a.cookie, main: c.pid, seen: map[int]uint64{}}
	}
	if a.stop != nil {
		a.e.wg.Go(a.carryOutStop)
	}
}

// reapSoon is how long a thread waits for the end of a process that has closed
// its output. Nearly all that do are ending; parking would cost more.
const reapSoon = 1 // ms

// follow waits for the end of the main process, then of its tree, then of its
// output.
func (a *attempt) follow(c child, w *watcher) Status {
	out := output{path: LogPath(a.p.Dir), limit: a.p.LogLimit, pipe: c.out, watcher: w, fd: -1, silence: a.silence}
	for exited := false; !exited; {
		readable, ended := w.wait()
		if readable && out.read() {
			poll := [1]unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
			n, _ := unix.Poll(poll[:], reapSoon)
			ended = n > 0
		}
		exited = ended && a.tryReap()
	}
	w.remove(c.pidfd)
	unix.Close(c.pidfd)
	exitedAt := time.Now()
	close(a.reapedCh)
	leftover := a.endTree(&out)
	// Nobody of ours can write any more. What is still open is held by
	// somebody who was handed the pipe, and is not waited for.
	held := !out.read() && !out.readUntil(time.Now().Add(a.e.cfg.DrainWait))
	out.close()

	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.statusLocked()
	st.State, st.ExitedAt = Exited, exitedAt
	st.ExitCode, st.Signal = decodeWait(a.wait)
	st.CPU = time.Duration(a.usage.Utime.Nano() + a.usage.Stime.Nano())
	st.MaxRSS = a.usage.Maxrss << 10
	st.LogSize, st.LogDropped, st.Leftover, st.PipeHeld = out.size, out.dropped, leftover, held
	if out.err != nil {
		st.LogError = out.err.Error()
	}
	return st
}

// tryReap reaps the main process if it is dead. It holds the lock, so that no
// signal is sent to a number that is free.
func (a *attempt) tryReap() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reaped {
		return true
	}
	for {
		pid, err := unix.Wait4(a.pid, &a.wait, unix.WNOHANG, &a.usage)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil: // ECHILD: somebody in this process waits for all children
			a.e.log.Error("reap process", "attempt", a.p.ID, "pid", a.pid, "error", err)
			a.wait = 0xff00
		case pid == 0:
			return false
		}
		a.reaped = true
		a.e.removeMain(a.pid)
		if t, ok := a.tree.(*sweepTree); ok {
			t.mainReaped()
		}
		return true
	}
}

// endTree kills what the main process left behind, and counts it. It returns
// when nobody is left: an outcome must not be told before.
func (a *attempt) endTree(out *output) int {
	if !a.tree.alive() {
		return 0
	}
	// KILL follows, if TERM does not do, when the grace of a stop is over, or
	// else soon: the module itself has said that it is done.
	n := 0
	a.mu.Lock()
	stopping := a.stop != nil
	a.mu.Unlock()
	killAt := time.Now().Add(a.e.cfg.LeftoverWait)
	if !stopping {
		n = a.tree.signal(unix.SIGTERM, 0)
	} else {
		n = a.tree.signal(0, 0) // they have had it
	}
	nextWord := time.Now().Add(10 * time.Second)
	for wait := 500 * time.Microsecond; a.tree.alive(); wait = min(2*wait, 20*time.Millisecond) {
		a.mu.Lock()
		if a.stop != nil {
			killAt = a.stop.killAt
		}
		a.mu.Unlock()
		now := time.Now()
		if !now.Before(killAt) {
			a.tree.kill()
		}
		if now.After(nextWord) {
			a.e.log.Warn("processes do not die", "attempt", a.p.ID, "count", a.tree.signal(0, 0))
			nextWord = now.Add(time.Minute)
		}
		out.readUntil(now.Add(wait))
	}
	a.e.reapOrphans()
	return n
}

// requestStop asks for the end: TERM now, KILL after grace. The first reason
// stays, the earliest KILL counts.
func (a *attempt) requestStop(order stopOrder, grace time.Duration) {
	order.killAt = time.Now().Add(max(grace, 0))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		if order.killAt.Before(a.stop.killAt) {
			a.stop.killAt = order.killAt
			select {
			case a.hurry <- struct{}{}:
			default:
			}
		}
		return
	}
	if a.reaped {
		return // it came to its end by itself; what it left is being killed
	}
	a.stop = &order
	if a.pid != 0 {
		a.e.wg.Go(a.carryOutStop)
	}
}

// carryOutStop works on the tree while the main process lives. What outlives
// it is endTree's.
func (a *attempt) carryOutStop() {
	a.mu.Lock()
	killAt := a.stop.killAt
	a.mu.Unlock()
	if time.Now().Before(killAt) {
		a.signalTree(unix.SIGTERM)
	}
	for {
		a.mu.Lock()
		left := time.Until(a.stop.killAt)
		a.mu.Unlock()
		if left <= 0 {
			a.signalTree(unix.SIGKILL)
			left = 50 * time.Millisecond // again, for those that were born meanwhile
		}
		timer := time.NewTimer(left)
		select {
		case <-a.reapedCh:
			timer.Stop()
			return
		case <-a.hurry:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// signalTree signals everybody while the main process is not reaped: so long
// its number and its control group are sure to be this attempt's.
func (a *attempt) signalTree(sig unix.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reaped {
		return
	}
	_ = unix.Kill(-a.pid, sig) // the group as a whole, whoever is being forked
	if sig == unix.SIGKILL {
		a.tree.kill()
	} else {
		a.tree.signal(sig, a.pid)
	}
}

// cookieEnv is the cookie as a variable, after those of a pipeline around us.
func (a *attempt) cookieEnv() string {
	if outer := a.e.outerCookie; outer != "" {
		return CookieVariable + "=" + outer + " " + a.cookie
	}
	return CookieVariable + "=" + a.cookie
}

func (a *attempt) status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statusLocked()
}

func (a *attempt) statusLocked() Status {
	st := Status{ID: a.p.ID, Dir: a.p.Dir, State: Running, Incarnation: a.e.incarnation,
		PID: a.pid, StartedAt: a.startedAt, Meta: a.p.Meta}
	if a.stop != nil {
		st.Stopped, st.TimedOut, st.Lapsed, st.Reason = !a.stop.timedOut, a.stop.timedOut, a.stop.lapsed, a.stop.reason
	}
	return st
}

// decodeWait gives the exit code as shells have it, and the signal's name.
func decodeWait(w unix.WaitStatus) (code int, signal string) {
	if w.Signaled() {
		return 128 + int(w.Signal()), unix.SignalName(w.Signal())
	}
	return w.ExitStatus(), ""
}
