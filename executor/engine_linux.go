package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// engine runs processes as children of this process. Local and the keeper are
// two faces of it.
type engine struct {
	cfg Config
	log hclog.Logger
	// incarnation names this engine's life; mark begins all its cookies.
	incarnation, mark string
	// outerCookie is that of a module that this process itself runs in.
	outerCookie string
	ownSession  int
	// alone says that all children of this process are the engine's.
	alone bool
	// publish takes exits, one batch at a time.
	publish func([]Status)
	// atIdle is called when the last process has ended; it must not block.
	atIdle func()

	groups   *cgroups // nil where there are none
	watchers watchers
	null     int
	exits    *exitLog // nil where exits are not kept on disk
	lease    lease
	// forks bounds how many starts are under way at once: each holds a thread.
	forks chan struct{}
	// forking counts starts from before the fork until the child is known.
	forking atomic.Int64
	serial  atomic.Uint64
	reaper  atomic.Bool // orphans become children of this process
	wg      sync.WaitGroup
	quit    chan struct{}

	mu sync.Mutex // guards following
	// attempts are those that run and those that are not forgotten.
	attempts map[string]*attempt
	seen     seenSet
	running  int
	flushing bool       // somebody is in flush
	ended    []*attempt // exits not yet published
	compact  bool       // the exits on disk are to be rewritten
	closed   bool

	mainsMu sync.Mutex // guards following
	mains   map[int]struct{}
}

// engineOptions are what tells a keeper's engine from a Local's.
type engineOptions struct {
	// alone: all children are the engine's; orphans become its children too.
	alone   bool
	exits   *exitLog
	publish func([]Status)
	atIdle  func()
}

// openEngine prepares this process (see the package comment), sweeps what an
// earlier engine of the same data dir left, and begins.
func openEngine(cfg Config, o engineOptions) (*engine, error) {
	e := &engine{cfg: cfg, log: cfg.Logger, mark: cfg.mark(), outerCookie: os.Getenv(CookieVariable),
		alone: o.alone, publish: o.publish, atIdle: o.atIdle, exits: o.exits,
		forks: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), quit: make(chan struct{}),
		attempts: make(map[string]*attempt), seen: newSeenSet(), mains: make(map[int]struct{})}
	e.ownSession, _ = unix.Getsid(0) // cannot fail for oneself
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	boot := bootID()
	e.incarnation = boot + "-" + hex.EncodeToString(random[:])
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	if err := sweepEarlier(cfg.DataDir, e.mark, boot, e.log); err != nil {
		return nil, fmt.Errorf("sweep what an earlier runner left: %w", err)
	}
	if err := e.prepareProcess(); err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	if !cfg.NoCgroups {
		e.groups = e.openGroups()
	}
	if o.alone || e.groups == nil {
		e.becomeReaper()
	}
	if err := e.writeTrace(boot); err != nil {
		e.release()
		return nil, fmt.Errorf("open runner: %w", err)
	}
	if o.exits != nil {
		e.restore(o.exits.loaded) // published when a daemon asks for them
	}
	e.wg.Go(e.janitor)
	return e, nil
}

// openGroups gives the best kind of control groups; nil where there are none.
func (e *engine) openGroups() *cgroups {
	err := errNamedOnly
	var groups *cgroups
	if !e.cfg.namedOnly {
		groups, err = openCgroups(e.mark)
	}
	if err == nil {
		return groups
	}
	e.log.Info("no control groups of version 2", "reason", err)
	if groups, err = openNamed(e.mark); err == nil {
		return groups
	}
	e.log.Info("no control groups; members of a tree are told by session and cookie", "reason", err)
	return nil
}

var errNamedOnly = errors.New("left out")

// prepareProcess sets what children inherit.
func (e *engine) prepareProcess() error {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	e.null = null
	unix.Umask(0o022)
	// Hard and soft: a module's core would lie in its folder, and be captured.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		e.log.Warn("turn off core dumps", "error", err)
	}
	// Before Linux 5.11 there is no such flag; then only what others made
	// inheritable on purpose goes along.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	return nil
}

// becomeReaper has orphans of our tree become our children, not init's.
func (e *engine) becomeReaper() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		e.log.Warn("become reaper of orphans", "error", err)
		return
	}
	e.reaper.Store(true)
}

// restore takes over exits that an earlier keeper left.
func (e *engine) restore(exits []Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, st := range exits {
		a := &attempt{e: e, p: Process{ID: st.ID, Dir: st.Dir}, final: &st, kept: true}
		e.attempts[st.ID] = a
		e.ended = append(e.ended, a)
		e.seen.add(st.ID)
	}
}

// start accepts processes; see Runner.Start.
func (e *engine) start(ps []Process) error {
	var refused *RefusedError
	accepted := make([]*attempt, 0, len(ps))
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
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
		e.wg.Add(1)
		accepted = append(accepted, a)
	}
	e.mu.Unlock()
	for _, a := range accepted {
		go func() {
			defer e.wg.Done()
			e.finish(a, a.run())
		}()
	}
	return refused.orNil()
}

// finish makes an exit known.
func (e *engine) finish(a *attempt, st Status) {
	e.mu.Lock()
	a.final = &st
	e.running--
	idle := e.running == 0
	e.ended = append(e.ended, a)
	e.mu.Unlock()
	e.flush()
	if idle && e.atIdle != nil {
		e.atIdle()
	}
}

// flush puts exits on disk and publishes them, all that have come together.
// Whoever calls it while another is at it may leave at once: the other looks
// again before it goes.
func (e *engine) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flushing {
		return
	}
	e.flushing = true
	defer func() { e.flushing = false }()
	for len(e.ended) > 0 || e.compact {
		ended, compact := e.ended, e.compact
		e.ended, e.compact = nil, false
		e.mu.Unlock()
		e.flushBatch(ended, compact)
		e.mu.Lock()
	}
}

// flushBatch is flush's work; only flush calls it, so that the exits on disk
// have one writer.
func (e *engine) flushBatch(ended []*attempt, compact bool) {
	batch := make([]Status, 0, len(ended))
	for _, a := range ended {
		batch = append(batch, *a.final)
	}
	if e.exits != nil {
		fresh := make([]Status, 0, len(ended))
		for _, a := range ended {
			if !a.kept {
				a.kept = true
				fresh = append(fresh, *a.final)
			}
		}
		if len(fresh) > 0 {
			if err := e.exits.append(fresh); err != nil {
				e.log.Error("keep exits on disk", "error", err)
			}
		}
		if compact {
			if err := e.exits.compact(e.unforgotten()); err != nil {
				e.log.Error("rewrite exits on disk", "error", err)
			}
		}
	}
	if len(batch) > 0 {
		e.publish(batch)
	}
}

// unforgotten gives the exits that are not forgotten.
func (e *engine) unforgotten() []Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Status
	for _, a := range e.attempts {
		if a.final != nil {
			out = append(out, *a.final)
		}
	}
	return out
}

// republish publishes every exit that is not forgotten once more.
func (e *engine) republish() {
	e.mu.Lock()
	e.ended = nil
	for _, a := range e.attempts {
		if a.final != nil {
			e.ended = append(e.ended, a)
		}
	}
	slices.SortFunc(e.ended, func(a, b *attempt) int { return a.final.ExitedAt.Compare(b.final.ExitedAt) })
	e.mu.Unlock()
	e.flush()
}

// stop asks a process to end; see Runner.Stop.
func (e *engine) stop(id, reason string, grace time.Duration) error {
	e.mu.Lock()
	a := e.attempts[id]
	over := a != nil && a.final != nil
	e.mu.Unlock()
	if a == nil {
		return ErrNotFound
	}
	if over {
		return nil
	}
	if grace < 0 {
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
	slices.SortFunc(out, func(a, b Status) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// forget drops exits.
func (e *engine) forget(ids []string) {
	e.mu.Lock()
	for _, id := range ids {
		if a := e.attempts[id]; a != nil && a.final != nil {
			delete(e.attempts, id)
			e.seen.settle(id)
		}
	}
	if e.exits != nil && e.exits.wantsCompaction(len(e.attempts) == e.running) {
		e.compact = true
	}
	compact := e.compact
	e.mu.Unlock()
	if compact {
		e.flush()
	}
}

// lapse stops what must not run without a lease.
func (e *engine) lapse() {
	e.mu.Lock()
	var hit []*attempt
	for _, a := range e.attempts {
		if a.final == nil && a.p.KillOnLapse {
			hit = append(hit, a)
		}
	}
	e.mu.Unlock()
	for _, a := range hit {
		e.log.Warn("lease lapsed: stopping attempt", "attempt", a.p.ID)
		a.requestStop(stopOrder{lapsed: true, reason: ReasonLapsed}, min(a.p.Grace, MaxLapseGrace))
	}
}

// count gives how many processes run.
func (e *engine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

// close kills everything and waits. The trace stays where somebody could not be
// killed in time, so that the next engine sweeps.
func (e *engine) close(ctx context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	live := slices.Collect(maps.Values(e.attempts))
	live = slices.DeleteFunc(live, func(a *attempt) bool { return a.final != nil })
	e.mu.Unlock()
	for _, a := range live {
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
	e.flush()
	if e.alone {
		e.killStrangers()
	}
	e.release()
	removeTrace(e.cfg.DataDir)
	return nil
}

func (e *engine) release() {
	unix.Close(e.null)
	e.watchers.close()
	e.groups.close()
}

// nextCookie is unique among all attempts of all engines of the data dir.
func (e *engine) nextCookie() string {
	inc := e.incarnation
	return e.mark + "." + inc[len(inc)-16:] + "." + strconv.FormatUint(e.serial.Add(1), 10)
}

func (e *engine) addMain(pid int) {
	e.mainsMu.Lock()
	e.mains[pid] = struct{}{}
	e.mainsMu.Unlock()
}

func (e *engine) removeMain(pid int) {
	e.mainsMu.Lock()
	delete(e.mains, pid)
	e.mainsMu.Unlock()
}
