package api

import (
	"context"
	"fmt"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// errStopping ends calls and streams of a node that stops.
var errStopping = &pipeline.Error{Kind: pipeline.Unavailable, Message: "this node is stopping: continue at another one"}

// inflight counts the requests of a server, so that a shutdown can end the long
// ones and wait for the others. It is safe for concurrent use.
type inflight struct {
	// stopping ends long calls; stop cancels it.
	stopping context.Context
	stop     context.CancelFunc

	mu sync.Mutex // guards following
	// active counts the requests under way.
	active int
	closed bool
	// idle is closed when the last request has ended after the shutdown began.
	idle chan struct{}
}

func newInflight() *inflight {
	stopping, stop := context.WithCancel(context.Background())
	return &inflight{stopping: stopping, stop: stop, idle: make(chan struct{})}
}

// begin counts a request in; false once the server is closing.
func (f *inflight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.closed {
		return false
	}
	f.active++
	return true
}

func (f *inflight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.active--; f.active == 0 && f.closed {
		close(f.idle)
	}
}

// bound gives a context that also ends, with errStopping, when the shutdown
// begins.
func (f *inflight) bound(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(f.stopping, func() { cancel(errStopping) })
	return ctx, func() {
		unhook()
		cancel(nil)
	}
}

// shutdown refuses further requests, ends long ones, and waits for the rest
// until ctx ends. It may be called again.
func (f *inflight) shutdown(ctx context.Context) error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		if f.active == 0 {
			close(f.idle)
		}
	}
	f.mu.Unlock()

	// Only now: a request that begins between the two would not be ended.
	f.stop()

	select {
	case <-f.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for requests to end: %w", context.Cause(ctx))
	}
}
