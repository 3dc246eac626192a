package apitest

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
)

// Webhooks is an api.Webhooks made of functions.
type Webhooks struct {
	AddFunc    func(context.Context, api.Subject, wire.WebhookRequest) (wire.WebhookCreated, error)
	ListFunc   func(context.Context) (wire.WebhookList, error)
	RemoveFunc func(context.Context, api.Subject, string) error
	RotateFunc func(context.Context, api.Subject, string, wire.WebhookRotate) (wire.WebhookCreated, error)
	RetryFunc  func(context.Context, api.Subject, string) (wire.WebhookInfo, error)
	TestFunc   func(context.Context, api.Subject, string) (wire.WebhookDelivery, error)
}

// AddWebhook calls AddFunc.
func (f *Webhooks) AddWebhook(ctx context.Context, by api.Subject, in wire.WebhookRequest) (wire.WebhookCreated, error) {
	if f.AddFunc == nil {
		return wire.WebhookCreated{}, unset("AddWebhook")
	}

	return f.AddFunc(ctx, by, in)
}

// Webhooks calls ListFunc.
func (f *Webhooks) Webhooks(ctx context.Context) (wire.WebhookList, error) {
	if f.ListFunc == nil {
		return wire.WebhookList{}, unset("Webhooks")
	}

	return f.ListFunc(ctx)
}

// RemoveWebhook calls RemoveFunc.
func (f *Webhooks) RemoveWebhook(ctx context.Context, by api.Subject, name string) error {
	if f.RemoveFunc == nil {
		return unset("RemoveWebhook")
	}

	return f.RemoveFunc(ctx, by, name)
}

// RotateWebhook calls RotateFunc.
func (f *Webhooks) RotateWebhook(ctx context.Context, by api.Subject, name string, in wire.WebhookRotate) (wire.WebhookCreated, error) {
	if f.RotateFunc == nil {
		return wire.WebhookCreated{}, unset("RotateWebhook")
	}

	return f.RotateFunc(ctx, by, name, in)
}

// RetryWebhook calls RetryFunc.
func (f *Webhooks) RetryWebhook(ctx context.Context, by api.Subject, name string) (wire.WebhookInfo, error) {
	if f.RetryFunc == nil {
		return wire.WebhookInfo{}, unset("RetryWebhook")
	}

	return f.RetryFunc(ctx, by, name)
}

// TestWebhook calls TestFunc.
func (f *Webhooks) TestWebhook(ctx context.Context, by api.Subject, name string) (wire.WebhookDelivery, error) {
	if f.TestFunc == nil {
		return wire.WebhookDelivery{}, unset("TestWebhook")
	}

	return f.TestFunc(ctx, by, name)
}
