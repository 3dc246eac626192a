package api

import (
	"context"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// tokenCheck is how often the token of calls under way is looked at again.
const tokenCheck = 500 * time.Millisecond

// errRevoked ends calls whose token was revoked, or has expired, since they began.
var errRevoked = &pipeline.Error{Kind: pipeline.Unauthenticated, Message: "the token was revoked or has expired while the call was under way"}

// revocations ends calls whose token is revoked, or expires, while they are under way.
// It looks at a token once per tokenCheck, however many calls use it. It is safe for
// concurrent use.
type revocations struct {
	auth Authenticator

	mu sync.Mutex // guards following
	// uses are the tokens of the calls under way.
	uses map[string]*tokenUse
}

// tokenUse is the use of one token by calls under way. Its fields are guarded by
// revocations.mu.
type tokenUse struct {
	// end ends a call.
	end   map[*call]func()
	timer *time.Timer
	// cancel ends a look that is under way.
	cancel context.CancelFunc
}

func newRevocations(auth Authenticator) *revocations {
	return &revocations{auth: auth, uses: map[string]*tokenUse{}}
}

// watch ends a call, with errRevoked, soon after its token is no longer accepted, until
// the call is released. A call that another node passed on is ended by that node, which
// has the token.
func (v *revocations) watch(c *call) (release func()) {
	if c.token == "" {
		return func() {}
	}

	ctx, cancel := context.WithCancelCause(c.r.Context())
	c.r = c.r.WithContext(ctx)
	body, reads := c.r.Body.(*progressBody)
	if reads {
		body.call = ctx
	}

	rc := c.w.rc
	use := v.add(c, func() {
		cancel(errRevoked)
		// Only now: until then the body moves its deadline.
		if reads {
			_ = rc.SetReadDeadline(time.Now())
		}
		_ = rc.SetWriteDeadline(time.Now().Add(tokenCheck)) // for a caller that does not read
	})
	return func() {
		v.remove(c, use)
		cancel(nil)
	}
}

func (v *revocations) add(c *call, end func()) *tokenUse {
	v.mu.Lock()
	defer v.mu.Unlock()

	use := v.uses[c.token]
	if use == nil {
		ctx, cancel := context.WithCancel(context.Background())
		use = &tokenUse{end: map[*call]func(){}, cancel: cancel}
		use.timer = time.AfterFunc(tokenCheck, func() { v.look(ctx, c.token, use) })
		v.uses[c.token] = use
	}
	use.end[c] = end
	return use
}

// remove forgets a call, which is not ended any more once it returns: deadlines are
// not set on a connection that serves the next call.
func (v *revocations) remove(c *call, use *tokenUse) {
	v.mu.Lock()
	defer v.mu.Unlock()

	delete(use.end, c)
	if len(use.end) > 0 {
		return
	}
	use.timer.Stop()
	use.cancel()
	if v.uses[c.token] == use {
		delete(v.uses, c.token)
	}
}

// look ends the calls of a token that is no longer accepted, or waits to look again.
func (v *revocations) look(ctx context.Context, token string, use *tokenUse) {
	revoked := v.auth.Revoked(ctx, token)

	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case len(use.end) == 0: // all have ended meanwhile
	case !revoked:
		use.timer.Reset(tokenCheck)
	default:
		delete(v.uses, token) // a call that was just accepted is looked at by itself
		for _, end := range use.end {
			end()
		}
	}
}
