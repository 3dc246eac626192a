// Package worker is the worker's duty: take attempts from the orchestrator,
// lay out their files, run them through the executor, capture what they leave,
// and keep each outcome until the orchestrator has committed it.
//
// An attempt is in the journal from the moment it is taken. A daemon that
// starts again goes through its journal and its runner and takes up every
// attempt where it was.
package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/journal"
)

// Config is what a worker needs.
type Config struct {
	Self         pipeline.NodeID
	Name         string
	Capabilities pipeline.Capabilities
	Runner       executor.Runner
	Blobs        *storage.Blobs
	Journal      *journal.Journal
	// WorkDir holds the attempts' folders, CachesDir the named caches.
	WorkDir, CachesDir string
	// Layouts lays out large folders; its WorkDir is the same.
	Layouts *storage.Layouts
	// ModuleEnv names variables of this machine that modules see.
	ModuleEnv []string
	// KeepWork keeps the folders of failed attempts.
	KeepWork bool
	// Fetch makes blobs present here, from hints or from whoever has them. Its
	// error is pipeline.NotFound where no node that answers has one of them.
	Fetch func(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error
	// Copy sends blobs that are too large for a report to another node and
	// tells which; "" where there is none, or none answered in time.
	Copy func(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID
	// Report hands reports to the orchestrator, wherever it is.
	Report func(ctx context.Context, reports []peer.Report) ([]peer.Ack, error)
	// LogLimit is how much of an attempt's output is kept, in bytes; 0: all.
	LogLimit int64
	// Full says why the node has no room for more work; "" where it has. nil: it
	// always has.
	Full func() string
	// Filled is told that a write found the disk full, so that Full knows before
	// the next attempt comes; may be nil.
	Filled func()
	Logger hclog.Logger
	// StartReport is how long a process runs before its start is reported; most
	// end sooner, and their outcome tells both. 0 means 150 ms.
	StartReport time.Duration
}

// Worker does the worker's duty of one node. Its methods are safe for
// concurrent use.
type Worker struct {
	cfg Config
	log hclog.Logger

	group  errgroup.Group
	life   context.Context
	cancel context.CancelFunc
	dirs   *attemptdir.Pool
	// apart says that modules do not see what this process mounts, nor it what
	// they see mounted.
	apart bool

	mu       sync.Mutex // guards following
	attempts map[pipeline.AttemptID]*attempt
	// done remembers attempts that are dealt with, against a dispatch that was
	// under way for long.
	done    *recent
	term    uint64
	lease   time.Time
	closed  bool
	reports []peer.Report
	pending map[pipeline.AttemptID]*attempt // reported, not yet acknowledged
	poke    chan struct{}
	visits  map[pipeline.AttemptID]*visitors
}

// attempt is one attempt that this node has taken.
type attempt struct {
	id   pipeline.AttemptID
	key  string
	spec pipeline.Spec
	dir  attemptdir.Dir
	// exit has the status of its process, once.
	exit chan executor.Status
	// gone is closed when the keeper that had its process is no more.
	gone chan struct{}
	// turn is closed when what it is queued behind has succeeded; nil where it
	// is queued behind nothing.
	turn chan struct{}
	// ctx ends when the attempt is to be stopped before its process runs.
	ctx    context.Context
	cancel context.CancelFunc

	// guarded by Worker.mu
	startedAt time.Time
	running   bool   // its process is with the runner
	keeper    string // the incarnation that was given the process
	lost      bool   // gone is closed
	waiting   bool   // for its turn
	followers []*attempt
	stop      string
	outcome   *pipeline.Outcome
}

// Open takes up what the journal and the runner have. Run must follow.
func Open(ctx context.Context, cfg Config) (*Worker, error) {
	if cfg.StartReport <= 0 {
		cfg.StartReport = 150 * time.Millisecond
	}
	dirs, err := attemptdir.NewPool(filepath.Join(cfg.WorkDir, "spare"), cfg.Capabilities.MaxParallelModules+4)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Worker{cfg: cfg, log: cfg.Logger, life: life, cancel: cancel, dirs: dirs, attempts: map[pipeline.AttemptID]*attempt{},
		done: newRecent(1 << 16), pending: map[pipeline.AttemptID]*attempt{}, poke: make(chan struct{}, 1), visits: map[pipeline.AttemptID]*visitors{}}
	if cfg.KeepWork {
		cfg.Layouts.NoOverlays(errors.New("-keep-work: a folder that is kept must not need a mount"))
	}
	if w.apart = !w.sharesMounts(); w.apart {
		cfg.Layouts.NoOverlays(errors.New("the keeper, which an earlier daemon started, does not see what this one mounts"))
	}
	if err := w.recover(ctx); err != nil {
		cancel()
		return nil, err
	}
	return w, nil
}

// Run reports outcomes until ctx ends, then waits for what is under way here.
// Processes with a keeper go on without this.
func (w *Worker) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	w.group.Go(func() error { w.routeExits(); return nil })
	w.group.Go(func() error { w.reporter(); return nil })
	w.group.Go(func() error { w.watchKeeper(); return nil })
	<-ctx.Done()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	err := w.group.Wait()
	w.ReleaseFolders(false)
	return err
}

// Close makes the worker refuse new attempts.
func (w *Worker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Take accepts committed assignments. Known ones are left alone, so that
// repeating is harmless. It returns when they are in the journal.
func (w *Worker) Take(in peer.DispatchRequest) (peer.DispatchResponse, error) {
	res := peer.DispatchResponse{Incarnation: w.cfg.Runner.Incarnation()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.Term < w.term {
		return res, pipeline.Errorf(pipeline.Conflict, "term %d is over: this worker follows term %d", in.Term, w.term)
	}
	w.term = in.Term
	if w.closed {
		return res, pipeline.Errorf(pipeline.Unavailable, "node %s is stopping", w.cfg.Name)
	}
	for i := range in.Specs {
		s := &in.Specs[i]
		if a := w.attempts[s.ID]; a != nil {
			if s.After == nil {
				a.beginTurnLocked()
			}
			continue
		}
		if w.done.has(s.ID) {
			continue
		}
		if s.Incarnation != "" && s.Incarnation != res.Incarnation {
			w.refuseLocked(s)
			continue
		}
		raw, err := sealed(s)
		if err != nil {
			return res, fmt.Errorf("encode %s for the journal: %w", s.ID, err)
		}
		a := w.newAttempt(*s)
		if err := w.cfg.Journal.Put(journal.Entry{ID: s.ID, Fence: s.Fence, Incarnation: res.Incarnation, Spec: raw, Dir: string(a.dir)}); err != nil {
			return res, fmt.Errorf("take %s: %w", s.ID, err)
		}
		w.attempts[s.ID] = a
		w.queueLocked(a)
		w.adoptLocked(a)
		w.group.Go(func() error { w.execute(a); return nil })
	}
	return res, nil
}

// refuseLocked reports an attempt of an earlier life of this worker as lost.
func (w *Worker) refuseLocked(s *pipeline.Spec) {
	a := w.newAttempt(*s)
	a.outcome = &pipeline.Outcome{ID: s.ID, Fence: s.Fence, Worker: w.cfg.Self, State: pipeline.AttemptLost,
		Reason: "worker " + w.cfg.Name + " was started anew and has lost its processes", FinishedAt: time.Now().UTC()}
	w.attempts[s.ID] = a
	w.pendLocked(a, nil, false)
}

// queueLocked puts an attempt behind the one its spec names. w.mu is held.
func (w *Worker) queueLocked(a *attempt) {
	after := a.spec.After
	if after == nil {
		return
	}
	a.turn, a.waiting = make(chan struct{}), true
	switch before := w.attempts[*after]; {
	case before != nil && before.outcome == nil:
		before.followers = append(before.followers, a)
	case before != nil && before.outcome.State != pipeline.AttemptSucceeded:
		a.giveBackLocked(*after)
	case before != nil || w.done.succeeded(*after):
		a.beginTurnLocked()
	}
	// Else it has not come yet, and finds this one when it does; or it is not known
	// here how it ended: the orchestrator tells at its next comparison.
}

// adoptLocked finds those that are queued behind an attempt and came before it.
// There are never more than a few attempts. w.mu is held.
func (w *Worker) adoptLocked(a *attempt) {
	for _, f := range w.attempts {
		if f.waiting && f.spec.After != nil && *f.spec.After == a.id {
			a.followers = append(a.followers, f)
		}
	}
}

// beginTurnLocked lets an attempt start that was queued. Worker.mu is held.
func (a *attempt) beginTurnLocked() {
	if a.waiting {
		a.waiting = false
		close(a.turn)
	}
}

// giveBackLocked ends an attempt that was queued behind one that did not
// succeed. Worker.mu is held.
func (a *attempt) giveBackLocked(after pipeline.AttemptID) {
	if a.waiting {
		a.waiting = false
		if a.stop == "" {
			a.stop = "not started: " + after.String() + ", behind which it was queued, did not succeed"
		}
		a.cancel()
	}
}

// followLocked lets those begin that are queued behind an attempt that ended;
// it reports whether there are any. w.mu is held.
func (w *Worker) followLocked(a *attempt, success bool) bool {
	followers := a.followers
	a.followers = nil
	for _, f := range followers {
		if success {
			f.beginTurnLocked()
		} else {
			f.giveBackLocked(a.id)
		}
	}
	return success && len(followers) > 0
}

func (w *Worker) newAttempt(s pipeline.Spec) *attempt {
	ctx, cancel := context.WithCancel(w.life)
	key := s.ID.String()
	return &attempt{id: s.ID, key: key, spec: s, dir: attemptDir(w.cfg.WorkDir, s.ID), exit: make(chan executor.Status, 1), gone: make(chan struct{}), ctx: ctx, cancel: cancel}
}

// Stop ends attempts; those this node does not have are passed over.
func (w *Worker) Stop(ctx context.Context, in peer.StopRequest) error {
	w.mu.Lock()
	if in.Term < w.term {
		w.mu.Unlock()
		return pipeline.Errorf(pipeline.Conflict, "term %d is over: this worker follows term %d", in.Term, w.term)
	}
	w.term = in.Term
	var running []*attempt
	for _, id := range in.IDs {
		a := w.attempts[id]
		if a == nil || a.outcome != nil {
			continue
		}
		if a.stop == "" {
			a.stop = in.Reason
		}
		if a.running {
			running = append(running, a)
		} else {
			a.cancel()
		}
	}
	w.mu.Unlock()
	for _, a := range running {
		err := w.cfg.Runner.Stop(ctx, a.key, in.Reason, a.spec.Grace)
		if err != nil && !errors.Is(err, executor.ErrNotFound) { // not found: begin sees the stop
			return fmt.Errorf("stop %s: %w", a.id, err)
		}
	}
	return nil
}

// Sync renews the lease and tells what this node is and has.
func (w *Worker) Sync(ctx context.Context, in peer.SyncRequest) (peer.SyncResponse, error) {
	w.mu.Lock()
	if in.Term < w.term {
		w.mu.Unlock()
		return peer.SyncResponse{}, pipeline.Errorf(pipeline.Conflict, "term %d is over: this worker follows term %d", in.Term, w.term)
	}
	w.term = in.Term
	w.lease = time.Now().Add(in.Lease)
	res := peer.SyncResponse{Incarnation: w.cfg.Runner.Incarnation(), Name: w.cfg.Name, Capabilities: w.cfg.Capabilities, Closed: w.closed}
	if w.cfg.Full != nil && !w.closed {
		res.Reason = w.cfg.Full()
		res.Closed = res.Reason != ""
	}
	for _, a := range w.attempts {
		res.Attempts = append(res.Attempts, peer.Held{ID: a.id, Fence: a.spec.Fence, StartedAt: a.startedAt, Ended: a.outcome != nil, Waiting: a.waiting})
	}
	w.mu.Unlock()
	return res, w.cfg.Runner.Renew(ctx, in.Lease)
}

// Load is how many attempts are here and not ended.
func (w *Worker) Load() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, a := range w.attempts {
		if a.outcome == nil && !a.waiting {
			n++
		}
	}
	return n
}

// Lease is until when the orchestrator trusts this worker without a word.
func (w *Worker) Lease() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease
}

// LogFile says where the output of an attempt is while this node has it, and the
// times of that output: the files may not exist before the first byte. live is false once the process has
// ended and the file will not grow.
func (w *Worker) LogFile(id pipeline.AttemptID) (path, times string, live, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.attempts[id]
	if a == nil {
		return "", "", false, false
	}
	return a.dir.Log(), a.dir.Times(), a.outcome == nil, true
}

// routeExits hands each exit to its attempt.
func (w *Worker) routeExits() {
	for {
		select {
		case <-w.life.Done():
			return
		case s, ok := <-w.cfg.Runner.Exits():
			if !ok {
				return
			}
			w.route(s)
		}
	}
}

func (w *Worker) route(s executor.Status) {
	id, err := pipeline.ParseAttemptID(s.ID)
	w.mu.Lock()
	a := w.attempts[id]
	w.mu.Unlock()
	if err != nil || a == nil {
		// Dealt with before: a runner tells an exit until it is forgotten.
		if err := w.cfg.Runner.Forget(w.life, s.ID); err != nil && w.life.Err() == nil {
			w.log.Warn("forget attempt", "attempt", s.ID, "error", err)
		}
		return
	}
	select {
	case a.exit <- s:
	default: // told twice
	}
}

// watchKeeper gives up the attempts of a keeper that died while this daemon
// lived. Whoever started the new one swept what the old one left.
func (w *Worker) watchKeeper() {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	was := w.cfg.Runner.Incarnation()
	for {
		select {
		case <-w.life.Done():
			return
		case <-t.C:
		}
		now := w.cfg.Runner.Incarnation()
		if now == was {
			continue
		}
		if err := w.giveUp(now); err != nil {
			w.log.Warn("compare with the new keeper", "error", err)
			continue
		}
		was = now
	}
}

func (w *Worker) giveUp(incarnation string) error {
	list, err := w.cfg.Runner.List(w.life)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, s := range list {
		has[s.ID] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		if a.running && a.keeper != incarnation && a.outcome == nil && !a.lost && !has[a.key] {
			a.lost = true
			close(a.gone)
		}
	}
	return nil
}

// recent is a set of the last attempts that were dealt with, and whether they
// succeeded.
type recent struct {
	set  map[pipeline.AttemptID]bool
	ring []pipeline.AttemptID
	next int
}

func newRecent(n int) *recent {
	return &recent{set: map[pipeline.AttemptID]bool{}, ring: make([]pipeline.AttemptID, 0, 64), next: n}
}

func (r *recent) has(id pipeline.AttemptID) bool { _, ok := r.set[id]; return ok }

func (r *recent) succeeded(id pipeline.AttemptID) bool { return r.set[id] }

// add forgets the oldest half when it holds as many as it may.
func (r *recent) add(id pipeline.AttemptID, succeeded bool) {
	if len(r.ring) >= r.next {
		half := len(r.ring) / 2
		for _, old := range r.ring[:half] {
			delete(r.set, old)
		}
		r.ring = append(r.ring[:0], r.ring[half:]...)
	}
	r.ring = append(r.ring, id)
	r.set[id] = succeeded
}
