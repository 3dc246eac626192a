package api

import (
	"context"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Secrets is what the API needs of a node for secrets.
type Secrets interface {
	// SetSecret sets or replaces a secret. The node that was asked seals the value
	// before it leaves that node.
	SetSecret(ctx context.Context, by Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error)
	// Secrets lists names, never values: leader.
	Secrets(ctx context.Context) (wire.SecretList, error)
	// DeleteSecret removes a secret, on any node.
	DeleteSecret(ctx context.Context, by Subject, name string) error
}

type secretsHandler struct{ secrets Secrets }

// routes are the calls about secrets.
func (h *secretsHandler) routes() []Route {
	return []Route{
		{Method: "PUT", Pattern: "/api/v1/secrets/{name}", Role: RoleAdmin,
			Summary: "set a secret, or replace it",
			Body:    JSONBody, Request: doc[wire.SecretRequest](), Response: doc[wire.SecretInfo](),
			serve: h.set},
		{Method: "GET", Pattern: "/api/v1/secrets", Role: RoleSubmit, Where: OnLeader,
			Summary:  "the names of the secrets, never their values",
			Response: doc[wire.SecretList](), serve: h.list},
		{Method: "DELETE", Pattern: "/api/v1/secrets/{name}", Role: RoleAdmin,
			Summary: "remove a secret",
			serve:   h.delete},
	}
}

func (h *secretsHandler) set(c *call) error {
	in, err := document[wire.SecretRequest](c)
	if err != nil {
		return err
	}

	out, err := h.secrets.SetSecret(c.r.Context(), c.by, c.r.PathValue("name"), in)
	return c.reply(out, err)
}

func (h *secretsHandler) list(c *call) error {
	out, err := h.secrets.Secrets(c.r.Context())
	if out.Secrets == nil {
		out.Secrets = []wire.SecretInfo{}
	}
	return c.reply(out, err)
}

func (h *secretsHandler) delete(c *call) error {
	name := c.r.PathValue("name")
	if !token(name, 128) {
		return pipeline.Errorf(pipeline.NotFound, "secret %.80q: there is none", name)
	}

	return c.done(h.secrets.DeleteSecret(c.r.Context(), c.by, name))
}
