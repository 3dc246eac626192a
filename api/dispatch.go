package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// mux builds the table of one port.
func (s *Server) mux(peer bool) http.Handler {
	m := http.NewServeMux()
	routes := Routes()
	for i := range routes {
		rt := &routes[i]
		m.HandleFunc(rt.Method+" "+rt.Pattern, func(w http.ResponseWriter, _ *http.Request) {
			c := callOf(w)
			c.route = rt
			if err := s.dispatch(c); err != nil {
				s.fail(c, err)
			}
		})
	}
	if peer {
		for pattern, h := range s.cfg.PeerHandlers {
			m.Handle(pattern, s.peerOnly(h))
		}
	}
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		c := callOf(w)
		s.fail(c, noRoute(c, routes))
	})
	return m
}

// peerOnly serves a call between nodes that is none of the API's.
func (s *Server) peerOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callOf(w)
		if _, _, ok := s.cfg.PeerIdentity(r); !ok {
			s.fail(c, pipeline.Errorf(pipeline.Unauthenticated, "this port is for the cluster's nodes: the connection carries no identity of one"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// dispatch checks the caller, reads the document, and has the call served
// where it belongs.
func (s *Server) dispatch(c *call) error {
	if err := s.authenticate(c); err != nil {
		return err
	}
	var err error
	if c.key, err = idempotencyKey(c.r.Header.Values(wire.HeaderIdempotencyKey), wire.MaxIdempotencyKey); err != nil {
		return err
	}
	switch c.route.Body {
	case JSONBody, LenientBody, OptionalBody:
		limit := c.route.MaxBody
		if limit == 0 {
			limit = maxDocument
		}
		if c.body, err = readDocument(c.r, limit, c.route.Body == OptionalBody); err != nil {
			return err
		}
	}
	if c.route.Long {
		ctx, cancel := context.WithCancelCause(c.r.Context())
		defer cancel(nil)
		defer context.AfterFunc(s.stopping, func() { cancel(errStopping) })()
		c.r = c.r.WithContext(ctx)
	}
	err = s.place(c)
	if err != nil && errors.Is(context.Cause(c.r.Context()), errStopping) && c.w.status == 0 {
		return errStopping
	}
	return err
}

// document decodes the body of a call.
func document[T any](c *call) (T, error) {
	var in T
	if len(c.body) == 0 {
		return in, nil
	}
	err := decode(c.body, &in, c.route.Body != LenientBody)
	return in, err
}

// noRoute tells a path that does not exist from a method that it does not have.
func noRoute(c *call, routes []Route) error {
	path := c.r.URL.Path
	var methods []string
	nearest, best := "", 1<<30
	for i := range routes {
		rt := &routes[i]
		filled, match := fill(rt.Pattern, path)
		if match {
			methods = append(methods, rt.Method)
			if rt.Method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
		if rt.Basic {
			continue // short and full of wildcards, so near to everything
		}
		if d := distance(path, filled); d < best {
			nearest, best = rt.Pattern, d
		}
	}
	if len(methods) > 0 {
		slices.Sort(methods)
		allow := strings.Join(slices.Compact(methods), ", ")
		c.w.Header().Set("Allow", allow)
		return withStatus(http.StatusMethodNotAllowed, pipeline.Invalid, "method %.20s: %s takes %s", c.r.Method, path, allow)
	}
	return pipeline.Errorf(pipeline.NotFound, "path %.200q: there is no such call; the nearest is %s", path, nearest)
}

// fill puts the segments of a path into the wildcards of a pattern, and
// reports whether the two match.
func fill(pattern, path string) (string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	match := len(want) == len(got)
	for i, w := range want {
		switch {
		case strings.HasSuffix(w, "...}") && i < len(got):
			want[i] = strings.Join(got[i:], "/")
			return strings.Join(want, "/"), match || len(got) > len(want)
		case strings.HasPrefix(w, "{") && i < len(got) && got[i] != "":
			want[i] = got[i]
		case i >= len(got) || w != got[i]:
			match = false
		}
	}
	return strings.Join(want, "/"), match
}

// distance is the number of single-byte edits between two paths, of which the
// first 200 bytes count.
func distance(a, b string) int {
	a, b = a[:min(len(a), 200)], b[:min(len(b), 200)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
