package api

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// tokenCheck is how often the token of a call under way is looked at again.
const tokenCheck = 500 * time.Millisecond

// errRevoked ends calls whose token was revoked, or has expired, since they began.
var errRevoked = &pipeline.Error{Kind: pipeline.Unauthenticated, Message: "the token was revoked or has expired while the call was under way"}

// watch ends a call, with errRevoked, soon after its token is no longer accepted. A
// call that another node passed on is ended by that node, which has the token.
func (g *guard) watch(c *call) (release func()) {
	if c.token == "" {
		return func() {}
	}

	ctx, cancel := context.WithCancelCause(c.r.Context())
	c.r = c.r.WithContext(ctx)
	if b, ok := c.r.Body.(*progressBody); ok {
		b.call = ctx
	}

	token := c.token
	timer := time.AfterFunc(tokenCheck, func() {
		for !g.auth.Revoked(ctx, token) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(tokenCheck):
			}
		}
		cancel(errRevoked)
	})
	return func() {
		timer.Stop()
		cancel(nil)
	}
}
