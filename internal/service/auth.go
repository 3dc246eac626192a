package service

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// tokenTimeout bounds the search for a token's record.
	tokenTimeout = 2 * time.Second
	// tokenCallTimeout bounds one question, so that a leader that is stopped does
	// not use up the time.
	tokenCallTimeout = tokenTimeout / 4
	// tokenPause is the pause between two searches.
	tokenPause = 50 * time.Millisecond
)

var errToken = pipeline.Errorf(pipeline.Unauthenticated, "the token is unknown, expired, or of another cluster")

// Authenticate finds the subject of a bearer token: one that a command line made
// from the cluster key, or one of the cluster's.
func (t *Tokens) Authenticate(ctx context.Context, token, _ string) (api.Subject, error) {
	if !strings.HasPrefix(token, tokenPrefix) {
		return t.authenticateSelfMade(token)
	}
	id, ok := secretID(tokenPrefix, token)
	if !ok {
		return api.Subject{}, errToken
	}

	rec, err := t.find(ctx, id)
	if pipeline.KindOf(err) == pipeline.NotFound {
		return api.Subject{}, errToken
	}
	if err != nil {
		return api.Subject{}, err
	}
	if rec.Code || !valid(rec, token, time.Now()) {
		return api.Subject{}, errToken
	}
	return subjectOf(rec), nil
}

// Revoked reports whether a token of the cluster is gone or has expired. If no leader
// says so it is not. A token that a command line made is for beginning calls only.
func (t *Tokens) Revoked(ctx context.Context, token string) bool {
	if !strings.HasPrefix(token, tokenPrefix) {
		return false
	}
	_, err := t.Authenticate(ctx, token, "")
	return pipeline.KindOf(err) == pipeline.Unauthenticated
}

// authenticateSelfMade checks a token that was signed with the cluster key for
// this node. The nonce, which this node gives out, bounds its life.
func (t *Tokens) authenticateSelfMade(token string) (api.Subject, error) {
	now := time.Now()
	claims, err := t.keys.VerifyToken(token, t.self, now)
	if err != nil || !t.keys.CheckNonce(claims.Nonce, t.self, now) {
		return api.Subject{}, errToken
	}
	return api.Subject{Name: claims.Subject, Role: api.Role(claims.Role)}, nil
}

func subjectOf(rec fsm.TokenRecord) api.Subject {
	s := api.Subject{Name: rec.Name, Role: api.Role(rec.Role), Untrusted: rec.Untrusted, Token: rec.ID, ExpiresAt: rec.ExpiresAt}
	if s.Name == "" {
		s.Name = "token " + rec.ID
	}
	if rec.Uses > 0 {
		s.Use = rec.ID
	}
	if s.Role == api.RoleWorker {
		s.Worker = pipeline.NodeID(rec.ID)
	}
	return s
}

// find reads a token's record, here or on a node that has it. One that this node
// does not know may have been created a moment ago, or the state here may be
// behind: then the leader decides. While there is no leader, any node that has
// the token will do, and a token that none has is searched for again for a while.
func (t *Tokens) find(ctx context.Context, id string) (fsm.TokenRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	var last error
	rec, err := backoff.Retry(ctx, func() (fsm.TokenRecord, error) {
		rec, err := t.findOnce(ctx, id)
		if last = err; pipeline.KindOf(err) == pipeline.NotFound {
			err = backoff.Permanent(err)
		}
		return rec, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(tokenPause)))
	if err != nil {
		err = last // not that of ctx
	}
	if pipeline.KindOf(err) == pipeline.Unknown { // a question has no effect
		err = pipeline.Errorf(pipeline.Unavailable, "look up the token: %w", err)
	}
	return rec, err
}

// findOnce is NotFound only if a leader says so that has proved to lead.
func (t *Tokens) findOnce(ctx context.Context, id string) (fsm.TokenRecord, error) {
	if t.state.HasState() {
		if rec, err := t.known(ctx, id); err == nil || pipeline.KindOf(err) == pipeline.NotFound {
			return rec, err
		}
	}

	leader, err := t.state.LeaderID()
	if err == nil && leader == t.self {
		err = pipeline.ErrNoLeader // elected, not ready yet
	}
	var rec fsm.TokenRecord
	if err == nil {
		call, cancel := context.WithTimeout(ctx, tokenCallTimeout)
		err = t.peers.Call(call, leader, pathToken, id, &rec)
		cancel()
		if err == nil || pipeline.KindOf(err) == pipeline.NotFound {
			return rec, err
		}
	}
	if found, ok := t.ask(ctx, leader, id); ok {
		return found, nil
	}
	return rec, err
}

// ask asks all other nodes that have the state, at the same time: one that is
// paused must not use up the time.
func (t *Tokens) ask(ctx context.Context, leader pipeline.NodeID, id string) (rec fsm.TokenRecord, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, tokenCallTimeout)
	defer cancel()
	found := make(chan fsm.TokenRecord, 1)
	var wg sync.WaitGroup
	for _, other := range t.state.Replicas() {
		if other == leader {
			continue
		}
		wg.Go(func() {
			var rec fsm.TokenRecord
			if t.peers.Call(ctx, other, pathToken, id, &rec) == nil {
				select {
				case found <- rec:
					cancel()
				default: // another one was faster
				}
			}
		})
	}
	wg.Wait()

	select {
	case rec = <-found:
		return rec, true
	default:
		return rec, false
	}
}

// known reads a record from the state here. It is NotFound only if this node
// leads and has applied everything that was committed before the call: after a
// start the log is not applied yet, and a leader that was paused may have been
// replaced. Otherwise a token that is not here is Unavailable.
func (t *Tokens) known(ctx context.Context, id string) (fsm.TokenRecord, error) {
	rec, err := t.local(id)
	if pipeline.KindOf(err) != pipeline.NotFound {
		return rec, err
	}
	if _, err := t.state.Verify(ctx); err != nil {
		return rec, pipeline.Errorf(pipeline.Unavailable, "token %s is not in the state of this node, which may be behind: %w", id, err)
	}
	return t.local(id)
}

func (t *Tokens) local(id string) (rec fsm.TokenRecord, err error) {
	err = t.state.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Token(id); !ok {
			return noToken(id)
		}
		return nil
	})
	return rec, err
}
