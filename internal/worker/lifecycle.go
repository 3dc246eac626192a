package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// lifecycle carries attempts from their files to their outcome, each in one
// goroutine.
//
// The order is what makes a crash harmless. An attempt is in the journal before
// it has a directory; its process is with the runner, which starts an id once,
// before it counts as started; its outcome is in the journal before it is
// reported; and the journal forgets it only after the outcome is committed. At
// each point the next daemon finds in journal and runner where to continue.
type lifecycle struct {
	self        pipeline.NodeID
	name        string
	startReport time.Duration
	// life ends when the daemon stops; attempts are then left as they are.
	life context.Context

	runner       executor.Runner
	journal      Journal
	table        *table
	directories  *directories
	processes    *processes
	capturer     *capturer
	predecessors *predecessors
	outbox       *outbox
	faults       *faults
	containers   *containers
	log          hclog.Logger
}

// execute takes an attempt from its files to its outcome.
func (c *lifecycle) execute(a *attempt) {
	err := c.begin(a)
	switch {
	case err == nil:
		c.await(a)
	case c.life.Err() != nil:
		// The daemon stops; the journal has the attempt.
	case errors.Is(err, executor.ErrNoLease) && a.stopped() == "":
		c.giveBack(a)
	default:
		c.conclude(a, &captured{outcome: c.notStarted(a, err)})
	}
}

// begin lays out the directory, waits for the predecessor, and starts the
// process. The files come first: they are there when the predecessor ends.
func (c *lifecycle) begin(a *attempt) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if err := c.directories.prepare(a.ctx, a); err != nil {
		return err
	}
	if err := c.directories.notice(a.ctx, a); err != nil {
		return err
	}
	if err := c.containers.prepare(a.ctx, a); err != nil {
		return err
	}
	proc, err := c.processes.of(a)
	if err != nil {
		return err
	}

	if a.begin != nil {
		select {
		case <-a.begin:
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}

	if !a.handOver(c.runner.Incarnation()) {
		return context.Canceled
	}
	err = c.runner.Start(c.life, []executor.Process{proc})
	if errors.Is(err, executor.ErrSeen) {
		return nil // started before this daemon; its exit comes or has come
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}

	if reason := a.started(time.Now()); reason != "" {
		// The stop came between handOver and Start, and the runner did not know the
		// process yet.
		c.stopProcess(c.life, a, reason)
	}
	return nil
}

// stopProcess asks the runner to end a process, and logs if it cannot.
func (c *lifecycle) stopProcess(ctx context.Context, a *attempt, reason string) {
	err := c.runner.Stop(ctx, a.key, reason, a.spec.Grace)
	if err != nil && !errors.Is(err, executor.ErrNotFound) {
		c.log.Warn("stop attempt", a.spec.LogFields("error", err)...)
	}
}

// notStarted is the outcome of an attempt whose process never ran. Unless that is
// the module's fault (files that could not be had, a fault of this machine, a
// keeper that died) it is lost, so that it is repeated.
func (c *lifecycle) notStarted(a *attempt, err error) *pipeline.Outcome {
	o := &pipeline.Outcome{State: pipeline.AttemptLost, Reason: err.Error(), FinishedAt: time.Now().UTC(),
		NeverBegun: !errors.Is(err, executor.ErrUnknownStart)}

	if stop := a.stopped(); stop != "" {
		o.State, o.Reason = pipeline.AttemptCancelled, stop
		return o
	}
	var lost *lostOutputs
	if errors.As(err, &lost) {
		o.LostOutputs = lost.modules
		return o
	}

	switch pipeline.KindOf(err) {
	case pipeline.Unavailable, pipeline.NotFound, pipeline.Timeout, pipeline.Unknown:
		// Of another node, or of the keeper.
	default:
		if isModules(err) {
			o.State = pipeline.AttemptFailed
			return o
		}
		c.faults.happened(err.Error())
	}
	return o
}

// giveBack forgets an attempt that the runner refused because no lease is in force:
// a keeper that has just been started has none. It has not begun, so nothing is
// lost: the leader misses it at its next comparison, which renews the lease, and if
// it still wants it, sends it again. The table is last: until then the attempt is
// not taken again.
func (c *lifecycle) giveBack(a *attempt) {
	c.log.Info("no lease is in force: the attempt waits for the leader", a.spec.LogFields()...)
	if err := c.journal.Delete(a.id); err != nil {
		c.log.Error("delete from the journal", a.spec.LogFields("error", err)...)
	}
	c.directories.remove(a, true)
	a.cancel()
	c.table.remove(a.id)
}

// await waits for the process to end, reports its start if it runs for a while,
// and captures what it left.
func (c *lifecycle) await(a *attempt) {
	started := time.NewTimer(c.startReport)
	defer started.Stop()

	for {
		select {
		case <-c.life.Done():
			return
		case <-started.C:
			if r, ok := a.startReport(); ok {
				c.outbox.add(r, false)
			}
		case <-a.keeperDied:
			c.containers.removeOf(c.life, a)
			c.conclude(a, &captured{outcome: c.lostWithKeeper()})
			return
		case st := <-a.exit:
			a.started(st.StartedAt)
			c.noteStart(st)
			if got := c.capturer.capture(c.life, a, st); got != nil {
				c.conclude(a, got)
			}
			return
		}
	}
}

// noteStart notes for the node's faults whether a process could be started.
func (c *lifecycle) noteStart(st executor.Status) {
	if st.MachineFault {
		c.faults.happened(st.StartError)
	} else if !st.StartedAt.IsZero() {
		c.faults.started()
	}
}

// lostWithKeeper is the outcome of an attempt whose keeper died before it had an
// exit of it. An exit that reached the disk comes by the next keeper instead.
func (c *lifecycle) lostWithKeeper() *pipeline.Outcome {
	return &pipeline.Outcome{State: pipeline.AttemptLost, FinishedAt: time.Now().UTC(),
		Reason: "the keeper of worker " + c.name + " died, and its processes with it"}
}

// conclude puts the outcome into the journal and queues its report.
//
// Those queued behind the attempt are released first: they wait for the process,
// not for bytes. If any was released the report may wait a little for others,
// since the slot is in use again already.
func (c *lifecycle) conclude(a *attempt, got *captured) {
	o := got.outcome
	o.ID, o.Fence, o.Worker = a.id, a.spec.Fence, c.self
	if o.Reason != "" { // the runner's part of it is masked already
		o.Reason = mask.New(slices.Concat(hidden(&a.spec), got.added)).String(o.Reason)
	}

	released := c.predecessors.ended(a.id, o.State == pipeline.AttemptSucceeded)
	inline := c.capturer.secure(c.life, a, got)
	o.Phases = a.phases(o)

	if o.StartedAt.IsZero() && !o.NeverBegun {
		o.StartedAt = a.held().StartedAt
	}
	err := c.journal.SetOutcome(*o)
	if err != nil {
		// It is reported all the same. If this daemon dies before the commit, the
		// next one captures the attempt again, or finds that its keeper is gone.
		c.log.Error("write outcome to the journal", a.spec.LogFields("error", err)...)
	}
	a.finish(o, err == nil)
	c.outbox.add(outcomeReport(o, inline), released)
}

// outcomeReport is the report of an outcome, with small blobs that it names.
func outcomeReport(o *pipeline.Outcome, inline [][]byte) peer.Report {
	return peer.Report{ID: o.ID, StartedAt: o.StartedAt, Outcome: o, Blobs: inline}
}

// finish forgets an attempt whose outcome is committed: first in the journal,
// since what only the runner or the disk has left is swept by the next daemon.
func (c *lifecycle) finish(a *attempt, o *pipeline.Outcome) {
	if err := c.journal.Delete(o.ID); err != nil {
		c.log.Error("delete from the journal", a.spec.LogFields("error", err)...)
	}
	if a == nil {
		return
	}

	a.cancel()
	if a.hasProcess() {
		if err := c.runner.Forget(c.life, a.key); err != nil && c.life.Err() == nil {
			c.log.Warn("forget attempt", a.spec.LogFields("error", err)...)
		}
	}
	c.directories.remove(a, o.State == pipeline.AttemptSucceeded)
}
