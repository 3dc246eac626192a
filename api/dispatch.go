package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
)

// mux builds the table of one port.
func (s *Server) mux(peer bool) http.Handler {
	m := http.NewServeMux()
	for i := range s.routes {
		rt := &s.routes[i]
		m.HandleFunc(rt.Method+" "+rt.Pattern, func(w http.ResponseWriter, _ *http.Request) {
			c := callOf(w)
			c.route = rt
			if err := s.dispatch(c); err != nil {
				c.fail(err)
			}
		})
	}

	if peer {
		for pattern, h := range s.cfg.PeerHandlers {
			m.Handle(pattern, s.peerOnly(h))
		}
	}

	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c := callOf(w)
		if !peer && (r.Method == http.MethodGet || r.Method == http.MethodHead) && s.dashboard.Serves(r.URL.Path) {
			s.dashboard.ServeHTTP(w, r)
			return
		}
		c.fail(noRoute(c, s.routes))
	})
	return m
}

// peerOnly serves a call between nodes that does not belong to the API.
func (s *Server) peerOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := s.cfg.PeerIdentity(r); !ok {
			callOf(w).fail(errNoIdentity)
			return
		}

		h.ServeHTTP(w, r)
	})
}

// dispatch checks the caller, reads the document, and has the call served on
// the node where it belongs. Nothing of the body is read before the caller is
// known to be allowed the call.
func (s *Server) dispatch(c *call) error {
	if err := s.guard.authenticate(c); err != nil {
		return err
	}

	end, err := s.budget.begin(c)
	if err != nil {
		return err
	}
	defer end()
	defer s.revocations.watch(c)()

	if c.key, err = idempotencyKey(c.r.Header.Values(wire.HeaderIdempotencyKey), wire.MaxIdempotencyKey); err != nil {
		return err
	}
	if c.body, err = readBody(c.r, c.route); err != nil {
		return err
	}

	if c.route.Long {
		ctx, release := s.inflight.bound(c.r.Context())
		defer release()
		if !c.peer {
			defer s.cfg.Metrics.Stream(c.route.kind())()
		}
		c.r = c.r.WithContext(ctx)
	}

	err = s.forward.place(c)
	cause := context.Cause(c.r.Context())
	if err != nil && c.w.status == 0 && (errors.Is(cause, errStopping) || errors.Is(cause, errRevoked)) {
		return cause
	}
	return err
}

// readBody reads the document of a route that takes one.
func readBody(r *http.Request, rt *Route) ([]byte, error) {
	switch rt.Body {
	case JSONBody, LenientBody, OptionalBody:
		limit := rt.MaxBody
		if limit == 0 {
			limit = maxDocument
		}
		return readDocument(r, limit, rt.Body == OptionalBody)
	}

	return nil, nil
}
