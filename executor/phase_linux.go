package executor

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// phase is one process of an attempt, from its start until its tree is dead: the
// module's, or a hook's. One goroutine takes it from start to end; another
// exists only while it is being stopped.
type phase struct {
	e      *engine
	id     string // the attempt's, for messages
	cookie string
	main   bool

	mu sync.Mutex // guards following
	// pid is set once the process has started. From the moment reaped is set
	// the number may be another's, so signals are sent under mu only.
	pid    int
	reaped bool
	tree   tree
	// killAt is when the tree is killed; zero before a stop.
	// term says that TERM comes first.
	killAt time.Time
	term   bool
	wait   unix.WaitStatus
	usage  unix.Rusage

	// reapedCh is closed when reaped is set.
	reapedCh chan struct{}
	// hurry has a token when killAt was moved.
	hurry chan struct{}
}

// number is the process's; 0 before it has started.
func (ph *phase) number() int {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	return ph.pid
}

// pastKillTime reports whether the tree was to be killed by now.
func (ph *phase) pastKillTime() bool {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	return !ph.killAt.IsZero() && !time.Now().Before(ph.killAt)
}

// result is how a phase ended.
type result struct {
	code     int
	signal   string
	endedAt  time.Time
	leftover int
	held     bool
	cpu      time.Duration
	maxRSS   int64
	// bound says that it was killed because its time had passed.
	bound bool
}

func newPhase(a *attempt, main bool) *phase {
	return &phase{e: a.e, id: a.p.ID, cookie: a.cookie, main: main, reapedCh: make(chan struct{}), hurry: make(chan struct{}, 1)}
}

// ended reports whether the process is over, whatever it left.
func (ph *phase) ended() bool {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	return ph.reaped
}

// watch begins to watch a process that was just started. One that cannot be
// watched (there are no handles left) is killed: it was never reported.
func (ph *phase) watch(c *child) (w *watcher, err error) {
	if c.pidfd < 0 {
		c.pidfd, err = watchable(c.pid)
	}
	if err == nil {
		w, err = ph.e.watchers.get()
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
	ph.e.children.removeMain(c.pid)
	unix.Close(c.out)
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
	if w != nil {
		w.file.Close()
	}
	return nil, &startError{message: fmt.Sprintf("the process was started but cannot be watched, and was killed: %v", err), code: 126, machine: true, ran: true}
}

// started makes the process known, and carries out a stop that came meanwhile.
func (ph *phase) started(c child, s *slot) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	ph.pid = c.pid
	if s != nil {
		ph.tree = s
	} else {
		ph.tree = &sweepTree{children: ph.e.children, cookie: ph.cookie, main: c.pid, seen: map[int]uint64{}}
	}
	if !ph.killAt.IsZero() {
		ph.e.wg.Go(ph.carryOutStop)
	}
}

// stop has the tree killed at a time, and asked by TERM now if term is set. The
// earliest time counts.
func (ph *phase) stop(killAt time.Time, term bool) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	if !ph.killAt.IsZero() {
		if killAt.Before(ph.killAt) {
			ph.killAt = killAt
			select {
			case ph.hurry <- struct{}{}:
			default:
			}
		}
		return
	}
	if ph.reaped {
		return // it came to its end by itself; what it left is being killed
	}
	ph.killAt, ph.term = killAt, term
	if ph.pid != 0 {
		ph.e.wg.Go(ph.carryOutStop)
	}
}

// reapSoon is how long a thread waits for the end of a process that has closed
// its output. Nearly all that do are ending; parking would cost more.
const reapSoon = 1 // ms

// follow waits for the end of the process, then of its tree, then of its output.
func (ph *phase) follow(c child, w *watcher, out *output) result {
	for exited := false; !exited; {
		readable, ended := w.wait()
		if readable && out.read() {
			poll := [1]unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
			n, _ := unix.Poll(poll[:], reapSoon)
			ended = n > 0
		}
		exited = ended && ph.tryReap()
	}
	w.remove(c.pidfd)
	unix.Close(c.pidfd)
	r := result{endedAt: time.Now()}
	close(ph.reapedCh)
	r.leftover = ph.endTree(out)
	// No process of ours can write any more. A process outside the tree may hold
	// the pipe; it is not waited for.
	r.held = !out.read() && !out.readUntil(time.Now().Add(ph.e.cfg.DrainWait))
	out.endPipe()

	ph.mu.Lock()
	defer ph.mu.Unlock()
	r.code, r.signal = decodeWait(ph.wait)
	r.cpu = time.Duration(ph.usage.Utime.Nano() + ph.usage.Stime.Nano())
	r.maxRSS = ph.usage.Maxrss << 10
	return r
}

// tryReap reaps the main process if it is dead. It holds the lock, so that no
// signal is sent to a number that is free.
func (ph *phase) tryReap() bool {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	if ph.reaped {
		return true
	}
	for {
		pid, err := unix.Wait4(ph.pid, &ph.wait, unix.WNOHANG, &ph.usage)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil: // ECHILD: other code in this process waits for all children
			ph.e.log.Error("reap process", "attempt", ph.id, "pid", ph.pid, "error", err)
			ph.wait = 0xff00
		case pid == 0:
			return false
		}
		ph.reaped = true
		ph.e.children.removeMain(ph.pid)
		if t, ok := ph.tree.(*sweepTree); ok {
			t.mainReaped()
		}
		return true
	}
}

// endTree kills what the main process left behind, and counts it. It returns
// when none is left: an exit must not be reported before.
func (ph *phase) endTree(out *output) int {
	if !ph.tree.alive() {
		return 0
	}
	// KILL follows, if TERM does not do, when the grace of a stop is over, or
	// else soon: the module itself has said that it is done.
	n := 0
	ph.mu.Lock()
	stopping := !ph.killAt.IsZero() && ph.term
	ph.mu.Unlock()
	killAt := time.Now().Add(ph.e.cfg.LeftoverWait)
	if !stopping {
		n = ph.tree.signal(unix.SIGTERM, 0)
	} else {
		n = ph.tree.signal(0, 0) // they have had it
	}
	nextWord := time.Now().Add(10 * time.Second)
	for wait := 500 * time.Microsecond; ph.tree.alive(); wait = min(2*wait, 20*time.Millisecond) {
		ph.mu.Lock()
		if stopping || !ph.killAt.IsZero() && ph.killAt.Before(killAt) {
			killAt = ph.killAt
		}
		ph.mu.Unlock()
		now := time.Now()
		if !now.Before(killAt) {
			ph.tree.kill()
		}
		if now.After(nextWord) {
			ph.e.log.Warn("processes do not die", "attempt", ph.id, "count", ph.tree.signal(0, 0))
			nextWord = now.Add(time.Minute)
		}
		out.readUntil(now.Add(wait))
	}
	ph.e.children.reapOrphans()
	return n
}

// carryOutStop works on the tree while the main process lives. What outlives
// it is endTree's.
func (ph *phase) carryOutStop() {
	ph.mu.Lock()
	killAt, term := ph.killAt, ph.term
	ph.mu.Unlock()
	if term && time.Now().Before(killAt) {
		ph.signalTree(unix.SIGTERM)
	}
	for {
		ph.mu.Lock()
		left := time.Until(ph.killAt)
		ph.mu.Unlock()
		if left <= 0 {
			ph.signalTree(unix.SIGKILL)
			left = 50 * time.Millisecond // again, for those that were born meanwhile
		}
		timer := time.NewTimer(left)
		select {
		case <-ph.reapedCh:
			timer.Stop()
			return
		case <-ph.hurry:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// signalTree signals all while the main process is not reaped: so long
// its number and its control group are sure to be this attempt's.
func (ph *phase) signalTree(sig unix.Signal) {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	if ph.reaped {
		return
	}
	_ = unix.Kill(-ph.pid, sig) // the group as a whole, also what is being forked
	if sig == unix.SIGKILL {
		ph.tree.kill()
	} else {
		ph.tree.signal(sig, ph.pid)
	}
}

// decodeWait gives the exit code as shells have it, and the signal's name.
func decodeWait(w unix.WaitStatus) (code int, signal string) {
	if w.Signaled() {
		return 128 + int(w.Signal()), unix.SignalName(w.Signal())
	}
	return w.ExitStatus(), ""
}
