package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// hopHeaders concern one connection and are not passed on.
var hopHeaders = [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// outgoing is the request as it goes to another node.
func (f *forwarder) outgoing(ctx context.Context, c *call, base *url.URL) *http.Request {
	u := *base
	u.Path, u.RawPath, u.RawQuery = c.r.URL.Path, c.r.URL.RawPath, c.r.URL.RawQuery
	out := (&http.Request{Method: c.r.Method, URL: &u, Host: base.Host, Header: c.r.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)

	for _, values := range c.r.Header.Values("Connection") {
		for name := range strings.SplitSeq(values, ",") {
			out.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopHeaders {
		out.Header.Del(name)
	}

	// The token stays here: the other node trusts this one, not the token.
	for _, name := range [...]string{wire.HeaderRelay, "Authorization", "Origin", "Cookie", "Content-Encoding", "Content-Length"} {
		out.Header.Del(name)
	}

	if out.Header.Get("Accept-Encoding") == "" {
		out.Header.Set("Accept-Encoding", "identity")
	}
	out.Header.Set(wire.HeaderRequestID, c.id)
	out.Header.Set(wire.HeaderForwardedBy, string(f.nodeID))
	setSubject(out.Header, c.by)

	if body := c.body; len(body) > 0 {
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}

	return out
}

// relayBuffers hold what is copied of answers.
var relayBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// relay copies an answer. Streams are flushed piece by piece. One that fails in
// the middle breaks the caller's connection too, so that the caller does not take
// the end for the answer's.
func (c *call) relay(resp *http.Response) error {
	h := c.w.Header()
	for _, name := range hopHeaders {
		resp.Header.Del(name)
	}
	vary := h["Vary"] // of this node's own origin check
	for name, values := range resp.Header {
		h[name] = values
	}
	if len(vary) > 0 && len(resp.Header["Vary"]) > 0 {
		h["Vary"] = append(vary, resp.Header["Vary"]...)
	}
	c.w.WriteHeader(resp.StatusCode)

	stream := resp.ContentLength < 0
	if stream {
		c.w.Flush()
	}

	buf := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(buf)
	for {
		n, err := resp.Body.Read(*buf)
		if n > 0 {
			if _, werr := c.w.Write((*buf)[:n]); werr != nil {
				return pipeline.Errorf(pipeline.Canceled, "pass on an answer: %w", werr)
			}
			if stream {
				c.w.Flush()
			}
		}

		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return pipeline.Errorf(pipeline.Unavailable, "pass on an answer: %w", err)
		}
	}
}

// sent records whether a request may have reached the other side.
type sent struct {
	// traced is set once the transport reports anything, wrote once it has
	// written something.
	traced, wrote atomic.Bool
}

func (s *sent) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:          func(string) { s.traced.Store(true) },
		WroteHeaderField: func(string, []string) { s.wrote.Store(true) },
		WroteHeaders:     func() { s.wrote.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				s.wrote.Store(true)
			}
		},
	}
}

// maybe reports whether a failed round trip may have delivered the request; yes
// if that is not known.
func (s *sent) maybe(err error) bool {
	if s.wrote.Load() {
		return true
	}

	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, pipeline.ErrNoLeader) {
		return false
	}
	return !s.traced.Load()
}
