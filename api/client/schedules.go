package client

import (
	"context"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

const schedulesPath = "/api/v1/schedules"

// RegisterWith uploads a pipeline's files and registers it for its schedule, as
// SubmitWith submits it: both at one and the same node.
func (c *Client) RegisterWith(ctx context.Context, key string, in *wire.SubmitRequest, upload func(ctx context.Context, at *Client) error) (wire.Schedule, error) {
	if key == "" {
		key = NewKey()
	}
	return sendWith(ctx, c, upload, func(ctx context.Context, at *Client) (wire.Schedule, error) {
		return at.RegisterSchedule(ctx, key, *in)
	})
}

// RegisterSchedule registers a pipeline for its schedule, or replaces it. The
// workspace's blobs must be at the node that is asked.
func (c *Client) RegisterSchedule(ctx context.Context, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	if key == "" {
		key = NewKey()
	}
	return do[wire.Schedule](ctx, c, &request{method: http.MethodPost, path: schedulesPath, safe: true, timeout: time.Minute,
		header: http.Header{wire.HeaderIdempotencyKey: {key}}}, in)
}

// Schedules lists the schedules that are registered.
func (c *Client) Schedules(ctx context.Context) (wire.ScheduleList, error) {
	return do[wire.ScheduleList](ctx, c, &request{method: http.MethodGet, path: schedulesPath, safe: true}, nil)
}

// Schedule gives one with its last ticks.
func (c *Client) Schedule(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, c, &request{method: http.MethodGet, path: schedulesPath + path(name), safe: true}, nil)
}

// PauseSchedule lets a schedule make no runs until ResumeSchedule.
func (c *Client) PauseSchedule(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, c, &request{method: http.MethodPost, path: schedulesPath + path(name, "pause"), safe: true}, nil)
}

// ResumeSchedule goes on from now: what was due meanwhile is passed over.
func (c *Client) ResumeSchedule(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, c, &request{method: http.MethodPost, path: schedulesPath + path(name, "resume"), safe: true}, nil)
}

// TriggerSchedule makes a run of a schedule now.
func (c *Client) TriggerSchedule(ctx context.Context, name string) (wire.RunCreated, error) {
	return do[wire.RunCreated](ctx, c, &request{method: http.MethodPost, path: schedulesPath + path(name, "trigger"), safe: true,
		header: http.Header{wire.HeaderIdempotencyKey: {NewKey()}}}, nil)
}

// RemoveSchedule removes a schedule; its runs stay.
func (c *Client) RemoveSchedule(ctx context.Context, name string) error {
	return call(ctx, c, http.MethodDelete, schedulesPath+path(name), true, nil)
}
