package api

import (
	"context"
	"net/http"
	"net/url"

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

// routes are the calls that sign a browser in and out.
func (h *signInHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/whoami", Role: RoleRead, Worker: true,
			Summary:  "who calls, and at which node",
			Response: doc[wire.WhoAmI](), serve: h.whoami},
		{Method: "POST", Pattern: "/api/v1/signin/codes", Role: RoleRead,
			Summary:  "create a code with which a browser signs in once",
			Response: doc[wire.SignInCode](), serve: h.code},
		{Method: "POST", Pattern: "/api/v1/signin",
			Summary: "exchange a code for a token",
			Body:    JSONBody, Request: doc[wire.SignInRequest](), Response: doc[wire.SignedIn](),
			serve: h.signIn},
		{Method: "DELETE", Pattern: "/api/v1/signin", Role: RoleRead,
			Summary:  "revoke the token of a sign-in, which makes the call",
			Response: doc[wire.Success](), serve: h.signOut},
	}
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
	c.json(http.StatusCreated, out)
	return nil
}

func (h *signInHandler) signOut(c *call) error {
	return c.done(h.signIns.SignOut(c.r.Context(), c.by))
}

// whoami answers who calls, and at which node.
func (h *signInHandler) whoami(c *call) error {
	health := h.cluster.Health(c.r.Context())
	out := wire.WhoAmI{Name: c.by.Name, Role: string(c.by.Role), TokenID: c.by.Token, ExpiresAt: wire.TimeOf(c.by.ExpiresAt), Untrusted: c.by.Untrusted,
		Node: h.cfg.NodeName, NodeID: h.cfg.NodeID, ClusterID: h.cfg.ClusterID(), Version: health.Version, Addresses: h.cfg.Addresses()}
	if out.Addresses == nil {
		out.Addresses = []string{}
	}
	return c.ok(out)
}
