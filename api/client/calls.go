package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// path joins escaped segments.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}

	return b.String()
}

// Health asks one node how it is. A node without a leader answers too: see
// Status, Leader and Quorum.
func (c *Client) Health(ctx context.Context) (wire.Health, error) {
	return do[wire.Health](ctx, c.calls, &request{method: http.MethodGet, path: "/api/health", safe: true, accept: bare(http.StatusServiceUnavailable)}, nil)
}

// bare accepts a status of a call that has a meaning of its own for it, which
// answers without a kind.
func bare(status int) func(*http.Response) bool {
	return func(r *http.Response) bool { return r.StatusCode == status && r.Header.Get(wire.HeaderKind) == "" }
}

// sendWith uploads and then calls, both at one node, and begins again at another
// one when that node goes away.
func sendWith[T any](ctx context.Context, c *caller, upload func(context.Context, *Client) error, call func(context.Context, *Client) (T, error)) (T, error) {
	var none T
	if err := c.meet(ctx); err != nil {
		return none, err
	}

	start := time.Now()
	for {
		var last error
		for _, node := range c.nodes.all() {
			one := &nodes{list: []*url.URL{node}, worked: true}
			at := &Client{calls: c.at(one)}
			err := upload(ctx, at)
			if err == nil {
				var out T
				if out, err = call(ctx, at); err == nil {
					c.nodes.answered(node)
					return out, nil
				}
			}

			if kind := pipeline.KindOf(err); kind != pipeline.Unavailable && kind != pipeline.Unknown || ctx.Err() != nil {
				return none, err
			}

			c.nodes.failed(node)
			if last == nil || isAnswer(err) {
				last = err // what a node says is more than that another one is away
			}
		}

		if time.Since(start) > c.cfg.RetryFor || !c.nodes.everWorked() {
			return none, last
		}

		if !sleep(ctx, time.Second) {
			return none, contextError(ctx)
		}
	}
}

// isAnswer reports whether an error is what a node said, and not that of a connection.
func isAnswer(err error) bool {
	var at *AddressError
	return !errors.As(err, &at) || at.Answered
}

// call is do for calls whose answer says nothing more.
func call(ctx context.Context, c *caller, method, path string, safe bool, in any) error {
	_, err := do[none](ctx, c, &request{method: method, path: path, safe: safe}, in)
	return err
}
