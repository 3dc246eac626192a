package api

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// statusError is an error whose status is a matter of HTTP alone: a method, a
// media type, a range.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// withStatus makes an error of a kind that is answered with its own status.
func withStatus(status int, k pipeline.Kind, format string, args ...any) error {
	return &statusError{status: status, err: pipeline.Errorf(k, format, args...)}
}

// invalid makes the error for input that cannot work as it stands.
func invalid(format string, args ...any) error {
	return pipeline.Errorf(pipeline.Invalid, format, args...)
}

// mismatch makes an Invalid error of a store a 422: the request was well formed,
// its bytes do not match their digest.
func mismatch(err error) error {
	if err != nil && kindOf(err) == pipeline.Invalid {
		return &statusError{http.StatusUnprocessableEntity, err}
	}

	return err
}

// kindOf gives an error's kind; errors of the standard library about the
// connection have one too.
func kindOf(err error) pipeline.Kind {
	var e *pipeline.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.As(err, &tooLarge):
		return pipeline.TooLarge
	case errors.Is(err, context.Canceled):
		return pipeline.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return pipeline.Timeout
	}

	return pipeline.Internal
}

// problemOf turns an error into the document that is sent for it. The text of
// an internal error stays in the log.
func problemOf(err error, requestID, node string) wire.Problem {
	kind := kindOf(err)
	p := wire.Problem{
		Kind:      kind.String(),
		Type:      "urn:pipelined:problem:" + kind.String(),
		Status:    wire.StatusOf(kind),
		Detail:    messageOf(err, kind, requestID, node),
		RequestID: requestID,
	}

	var source *wire.SourceError
	var own *statusError
	var full *NoSpaceError
	switch {
	case errors.As(err, &source):
		p.Status, p.Diagnostics = http.StatusUnprocessableEntity, source.Diagnostics
	case errors.As(err, &own):
		p.Status = own.status
	case errors.As(err, &full):
		p.Status = http.StatusInsufficientStorage
	}

	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Client Closed Request"
	}
	return p
}

// messageOf is the text that a caller gets of an error.
func messageOf(err error, kind pipeline.Kind, requestID, node string) string {
	if kind == pipeline.Internal {
		return "internal error: the log of node " + node + " has the details under request " + requestID
	}

	return err.Error()
}

// fail answers with an error. If bytes of another answer went out already it
// breaks the connection instead, so that the caller sees that it was cut.
func (c *call) fail(err error) {
	p := problemOf(err, c.id, c.node)
	switch {
	case p.Status == http.StatusInternalServerError:
		c.log.Error("request failed", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path, "error", err)
	case c.log.IsDebug():
		c.log.Debug("request refused", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path,
			"status", p.Status, "error", err)
	}

	if c.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if c.authenticated {
		discard(c.r)
	}

	h := c.w.Header()
	// The handler may have set these for the answer that it then did not give.
	for _, name := range [...]string{"Etag", "Content-Length", "Content-Encoding", "Content-Disposition", "Accept-Ranges", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set(wire.HeaderKind, p.Kind)
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	if errors.Is(err, pipeline.ErrNotLeader) || errors.Is(err, pipeline.ErrNoLeader) {
		h.Set(wire.HeaderNotExecuted, "1")
	}

	if c.route != nil && c.route.failure != nil && c.authenticated {
		if status, body := c.route.failure(c, p); body != nil {
			c.json(status, body)
			return
		}
	}
	c.writeJSON(p.Status, "application/problem+json", p)
}
