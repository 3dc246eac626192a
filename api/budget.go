package api

import (
	"net/http"
	"sync"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// budget bounds how many calls of the public port are served at a time, shared
// between those who make them, so that no token keeps others out. Calls that wait or
// stream have a budget of their own within it. It is safe for concurrent use.
type budget struct {
	mu    sync.Mutex // guards following
	calls share[caller]
	long  share[caller]
}

// caller is who a call counts for.
type caller struct {
	name   string
	role   Role
	worker pipeline.NodeID
}

// newBudget shares out the connections of a port. What it leaves is for those who
// have not shown a token yet.
func newBudget(conns int) *budget {
	return &budget{calls: newShare[caller](max(conns*3/4, 1)), long: newShare[caller](max(conns/2, 1))}
}

// begin counts a call in until end. A call of another node was counted there, and one
// of a process of this machine needs no connection of the port.
func (b *budget) begin(c *call) (end func(), err error) {
	if _, local := localUser(c.r.Context()); local || c.peer || c.route.Role == "" {
		return func() {}, nil
	}

	who := caller{c.by.Name, c.by.Role, c.by.Worker}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.route.Long {
		if err := refuse(&b.long, c, who, "streams and calls that wait"); err != nil {
			return nil, err
		}
	}
	if err := refuse(&b.calls, c, who, "calls"); err != nil {
		return nil, err
	}

	b.calls.take(who)
	if c.route.Long {
		b.long.take(who)
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls.give(who)
		if c.route.Long {
			b.long.give(who)
		}
	}, nil
}

// refuse gives the error for a call without a place.
func refuse(s *share[caller], c *call, who caller, what string) error {
	if s.free(who) {
		return nil
	}

	c.w.Header().Set(wire.HeaderNotExecuted, "1")
	if s.full() {
		return pipeline.Errorf(pipeline.Unavailable, "node %s serves %d %s, as many as it can: repeat the call later, or at another node",
			c.node, s.taken, what)
	}
	return withStatus(http.StatusTooManyRequests, pipeline.Unavailable,
		"node %s serves %d %s, %d of them for %s, whose share is used up: end some, repeat the call later, or at another node",
		c.node, s.taken, what, s.by[who], who.name)
}
