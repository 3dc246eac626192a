package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// enqueueTimeout is how long a proposal waits for room in raft's queue.
	enqueueTimeout = 2 * time.Second
	// applyTimeout bounds the wait of Apply, however patient its caller.
	applyTimeout = 5 * time.Second
)

// Future is a proposal under way.
type Future struct {
	done  chan struct{}
	index uint64
	resp  any
	err   error
}

// Done is closed when the proposal has its answer.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait gives the entry's index and what the state machine answered. Where ctx
// ends first, the error is pipeline.ErrUnknownOutcome: the entry may still be
// committed. The other errors are those of Apply. It may be called often.
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

// Apply proposes a command and waits until it is committed and applied here.
// The errors are pipeline.ErrNotLeader, when the command was surely not taken,
// pipeline.ErrUnknownOutcome, when nothing is known, and kind TooLarge. It
// waits 5 s at most.
func (n *Node) Apply(ctx context.Context, cmd []byte) (index uint64, resp any, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	return n.ApplyAsync(cmd).Wait(ctx)
}

// ApplyAsync proposes a command. Commands proposed one after another by one
// goroutine are committed in that order, if at all. It blocks only while
// raft's queue is full. The caller must not change cmd afterwards.
func (n *Node) ApplyAsync(cmd []byte) *Future {
	f := &Future{done: make(chan struct{})}
	switch {
	case len(cmd) > MaxCommand:
		f.err = pipeline.Errorf(pipeline.TooLarge, "command of %d bytes: at most %d fit", len(cmd), MaxCommand)
	case !n.IsLeader() || n.closed.Load():
		f.err = pipeline.ErrNotLeader
	}
	if f.err != nil {
		close(f.done)
		return f
	}
	n.waiting.Add(1)
	rf := n.raft.Apply(cmd, enqueueTimeout)
	// raft's future has no channel to select on, and may never be dropped
	// (H1): a goroutine waits for it to the end.
	go func() {
		defer n.waiting.Add(-1)
		err := rf.Error()
		n.noteRefusal(err)
		if f.err = outcome(err); f.err == nil {
			f.index, f.resp = rf.Index(), rf.Response()
		}
		close(f.done)
	}()
	return f
}

// noteRefusal keeps since when raft has refused everything because of a
// transfer of leadership.
func (n *Node) noteRefusal(err error) {
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		n.refusedSince.CompareAndSwap(0, time.Now().UnixNano())
	} else if err == nil {
		n.refusedSince.Store(0)
	}
}

// outcome says what an error of raft's means: surely not taken, or unknown.
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

// Barrier waits until everything that was committed before is applied here.
func (n *Node) Barrier(ctx context.Context) error {
	if !n.IsLeader() || n.closed.Load() {
		return pipeline.ErrNotLeader
	}
	return outcome(n.await(ctx, func() error { return n.raft.Barrier(enqueueTimeout).Error() }))
}

// VerifyLeader asks a majority whether this node still leads.
func (n *Node) VerifyLeader(ctx context.Context) error {
	if !n.IsLeader() || n.closed.Load() {
		return pipeline.ErrNotLeader
	}
	if err := n.await(ctx, func() error { return n.raft.VerifyLeader().Error() }); err != nil {
		return &pipeline.Error{Kind: pipeline.ErrNotLeader.Kind, Message: pipeline.ErrNotLeader.Message, Err: err}
	}
	return nil
}

// await runs a wait of raft's to its end and returns earlier with ctx.
func (n *Node) await(ctx context.Context, wait func() error) error {
	done := make(chan error, 1)
	n.waiting.Add(1)
	go func() {
		defer n.waiting.Add(-1)
		done <- wait()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// changeTimeout bounds one change of the configuration.
const changeTimeout = 5 * time.Second

// AddVoter gives a node a vote. expect is the configuration the decision was
// made on; where it is another by now, nothing is changed (kind Conflict).
func (n *Node) AddVoter(ctx context.Context, id string, expect []Server) error {
	return n.change(ctx, "give a vote to "+id, expect, func() raft.Future {
		return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeTimeout)
	})
}

// AddStandby lets a node follow without a vote.
func (n *Node) AddStandby(ctx context.Context, id string, expect []Server) error {
	return n.change(ctx, "add "+id, expect, func() raft.Future {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, changeTimeout)
	})
}

// Demote takes a node's vote.
func (n *Node) Demote(ctx context.Context, id string, expect []Server) error {
	return n.change(ctx, "take the vote of "+id, expect, func() raft.Future {
		return n.raft.DemoteVoter(raft.ServerID(id), 0, changeTimeout)
	})
}

// Remove takes a node out of the configuration.
func (n *Node) Remove(ctx context.Context, id string, expect []Server) error {
	return n.change(ctx, "remove "+id, expect, func() raft.Future {
		return n.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout)
	})
}

// change makes one change at a time. All changes of a leader pass through here,
// so comparing under the lock is as good as raft's own previous index, which
// it does not tell.
func (n *Node) change(ctx context.Context, what string, expect []Server, f func() raft.Future) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	if !sameServers(expect, n.Servers()) {
		return pipeline.Errorf(pipeline.Conflict, "%s: the configuration has changed meanwhile", what)
	}
	if !n.IsLeader() || n.closed.Load() {
		return pipeline.ErrNotLeader
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := n.await(ctx, func() error { return f().Error() }); err != nil {
		return fmt.Errorf("%s: %w", what, outcome(err))
	}
	n.notify()
	return nil
}

func sameServers(a, b []Server) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TransferLeadership hands leadership to the most up-to-date voter. raft may
// refuse all writes for ever afterwards (H2), so it must be the last thing that
// a process does.
func (n *Node) TransferLeadership(ctx context.Context) error {
	n.transferring.Store(true)
	if err := n.await(ctx, func() error { return n.raft.LeadershipTransfer().Error() }); err != nil {
		return fmt.Errorf("hand over leadership: %w", err)
	}
	return nil
}

// Snapshot makes raft take a snapshot now.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.await(ctx, func() error { return n.raft.Snapshot().Error() }); err != nil &&
		!errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	return nil
}

// Refused is a proposal that was answered with an error before it was made.
func Refused(err error) *Future {
	f := &Future{done: make(chan struct{}), err: err}
	close(f.done)
	return f
}
