// Package worker is the worker's duty: take attempts from the orchestrator, lay
// out their files, run them through the executor, capture what they leave, and
// keep each outcome until the orchestrator has committed it.
//
// An attempt is in the journal from the moment it is taken. A daemon that starts
// again compares its journal with its runner and resumes every attempt where it
// was.
//
// Each part owns its state and its lock: admission (whose orders count), table
// (the attempts), predecessors (queue-ahead), directories, sessions, outbox (the
// reports under way). Worker connects them and speaks with the orchestrator;
// lifecycle carries one attempt. No part calls another with its lock held, except
// admission, which holds its own while attempts are taken.
package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/journal"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// Journal keeps attempts and outcomes across restarts. Each call has reached the
// disk when it returns.
type Journal interface {
	// Put adds an attempt, SetOutcome its outcome; Delete removes both.
	Put(e journal.Entry) error
	SetOutcome(o pipeline.Outcome) error
	Delete(id pipeline.AttemptID) error
	// All gives what is not deleted.
	All() []journal.Entry
}

// Config is what a worker needs.
type Config struct {
	Self         pipeline.NodeID
	Name         string
	Capabilities pipeline.Capabilities
	Runner       executor.Runner
	Blobs        *blob.Store
	Trees        *tree.Cache // over Blobs
	Journal      Journal
	// WorkDir holds the attempts' directories, CachesDir the named caches; both are
	// marked.
	WorkDir, CachesDir string
	// KeepCaches is the time without use after which the caches of a pipeline are
	// deleted, MaxCaches how many bytes all of them may have; 0 is no limit.
	KeepCaches time.Duration
	MaxCaches  int64
	// Layouts lays out large directories; its WorkDir is the same.
	Layouts *layout.Manager
	// ModuleEnv names variables of this machine that modules see.
	ModuleEnv []string
	// KeepWork keeps the directories of failed attempts.
	KeepWork bool
	// Fetch makes blobs present here, from the nodes in hints or from any other
	// that has them. Its error is pipeline.NotFound if no node that answers has
	// one of them.
	Fetch func(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error
	// Copy sends blobs that are too large for a report to another node and
	// returns which; "" if there is none, or none answered in time.
	Copy func(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID
	// Report hands reports to the orchestrator, wherever it is.
	Report func(ctx context.Context, reports []peer.Report) ([]peer.Ack, error)
	// LogLimit is how much of an attempt's output is kept, in bytes; 0: all.
	LogLimit int64
	// FindEngine connects to the machine's container engine; nil if the node runs no
	// containers. Program is this binary.
	FindEngine func(ctx context.Context) (*container.Engine, error)
	Program    string
	// Full is why the node has no capacity for more work; "" if it has. nil means
	// that it always has.
	Full func() string
	// Filled is called when a write found the disk full, so that Full knows
	// before the next attempt comes; may be nil.
	Filled func()
	Logger hclog.Logger
	// StartReport is how long a process runs before its start is reported; most
	// end sooner, and their outcome reports both. 0 means 150 ms.
	StartReport time.Duration
}

// historySize is how many ended attempts are remembered at most: far more than
// can still be under way from a leader.
const historySize = 1 << 17

// Worker does the worker's duty of one node. Its methods are safe for concurrent
// use.
type Worker struct {
	cfg Config
	log hclog.Logger

	// life ends when the daemon stops. group has the goroutines of attempts and
	// loops, which Run waits for.
	life   context.Context
	cancel context.CancelFunc
	group  errgroup.Group

	admission    *admission
	table        *table
	history      *history
	predecessors *predecessors
	outbox       *outbox
	directories  *directories
	sessions     *sessions
	lifecycle    *lifecycle
	keeper       *keeperLink
	faults       *faults
	caches       *caches
	containers   *containers
}

// Open resumes what journal and runner have. Run must follow.
func Open(ctx context.Context, cfg Config) (*Worker, error) {
	if cfg.StartReport <= 0 {
		cfg.StartReport = 150 * time.Millisecond
	}

	w := &Worker{cfg: cfg, log: cfg.Logger}
	w.life, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := w.connect(); err != nil {
		w.cancel()
		return nil, err
	}
	if err := w.recover(ctx); err != nil {
		w.cancel()
		return nil, errors.Join(err, w.group.Wait())
	}
	return w, nil
}

// connect makes the parts.
func (w *Worker) connect() error {
	cfg := &w.cfg
	fetch := &fetcher{blobs: cfg.Blobs, trees: cfg.Trees, remote: cfg.Fetch}
	w.faults = &faults{full: cfg.Full, filled: cfg.Filled, log: cfg.Logger}
	w.table = newTable()
	w.caches = &caches{dir: cfg.CachesDir, keepFor: cfg.KeepCaches, most: cfg.MaxCaches, table: w.table, low: w.diskLow, log: cfg.Logger}
	w.containers = &containers{find: cfg.FindEngine, program: cfg.Program, node: cfg.Self, table: w.table, log: cfg.Logger, why: "this node runs no containers"}
	proc := &processes{worker: cfg.Name, caches: w.caches, containers: w.containers, passThrough: cfg.ModuleEnv, logLimit: cfg.LogLimit}

	var err error
	if w.directories, err = openDirectories(cfg, fetch); err != nil {
		return err
	}

	w.admission = &admission{name: cfg.Name, full: w.Unfit}
	w.history = newHistory(historySize)
	w.predecessors = newPredecessors(w.history)
	w.sessions = &sessions{name: cfg.Name, workDir: cfg.WorkDir, keepWork: cfg.KeepWork, life: w.life,
		table: w.table, processes: proc, log: cfg.Logger, guests: map[pipeline.AttemptID]*guests{}}
	w.directories.evict = w.sessions.evict
	w.outbox = &outbox{send: cfg.Report, acknowledged: w.acknowledged, log: cfg.Logger, wake: make(chan struct{}, 1)}
	w.keeper = newKeeperLink(cfg.Runner, w.table, cfg.Logger)
	w.lifecycle = &lifecycle{
		self: cfg.Self, name: cfg.Name, startReport: cfg.StartReport, life: w.life,
		runner: cfg.Runner, journal: cfg.Journal, table: w.table, directories: w.directories, processes: proc,
		capturer:     &capturer{self: cfg.Self, blobs: cfg.Blobs, restore: w.directories.restore, copy: cfg.Copy, faults: w.faults, containers: w.containers, log: cfg.Logger, passThrough: cfg.ModuleEnv},
		predecessors: w.predecessors, outbox: w.outbox, faults: w.faults, containers: w.containers, log: cfg.Logger,
	}
	return nil
}

// Run reports outcomes until ctx ends, then waits for what is under way here.
// Processes that a keeper holds continue without this one.
func (w *Worker) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	w.spawn(func() { w.keeper.routeExits(w.life) })
	w.spawn(func() { w.keeper.watch(w.life) })
	w.spawn(func() { w.outbox.run(w.life) })
	w.spawn(func() { w.containers.watch(w.life) })
	w.spawn(func() { w.caches.trim(w.life) }) // a process of `pipelined run` is too short for TrimDirectories

	<-ctx.Done()
	w.admission.close() // no goroutine may join the group from here on
	w.cancel()
	err := w.group.Wait()

	w.ReleaseDirectories(false)
	return err
}

func (w *Worker) spawn(f func()) {
	w.group.Go(func() error { f(); return nil })
}

// Close makes the worker refuse new attempts.
func (w *Worker) Close() { w.admission.close() }

// Take accepts committed assignments and returns when they are in the journal.
// Known ones are left alone, so that repeating is harmless.
func (w *Worker) Take(in peer.DispatchRequest) (peer.DispatchResponse, error) {
	res := peer.DispatchResponse{Incarnation: w.cfg.Runner.Incarnation()}

	err := w.admission.take(in.Term, func() error {
		for i := range in.Specs {
			if err := w.takeOne(&in.Specs[i], res.Incarnation); err != nil {
				return err
			}
		}
		return nil
	})
	return res, err
}

// takeOne takes an attempt that is not known. One that is known and has no
// predecessor any more may start.
func (w *Worker) takeOne(s *pipeline.Spec, incarnation string) error {
	if w.table.get(s.ID) != nil {
		if s.Predecessor == nil {
			w.predecessors.release(s.ID)
		}
		return nil
	}
	if _, known := w.history.find(s.ID); known {
		return nil
	}
	if s.Incarnation != "" && s.Incarnation != incarnation {
		w.refuse(*s)
		return nil
	}

	raw, err := sealed(s)
	if err != nil {
		return fmt.Errorf("encode %s for the journal: %w", s.ID, err)
	}
	a := newAttempt(w.life, w.cfg.WorkDir, *s)
	err = w.cfg.Journal.Put(journal.Entry{ID: s.ID, Fence: s.Fence, Incarnation: incarnation, Spec: raw, Dir: string(a.dir)})
	if err != nil {
		a.cancel()
		return fmt.Errorf("take %s: %w", s.ID, err)
	}

	w.table.put(a)
	w.execute(a)
	return nil
}

// refuse reports an attempt of an earlier incarnation of this worker as lost. It
// is not in the journal: if this daemon dies, the leader dispatches it again.
func (w *Worker) refuse(s pipeline.Spec) {
	a := newAttempt(w.life, w.cfg.WorkDir, s)
	a.cancel()
	a.outcome = &pipeline.Outcome{ID: s.ID, Fence: s.Fence, Worker: w.cfg.Self, State: pipeline.AttemptLost,
		Reason: "worker " + w.cfg.Name + " was restarted and has lost its processes", FinishedAt: time.Now().UTC()}
	w.table.put(a)

	w.predecessors.ended(s.ID, false)
	w.outbox.add(outcomeReport(a.outcome, nil), false)
}

// execute queues an attempt behind its predecessor, if it has one, and starts
// its goroutine.
func (w *Worker) execute(a *attempt) {
	if a.spec.Predecessor != nil {
		a.begin = w.predecessors.join(a.id, *a.spec.Predecessor, func(reason string) { a.stop(reason) })
	}
	w.spawn(func() { w.lifecycle.execute(a) })
}

// Stop ends attempts; those that this node does not have are skipped.
func (w *Worker) Stop(ctx context.Context, in peer.StopRequest) error {
	if err := w.admission.follow(in.Term); err != nil {
		return err
	}

	for _, id := range in.IDs {
		a := w.table.get(id)
		if a == nil || !a.stop(in.Reason) {
			continue
		}
		// Not found: the process is being handed over, and begin sees the stop.
		err := w.cfg.Runner.Stop(ctx, a.key, in.Reason, a.spec.Grace)
		if err != nil && !errors.Is(err, executor.ErrNotFound) {
			return fmt.Errorf("stop %s: %w", a.id, err)
		}
	}
	return nil
}

// Sync renews the lease and says what this node is and has. The lease counts from
// an answer that the leader is known to have heard: a clock of an earlier life of
// the machine would grant no more than that.
func (w *Worker) Sync(ctx context.Context, in peer.SyncRequest) (peer.SyncResponse, error) {
	if err := w.admission.follow(in.Term); err != nil {
		return peer.SyncResponse{}, err
	}

	res := peer.SyncResponse{Incarnation: w.cfg.Runner.Incarnation(), Name: w.cfg.Name, Capabilities: w.cfg.Capabilities, Clock: executor.BootTime()}
	res.Capabilities.ContainerEngine = w.containers.name()
	res.Closed, res.Reason = w.admission.status()
	for _, a := range w.table.all() {
		held := a.held()
		held.Waiting = w.predecessors.isWaiting(a.id)
		res.Attempts = append(res.Attempts, held)
	}
	if in.Heard <= 0 || in.Heard > res.Clock {
		return res, nil
	}
	return res, w.keeper.renew(ctx, in.Heard+in.Lease)
}

// ImageDigests gives the digests of a module's images on this machine.
func (w *Worker) ImageDigests(ctx context.Context, in peer.ImageRequest) (peer.ImageResponse, error) {
	digests, err := w.containers.digests(ctx, &in.Container)
	return peer.ImageResponse{Digests: digests}, err
}

// Load is how many attempts are here that have neither ended nor wait for a
// predecessor.
func (w *Worker) Load() int {
	n := 0
	for _, a := range w.table.all() {
		if !a.ended() && !w.predecessors.isWaiting(a.id) {
			n++
		}
	}
	return n
}

// Unfit is why this node has no capacity for more work, or could not start an
// attempt a moment ago; "" if neither.
func (w *Worker) Unfit() string { return w.faults.current() }

// LogFile gives the file of the output of an attempt while this node has it, and
// that of its times; neither exists before the first byte. live is false once the
// process has ended and the file will not grow.
func (w *Worker) LogFile(id pipeline.AttemptID) (path, times string, live, ok bool) {
	a := w.table.get(id)
	if a == nil {
		return "", "", false, false
	}
	return a.dir.Log(), a.dir.Times(), !a.ended(), true
}

// OpenSession opens the directory of an attempt that runs here, or whose
// directory was kept. The caller calls Leave.
func (w *Worker) OpenSession(id pipeline.AttemptID) (*SessionDir, error) { return w.sessions.open(id) }

// TrimDirectories removes shared copies of workspaces and caches of pipelines beyond
// their limits, and if the disk is low, those that are not in use.
func (w *Worker) TrimDirectories() {
	w.cfg.Layouts.Trim()
	w.caches.trim(w.life)
}

// diskLow reports whether so little is free that blobs are refused, or a little more.
func (w *Worker) diskLow() bool {
	var full *disk.FullError
	return errors.As(w.cfg.Blobs.Admit(int64(w.cfg.Blobs.LowWater()/8)), &full)
}

// ReleaseDirectories removes the overlays of attempts that need them no more, at
// the end. Those of running ones stay, because they continue without this
// process, as do those whose outcome is not in the journal; with all set they go
// too.
func (w *Worker) ReleaseDirectories(all bool) {
	var list []*attempt
	for _, a := range w.table.all() {
		if all || !a.leftFiles() {
			list = append(list, a)
		}
	}
	w.directories.releaseAll(list)
}

// acknowledged forgets an attempt whose outcome is committed. It leaves the table
// first and is in the history before, so that a late dispatch finds it in one of
// the two.
func (w *Worker) acknowledged(rep *peer.Report, ack peer.Ack) {
	if rep.Outcome == nil {
		return
	}
	if ack.Refused != "" {
		w.log.Info("outcome had no effect", "attempt", rep.ID.String(), "reason", ack.Refused)
	}

	w.history.add(rep.ID, rep.Outcome.State == pipeline.AttemptSucceeded)
	w.lifecycle.finish(w.table.remove(rep.ID), rep.Outcome)
}
