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
func (schedules Schedules) RegisterWith(ctx context.Context, key string, in *wire.SubmitRequest, upload func(ctx context.Context, at *Client) error) (wire.Schedule, error) {
	if key == "" {
		key = NewKey()
	}
	return sendWith(ctx, schedules.calls, upload, func(ctx context.Context, at *Client) (wire.Schedule, error) {
		return at.Schedules().Register(ctx, key, *in)
	})
}

// Register registers a pipeline for its schedule, or replaces it. The
// workspace's blobs must be at the node that is asked.
func (schedules Schedules) Register(ctx context.Context, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	if key == "" {
		key = NewKey()
	}
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodPost, path: schedulesPath, safe: true, timeout: time.Minute,
		header: http.Header{wire.HeaderIdempotencyKey: {key}}}, in)
}

// UpdateWith uploads a pipeline's files and takes them and the pipeline for a schedule,
// which keeps its variables: both at one and the same node.
func (schedules Schedules) UpdateWith(ctx context.Context, name, key string, in *wire.SubmitRequest, upload func(ctx context.Context, at *Client) error) (wire.Schedule, error) {
	return sendWith(ctx, schedules.calls, upload, func(ctx context.Context, at *Client) (wire.Schedule, error) {
		return at.Schedules().Update(ctx, name, key, *in)
	})
}

// Update takes a pipeline and its files for a schedule, which keeps its variables. The
// workspace's blobs must be at the node that is asked.
func (schedules Schedules) Update(ctx context.Context, name, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	if key == "" {
		key = NewKey()
	}
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodPut, path: schedulesPath + path(name), safe: true, timeout: time.Minute,
		header: http.Header{wire.HeaderIdempotencyKey: {key}}}, in)
}

// List lists the schedules that are registered.
func (schedules Schedules) List(ctx context.Context) (wire.ScheduleList, error) {
	return do[wire.ScheduleList](ctx, schedules.calls, &request{method: http.MethodGet, path: schedulesPath, safe: true}, nil)
}

// Get gives one with its last ticks.
func (schedules Schedules) Get(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodGet, path: schedulesPath + path(name), safe: true}, nil)
}

// Pause makes a schedule skip its ticks until Resume.
func (schedules Schedules) Pause(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodPost, path: schedulesPath + path(name, "pause"), safe: true}, nil)
}

// Resume resumes a schedule from now on; ticks missed while paused are skipped.
func (schedules Schedules) Resume(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodPost, path: schedulesPath + path(name, "resume"), safe: true}, nil)
}

// Trigger makes a run of a schedule now.
func (schedules Schedules) Trigger(ctx context.Context, name string, in wire.TriggerRequest) (wire.RunCreated, error) {
	return do[wire.RunCreated](ctx, schedules.calls, &request{method: http.MethodPost, path: schedulesPath + path(name, "trigger"), safe: true,
		header: http.Header{wire.HeaderIdempotencyKey: {NewKey()}}}, in)
}

// Backfill begins to make runs for the ticks of an interval of the past.
func (schedules Schedules) Backfill(ctx context.Context, name string, in wire.BackfillRequest) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodPost, path: schedulesPath + path(name, "backfill"), safe: true,
		header: http.Header{wire.HeaderIdempotencyKey: {NewKey()}}}, in)
}

// StopBackfill stops the backfill of a schedule; its runs continue.
func (schedules Schedules) StopBackfill(ctx context.Context, name string) (wire.Schedule, error) {
	return do[wire.Schedule](ctx, schedules.calls, &request{method: http.MethodDelete, path: schedulesPath + path(name, "backfill")}, nil)
}

// Remove removes a schedule; its runs stay.
func (schedules Schedules) Remove(ctx context.Context, name string) error {
	return call(ctx, schedules.calls, http.MethodDelete, schedulesPath+path(name), true, nil)
}
