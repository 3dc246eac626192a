package client

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
)

const pathWebhooks = "/api/v1/webhooks"

// Add adds a webhook. An Unknown error leaves it open whether there is one more; List
// shows it, and its secret is lost: rotate it.
func (webhooks Webhooks) Add(ctx context.Context, in wire.WebhookRequest) (wire.WebhookCreated, error) {
	return do[wire.WebhookCreated](ctx, webhooks.calls, &request{method: http.MethodPost, path: pathWebhooks}, in)
}

// List lists the webhooks, without their secrets.
func (webhooks Webhooks) List(ctx context.Context) (wire.WebhookList, error) {
	return do[wire.WebhookList](ctx, webhooks.calls, &request{method: http.MethodGet, path: pathWebhooks, safe: true}, nil)
}

// Delete removes a webhook with what waits for it.
func (webhooks Webhooks) Delete(ctx context.Context, name string) error {
	return call(ctx, webhooks.calls, http.MethodDelete, pathWebhooks+path(name), true, nil)
}

// Rotate gives a webhook another secret.
func (webhooks Webhooks) Rotate(ctx context.Context, name string, in wire.WebhookRotate) (wire.WebhookCreated, error) {
	return do[wire.WebhookCreated](ctx, webhooks.calls, &request{method: http.MethodPost, path: pathWebhooks + path(name) + "/rotate"}, in)
}

// Retry switches a webhook on, and sends again what waits for it or was given up.
func (webhooks Webhooks) Retry(ctx context.Context, name string) (wire.WebhookInfo, error) {
	return do[wire.WebhookInfo](ctx, webhooks.calls, &request{method: http.MethodPost, path: pathWebhooks + path(name) + "/retry", safe: true}, nil)
}

// Test sends an event to a webhook, and gives what its receiver answered.
func (webhooks Webhooks) Test(ctx context.Context, name string) (wire.WebhookDelivery, error) {
	return do[wire.WebhookDelivery](ctx, webhooks.calls, &request{method: http.MethodPost, path: pathWebhooks + path(name) + "/test"}, nil)
}
