package state

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// proposeTimeout bounds Propose while a leader has the command.
	proposeTimeout = 10 * time.Second
	// leaderTimeout bounds it while no leader answers: longer than an election
	// takes, and short enough for the caller to try another node.
	leaderTimeout = 2 * time.Second
	// minRelay is the least time in which another node is asked to pass a command
	// on: an answer that comes too late leaves the outcome unknown.
	minRelay = 100 * time.Millisecond
)

// errLeaderChanged ends the wait for the answer of a node that leads no longer.
var errLeaderChanged = &pipeline.Error{Kind: pipeline.Unknown, Message: "the leader was lost while it had the command: the outcome is unknown"}

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
// ctx ends, no leader has answered for two seconds, or ten seconds have passed.
// That is harmless, because every command names the ids of what it makes: the
// state machine recognizes a repeated one. The error is then of the last
// attempt: Unavailable if nothing happened, Unknown if the command may have been
// committed.
func (s *State) Propose(ctx context.Context, command *fsm.Command) (Reply, error) {
	raw, err := fsm.Encode(command)
	if err != nil {
		return Reply{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	var last error
	var began time.Time // the start of the first attempt
	delivered := false  // an attempt may have been committed
	reply, err := backoff.Retry(ctx, func() (Reply, error) {
		if began.IsZero() {
			began = time.Now()
		}

		var reply Reply
		reply, last = s.proposeOnce(ctx, raw, began.Add(leaderTimeout))
		kind := pipeline.KindOf(last)
		delivered = delivered || last != nil && kind == pipeline.Unknown
		switch {
		case last == nil:
			return reply, nil
		case kind != pipeline.Unavailable && kind != pipeline.Unknown, time.Since(began) >= leaderTimeout:
			return reply, backoff.Permanent(last)
		}
		return reply, last
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

// proposeOnce proposes here, through the leader, or, if this node knows none,
// through another node that may: one link may be cut, and the leader cannot
// reach this node over it. relayUntil bounds the latter.
func (s *State) proposeOnce(ctx context.Context, raw []byte, relayUntil time.Time) (Reply, error) {
	if s.Leading() {
		return s.proposeHere(ctx, raw)
	}
	leader, err := s.LeaderID()
	switch {
	case err != nil:
		return s.relay(ctx, raw, relayUntil)
	case leader == s.self:
		return Reply{}, pipeline.ErrNoLeader // elected, not ready yet
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

// relay asks all other nodes that have the state to pass a command on to the
// leader that they know, until this node knows one itself.
func (s *State) relay(ctx context.Context, raw []byte, until time.Time) (Reply, error) {
	if time.Until(until) < minRelay {
		return Reply{}, pipeline.ErrNoLeader
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	ctx, stop := s.watch(ctx, func() bool {
		_, err := s.LeaderID()
		return err == nil
	})
	defer stop()

	type answer struct {
		reply Reply
		err   error
	}
	others := s.Replicas()
	answers := make(chan answer, len(others))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, other := range others {
		wg.Go(func() { // ends with ctx at the latest
			var a answer
			a.err = s.peers.CallRaw(ctx, other, pathRelay, raw, &a.reply)
			answers <- a
		})
	}

	// One that may have passed it on decides what is known of its fate.
	var last error = pipeline.ErrNoLeader
	for range others {
		a := <-answers
		switch kind := pipeline.KindOf(a.err); {
		case a.err == nil:
			return a.reply, nil
		case kind == pipeline.Unknown || errors.Is(a.err, context.Canceled):
			last = pipeline.ErrUnknownOutcome
		case kind != pipeline.Unavailable:
			last = a.err
		}
	}
	return Reply{}, last
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
