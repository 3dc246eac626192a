package state

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// proposeTimeout bounds Propose: longer than an election takes.
const proposeTimeout = 10 * time.Second

// errLeaderChanged ends the wait for the answer of a node that leads no longer.
var errLeaderChanged = &pipeline.Error{Kind: pipeline.Unknown, Message: "the leader changed while it had the command: the outcome is unknown"}

// Reply is what the state machine answered to a command.
type Reply struct {
	// Run is the run that the command concerned, as it then was.
	Run pipeline.Run `cbor:"1,keyasint"`
	// Repeated is set if the command had been applied before.
	Repeated bool `cbor:"2,keyasint,omitempty"`
	// Refused is set if the state machine refused the command; Kind and Message
	// say why.
	Refused bool   `cbor:"3,keyasint,omitempty"`
	Kind    string `cbor:"4,keyasint,omitempty"`
	Message string `cbor:"5,keyasint,omitempty"`
	// Schedule is the schedule that the command concerned, as it then was.
	Schedule *fsm.ScheduleRecord `cbor:"30,keyasint,omitempty"`
}

// Err is the refusal as an error, or nil.
func (r Reply) Err() error {
	if !r.Refused {
		return nil
	}
	return pipeline.Errorf(pipeline.ParseKind(r.Kind), "%s", r.Message)
}

func replyOf(result any) Reply {
	var out Reply
	var err error
	switch result := result.(type) {
	case fsm.SubmitResult:
		out.Run, out.Repeated, err = result.Run, result.Repeated, result.Err
	case fsm.FireResult:
		out.Run, out.Repeated, out.Schedule, err = result.Run, result.Repeated, &result.Schedule, result.Err
	case fsm.Result:
		out.Run, err = result.Run, result.Err
	}
	if err != nil {
		out.Refused, out.Kind, out.Message = true, pipeline.KindOf(err).String(), err.Error()
	}
	return out
}

// Propose commits a command through the leader, wherever it is, and returns
// what the state machine answered. A refusal is an error of the kind that the
// state machine gave it; the reply is valid then, too.
//
// It repeats a proposal that was rejected, or whose outcome is unknown, until
// ctx ends, ten seconds at most. That is harmless, because every command names
// the ids of what it makes: the state machine recognizes a repeated one. After
// ten seconds the error is of the last attempt: Unavailable if nothing happened,
// Unknown if the command may have been committed.
func (s *State) Propose(ctx context.Context, command *fsm.Command) (Reply, error) {
	raw, err := fsm.Encode(command)
	if err != nil {
		return Reply{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	var last error
	delivered := false // an attempt may have been committed
	reply, err := backoff.Retry(ctx, func() (Reply, error) {
		var reply Reply
		reply, last = s.proposeOnce(ctx, raw)
		switch kind := pipeline.KindOf(last); {
		case last == nil || kind == pipeline.Unavailable:
			return reply, last
		case kind == pipeline.Unknown:
			delivered = true
			return reply, last
		}
		return reply, backoff.Permanent(last)
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 10 * time.Millisecond, MaxInterval: 200 * time.Millisecond, Multiplier: 2,
		RandomizationFactor: 0.2}))
	switch {
	case err == nil:
		return reply, reply.Err()
	case delivered && pipeline.KindOf(last) == pipeline.Unavailable:
		return reply, pipeline.ErrUnknownOutcome
	}
	return reply, last // err is that of ctx if it ended first
}

// Commit commits a decision that only a leader may take, once and on this node.
// It returns pipeline.ErrNotLeader if this node does not lead.
func (s *State) Commit(ctx context.Context, command *fsm.Command) error {
	raw, err := fsm.Encode(command)
	if err != nil {
		return err
	}

	reply, err := s.proposeHere(ctx, raw)
	if err != nil {
		return err
	}
	return reply.Err()
}

func (s *State) proposeOnce(ctx context.Context, raw []byte) (Reply, error) {
	if s.Leading() {
		return s.proposeHere(ctx, raw)
	}

	leader, err := s.otherLeader()
	if err != nil {
		return Reply{}, err
	}
	ctx, stop := s.whileLeading(ctx, leader)
	defer stop()
	var out Reply
	err = s.peers.CallRaw(ctx, leader, pathPropose, raw, &out)
	if err != nil && errors.Is(context.Cause(ctx), errLeaderChanged) {
		err = errLeaderChanged
	}
	return out, err
}

func (s *State) proposeHere(ctx context.Context, raw []byte) (Reply, error) {
	if !s.Leading() {
		return Reply{}, pipeline.ErrNotLeader
	}

	result, err := s.leader.Propose(ctx, raw)
	if err != nil {
		return Reply{}, err
	}
	return replyOf(result), nil
}

// whileLeading gives a context that ends when another node leads: a leader that
// is stopped or cut off keeps its connections open and answers nothing.
func (s *State) whileLeading(ctx context.Context, leader pipeline.NodeID) (watched context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changes, unsubscribe := s.cluster.Changes()
	done := make(chan struct{})
	go func() { // ends with ctx, and stop waits for it
		defer close(done)
		for {
			// Subscribed before the first look, so that no change is missed.
			if now, err := s.LeaderID(); err == nil && now != leader {
				cancel(errLeaderChanged)
				return
			}
			select {
			case <-changes:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
		unsubscribe()
	}
}
