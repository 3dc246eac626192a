package api

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Role is what a caller may do. Roles are ordered: a higher one may do what a
// lower one may, except for RoleWorker, which stands beside them.
type Role string

// The roles of tokens.
const (
	RoleRead   Role = "read"
	RoleSubmit Role = "submit"
	RoleWorker Role = "worker"
	RoleAdmin  Role = "admin"
)

// Subject is a verified caller.
type Subject struct {
	Name string
	Role Role
	// Worker is the id of the token, if its role is worker: who registers with it
	// is known by it.
	Worker pipeline.NodeID
	// Untrusted is set for a token that was created so: what its submissions leave in
	// caches is read by no others.
	Untrusted bool
	// Use is the id of the token, if it has a number of uses: what it begins takes one
	// (fsm.Command).
	Use string
	// Token is the id of the cluster's token that the caller sent, ExpiresAt its end;
	// they are known on the node that was asked only.
	Token     string
	ExpiresAt time.Time
	// Loopback is set if the call came over loopback all the way.
	Loopback bool
}

// Authenticator finds the subject of a bearer token.
type Authenticator interface {
	// Authenticate is called for every request on the public port. remote is the
	// caller's address. Kind Unauthenticated if the token is not accepted.
	Authenticate(ctx context.Context, token, remote string) (Subject, error)
	// Revoked reports whether a token that was accepted is known to have been revoked
	// or to have expired. One that only begins calls never is.
	Revoked(ctx context.Context, token string) bool
}

// maxToken bounds a bearer token, in bytes.
const maxToken = 4 << 10

// errNoIdentity refuses a caller on the peer port that TLS did not identify.
var errNoIdentity = &pipeline.Error{Kind: pipeline.Unauthenticated,
	Message: "this port is for the cluster's nodes: the connection carries no identity of one"}

// rank orders the roles; RoleWorker stands beside them and has none.
var rank = map[Role]int{RoleRead: 1, RoleSubmit: 2, RoleAdmin: 3}

// allows reports whether a role may use the route.
func (rt *Route) allows(role Role) bool {
	if role == RoleWorker {
		return rt.Worker
	}

	return rank[role] > 0 && rank[role] >= rank[rt.Role]
}

// authenticate finds out who calls and whether that caller may use the route.
func (g *guard) authenticate(c *call) (err error) {
	if c.route.Role == "" {
		c.authenticated = true
		return nil
	}

	if c.peer {
		c.by, err = g.peerSubject(c.r)
	} else {
		c.by, err = g.tokenSubject(c)
		c.by.Loopback = onLoopback(c.r)
	}
	if err != nil {
		return err
	}

	if !c.route.allows(c.by.Role) {
		return pipeline.Errorf(pipeline.Forbidden, "%s %s requires the role %s; this token has the role %s",
			c.route.Method, c.route.Pattern, c.route.Role, c.by.Role)
	}
	if c.route.Shared && c.by.Untrusted {
		return pipeline.Errorf(pipeline.Forbidden, "%s %s changes what other submissions use; this token is untrusted", c.route.Method, c.route.Pattern)
	}
	if c.route.Shared && c.by.Use != "" {
		return pipeline.Errorf(pipeline.Forbidden, "%s %s changes what other submissions use; this token has a number of uses, which are for runs and workers", c.route.Method, c.route.Pattern)
	}
	c.authenticated = true
	return nil
}

func (g *guard) tokenSubject(c *call) (Subject, error) {
	const challenge = `Bearer realm="pipelined"`

	header := c.r.Header.Get("Authorization")
	if user, ok := localUser(c.r.Context()); ok && header == "" {
		return Subject{Name: user, Role: RoleAdmin}, nil // could read the key and the data directory as well
	}
	if header == "" {
		c.w.Header().Set("WWW-Authenticate", challenge)
		return Subject{}, pipeline.Errorf(pipeline.Unauthenticated,
			"no token: send one in the header Authorization: Bearer TOKEN (create one with pipelined token create)")
	}

	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if c.route.Basic && strings.EqualFold(scheme, "Basic") {
		// The challenge never asks for it: a browser would store the password and
		// send it by itself.
		_, token, _ = c.r.BasicAuth()
		scheme = "Bearer"
	}
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		c.w.Header().Set("WWW-Authenticate", challenge+`, error="invalid_request"`)
		return Subject{}, pipeline.Errorf(pipeline.Unauthenticated,
			"Authorization: expected Bearer and a token of at most %d bytes", maxToken)
	}

	by, err := g.auth.Authenticate(c.r.Context(), token, c.r.RemoteAddr)
	if err != nil && kindOf(err) == pipeline.Unauthenticated {
		c.w.Header().Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
		err = pipeline.Errorf(pipeline.Unauthenticated, "%s does not accept this token (unknown, expired, or of another cluster)", c.r.Host)
	}
	if err == nil {
		c.token = token
	}
	return by, err
}

// peerSubject is the verified node itself, or the caller that it speaks for.
func (g *guard) peerSubject(r *http.Request) (Subject, error) {
	_, name, ok := g.peerIdentity(r)
	if !ok {
		return Subject{}, errNoIdentity
	}

	encoded := r.Header.Get(wire.HeaderSubject)
	role := Role(r.Header.Get(wire.HeaderRole))
	if encoded == "" && role == "" {
		return Subject{Name: name, Role: RoleAdmin}, nil
	}

	subject, err := url.QueryUnescape(encoded)
	if err != nil || role != RoleWorker && rank[role] == 0 {
		return Subject{}, invalid("%s, %s: node %s passed on a caller that cannot be read", wire.HeaderSubject, wire.HeaderRole, name)
	}
	worker, err := url.QueryUnescape(r.Header.Get(wire.HeaderWorker))
	if err != nil {
		return Subject{}, invalid("%s: node %s passed on a caller that cannot be read", wire.HeaderWorker, name)
	}
	return Subject{Name: subject, Role: role, Worker: pipeline.NodeID(worker), Untrusted: r.Header.Get(wire.HeaderUntrusted) != "",
		Use:      r.Header.Get(wire.HeaderUse),
		Loopback: r.Header.Get(wire.HeaderLoopback) != "" && onLoopback(r)}, nil
}

// onLoopback reports whether a request came from this machine.
func onLoopback(r *http.Request) bool {
	if _, ok := localUser(r.Context()); ok {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// setSubject writes the headers that peerSubject reads.
func setSubject(h http.Header, by Subject) {
	if by.Role == "" {
		return
	}

	h.Set(wire.HeaderSubject, url.QueryEscape(by.Name))
	h.Set(wire.HeaderRole, string(by.Role))
	if by.Worker != "" {
		h.Set(wire.HeaderWorker, url.QueryEscape(string(by.Worker)))
	}
	if by.Untrusted {
		h.Set(wire.HeaderUntrusted, "true")
	}
	if by.Use != "" {
		h.Set(wire.HeaderUse, by.Use)
	}
	if by.Loopback {
		h.Set(wire.HeaderLoopback, "1")
	}
}
