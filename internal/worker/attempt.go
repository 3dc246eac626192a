package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"sync"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
)

// attempt is one attempt that this node has taken, from its journal entry until
// its outcome is committed. One goroutine (lifecycle) carries it; the methods
// are safe for others, which stop it or read its state. They call nothing that
// waits, so they may be called with any lock held.
type attempt struct {
	id   pipeline.AttemptID
	key  string // id as the executor names it
	spec pipeline.Spec
	dir  attemptdir.Dir

	// exit receives the status of its process. A runner repeats an exit until it
	// is forgotten; only the first one fits.
	exit chan executor.Status
	// keeperDied is closed when the keeper that held its process has died.
	keeperDied chan struct{}
	// begin is closed when its predecessor has succeeded; nil if it is queued
	// behind none. It is set before the attempt has a goroutine.
	begin <-chan struct{}
	// fetched is what was downloaded for it by this daemon.
	fetched fetched
	// images are those of its container and of its services, in this order, once
	// they are on this machine.
	images []container.Image

	// ctx is canceled when the attempt is to end before its process runs.
	ctx    context.Context
	cancel context.CancelFunc

	mu sync.Mutex // guards following
	// startedAt is when its process started; zero before.
	startedAt time.Time
	// running says that the runner has its process, or may have it. From then on
	// a stop goes to the runner, before to ctx.
	running bool
	// keeper is the incarnation of the runner that was given the process.
	keeper string
	// lost says that keeperDied is closed.
	lost bool
	// stopReason is why it was asked to end; the first reason stays.
	stopReason string
	// outcome is how it ended; it never changes once set. durable says that it is
	// in the journal.
	outcome *pipeline.Outcome
	durable bool
}

func newAttempt(life context.Context, workDir string, spec pipeline.Spec) *attempt {
	ctx, cancel := context.WithCancel(life)

	return &attempt{
		id: spec.ID, key: spec.ID.String(), spec: spec, dir: attemptDir(workDir, spec.ID),
		exit: make(chan executor.Status, 1), keeperDied: make(chan struct{}),
		ctx: ctx, cancel: cancel,
	}
}

// attemptDir is the directory of an attempt: it begins with the run's id, and is
// unique. It follows from the id alone, so that every daemon finds it again.
func attemptDir(root string, id pipeline.AttemptID) attemptdir.Dir {
	sum := sha256.Sum256([]byte(id.String()))
	return attemptdir.Dir(filepath.Join(root, string(id.Run)+"-"+hex.EncodeToString(sum[:6])))
}

// stop asks the attempt to end. It reports whether the runner must be asked too,
// because the process runs or may run.
func (a *attempt) stop(reason string) (askRunner bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.outcome != nil {
		return false
	}
	if a.stopReason == "" {
		a.stopReason = reason
	}
	if !a.running {
		a.cancel()
	}
	return a.running
}

// stopped is why the attempt was asked to end; "" if it was not.
func (a *attempt) stopped() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopReason
}

// handOver marks the process as the runner's, unless the attempt was stopped
// before. Every stop after it asks the runner.
func (a *attempt) handOver(incarnation string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.stopReason != "" {
		return false
	}
	a.running, a.keeper = true, incarnation
	return true
}

// started sets when the process started; the zero time changes nothing. It
// returns why the attempt was asked to end meanwhile: a stop between handOver
// and the runner's acceptance found no process there.
func (a *attempt) started(at time.Time) (stopReason string) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if !at.IsZero() {
		a.startedAt = at.UTC()
	}
	return a.stopReason
}

// finish sets the outcome; durable says whether it is in the journal.
func (a *attempt) finish(o *pipeline.Outcome, durable bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.outcome, a.durable = o, durable
}

// startReport is the report of its start; ok is false if it has ended.
func (a *attempt) startReport() (r peer.Report, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return peer.Report{ID: a.id, StartedAt: a.startedAt}, a.outcome == nil
}

// held is what the orchestrator compares with its own records.
func (a *attempt) held() peer.Held {
	a.mu.Lock()
	defer a.mu.Unlock()
	return peer.Held{ID: a.id, Fence: a.spec.Fence, StartedAt: a.startedAt, Ended: a.outcome != nil}
}

// ended reports whether it has an outcome.
func (a *attempt) ended() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outcome != nil
}

// leftFiles reports whether a process has, or had, the directory, and what it left
// there is not yet in an outcome that the journal holds: the next daemon captures
// it again.
func (a *attempt) leftFiles() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running && !a.durable
}

// hasProcess reports whether its process is, or was, with the runner.
func (a *attempt) hasProcess() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running
}

// loseKeeper closes keeperDied if a keeper other than incarnation held its
// process and no exit of it is known.
func (a *attempt) loseKeeper(incarnation string) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.running && a.keeper != incarnation && a.outcome == nil && !a.lost {
		a.lost = true
		close(a.keeperDied)
	}
}

// phases gives how long what this node did beside the process took, once log and outputs
// of an outcome are stored; nil if all of that was short.
func (a *attempt) phases(o *pipeline.Outcome) *pipeline.Phases {
	p := a.fetched.phases()
	if took := time.Since(o.FinishedAt); took >= pipeline.ShortPhase && a.hasProcess() {
		p.Capture = took
	}
	if p == (pipeline.Phases{}) {
		return nil
	}
	return &p
}
