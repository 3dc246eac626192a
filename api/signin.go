package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
)

// SignIns is what the API needs of a node to let a browser in: a code that is valid
// once is exchanged for a token.
type SignIns interface {
	// CreateCode makes a code for a caller. A later token has the caller's role, and
	// is valid no longer than the caller's.
	CreateCode(ctx context.Context, by Subject) (wire.SignInCode, error)
	// SignIn exchanges a code for a token that every node accepts. Unauthenticated if
	// the code is unknown, used or expired.
	SignIn(ctx context.Context, code string) (wire.SignedIn, error)
	// SignOut revokes the caller's token. A Conflict if it is not of a sign-in.
	SignOut(ctx context.Context, by Subject) error
}

// maxCode bounds a code, in bytes.
const maxCode = 256

type signInHandler struct {
	signIns SignIns
	cluster Cluster
	cfg     *Config
}

// code makes a code, and the address that a browser opens with it.
func (h *signInHandler) code(c *call) error {
	out, err := h.signIns.CreateCode(c.r.Context(), c.by)
	if err != nil {
		return err
	}
	if list := h.cfg.Addresses(); len(list) > 0 {
		out.URL = list[0] + "/#code=" + url.QueryEscape(out.Code)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.json(http.StatusCreated, out)
	return nil
}

func (h *signInHandler) signIn(c *call) error {
	in, err := document[wire.SignInRequest](c)
	if err != nil {
		return err
	}
	if in.Code == "" || len(in.Code) > maxCode {
		return invalid("code: expected the one that a sign-in code was answered with")
	}

	out, err := h.signIns.SignIn(c.r.Context(), in.Code)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.json(http.StatusCreated, out)
	return nil
}

func (h *signInHandler) signOut(c *call) error {
	return c.done(h.signIns.SignOut(c.r.Context(), c.by))
}

// whoami answers who calls, and at which node.
func (h *signInHandler) whoami(c *call) error {
	health := h.cluster.Health(c.r.Context())
	out := wire.WhoAmI{Name: c.by.Name, Role: string(c.by.Role), TokenID: c.by.Token, Untrusted: c.by.Untrusted,
		Node: h.cfg.NodeName, NodeID: h.cfg.NodeID, ClusterID: h.cfg.ClusterID(), Version: health.Version, Addresses: h.cfg.Addresses()}
	if !c.by.ExpiresAt.IsZero() {
		at := c.by.ExpiresAt.UTC()
		out.ExpiresAt = &at
	}
	if out.Addresses == nil {
		out.Addresses = []string{}
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.ok(out)
}

// ConnectSources is the value of connect-src in a page's Content-Security-Policy:
// the node that served the page, and those to which it may turn.
func ConnectSources(addresses []string) string {
	return strings.Join(append([]string{"'self'"}, addresses...), " ")
}

// preflightAge is how long a browser remembers a preflight, in seconds.
const preflightAge = "600"

// allowOrigin lets a page that a member served read the answer: it brings a token,
// and nothing that a browser sends by itself. It reports whether it is such a page.
func (g *guard) allowOrigin(c *call) bool {
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origins := c.r.Header.Values("Origin")
	if len(origins) != 1 || !slices.ContainsFunc(g.addresses(), func(address string) bool { return isOrigin(origins[0], address) }) {
		return false
	}

	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "*")
	if c.preflight() {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Range, Range, If-None-Match, Last-Event-ID, "+
			wire.HeaderIdempotencyKey+", "+wire.HeaderRequestID)
		h.Set("Access-Control-Max-Age", preflightAge)
	}
	return true
}

// isOrigin reports whether a browser calls a page of an address by that origin: it
// leaves the usual port out, and a user may have written localhost.
func isOrigin(origin, address string) bool {
	if origin == address {
		return true
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return false
	case u.Hostname() == "127.0.0.1" && origin == u.Scheme+"://localhost:"+u.Port():
		return true
	}
	return (address == origin+":80" && u.Scheme == "http") || (address == origin+":443" && u.Scheme == "https")
}

// preflight reports whether a browser asks whether it may make a call.
func (c *call) preflight() bool {
	return c.r.Method == http.MethodOptions && c.r.Header.Get("Access-Control-Request-Method") != ""
}
