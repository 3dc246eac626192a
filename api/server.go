package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Config holds what a Server needs. The interfaces must all be set, to values
// that are safe for concurrent use, whose calls end when their context does and
// whose errors carry a pipeline.Kind. The zero value of a duration or a size
// means its default.
type Config struct {
	// NodeID and NodeName say which node this is.
	NodeID   pipeline.NodeID
	NodeName string

	Router Router
	Auth   Authenticator

	Runs        Runs
	Logs        Logs
	Artifacts   Artifacts
	Blobs       Blobs
	Cache       Cache
	RemoteCache RemoteCache
	Schedules   Schedules
	Secrets     Secrets
	Tokens      Tokens
	Cluster     Cluster
	Executions  Executions
	Workers     Workers
	Sessions    Sessions

	// Logger gets failures as errors and each request at debug. Nil: nothing.
	Logger hclog.Logger
	// AllowedHosts says whether a host name (without port, in lower case) is
	// one of this node's; IP literals and localhost are allowed without asking.
	// Nil allows nothing else.
	AllowedHosts func(host string) bool
	// PeerIdentity gives the verified identity behind a request on the peer
	// port. Nil refuses every request there.
	PeerIdentity func(*http.Request) (id, name string, ok bool)
	// PeerHandlers are calls between nodes that are none of the API's, by
	// ServeMux pattern. They are reached on the peer port only, by verified
	// nodes only.
	PeerHandlers map[string]http.Handler
	// LeaderWait is how long a request waits for a leader (2 s).
	LeaderWait time.Duration
	// KeepAlive is the time between comments on a silent stream (10 s).
	KeepAlive time.Duration
	// BodyGrace is how long a body may make no progress (15 s).
	BodyGrace time.Duration
	// WriteTimeout is how long a caller may not read its answer (30 s).
	WriteTimeout time.Duration
	// MaxBlob and MaxBundle bound uploads, MaxTool entries of other tools, in bytes
	// (64 GiB, 16 GiB and 1 GiB).
	MaxBlob, MaxBundle, MaxTool int64
}

func (c *Config) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.LeaderWait, 2*time.Second)
	def(&c.KeepAlive, 10*time.Second)
	def(&c.BodyGrace, 15*time.Second)
	def(&c.WriteTimeout, 30*time.Second)
	if c.MaxBlob <= 0 {
		c.MaxBlob = 64 << 30
	}
	if c.MaxBundle <= 0 {
		c.MaxBundle = 16 << 30
	}
	if c.MaxTool <= 0 {
		c.MaxTool = 1 << 30
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.AllowedHosts == nil {
		c.AllowedHosts = func(string) bool { return false }
	}
	if c.PeerIdentity == nil {
		c.PeerIdentity = func(*http.Request) (string, string, bool) { return "", "", false }
	}
}

// errStopping ends calls and streams of a node that goes away.
var errStopping = &pipeline.Error{Kind: pipeline.Unavailable, Message: "this node is stopping: go on at another one"}

// Server is the HTTP face of one node. It is made by New, serves through its
// two handlers, and is ended by Shutdown. It is safe for concurrent use.
type Server struct {
	cfg  Config
	log  hclog.Logger
	csrf *http.CrossOriginProtection
	// stopping ends long calls; stop cancels it.
	stopping context.Context
	stop     context.CancelFunc

	mu sync.Mutex // guards following
	// active counts the requests under way; idle is closed when the last of
	// them has ended after Shutdown began.
	active int
	closed bool
	idle   chan struct{}
}

// New makes a server. It does no I/O and starts nothing.
func New(cfg Config) *Server {
	cfg.defaults()
	stopping, stop := context.WithCancel(context.Background())
	return &Server{
		cfg:      cfg,
		log:      cfg.Logger,
		csrf:     http.NewCrossOriginProtection(),
		stopping: stopping,
		stop:     stop,
		idle:     make(chan struct{}),
	}
}

// PublicHandler serves the HTTP port: callers prove themselves with a token.
func (s *Server) PublicHandler() http.Handler { return s.entry(s.mux(false), false) }

// PeerHandler serves the port between nodes: callers were verified by TLS, and
// may speak on behalf of their own callers.
func (s *Server) PeerHandler() http.Handler { return s.entry(s.mux(true), true) }

// Shutdown refuses new requests, tells every stream to go elsewhere, ends calls
// that wait, and waits for the rest until ctx ends. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.active == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	s.stop()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for requests to end: %w", context.Cause(ctx))
	}
}

// begin counts a request in; false once the server is closing.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active++
	return true
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 && s.closed {
		close(s.idle)
	}
}

// call is one request on its way through the server.
type call struct {
	w     *response
	r     *http.Request
	id    string
	route *Route
	by    Subject
	// authenticated is set once by is known, or need not be.
	authenticated bool
	// peer is set on the port between nodes, forwarded where another node has
	// passed the request on.
	peer, forwarded bool
	// body is the decompressed JSON document, where the route takes one.
	body []byte
	key  string
}

// callOf finds the call that a writer belongs to.
func callOf(w http.ResponseWriter) *call { return w.(*callWriter).call }

// callWriter carries the call through the ServeMux.
type callWriter struct {
	*response
	call *call
}

// entry is what every request passes first.
func (s *Server) entry(next http.Handler, peer bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rc := http.NewResponseController(w)
		if r.Header.Get("Expect") != "" {
			// The server looks at its own request to see whether the body was asked for;
			// under another body it would wait for one that nobody sends.
			r = r.WithContext(r.Context())
		}
		c := &call{r: r, id: requestID(r), peer: peer}
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
		if !s.begin() {
			h.Set("Connection", "close")
			h.Set(wire.HeaderNotExecuted, "1")
			s.fail(c, errStopping)
			return
		}
		defer s.end()
		if err := s.admit(c); err != nil {
			s.fail(c, err)
			return
		}
		next.ServeHTTP(&callWriter{c.w, c}, r)
	})
}

// finish ends a request: a panic becomes a 500, or breaks the connection where
// an answer was under way, and the process lives.
func (s *Server) finish(c *call, start time.Time) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			s.logAccess(c, start)
			panic(p)
		}
		s.log.Error("handler panicked", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		if c.w.status != 0 {
			panic(http.ErrAbortHandler)
		}
		s.fail(c, fmt.Errorf("panic: %v", p))
	}
	s.logAccess(c, start)
}

func (s *Server) logAccess(c *call, start time.Time) {
	if s.log.IsDebug() {
		s.log.Debug("request", "request", c.id, "method", c.r.Method, "path", c.r.URL.Path, "status", c.w.status,
			"bytes", c.w.written, "duration", time.Since(start), "subject", c.by.Name, "remote", c.r.RemoteAddr)
	}
}

// requestID takes the caller's id where it is well formed, or makes one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(wire.HeaderRequestID); token(id, 128) {
		return id
	}
	return strconv.FormatUint(rand.Uint64()|1<<63, 16)
}

// token reports whether s is 1 to max of letters, digits and "._:-".
func token(s string, max int) bool {
	if s == "" || len(s) > max {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}
