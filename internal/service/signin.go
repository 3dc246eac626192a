package service

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// codePrefix begins every code of a sign-in: pdc_<id>_<secret>.
	codePrefix = "pdc_"
	// codeLife is how long a code waits for the browser, signInLife how long a token
	// of a sign-in is valid.
	codeLife   = 5 * time.Minute
	signInLife = 12 * time.Hour
)

var errCode = pipeline.Errorf(pipeline.Unauthenticated, "this code is unknown, used or expired: open the dashboard with pipelined ui")

// CreateCode makes a code for a caller. The state keeps its hash only.
func (t *Tokens) CreateCode(ctx context.Context, by api.Subject) (wire.SignInCode, error) {
	if by.Use != "" {
		return wire.SignInCode{}, pipeline.Errorf(pipeline.Forbidden, "a token with a number of uses cannot sign a browser in; enter the token itself there")
	}
	id, code, hash := newSecret(codePrefix)
	now := time.Now().UTC()
	rec := fsm.TokenRecord{ID: id, Name: by.Name, Role: string(by.Role), Hash: hash, CreatedAt: now, ExpiresAt: earlier(now.Add(codeLife), by.ExpiresAt),
		CreatedBy: by.Name, Untrusted: by.Untrusted, SignIn: true, Code: true, Parent: by.Token}
	_, err := t.state.Propose(ctx, &fsm.Command{At: now, Token: &fsm.Token{Record: rec}})
	return wire.SignInCode{Code: code, ExpiresAt: rec.ExpiresAt}, err
}

// SignIn exchanges a code for a token. The code is taken by the entry that makes the
// token, so it is exchanged once, whichever nodes are asked.
func (t *Tokens) SignIn(ctx context.Context, code string) (wire.SignedIn, error) {
	id, ok := secretID(codePrefix, code)
	if !ok {
		return wire.SignedIn{}, errCode
	}
	// Found before anything is proposed: who has no code writes nothing to the log.
	rec, err := t.find(ctx, id)
	if pipeline.KindOf(err) == pipeline.NotFound {
		return wire.SignedIn{}, errCode
	}
	if err != nil {
		return wire.SignedIn{}, err
	}
	now := time.Now().UTC()
	if !rec.Code || !valid(rec, code, now) {
		return wire.SignedIn{}, errCode
	}
	return t.exchange(ctx, rec, now)
}

func (t *Tokens) exchange(ctx context.Context, code fsm.TokenRecord, now time.Time) (wire.SignedIn, error) {
	expires := now.Add(signInLife)
	if code.Parent != "" {
		parent, err := t.find(ctx, code.Parent)
		if pipeline.KindOf(err) == pipeline.NotFound {
			return wire.SignedIn{}, errCode
		}
		if err != nil {
			return wire.SignedIn{}, err
		}
		expires = earlier(expires, parent.ExpiresAt)
	}

	id, token, hash := newSecret(tokenPrefix)
	rec := fsm.TokenRecord{ID: id, Name: code.Name, Role: code.Role, Hash: hash, CreatedAt: now, ExpiresAt: expires, CreatedBy: code.CreatedBy,
		Untrusted: code.Untrusted, SignIn: true, Parent: code.Parent}
	_, err := t.state.Propose(ctx, &fsm.Command{At: now, Token: &fsm.Token{Record: rec, Exchange: code.ID}})
	if pipeline.KindOf(err) == pipeline.NotFound {
		return wire.SignedIn{}, errCode // another call was faster
	}
	return wire.SignedIn{Token: token, Name: rec.Name, Role: rec.Role, ExpiresAt: rec.ExpiresAt}, err
}

// SignOut revokes the caller's token.
func (t *Tokens) SignOut(ctx context.Context, by api.Subject) error {
	if by.Token == "" {
		return pipeline.Errorf(pipeline.Conflict, "the caller has not signed in: there is no token to revoke")
	}
	rec, err := t.find(ctx, by.Token)
	switch {
	case pipeline.KindOf(err) == pipeline.NotFound:
		return nil // revoked meanwhile
	case err != nil:
		return err
	case !rec.SignIn:
		return pipeline.Errorf(pipeline.Conflict, "token %s is not of a sign-in: revoke it with pipelined token rm %[1]s", by.Token)
	}
	return t.DeleteToken(ctx, by, by.Token)
}

// earlier is the earlier of two times, of which end may be zero: never.
func earlier(at, end time.Time) time.Time {
	if !end.IsZero() && end.Before(at) {
		return end
	}
	return at
}
