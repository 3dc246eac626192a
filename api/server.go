package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/ui"
	"github.com/pipelined/pipelined/api/wire"
)

// Server serves the HTTP API of one node. New makes it, its two handlers serve,
// Shutdown ends it. It is safe for concurrent use.
type Server struct {
	cfg         Config
	log         hclog.Logger
	guard       *guard
	forward     *forwarder
	routes      []Route
	dashboard   *ui.Dashboard
	inflight    *inflight
	revocations *revocations
	budget      *budget
}

// New makes a server. It does no I/O and starts nothing.
func New(cfg Config) *Server {
	cfg.defaults()

	return &Server{
		cfg:         cfg,
		log:         cfg.Logger,
		guard:       newGuard(cfg),
		forward:     newForwarder(cfg),
		routes:      routes(&cfg),
		dashboard:   ui.New(cfg.Addresses),
		inflight:    newInflight(),
		revocations: newRevocations(cfg.Auth),
		budget:      newBudget(cfg.MaxConns),
	}
}

// PublicHandler serves the HTTP port: callers prove who they are with a token.
func (s *Server) PublicHandler() http.Handler { return s.entry(s.mux(false), false) }

// PeerHandler serves the port between nodes: callers were verified by TLS, and
// may speak on behalf of their own callers.
func (s *Server) PeerHandler() http.Handler { return s.entry(s.mux(true), true) }

// Shutdown refuses new requests, sends every stream to another node, ends calls
// that wait, and waits for the rest until ctx ends. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error { return s.inflight.shutdown(ctx) }

// entry is what every request passes first.
func (s *Server) entry(next http.Handler, peer bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rc := http.NewResponseController(w)

		if r.Header.Get("Expect") != "" {
			// The server looks at its own request to see whether the body was asked for;
			// with another body there it would wait for one that never comes.
			r = r.WithContext(r.Context())
		}

		c := &call{r: r, id: requestID(r), peer: peer, log: s.log, node: s.cfg.NodeName}
		c.w = &response{ResponseWriter: w, rc: rc, timeout: s.cfg.WriteTimeout}
		h := w.Header()
		h.Set(wire.HeaderRequestID, c.id)
		h.Set(wire.HeaderNode, s.cfg.NodeName)
		h.Set("X-Content-Type-Options", "nosniff")
		defer s.finish(c, start)

		if r.ProtoMajor == 1 {
			// The deadline of the connection's last answer may have passed. Under
			// HTTP/2 deadlines are a stream's own, and end it when they pass.
			c.w.extend()
		}
		guardBody(r, rc, s.cfg.BodyGrace)

		if !s.inflight.begin() {
			h.Set("Connection", "close")
			h.Set(wire.HeaderNotExecuted, "1")
			c.fail(errStopping)
			return
		}
		defer s.inflight.end()

		if err := s.guard.admit(c); err != nil {
			c.fail(err)
			return
		}
		if !peer && c.preflight() && h.Get("Access-Control-Allow-Origin") != "" {
			c.w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(&callWriter{c.w, c}, r)
	})
}

// finish ends a request. A panic becomes a 500, or breaks the connection if an
// answer was under way; the process lives.
func (s *Server) finish(c *call, start time.Time) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			s.account(c, start)
			panic(p)
		}

		s.log.Error("handler panicked", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path,
			"panic", p, "stack", string(debug.Stack()))
		if c.w.status != 0 {
			panic(http.ErrAbortHandler)
		}
		c.fail(fmt.Errorf("panic: %v", p))
	}

	s.account(c, start)
}

// account counts a request and logs it. A request that another node passed on was
// counted there.
func (s *Server) account(c *call, start time.Time) {
	s.logAccess(c, start)
	if c.peer {
		return
	}

	route, long := otherRoute, false
	if c.route != nil {
		route, long = c.route.label(), c.route.Long
	}
	s.cfg.Metrics.Served(route, c.w.status, time.Since(start), long)
}

func (s *Server) logAccess(c *call, start time.Time) {
	if s.log.IsDebug() {
		s.log.Debug("request", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path, "status", c.w.status,
			"bytes", c.w.written, "duration", time.Since(start), "subject", c.by.Name, "remote", c.r.RemoteAddr)
	}
}
