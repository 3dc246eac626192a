package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxURI bounds path and query, in bytes.
const maxURI = 8 << 10

// pathHealth never needs a token or a known host name.
const pathHealth = "/api/health"

// secretParams are names under which people put tokens into a query, where
// every log and history on the way would keep them.
var secretParams = [...]string{"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey"}

// admit refuses what no route should ever see.
func (s *Server) admit(c *call) error {
	r := c.r
	if c.peer {
		c.forwarded = r.Header.Get(wire.HeaderForwardedBy) != ""
	} else {
		for _, name := range [...]string{wire.HeaderForwardedBy, wire.HeaderSubject, wire.HeaderRole, wire.HeaderWorker} {
			r.Header.Del(name)
		}
		if err := s.checkOrigin(r); err != nil {
			return err
		}
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		c.w.Header().Set("Allow", "GET, HEAD, POST, PUT, DELETE")
		return withStatus(http.StatusMethodNotAllowed, pipeline.Invalid, "method %s: this server has no use for it", r.Method)
	}
	if r.URL.Scheme != "" || r.URL.Host != "" {
		return invalid("request target %.80q: want a path; this is no proxy", r.RequestURI)
	}
	if err := checkPath(r.URL); err != nil {
		return err
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return invalid("Authorization: given %d times", len(r.Header.Values("Authorization")))
	}
	return checkQuery(r.URL.RawQuery)
}

// checkQuery refuses queries that cannot be read and tokens in them.
func checkQuery(raw string) error {
	if raw == "" {
		return nil
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("query: %w", err)
	}
	for name := range q {
		for _, secret := range secretParams {
			if strings.EqualFold(name, secret) {
				return invalid("query: a token does not belong into the address; send it in the header Authorization, and replace the one that was just shown")
			}
		}
	}
	return nil
}

// checkPath refuses paths that different readers might understand in different
// ways: encoded slashes and NULs, dot segments in any spelling, empty segments.
func checkPath(u *url.URL) error {
	if len(u.Path)+len(u.RawQuery) > maxURI || len(u.RawPath) > maxURI {
		return withStatus(http.StatusRequestURITooLong, pipeline.TooLarge, "path and query: longer than %d bytes", maxURI)
	}
	if !strings.HasPrefix(u.Path, "/") {
		return invalid("path %.80q: want it to begin with /", u.Path)
	}
	if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") {
		return invalid("path %.80q: an encoded slash is not allowed", u.EscapedPath())
	}
	for i := range len(u.Path) {
		if u.Path[i] < 0x20 || u.Path[i] == 0x7f {
			return invalid("path %.80q: a control character is not allowed", u.Path)
		}
	}
	rest := u.Path[1:]
	for rest != "" {
		segment, tail, more := strings.Cut(rest, "/")
		// "..;x" is a dot segment to servers that know path parameters.
		switch bare, _, _ := strings.Cut(segment, ";"); {
		case bare == "." || bare == "..":
			return invalid("path %.80q: the segment %.20q is not allowed", u.Path, segment)
		case segment == "" && more:
			return invalid("path %.80q: an empty segment is not allowed", u.Path)
		}
		rest = tail
	}
	return nil
}

// checkOrigin keeps web pages out: those that were given this node's address by
// their own DNS (the Host is theirs), and those that send from another origin.
func (s *Server) checkOrigin(r *http.Request) error {
	if r.URL.Path == pathHealth && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return nil
	}
	if !s.knownHost(r.Host) {
		return pipeline.Errorf(pipeline.Forbidden, "host %.80q: it is not a name of this node; use its address, or name it with -http-host", r.Host)
	}
	if err := s.csrf.Check(r); err != nil {
		return pipeline.Errorf(pipeline.Forbidden, "origin %.80q: requests from other sites are refused", r.Header.Get("Origin"))
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	if u, err := url.Parse(origins[0]); len(origins) > 1 || err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return pipeline.Errorf(pipeline.Forbidden, "origin %.80q: requests from other sites are refused", strings.Join(origins, ", "))
	}
	return nil
}

// knownHost reports whether a Host header names this node. A rebound name is
// never an IP literal, so those are let through.
func (s *Server) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	if host == "" {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || s.cfg.AllowedHosts(host)
}
