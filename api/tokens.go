package api

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Tokens is what the API needs of a node to manage tokens. All calls: leader.
type Tokens interface {
	// CreateToken creates a token; its secret is in this answer only.
	CreateToken(ctx context.Context, by Subject, in wire.TokenRequest) (wire.TokenCreated, error)
	// Tokens lists tokens without their secrets.
	Tokens(ctx context.Context) (wire.TokenList, error)
	// DeleteToken revokes a token.
	DeleteToken(ctx context.Context, by Subject, id string) error
}

// maxTTL is the longest life of a token, in seconds: a hundred years.
const maxTTL = 100 * 365 * 24 * 3600

type tokensHandler struct{ tokens Tokens }

// routes are the calls about tokens.
func (h *tokensHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/tokens", Role: RoleAdmin,
			Summary: "create a token; only this answer has its secret",
			Body:    JSONBody, Request: doc[wire.TokenRequest](), Response: doc[wire.TokenCreated](),
			serve: h.create},
		{Method: "GET", Pattern: "/api/v1/tokens", Role: RoleAdmin, Where: OnLeader,
			Summary:  "the tokens, without their secrets",
			Response: doc[wire.TokenList](), serve: h.list},
		{Method: "DELETE", Pattern: "/api/v1/tokens/{id}", Role: RoleAdmin,
			Summary: "revoke a token",
			serve:   h.delete},
	}
}

func (h *tokensHandler) create(c *call) error {
	in, err := document[wire.TokenRequest](c)
	if err != nil {
		return err
	}

	if role := Role(in.Role); role != RoleWorker && rank[role] == 0 {
		return invalid("role %.40q: expected read, submit, worker or admin", in.Role)
	}
	if in.TTLSeconds < 0 || in.TTLSeconds > maxTTL {
		return invalid("ttlSeconds: expected 0 (never expires) to a hundred years")
	}
	if len(in.Name) > 128 {
		return invalid("name: longer than 128 bytes")
	}

	out, err := h.tokens.CreateToken(c.r.Context(), c.by, in)
	if err != nil {
		return err
	}
	c.json(http.StatusCreated, out)
	return nil
}

func (h *tokensHandler) list(c *call) error {
	out, err := h.tokens.Tokens(c.r.Context())
	if out.Tokens == nil {
		out.Tokens = []wire.TokenInfo{}
	}
	return c.reply(out, err)
}

func (h *tokensHandler) delete(c *call) error {
	id := c.r.PathValue("id")
	if !token(id, 128) {
		return pipeline.Errorf(pipeline.NotFound, "token %.80q: there is none", id)
	}

	return c.done(h.tokens.DeleteToken(c.r.Context(), c.by, id))
}
