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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Router is what the API needs of a node to decide which node serves a call and
// to reach that node. The methods neither block nor do I/O.
type Router interface {
	// IsLeader reports whether this node may serve calls that need the leader now.
	IsLeader() bool
	// HasState reports whether this node holds the replicated state.
	HasState() bool
	// Leader gives a transport to the leader and the base URL to use with it;
	// pipeline.ErrNoLeader if none is known.
	Leader(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Stateful gives a transport to a node that holds the state, for a node that
	// does not.
	Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Node gives a transport to a member by name or id.
	Node(ctx context.Context, name string) (http.RoundTripper, *url.URL, error)
}

// target is where a call is served.
type target struct {
	// local serves here; stale marks a local answer that may be behind.
	local, stale bool
	// resolve finds the transport to another node.
	resolve func(context.Context) (http.RoundTripper, *url.URL, error)
	// leader is set where the other node is the leader, so that a change of
	// leadership ends the wait for its answer.
	leader bool
}

// errLeaderChanged ends the wait for an answer of a leader that is none.
var errLeaderChanged = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the leader changed while it had the request"}

// errLostWithRequest is what is known when the way to the other node broke
// after the request may have arrived.
var errLostWithRequest = &pipeline.Error{Kind: pipeline.Unknown, Message: "the node that serves this was lost while it had the request, which may have taken effect: repeat it with the same Idempotency-Key to find out"}

// errLostReading is errLostWithRequest for a call that changes nothing.
var errLostReading = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the node that serves this was lost while it had the request"}

// reads reports whether a call changes nothing, so that it may be repeated.
func (c *call) reads() bool {
	return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead || c.route.Produces == mediaEvents
}

// place serves a call here or passes it on, trying again within LeaderWait
// while there is no leader and nothing can have happened.
func (s *Server) place(c *call) error {
	deadline := time.Now().Add(s.cfg.LeaderWait)
	wait := 10 * time.Millisecond
	// Reads are repeated once even after the other node may have had them.
	repeats := 0
	if c.reads() {
		repeats = 1
	}
	for {
		again, err := s.try(c, repeats > 0)
		if err == nil || !again || c.w.status != 0 {
			return err
		}
		if errors.Is(err, errLostReading) {
			repeats--
		}
		if !time.Now().Add(wait).Before(deadline) {
			if errors.Is(err, pipeline.ErrNotLeader) {
				return pipeline.ErrNoLeader
			}
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.r.Context().Done():
			timer.Stop()
			return context.Cause(c.r.Context())
		}
		wait = min(wait*2, 100*time.Millisecond)
	}
}

// try serves a call once. again says that trying it again does no harm.
func (s *Server) try(c *call, repeat bool) (again bool, err error) {
	t, err := s.where(c)
	if err != nil {
		return false, err
	}
	if !t.local {
		rt, base, err := t.resolve(c.r.Context())
		if err != nil {
			return pipeline.KindOf(err) == pipeline.Unavailable, err
		}
		return s.forward(c, rt, base, t.leader, repeat)
	}
	if t.stale {
		h := s.cfg.Cluster.Health(c.r.Context())
		c.w.Header().Set(wire.HeaderStale, "true")
		c.w.Header().Set(wire.HeaderIndex, strconv.FormatUint(h.AppliedIndex, 10))
		lag := "unknown" // without a leader nobody tells what this node has missed
		if h.Quorum {
			lag = strconv.FormatUint(max(h.CommitIndex, h.AppliedIndex)-h.AppliedIndex, 10)
		}
		c.w.Header().Set(wire.HeaderLag, lag)
	}
	err = c.route.serve(s, c)
	switch {
	case err == nil || c.forwarded || c.w.status != 0:
		return false, err
	case c.route.Where == OnLeader && errors.Is(err, pipeline.ErrNotLeader):
		return true, err
	case c.route.Where == OnState && kindOf(err) == pipeline.NotFound && !s.cfg.Router.IsLeader() && !staleAsked(c.r):
		// This node may not have heard yet of what the caller was just told.
		rt, base, lerr := s.cfg.Router.Leader(c.r.Context())
		if lerr != nil {
			return pipeline.KindOf(lerr) == pipeline.Unavailable, lerr
		}
		return s.forward(c, rt, base, true, repeat)
	}
	return false, err
}

// where decides who serves the call. A request that was passed on once is
// never passed on again: it goes back to where it came from, refused.
func (s *Server) where(c *call) (target, error) {
	state := func(stale bool) (target, error) {
		if s.cfg.Router.HasState() {
			return target{local: true, stale: stale && !s.cfg.Router.IsLeader()}, nil
		}
		if c.forwarded {
			c.w.Header().Set(wire.HeaderNotExecuted, "1")
			return target{}, pipeline.Errorf(pipeline.Unavailable, "node %s does not hold the cluster's state", s.cfg.NodeName)
		}
		return target{resolve: s.cfg.Router.Stateful}, nil
	}
	switch c.route.Where {
	case OnState:
		return state(staleAsked(c.r))
	case OnLeader:
		switch {
		case s.cfg.Router.IsLeader():
			return target{local: true}, nil
		case c.route.Stale && staleAsked(c.r):
			return state(true)
		case c.forwarded:
			return target{}, pipeline.ErrNotLeader
		}
		return target{resolve: s.cfg.Router.Leader, leader: true}, nil
	case OnNode:
		name := c.r.PathValue("name")
		if !token(name, 128) {
			return target{}, invalid("node %.80q: want letters, digits, '.', '_' and '-'", name)
		}
		if name == s.cfg.NodeName || name == string(s.cfg.NodeID) {
			return target{local: true}, nil
		}
		if c.forwarded {
			return target{}, pipeline.Errorf(pipeline.NotFound, "node %s: this is node %s", name, s.cfg.NodeName)
		}
		return target{resolve: func(ctx context.Context) (http.RoundTripper, *url.URL, error) {
			return s.cfg.Router.Node(ctx, name)
		}}, nil
	}
	return target{local: true}, nil
}

// staleAsked reports whether the caller takes an answer that may be behind.
func staleAsked(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.RawQuery == "" {
		return false
	}
	on, err := flag(r.URL.Query(), "stale")
	return on && err == nil
}

// flag reads a parameter that is there or not: ?name, ?name=1, ?name=false.
func flag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	if q.Get(name) == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, invalid("%s=%.40s: want 1 or 0", name, q.Get(name))
	}
	return on, nil
}

// hopHeaders concern one connection and are not passed on.
var hopHeaders = [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// forward passes a call on and its answer back. again says that the call can
// be tried again: nothing was delivered, or it was refused unexecuted, or it is
// a read and repeat allows it.
func (s *Server) forward(c *call, rt http.RoundTripper, base *url.URL, leader, repeat bool) (again bool, err error) {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	stop := func() {}
	if leader {
		stop = s.watchLeader(ctx, cancel, base)
	}
	var sent sent
	resp, err := rt.RoundTrip(s.outgoing(httptrace.WithClientTrace(ctx, sent.trace()), c, base))
	stop()
	if err != nil {
		if c.r.Context().Err() != nil {
			return false, context.Cause(c.r.Context())
		}
		s.log.Debug("forwarding broke", "request", c.id, "to", base.Host, "path", c.r.URL.Path, "error", err)
		if !sent.maybe(err) {
			return true, pipeline.Errorf(pipeline.Unavailable, "the node that serves this does not answer at %s: %w", base.Host, err)
		}
		if c.reads() {
			return repeat, errLostReading
		}
		return false, errLostWithRequest
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(wire.HeaderNotExecuted) != "" {
		return true, pipeline.ErrNotLeader
	}
	return false, s.relay(c, resp)
}

// outgoing is the request as it goes to another node.
func (s *Server) outgoing(ctx context.Context, c *call, base *url.URL) *http.Request {
	u := *base
	u.Path, u.RawPath, u.RawQuery = c.r.URL.Path, c.r.URL.RawPath, c.r.URL.RawQuery
	out := (&http.Request{Method: c.r.Method, URL: &u, Host: base.Host, Header: c.r.Header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	for _, values := range c.r.Header.Values("Connection") {
		for name := range strings.SplitSeq(values, ",") {
			out.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopHeaders {
		out.Header.Del(name)
	}
	// The token stays here: the other node trusts this one, not the token.
	for _, name := range [...]string{"Authorization", "Origin", "Cookie", "Content-Encoding", "Content-Length"} {
		out.Header.Del(name)
	}
	if out.Header.Get("Accept-Encoding") == "" {
		out.Header.Set("Accept-Encoding", "identity")
	}
	out.Header.Set(wire.HeaderRequestID, c.id)
	out.Header.Set(wire.HeaderForwardedBy, string(s.cfg.NodeID))
	setSubject(out.Header, c.by)
	if body := c.body; len(body) > 0 {
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	return out
}

// relayBuffers are for copying answers.
var relayBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// relay copies an answer. Streams are flushed piece by piece; one that breaks
// off breaks the caller's connection too, so that the end is not mistaken for
// the answer's.
func (s *Server) relay(c *call, resp *http.Response) error {
	h := c.w.Header()
	for _, name := range hopHeaders {
		resp.Header.Del(name)
	}
	for name, values := range resp.Header {
		h[name] = values
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

// watchLeader ends the wait for an answer once somebody else leads: a leader
// that is stopped or cut off keeps its connections and says nothing.
func (s *Server) watchLeader(ctx context.Context, cancel context.CancelCauseFunc, base *url.URL) (stop func()) {
	const every = 250 * time.Millisecond
	was := base.String()
	var mu sync.Mutex // guards following
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(every, func() {
		_, now, err := s.cfg.Router.Leader(ctx)
		changed := s.cfg.Router.IsLeader() || err == nil && now.String() != was
		mu.Lock()
		defer mu.Unlock()
		switch {
		case stopped:
		case changed:
			cancel(errLeaderChanged)
		default:
			timer.Reset(every)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// sent tells whether a request may have reached the other side.
type sent struct {
	// traced is set once the transport reports at all, wrote once it has
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

// maybe reports whether a failed round trip may have delivered the request. It
// says yes where it does not know.
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
