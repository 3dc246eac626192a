package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// enqueueTimeout is how long a proposal waits for space in raft's queue.
	enqueueTimeout = 2 * time.Second
	// applyTimeout bounds the wait of Apply, whatever its caller's context says.
	applyTimeout = 5 * time.Second
	// changeTimeout bounds one change of the configuration.
	changeTimeout = 5 * time.Second
	// drainWait bounds how long a node that closes waits for raft's answers.
	drainWait = 250 * time.Millisecond
)

// Future is a proposal in progress.
type Future struct {
	done  chan struct{}
	index uint64
	resp  any
	err   error
}

// Done is closed when the proposal has its answer.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait returns the entry's index and the response of the state machine. If ctx
// ends first, the error is pipeline.ErrUnknownOutcome: the entry may still be
// committed. The other errors are those of Apply. It may be called more than
// once.
func (f *Future) Wait(ctx context.Context) (uint64, any, error) {
	select {
	case <-f.done:
		return f.index, f.resp, f.err
	default:
	}
	select {
	case <-f.done:
		return f.index, f.resp, f.err
	case <-ctx.Done():
		return 0, nil, unknown(context.Cause(ctx))
	}
}

// Refused is a proposal that was answered with an error before it was made.
func Refused(err error) *Future {
	f := &Future{done: make(chan struct{}), err: err}
	close(f.done)
	return f
}

// proposer passes commands and changes of the configuration to raft, and waits
// for its responses. A future of raft's may never be dropped (H1), so each has
// a goroutine that waits to its end. Its exported methods are those of Node. It is
// safe for concurrent use.
type proposer struct {
	instance *instance
	// changed is called when the configuration has changed.
	changed func()
	metrics *metrics.Raft

	// closed is set before anything is torn down: nothing new is proposed.
	closed atomic.Bool
	// waiting counts what raft has not answered.
	waiting atomic.Int64
	// refusedSince is when the first of an unbroken row of proposals was
	// refused because of a transfer, in Unix nanoseconds; 0 for none (H2).
	refusedSince atomic.Int64
	// transferring is set while this node hands leadership over on purpose.
	transferring atomic.Bool
	// changing serializes changes of the configuration.
	changing sync.Mutex
	// restoring is set while the state is replaced: nothing new is proposed. The
	// lock is held for reading from the look at it until raft has the proposal.
	restoringMu sync.RWMutex
	restoring   bool
}

// open reports whether this node may propose.
func (p *proposer) open() bool { return p.instance.leads() && !p.closed.Load() }

// ApplyAsync proposes a command. Commands proposed one after another by one
// goroutine are committed in that order, if at all. It blocks only while
// raft's queue is full. The caller must not change cmd afterwards.
func (p *proposer) ApplyAsync(cmd []byte) *Future {
	switch {
	case len(cmd) > MaxCommand:
		return Refused(pipeline.Errorf(pipeline.TooLarge, "command of %d bytes: at most %d fit", len(cmd), MaxCommand))
	case !p.open():
		return Refused(pipeline.ErrNotLeader)
	}

	p.restoringMu.RLock()
	if p.restoring {
		p.restoringMu.RUnlock()
		return Refused(pipeline.ErrNotLeader)
	}

	f := &Future{done: make(chan struct{})}
	p.waiting.Add(1)
	began := time.Now()
	rf := p.instance.raft.Apply(cmd, enqueueTimeout)
	p.restoringMu.RUnlock()
	go func() {
		defer p.waiting.Add(-1)
		err := rf.Error()
		p.noteRefusal(err)
		if f.err = outcome(err); f.err == nil {
			p.metrics.Committed(time.Since(began))
			f.index, f.resp = rf.Index(), rf.Response()
			if u, ok := f.resp.(unapplied); ok {
				f.resp, f.err = nil, unknown(u.error)
			}
		}
		close(f.done)
	}()

	return f
}

// noteRefusal keeps since when raft has refused everything because of a
// transfer of leadership.
func (p *proposer) noteRefusal(err error) {
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		p.refusedSince.CompareAndSwap(0, time.Now().UnixNano())
	} else if err == nil {
		p.refusedSince.Store(0)
	}
}

// await runs a wait of raft's to its end and returns earlier with ctx.
func (p *proposer) await(ctx context.Context, wait func() error) error {
	done := make(chan error, 1)
	p.waiting.Add(1)
	go func() {
		defer p.waiting.Add(-1)
		done <- wait()
	}()

	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// change serializes the changes of the configuration. All changes of a leader
// pass through here, so comparing under the lock is as good as raft's own
// previous index, which raft does not expose.
func (p *proposer) change(ctx context.Context, what string, expect []Server, f func() raft.Future) error {
	p.changing.Lock()
	defer p.changing.Unlock()

	if !slices.Equal(expect, p.instance.servers()) {
		return pipeline.Errorf(pipeline.Conflict, "%s: the configuration has changed meanwhile", what)
	}

	if !p.open() {
		return pipeline.ErrNotLeader
	}

	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()

	if err := p.await(ctx, func() error { return f().Error() }); err != nil {
		return fmt.Errorf("%s: %w", what, outcome(err))
	}

	p.changed()

	return nil
}

// close refuses new proposals and waits for raft's answers to the others, within
// drainWait: raft forgets what still waits in its queue when it shuts down, and
// would never answer it.
func (p *proposer) close() {
	p.closed.Store(true)
	for end := time.Now().Add(drainWait); p.waiting.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// outcome classifies an error of raft's: surely not taken, or unknown.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return &pipeline.Error{Kind: pipeline.ErrNotLeader.Kind, Message: pipeline.ErrNotLeader.Message, Err: err}
	default:
		return unknown(err)
	}
}

func unknown(cause error) error {
	u := pipeline.ErrUnknownOutcome
	return &pipeline.Error{Kind: u.Kind, Message: u.Message, Err: cause}
}

// Apply proposes a command and waits until it is committed and applied here.
// The errors are pipeline.ErrNotLeader, if the command was surely not taken,
// pipeline.ErrUnknownOutcome, if nothing is known, and kind TooLarge. It waits
// 5 s at most.
func (p *proposer) Apply(ctx context.Context, cmd []byte) (index uint64, resp any, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	return p.ApplyAsync(cmd).Wait(ctx)
}

// Barrier waits until everything that was committed before is applied here.
func (p *proposer) Barrier(ctx context.Context) error {
	if !p.open() {
		return pipeline.ErrNotLeader
	}
	return outcome(p.await(ctx, func() error { return p.instance.raft.Barrier(enqueueTimeout).Error() }))
}

// AddVoter makes a node a voter. expect is the configuration the decision was
// made on; if it has changed since, nothing is changed (kind Conflict).
func (p *proposer) AddVoter(ctx context.Context, id string, expect []Server) error {
	return p.change(ctx, "give a vote to "+id, expect, func() raft.Future {
		return p.instance.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeTimeout)
	})
}

// AddStandby adds a node without a vote.
func (p *proposer) AddStandby(ctx context.Context, id string, expect []Server) error {
	return p.change(ctx, "add "+id, expect, func() raft.Future {
		return p.instance.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeTimeout)
	})
}

// Demote removes a node's vote.
func (p *proposer) Demote(ctx context.Context, id string, expect []Server) error {
	return p.change(ctx, "take the vote of "+id, expect, func() raft.Future {
		return p.instance.raft.DemoteVoter(raft.ServerID(id), 0, changeTimeout)
	})
}

// Remove removes a node from the configuration.
func (p *proposer) Remove(ctx context.Context, id string, expect []Server) error {
	return p.change(ctx, "remove "+id, expect, func() raft.Future {
		return p.instance.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout)
	})
}

// TransferLeadership hands leadership to the most up-to-date voter. raft may
// refuse all writes forever afterwards (H2), so it must be the last thing that
// a process does. If the process continues nevertheless, the watchdog looks again.
func (p *proposer) TransferLeadership(ctx context.Context) error {
	p.transferring.Store(true)
	defer p.transferring.Store(false)
	if err := p.await(ctx, func() error { return p.instance.raft.LeadershipTransfer().Error() }); err != nil {
		return fmt.Errorf("hand over leadership: %w", err)
	}
	return nil
}

// Snapshot makes raft take a snapshot now.
func (p *proposer) Snapshot(ctx context.Context) error {
	if err := p.await(ctx, func() error { return p.instance.raft.Snapshot().Error() }); err != nil &&
		!errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	return nil
}
