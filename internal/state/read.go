package state

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// freshTimeout bounds Fresh: a caller reads what is here rather than wait
	// for an election.
	freshTimeout = 2 * time.Second
	// catchUpTimeout bounds CatchUp.
	catchUpTimeout = 30 * time.Second
	// debounceTime is how long changes of a run are collected before those who
	// wait for them read it: people see no difference, and a run of a thousand
	// short modules is not read a thousand times.
	debounceTime = 40 * time.Millisecond
	// verifyTimeout bounds the round with which a leader verifies that it leads.
	verifyTimeout = 2 * time.Second
)

// Fresh waits until this node has applied everything that was acknowledged
// before the call. If no leader answers within two seconds it returns false,
// and the state here may be behind. A leader verifies that it leads.
func (s *State) Fresh(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	index, err := backoff.Retry(ctx, func() (uint64, error) {
		if s.Leading() {
			return s.leaderIndex(ctx)
		}
		return s.remoteIndex(ctx)
	}, backoff.WithBackOff(backoff.NewConstantBackOff(20*time.Millisecond)))
	return err == nil && s.WaitIndex(ctx, index) == nil
}

// Missing is the error for what is not in the state here: err, or Unavailable if
// the state may be behind, because Fresh was false.
func Missing(err error, fresh bool) error {
	if fresh || pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return pipeline.Errorf(pipeline.Unavailable, "%w, in the state of this node, which may be behind: no leader answers", err)
}

// CatchUp waits until this node has applied everything that the leader had
// committed when it was asked. Unlike Fresh it verifies that a leader which is
// this node still leads, and it fails at once if there is none.
func (s *State) CatchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()

	var index uint64
	leader, err := s.LeaderID()
	switch {
	case err != nil:
	case leader == s.self:
		index, err = s.leaderIndex(ctx)
	default:
		index, err = s.remoteIndex(ctx)
	}
	if err != nil {
		return fmt.Errorf("ask the leader for its index: %w", err)
	}
	return s.WaitIndex(ctx, index)
}

// Debounce collects further changes of a run that has just changed. It returns
// after a short time, or at once if the run has ended.
func (s *State) Debounce(ctx context.Context, id pipeline.RunID) {
	ctx, cancel := context.WithTimeout(ctx, debounceTime)
	defer cancel()

	for {
		changed := s.store.Changed(id)
		var ended bool
		_ = s.store.View(func(v *fsm.View) error { // if it is closed, the next read reports it
			run, ok := v.Run(id)
			ended = !ok || run.State.Final()
			return nil
		})
		if ended {
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// WaitIndex waits until this node has applied the log up to index. The error is
// Unavailable if ctx ends first.
func (s *State) WaitIndex(ctx context.Context, index uint64) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if have := s.store.Index(); have < index {
			return struct{}{}, pipeline.Errorf(pipeline.Unavailable, "the state of this node is behind the leader's: index %d, want %d", have, index)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(pollBackOff(2*time.Millisecond, 20*time.Millisecond)))
	return unavailable(err)
}

// unavailable gives the error of a wait that ctx ended a kind.
func unavailable(err error) error {
	if err == nil || pipeline.KindOf(err) == pipeline.Unavailable {
		return err
	}
	return pipeline.Errorf(pipeline.Unavailable, "the state of this node is behind the leader's: %w", err)
}

// pollBackOff looks often at first, then less often.
func pollBackOff(from, to time.Duration) backoff.BackOff {
	return &backoff.ExponentialBackOff{InitialInterval: from, MaxInterval: to, Multiplier: 1.5}
}

// remoteIndex asks another node, the leader, for its index.
func (s *State) remoteIndex(ctx context.Context) (uint64, error) {
	leader, err := s.otherLeader()
	if err != nil {
		return 0, err
	}

	var index uint64
	err = s.peers.Call(ctx, leader, pathIndex, struct{}{}, &index)
	return index, err
}

// Verify proves that this node leads, and that its state has everything that was
// acknowledged before the call. A leader that was replaced without knowing it
// must not answer from its state, so a majority of the voters confirms that. If
// two calls return the same term, the node has led all the time between them.
// The error is pipeline.ErrNotLeader, or Unavailable if no majority answers.
func (s *State) Verify(ctx context.Context) (term uint64, err error) {
	// The term whose log the orchestrator has applied: raft may have lost and won
	// leadership meanwhile.
	ready := s.leader.Term()
	if ready == 0 {
		return 0, pipeline.ErrNotLeader
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	term, err = s.cluster.VerifyLeader(ctx)
	if err == nil && term != ready {
		err = pipeline.ErrNotLeader
	}
	return term, err
}

// leaderIndex is the index up to which the state must be applied for a read to
// see everything that was acknowledged.
func (s *State) leaderIndex(ctx context.Context) (uint64, error) {
	if _, err := s.Verify(ctx); err != nil {
		return 0, err
	}
	return s.store.Index(), nil
}
