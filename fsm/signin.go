package fsm

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// MaxSignIns bounds how many codes and tokens of sign-ins are kept; those that
	// expire first make room.
	MaxSignIns = 1000
	// signInMargin is how long after its end one is kept, so that the clocks of two
	// proposers may differ.
	signInMargin = time.Hour
)

// prepareSignIn takes the code that a token is made for, and makes room for one more.
func (g *registry) prepareSignIn(t *Token, now time.Time) error {
	if t.Exchange != "" {
		var code TokenRecord
		if b := g.tx.Bucket(bTokens).Get([]byte(t.Exchange)); b != nil {
			mustUnmarshal(b, &code)
		}
		if !code.Code || now.After(code.ExpiresAt) {
			return pipeline.Errorf(pipeline.NotFound, "no code %s: it is unknown, used or expired", t.Exchange)
		}
		g.del(bTokens, []byte(t.Exchange))
	}
	if !t.Record.SignIn {
		return nil
	}

	left := g.dropSignIns(func(rec *TokenRecord) bool { return now.After(rec.ExpiresAt.Add(signInMargin)) })
	if len(left) < MaxSignIns {
		return nil
	}
	slices.SortFunc(left, func(a, b TokenRecord) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	for _, rec := range left[:len(left)-MaxSignIns+1] {
		g.del(bTokens, []byte(rec.ID))
	}
	return nil
}

// dropSignIns removes codes and tokens of sign-ins, and gives those that are left.
func (g *registry) dropSignIns(drop func(*TokenRecord) bool) (left []TokenRecord) {
	var keys [][]byte
	_ = g.tx.Bucket(bTokens).ForEach(func(k, b []byte) error { // the callback never fails
		var rec TokenRecord
		mustUnmarshal(b, &rec)
		switch {
		case !rec.SignIn:
		case drop(&rec):
			keys = append(keys, bytes.Clone(k))
		default:
			left = append(left, rec)
		}
		return nil
	})
	for _, k := range keys {
		g.del(bTokens, k)
	}
	return left
}
