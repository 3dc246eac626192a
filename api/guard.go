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

// secretParams are names under which users put tokens into a query, where every
// log and history on the way would store them.
var secretParams = [...]string{"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey"}

// guard decides which requests reach a route, and on whose behalf. It holds no
// state and is safe for concurrent use.
type guard struct {
	auth         Authenticator
	allowedHosts func(host string) bool
	peerIdentity func(*http.Request) (id, name string, ok bool)
	csrf         *http.CrossOriginProtection
	// addresses are the members' HTTP ports, whose pages may call this node.
	addresses func() []string
}

func newGuard(cfg Config) *guard {
	return &guard{
		auth:         cfg.Auth,
		allowedHosts: cfg.AllowedHosts,
		peerIdentity: cfg.PeerIdentity,
		csrf:         http.NewCrossOriginProtection(),
		addresses:    cfg.Addresses,
	}
}

// admit refuses what no route should ever see. On the public port it removes
// the headers by which nodes speak on behalf of callers.
func (g *guard) admit(c *call) error {
	r := c.r
	if c.peer {
		c.forwarded = r.Header.Get(wire.HeaderForwardedBy) != ""
		c.relayed = c.forwarded && r.Header.Get(wire.HeaderRelay) != ""
	} else {
		for _, name := range [...]string{wire.HeaderForwardedBy, wire.HeaderRelay, wire.HeaderSubject, wire.HeaderRole, wire.HeaderWorker, wire.HeaderUntrusted, wire.HeaderUse, wire.HeaderLoopback} {
			r.Header.Del(name)
		}
		if err := g.checkOrigin(c); err != nil {
			return err
		}
	}

	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		c.w.Header().Set("Allow", "GET, HEAD, POST, PUT, DELETE")
		return withStatus(http.StatusMethodNotAllowed, pipeline.Invalid, "method %s: not supported", r.Method)
	}
	if r.URL.Scheme != "" || r.URL.Host != "" {
		return invalid("request target %.80q: expected a path; this is not a proxy", r.RequestURI)
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
				return invalid("query: a token must not be part of the address; send it in the header Authorization, and replace the token that was just exposed")
			}
		}
	}
	return nil
}

// checkPath refuses paths that different readers might understand in different
// ways: encoded slashes and control characters, dot segments in any spelling, empty
// segments. The name of a run, also in an address of the dashboard, or of a module may hold an
// encoded slash, and that of an artifact a control character: the keys of instances and the
// files of modules may hold both.
func checkPath(u *url.URL) error {
	if len(u.Path)+len(u.RawQuery) > maxURI || len(u.RawPath) > maxURI {
		return withStatus(http.StatusRequestURITooLong, pipeline.TooLarge, "path and query: longer than %d bytes", maxURI)
	}

	if !strings.HasPrefix(u.Path, "/") {
		return invalid("path %.80q: expected a path that begins with /", u.Path)
	}

	segments := strings.Split(u.EscapedPath()[1:], "/")
	ofRun := len(segments) > 3 && strings.Join(segments[:3], "/") == "api/v1/runs"
	for i, escaped := range segments {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return invalid("path %.80q: %w", u.EscapedPath(), err)
		}

		run := ofRun && i == 3 || segments[0] == "runs" && i == 1
		module := ofRun && i == 5 && (segments[4] == "modules" || segments[4] == "artifacts")
		artifact := ofRun && i > 5 && segments[4] == "artifacts"
		// "..;x" is a dot segment to servers that know path parameters.
		switch bare, _, _ := strings.Cut(segment, ";"); {
		case bare == "." || bare == "..":
			return invalid("path %.80q: the segment %.20q is not allowed", u.Path, segment)
		case segment == "" && i < len(segments)-1:
			return invalid("path %.80q: an empty segment is not allowed", u.Path)
		case strings.Contains(segment, "/") && !module && !run:
			return invalid("path %.80q: an encoded slash is only allowed in the name of a module, and in PIPELINE/NUMBER for a run", u.EscapedPath())
		case hasControl(segment) && (!artifact || strings.ContainsRune(segment, 0)):
			return invalid("path %.80q: a control character is not allowed", u.Path)
		}
	}
	return nil
}

// hasControl reports whether a text holds an ASCII control character.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f })
}

// checkOrigin refuses web pages: those whose own DNS name was pointed at this
// node's address (the Host is theirs), and those of another origin that is no member.
func (g *guard) checkOrigin(c *call) error {
	r := c.r
	member := g.allowOrigin(c)
	if r.URL.Path == pathHealth && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return nil
	}
	if !g.knownHost(r.Host) {
		return pipeline.Errorf(pipeline.Forbidden, "host %.80q: not a name of this node; use its address, or add the name with -http-host", r.Host)
	}

	if member {
		return nil
	}
	if err := g.csrf.Check(r); err != nil {
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
func (g *guard) knownHost(hostport string) bool {
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
	return host == "localhost" || g.allowedHosts(host)
}
