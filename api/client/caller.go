package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// request is one call, in a form that can be sent again.
type request struct {
	method string
	// path is escaped.
	path   string
	query  url.Values
	header http.Header
	// body is a JSON document; upload is a stream instead.
	body   []byte
	upload *upload
	// safe marks calls that do no harm when they are repeated.
	safe bool
	// timeout bounds one try until the answer's header is here; an upload's
	// progress extends it. 0 is Config.CallTimeout, negative is none.
	timeout time.Duration
	// accept marks failures by status that are answers all the same.
	accept func(*http.Response) bool
	// seen, if set, gets the answer before it is read.
	seen func(*http.Response)
}

// failure is a try that came to nothing.
type failure struct {
	err error
	// answered is set if the node itself said no.
	answered bool
	// lost is set if the request may have arrived and taken effect.
	lost bool
	// after is what the node asked to wait.
	after time.Duration
}

// errSlow ends a try that takes too long.
var errSlow = errors.New("no answer in time")

// caller sends requests to the nodes that it knows, and repeats what may be
// repeated: the one place where a call is retried. It is safe for concurrent use.
type caller struct {
	cfg   Config
	http  http.RoundTripper
	nodes *nodes
	// pinned marks a caller of one node, which moves to no other.
	pinned bool
}

// at gives a caller of the given nodes alone.
func (c *caller) at(one *nodes) *caller {
	return &caller{cfg: c.cfg, http: c.http, nodes: one, pinned: true}
}

// token finds the bearer token for a node; "" for none.
func (c *caller) token(ctx context.Context, address string) (string, error) {
	if c.cfg.TokenSource != nil {
		return c.cfg.TokenSource(ctx, address)
	}
	return c.cfg.Token, nil
}

// send makes a call at whichever node answers, and repeats it as long as that
// is harmless and may help. The caller closes the answer's body.
func (c *caller) send(ctx context.Context, rq *request) (*http.Response, *url.URL, error) {
	start := time.Now()
	waits := newBackoff(time.Second)
	lost := false
	for {
		var after time.Duration
		var last *failure
		for _, node := range c.nodes.all() {
			resp, f := c.try(ctx, node, rq)
			if f == nil {
				c.nodes.answered(node)
				return resp, node, nil
			}

			if ctx.Err() != nil {
				return nil, nil, contextError(ctx)
			}

			lost = lost || f.lost
			if done, err := settled(rq, f, lost); done {
				if f.answered {
					c.nodes.answered(node)
				}

				if err == nil {
					return emptyAnswer(), node, nil
				}

				return nil, nil, err
			}

			c.nodes.failed(node)
			after = max(after, f.after)
			if last == nil || f.answered {
				last = f
			}
		}

		wait := max(after, waits.NextBackOff())
		if time.Since(start)+wait > c.retryLimit(last) {
			return nil, nil, last.err
		}

		if c.cfg.OnRetry != nil {
			c.cfg.OnRetry(last.err, wait)
		}

		if !sleep(ctx, wait) {
			return nil, nil, contextError(ctx)
		}
	}
}

// retryLimit is how long a call is repeated after such a failure.
func (c *caller) retryLimit(f *failure) time.Duration {
	switch {
	case f.answered:
		return c.cfg.RetryFor
	case c.pinned:
		return min(time.Second, c.cfg.RetryFor)
	case !c.nodes.everWorked():
		return min(c.cfg.ConnectFor, c.cfg.RetryFor)
	}
	return c.cfg.RetryFor
}

// settled reports whether a failure is the call's answer, or repeating it would
// be wrong. A nil error with it means that the call has had its effect.
func settled(rq *request, f *failure, lost bool) (bool, error) {
	repeatable := rq.upload == nil || rq.upload.rewind()
	switch kind := pipeline.KindOf(f.err); {
	case !repeatable:
		return true, f.err
	case rq.method == http.MethodDelete && lost && kind == pipeline.NotFound:
		return true, nil // the try that was lost has done it
	case f.lost && !rq.safe:
		return true, f.err
	case kind == pipeline.Unknown:
		return !rq.safe, f.err
	case kind == pipeline.Unavailable:
		return false, nil
	}

	return true, f.err
}

// emptyAnswer stands for an answer that was lost.
func emptyAnswer() *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
}

// try makes a call at one node, once; twice if it wants another token.
func (c *caller) try(ctx context.Context, node *url.URL, rq *request) (*http.Response, *failure) {
	resp, f := c.tryToken(ctx, node, rq)
	if f != nil && f.answered && c.cfg.TokenSource != nil && pipeline.KindOf(f.err) == pipeline.Unauthenticated && (rq.upload == nil || rq.upload.rewind()) {
		return c.tryToken(context.WithValue(ctx, refusedKey{}, true), node, rq)
	}

	return resp, f
}

func (c *caller) tryToken(parent context.Context, node *url.URL, rq *request) (*http.Response, *failure) {
	token, err := c.token(parent, node.String())
	if err != nil {
		return nil, &failure{err: err}
	}

	ctx, cancel := context.WithCancelCause(parent)
	alarm := c.alarm(rq, cancel)
	var wrote atomic.Bool
	out, err := c.build(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { wrote.Store(true) },
	}), node, rq, token, alarm)
	if err != nil {
		cancel(nil)
		return nil, &failure{err: err}
	}

	resp, err := c.http.RoundTrip(out)
	if err == nil && resp.StatusCode >= 400 && (rq.accept == nil || !rq.accept(resp)) {
		f := &failure{answered: true, err: readProblem(resp), after: retryAfter(resp.Header)}
		alarm.stop()
		cancel(nil)
		return nil, f
	}

	alarm.stop()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // the alarm and the answer crossed
		_ = resp.Body.Close()
	}

	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			err = errSlow
		}

		cancel(nil)
		return nil, lostCall(node, rq, err, wrote.Load())
	}

	resp.Body = &answer{ReadCloser: resp.Body, cancel: cancel}
	return resp, nil
}

// lostCall words a failure of the connection.
func lostCall(node *url.URL, rq *request, err error, wrote bool) *failure {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		wrote = false
	}

	f := &failure{lost: wrote && rq.method != http.MethodGet && rq.method != http.MethodHead}
	if f.lost && !rq.safe {
		f.err = pipeline.Errorf(pipeline.Unknown, "call %s: the connection was lost while the node had the request, which may have taken effect: %w", node.Host, err)
	} else {
		f.err = pipeline.Errorf(pipeline.Unavailable, "%w", unreachable(node, err))
	}

	return f
}

// alarm ends a try that makes no progress.
type alarm struct {
	timer *time.Timer
	every time.Duration
}

func (c *caller) alarm(rq *request, cancel context.CancelCauseFunc) *alarm {
	every := rq.timeout
	if every == 0 {
		every = c.cfg.CallTimeout
	}

	if every < 0 {
		return &alarm{}
	}

	return &alarm{timer: time.AfterFunc(every, func() { cancel(errSlow) }), every: every}
}

func (a *alarm) reset() {
	if a.timer != nil {
		a.timer.Reset(a.every)
	}
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// build makes the HTTP request of a try.
func (c *caller) build(ctx context.Context, node *url.URL, rq *request, token string, progress *alarm) (*http.Request, error) {
	target := node.String() + rq.path
	if len(rq.query) > 0 {
		target += "?" + rq.query.Encode()
	}

	var body io.Reader
	if rq.body != nil {
		body = bytes.NewReader(rq.body)
	}

	out, err := http.NewRequestWithContext(ctx, rq.method, target, body)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "make a request: %w", err)
	}

	for name, values := range rq.header {
		out.Header[name] = values
	}

	if rq.body != nil {
		out.Header.Set("Content-Type", "application/json")
	}

	if rq.upload != nil {
		out.Header.Set("Content-Type", "application/octet-stream")
		out.ContentLength = rq.upload.size
		out.Body = io.NopCloser(&progressReader{rq.upload, progress})
		if rq.upload.size == 0 {
			out.Body = http.NoBody
		}
	}

	out.Header.Set("User-Agent", c.cfg.UserAgent)
	if token != "" {
		out.Header.Set("Authorization", "Bearer "+token)
	}

	return out, nil
}

// progressReader puts the alarm off with every piece that is sent.
type progressReader struct {
	r     io.Reader
	alarm *alarm
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.alarm.reset()
	return n, err
}

// answer is a body that ends its try's context when it is closed.
type answer struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// bound gives the body so long and no longer; stop ends that.
func (a *answer) bound(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, func() { a.cancel(errSlow) }).Stop
}

// Close closes the connection's part, or keeps it for the next call.
func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.cancel(nil)
	return err
}

// contextError says that the caller's context ended.
func contextError(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return pipeline.Errorf(pipeline.Timeout, "call the cluster: %w", err)
	}

	return pipeline.Errorf(pipeline.Canceled, "call the cluster: %w", err)
}

// retryAfter reads how many seconds a node asks to wait, at most a minute.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("Retry-After")), 10, 16)
	if err != nil {
		return 0
	}

	return min(time.Duration(n)*time.Second, time.Minute)
}
