package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// engine runs processes as children of this process. Local and the keeper are
// two faces of it.
type engine struct {
	cfg      Config
	log      hclog.Logger
	identity identity
	// alone says that all children of this process are the engine's.
	alone bool
	// atIdle is called when the last process has ended; it must not block.
	atIdle func()

	children  *children
	groups    *cgroups // nil without control groups
	watchers  watchers
	publisher *publisher
	lease     lease
	// forks bounds how many starts are under way at once: each holds a thread.
	forks chan struct{}
	wg    sync.WaitGroup
	quit  chan struct{}

	mu sync.Mutex // guards following
	// attempts are those that run and those that are not forgotten.
	attempts map[string]*attempt
	seen     idSet
	running  int
	accepted uint64 // all that ever were
	closed   bool
}

// engineOptions distinguish a keeper's engine from a Local's.
type engineOptions struct {
	// alone: all children are the engine's; orphans become its children too.
	alone   bool
	exits   *exitLog // nil if exits are not kept on disk
	publish func([]Status)
	atIdle  func()
}

// openEngine prepares this process (see the package comment), kills what an
// earlier engine of the same data directory left, and begins.
func openEngine(cfg Config, o engineOptions) (*engine, error) {
	e := &engine{
		cfg: cfg, log: cfg.Logger, alone: o.alone, atIdle: o.atIdle, children: newChildren(&cfg),
		forks: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), quit: make(chan struct{}),
		attempts: make(map[string]*attempt), seen: newIDSet(),
	}
	e.identity.init(cfg.mark())
	e.publisher = &publisher{exits: o.exits, publish: o.publish, unforgotten: e.unforgotten, log: cfg.Logger}

	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	if err := sweepEarlier(cfg.DataDir, e.identity.mark, e.identity.boot, e.log); err != nil {
		return nil, fmt.Errorf("kill what an earlier runner left: %w", err)
	}
	if err := e.prepareProcess(); err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}

	if !cfg.NoCgroups {
		e.groups = e.openGroups()
	}
	if o.alone || e.groups == nil {
		e.children.becomeReaper()
	}
	if err := e.writeTrace(); err != nil {
		e.release()
		return nil, fmt.Errorf("open runner: %w", err)
	}

	if o.exits != nil {
		e.restore(o.exits.loaded) // published when a daemon asks for them
	}
	e.wg.Go(e.janitor)
	return e, nil
}

// openGroups gives the best kind of control groups; nil if there are none.
func (e *engine) openGroups() *cgroups {
	err := errNamedOnly
	var groups *cgroups
	if !e.cfg.namedOnly {
		groups, err = openCgroups(e.identity.mark)
	}
	if err == nil {
		return groups
	}

	e.log.Info("no control groups of version 2", "reason", err)
	if groups, err = openNamed(e.identity.mark); err == nil {
		return groups
	}
	e.log.Info("no control groups; members of a tree are found by session and cookie", "reason", err)
	return nil
}

var errNamedOnly = errors.New("left out")

// prepareProcess sets what children inherit.
func (e *engine) prepareProcess() error {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	e.children.null = null

	unix.Umask(0o022)
	// Hard and soft: a module's core would lie in its directory, and be captured.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		e.log.Warn("turn off core dumps", "error", err)
	}
	// Before Linux 5.11 there is no such flag; then only what other code made
	// inheritable on purpose is inherited.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	return nil
}

// restore takes over exits that an earlier keeper left. Those of an earlier life
// of the machine count as lost with their keeper: results in memory are gone, and
// outputs that were never flushed may be.
func (e *engine) restore(exits []Status) {
	e.mu.Lock()
	defer e.mu.Unlock()

	for _, st := range exits {
		e.seen.add(st.ID)
		if !strings.HasPrefix(st.Incarnation, e.identity.boot+"-") {
			continue
		}
		a := &attempt{e: e, p: Process{ID: st.ID, Dir: st.Dir}, final: &st, onDisk: true}
		e.attempts[st.ID] = a
		e.publisher.hold(a)
	}
}

// start accepts processes; see Runner.Start.
func (e *engine) start(ps []Process) error {
	accepted, refused, err := e.accept(ps)
	if err != nil {
		return err
	}

	for _, a := range accepted {
		go func() {
			defer e.wg.Done()
			e.finish(a, a.run())
		}()
	}
	return refused.orNil()
}

// accept makes attempts of the processes that may start.
func (e *engine) accept(ps []Process) (accepted []*attempt, refused *RefusedError, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, ErrClosed
	}

	for i := range ps {
		p := &ps[i]
		err := p.validate()
		switch {
		case err != nil:
		case e.attempts[p.ID] != nil || e.seen.has(p.ID):
			err = ErrSeen
		case p.KillOnLapse && !e.lease.inForce():
			err = ErrNoLease
		}
		if err != nil {
			refused = refused.refuse(p.ID, err)
			continue
		}

		a := newAttempt(e, *p)
		e.attempts[p.ID] = a
		e.seen.add(p.ID)
		e.running++
		e.accepted++
		e.wg.Add(1)
		accepted = append(accepted, a)
	}
	return accepted, refused, nil
}

// finish makes an exit known.
func (e *engine) finish(a *attempt, st Status) {
	e.mu.Lock()
	a.final = &st
	e.running--
	idle := e.running == 0
	e.mu.Unlock()

	e.publisher.add(a)
	if idle && e.atIdle != nil {
		e.atIdle()
	}
}

// ended gives the attempts that have ended and are not forgotten.
func (e *engine) ended() []*attempt {
	e.mu.Lock()
	defer e.mu.Unlock()

	var out []*attempt
	for _, a := range e.attempts {
		if a.final != nil {
			out = append(out, a)
		}
	}
	return out
}

// live gives the attempts that have not ended.
func (e *engine) live() []*attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(e.attempts)), func(a *attempt) bool { return a.final != nil })
}

// unforgotten gives the exits that are not forgotten.
func (e *engine) unforgotten() []Status {
	var out []Status
	for _, a := range e.ended() {
		out = append(out, *a.final)
	}
	return out
}

// republish publishes every exit that is not forgotten once more.
func (e *engine) republish() {
	list := e.ended()
	sortByExit(list)
	e.publisher.add(list...)
}

// stop asks a process to end; see Runner.Stop.
func (e *engine) stop(id, reason string, grace time.Duration) error {
	e.mu.Lock()
	a := e.attempts[id]
	ended := a != nil && a.final != nil
	e.mu.Unlock()

	switch {
	case a == nil:
		return ErrNotFound
	case ended:
		return nil
	case grace < 0:
		grace = a.p.Grace
	}
	a.requestStop(stopOrder{reason: reason}, grace)
	return nil
}

// list gives everything that is not forgotten, by ID.
func (e *engine) list() []Status {
	e.mu.Lock()
	out := make([]Status, 0, len(e.attempts))
	for _, a := range e.attempts {
		if a.final != nil {
			out = append(out, *a.final)
		} else {
			out = append(out, a.status())
		}
	}
	e.mu.Unlock()

	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// forget drops exits.
func (e *engine) forget(ids []string) {
	e.mu.Lock()
	for _, id := range ids {
		if a := e.attempts[id]; a != nil && a.final != nil {
			delete(e.attempts, id)
			e.seen.expire(id)
		}
	}
	idle := len(e.attempts) == e.running
	e.mu.Unlock()

	e.publisher.forgotten(idle)
}

// lapse stops what must not run without a lease, which ended so long ago. The time
// between TERM and KILL counts from the end of the lease: by the time at which the
// cluster runs the attempt again, this one is dead, or dies in the moment in which
// a machine that stood still continues.
func (e *engine) lapse(ago time.Duration) {
	for _, a := range e.live() {
		if !a.p.KillOnLapse {
			continue
		}
		e.log.Warn("lease lapsed: stopping attempt", "attempt", a.p.ID, "ago", ago.Round(time.Millisecond))
		a.requestStop(stopOrder{lapsed: true, reason: ReasonLapsed}, min(a.p.Grace, MaxLapseGrace)-ago)
	}
}

// count gives how many processes run.
func (e *engine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

// counts gives how many processes run, and how many were ever accepted.
func (e *engine) counts() (running int, accepted uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running, e.accepted
}

// close kills everything and waits. The trace stays if a process could not be
// killed in time, so that the next engine kills it.
func (e *engine) close(ctx context.Context) error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}

	for _, a := range e.live() {
		a.requestStop(stopOrder{closing: true, reason: "the runner was closed"}, 0)
	}
	e.lease.close()
	close(e.quit)

	done := make(chan struct{})
	go func() { e.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("close runner: processes do not die: %w", ctx.Err())
	}

	e.publisher.flush()
	if e.alone {
		e.killOrphans()
	}
	e.release()
	removeTrace(e.cfg.DataDir)
	return nil
}

func (e *engine) release() {
	unix.Close(e.children.null)
	e.watchers.close()
	e.groups.close()
}
