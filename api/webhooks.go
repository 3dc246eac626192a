package api

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Webhooks is what the API needs of a node to manage webhooks.
type Webhooks interface {
	// AddWebhook adds one. The node that was asked seals the secret before it leaves
	// that node; this answer alone has it.
	AddWebhook(ctx context.Context, by Subject, in wire.WebhookRequest) (wire.WebhookCreated, error)
	// Webhooks lists them without their secrets: leader.
	Webhooks(ctx context.Context) (wire.WebhookList, error)
	// RemoveWebhook removes one with what waits for it.
	RemoveWebhook(ctx context.Context, by Subject, name string) error
	// RotateWebhook gives one another secret.
	RotateWebhook(ctx context.Context, by Subject, name string, in wire.WebhookRotate) (wire.WebhookCreated, error)
	// RetryWebhook switches one on and makes all that waits for it due: leader.
	RetryWebhook(ctx context.Context, by Subject, name string) (wire.WebhookInfo, error)
	// TestWebhook sends an event at once: leader, which sends the others too.
	TestWebhook(ctx context.Context, by Subject, name string) (wire.WebhookDelivery, error)
}

type webhooksHandler struct{ webhooks Webhooks }

// routes are the calls about receivers of events.
func (h *webhooksHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/webhooks", Role: RoleAdmin,
			Summary: "add a webhook; only this answer has its secret",
			Body:    JSONBody, Request: doc[wire.WebhookRequest](), Response: doc[wire.WebhookCreated](),
			serve: h.add},
		{Method: "GET", Pattern: "/api/v1/webhooks", Role: RoleAdmin, Where: OnLeader,
			Summary:  "the webhooks and what became of their deliveries, without their secrets",
			Response: doc[wire.WebhookList](), serve: h.list},
		{Method: "DELETE", Pattern: "/api/v1/webhooks/{name}", Role: RoleAdmin,
			Summary: "remove a webhook with what waits for it",
			serve:   h.remove},
		{Method: "POST", Pattern: "/api/v1/webhooks/{name}/test", Role: RoleAdmin, Where: OnLeader, Long: true,
			Summary:  "send an event to a webhook at once; the answer is its receiver's",
			Response: doc[wire.WebhookDelivery](), serve: h.test},
		{Method: "POST", Pattern: "/api/v1/webhooks/{name}/retry", Role: RoleAdmin, Where: OnLeader,
			Summary:  "switch a webhook on, and send again what waits for it or was given up",
			Response: doc[wire.WebhookInfo](), serve: h.retry},
		{Method: "POST", Pattern: "/api/v1/webhooks/{name}/rotate", Role: RoleAdmin, Where: OnState,
			Summary: "replace the secret of a webhook; only this answer has it",
			Body:    OptionalBody, Request: doc[wire.WebhookRotate](), Response: doc[wire.WebhookCreated](),
			serve: h.rotate},
	}
}

func (h *webhooksHandler) add(c *call) error {
	in, err := document[wire.WebhookRequest](c)
	if err != nil {
		return err
	}

	out, err := h.webhooks.AddWebhook(c.r.Context(), c.by, in)
	if err != nil {
		return err
	}
	c.json(http.StatusCreated, out)
	return nil
}

func (h *webhooksHandler) list(c *call) error {
	out, err := h.webhooks.Webhooks(c.r.Context())
	if out.Webhooks == nil {
		out.Webhooks = []wire.WebhookInfo{}
	}
	return c.reply(out, err)
}

func (h *webhooksHandler) remove(c *call) error {
	name, err := h.name(c)
	if err != nil {
		return err
	}
	return c.done(h.webhooks.RemoveWebhook(c.r.Context(), c.by, name))
}

func (h *webhooksHandler) rotate(c *call) error {
	name, err := h.name(c)
	if err != nil {
		return err
	}
	in, err := document[wire.WebhookRotate](c)
	if err != nil {
		return err
	}
	out, err := h.webhooks.RotateWebhook(c.r.Context(), c.by, name, in)
	return c.reply(out, err)
}

func (h *webhooksHandler) retry(c *call) error {
	name, err := h.name(c)
	if err != nil {
		return err
	}
	out, err := h.webhooks.RetryWebhook(c.r.Context(), c.by, name)
	return c.reply(out, err)
}

func (h *webhooksHandler) test(c *call) error {
	name, err := h.name(c)
	if err != nil {
		return err
	}
	out, err := h.webhooks.TestWebhook(c.r.Context(), c.by, name)
	return c.reply(out, err)
}

// name is the webhook that the path names.
func (h *webhooksHandler) name(c *call) (string, error) {
	name := c.r.PathValue("name")
	if !token(name, 128) {
		return "", pipeline.Errorf(pipeline.NotFound, "webhook %.80q: there is none", name)
	}
	return name, nil
}
