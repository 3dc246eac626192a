package apitest

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Runs is an api.Runs made of functions.
type Runs struct {
	SubmitFunc    func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error)
	EstimateFunc  func(context.Context, api.Subject, wire.SubmitRequest) (wire.Estimate, error)
	FindRunFunc   func(context.Context, pipeline.RunRef, bool) (pipeline.RunID, error)
	SummaryFunc   func(context.Context, pipeline.RunID) (wire.RunSummary, error)
	RunsFunc      func(context.Context, api.RunQuery) (wire.RunList, error)
	RunFunc       func(context.Context, pipeline.RunID, uint64, time.Duration, uint64) (wire.Run, error)
	GraphFunc     func(context.Context, pipeline.RunID, api.GraphFold) (wire.Graph, error)
	CancelFunc    func(context.Context, api.Subject, pipeline.RunID, wire.CancelRequest) (wire.RunSummary, error)
	RetryFunc     func(context.Context, api.Subject, pipeline.RunID, wire.RetryRequest) (wire.RunSummary, error)
	PlanRetryFunc func(context.Context, api.Subject, pipeline.RunID, wire.RetryRequest) (wire.RetryPlan, error)
	PinFunc       func(context.Context, api.Subject, pipeline.RunID, bool) (wire.RunSummary, error)
	DecideFunc    func(context.Context, api.Subject, pipeline.RunID, api.ApprovalDecision) (wire.Module, error)
	ApprovalsFunc func(context.Context, api.Subject) (wire.ApprovalList, error)
	WhyFunc       func(context.Context, pipeline.RunID, string) (wire.Why, error)
	WaitingFunc   func(context.Context) (wire.WaitingList, error)
	LocksFunc     func(context.Context) (wire.LockList, error)
}

// Submit calls SubmitFunc.
func (f *Runs) Submit(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	if f.SubmitFunc == nil {
		return wire.RunCreated{}, unset("Submit")
	}

	return f.SubmitFunc(ctx, by, key, in)
}

// Estimate calls EstimateFunc.
func (f *Runs) Estimate(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.Estimate, error) {
	if f.EstimateFunc == nil {
		return wire.Estimate{}, unset("Estimate")
	}

	return f.EstimateFunc(ctx, by, in)
}

// FindRun calls FindRunFunc; without one the text is the id.
func (f *Runs) FindRun(ctx context.Context, ref pipeline.RunRef, stale bool) (pipeline.RunID, error) {
	if f.FindRunFunc == nil {
		return pipeline.RunID(ref.Text), nil
	}

	return f.FindRunFunc(ctx, ref, stale)
}

// RunSummary calls SummaryFunc; without one the run is its id alone.
func (f *Runs) RunSummary(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	if f.SummaryFunc == nil {
		return wire.RunSummary{ID: id}, nil
	}

	return f.SummaryFunc(ctx, id)
}

// Runs calls RunsFunc.
func (f *Runs) Runs(ctx context.Context, q api.RunQuery) (wire.RunList, error) {
	if f.RunsFunc == nil {
		return wire.RunList{}, unset("Runs")
	}

	return f.RunsFunc(ctx, q)
}

// Run calls RunFunc.
func (f *Runs) Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error) {
	if f.RunFunc == nil {
		return wire.Run{}, unset("Run")
	}

	return f.RunFunc(ctx, id, afterIndex, wait, since)
}

// Graph calls GraphFunc.
func (f *Runs) Graph(ctx context.Context, id pipeline.RunID, fold api.GraphFold) (wire.Graph, error) {
	if f.GraphFunc == nil {
		return wire.Graph{}, unset("Graph")
	}

	return f.GraphFunc(ctx, id, fold)
}

// Cancel calls CancelFunc.
func (f *Runs) Cancel(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error) {
	if f.CancelFunc == nil {
		return wire.RunSummary{}, unset("Cancel")
	}

	return f.CancelFunc(ctx, by, id, in)
}

// PlanRetry calls PlanRetryFunc.
func (f *Runs) PlanRetry(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RetryPlan, error) {
	if f.PlanRetryFunc == nil {
		return wire.RetryPlan{}, unset("PlanRetry")
	}

	return f.PlanRetryFunc(ctx, by, id, in)
}

// Retry calls RetryFunc.
func (f *Runs) Retry(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	if f.RetryFunc == nil {
		return wire.RunSummary{}, unset("Retry")
	}

	return f.RetryFunc(ctx, by, id, in)
}

// Pin calls PinFunc.
func (f *Runs) Pin(ctx context.Context, by api.Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error) {
	if f.PinFunc == nil {
		return wire.RunSummary{}, unset("Pin")
	}

	return f.PinFunc(ctx, by, id, pinned)
}

// Decide calls DecideFunc.
func (f *Runs) Decide(ctx context.Context, by api.Subject, id pipeline.RunID, in api.ApprovalDecision) (wire.Module, error) {
	if f.DecideFunc == nil {
		return wire.Module{}, unset("Decide")
	}

	return f.DecideFunc(ctx, by, id, in)
}

// Approvals calls ApprovalsFunc.
func (f *Runs) Approvals(ctx context.Context, by api.Subject) (wire.ApprovalList, error) {
	if f.ApprovalsFunc == nil {
		return wire.ApprovalList{}, unset("Approvals")
	}

	return f.ApprovalsFunc(ctx, by)
}

// Why calls WhyFunc.
func (f *Runs) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	if f.WhyFunc == nil {
		return wire.Why{}, unset("Why")
	}

	return f.WhyFunc(ctx, id, module)
}

// Waiting calls WaitingFunc.
func (f *Runs) Waiting(ctx context.Context) (wire.WaitingList, error) {
	if f.WaitingFunc == nil {
		return wire.WaitingList{}, unset("Waiting")
	}

	return f.WaitingFunc(ctx)
}

// Locks calls LocksFunc.
func (f *Runs) Locks(ctx context.Context) (wire.LockList, error) {
	if f.LocksFunc == nil {
		return wire.LockList{}, unset("Locks")
	}

	return f.LocksFunc(ctx)
}

// Schedules is an api.Schedules made of functions.
type Schedules struct {
	RegisterScheduleFunc func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.Schedule, error)
	UpdateScheduleFunc   func(context.Context, api.Subject, string, string, wire.SubmitRequest) (wire.Schedule, error)
	SchedulesFunc        func(context.Context, int) (wire.ScheduleList, error)
	ScheduleFunc         func(context.Context, string) (wire.Schedule, error)
	ChangeScheduleFunc   func(context.Context, api.Subject, string, api.ScheduleChange) (wire.Schedule, error)
	TriggerScheduleFunc  func(context.Context, api.Subject, string, string, wire.TriggerRequest) (wire.RunCreated, error)
	BackfillScheduleFunc func(context.Context, api.Subject, string, string, wire.BackfillRequest) (wire.Schedule, error)
}

// RegisterSchedule calls RegisterScheduleFunc.
func (f *Schedules) RegisterSchedule(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	if f.RegisterScheduleFunc == nil {
		return wire.Schedule{}, unset("RegisterSchedule")
	}

	return f.RegisterScheduleFunc(ctx, by, key, in)
}

// UpdateSchedule calls UpdateScheduleFunc.
func (f *Schedules) UpdateSchedule(ctx context.Context, by api.Subject, key, name string, in wire.SubmitRequest) (wire.Schedule, error) {
	if f.UpdateScheduleFunc == nil {
		return wire.Schedule{}, unset("UpdateSchedule")
	}

	return f.UpdateScheduleFunc(ctx, by, key, name, in)
}

// Schedules calls SchedulesFunc.
func (f *Schedules) Schedules(ctx context.Context, days int) (wire.ScheduleList, error) {
	if f.SchedulesFunc == nil {
		return wire.ScheduleList{}, unset("Schedules")
	}

	return f.SchedulesFunc(ctx, days)
}

// Schedule calls ScheduleFunc.
func (f *Schedules) Schedule(ctx context.Context, name string) (wire.Schedule, error) {
	if f.ScheduleFunc == nil {
		return wire.Schedule{}, unset("Schedule")
	}

	return f.ScheduleFunc(ctx, name)
}

// ChangeSchedule calls ChangeScheduleFunc.
func (f *Schedules) ChangeSchedule(ctx context.Context, by api.Subject, name string, change api.ScheduleChange) (wire.Schedule, error) {
	if f.ChangeScheduleFunc == nil {
		return wire.Schedule{}, unset("ChangeSchedule")
	}

	return f.ChangeScheduleFunc(ctx, by, name, change)
}

// TriggerSchedule calls TriggerScheduleFunc.
func (f *Schedules) TriggerSchedule(ctx context.Context, by api.Subject, key, name string, in wire.TriggerRequest) (wire.RunCreated, error) {
	if f.TriggerScheduleFunc == nil {
		return wire.RunCreated{}, unset("TriggerSchedule")
	}

	return f.TriggerScheduleFunc(ctx, by, key, name, in)
}

// BackfillSchedule calls BackfillScheduleFunc.
func (f *Schedules) BackfillSchedule(ctx context.Context, by api.Subject, key, name string, in wire.BackfillRequest) (wire.Schedule, error) {
	if f.BackfillScheduleFunc == nil {
		return wire.Schedule{}, unset("BackfillSchedule")
	}

	return f.BackfillScheduleFunc(ctx, by, key, name, in)
}

// Feeds is an api.Feeds made of functions.
type Feeds struct {
	FeedFunc   func(context.Context, api.FeedRequest, func(uint64, string, any) error) error
	EventsFunc func(context.Context, api.EventQuery) (wire.EventList, error)
}

// Events calls EventsFunc.
func (f *Feeds) Events(ctx context.Context, q api.EventQuery) (wire.EventList, error) {
	if f.EventsFunc == nil {
		return wire.EventList{}, unset("Events")
	}

	return f.EventsFunc(ctx, q)
}

// Feed calls FeedFunc.
func (f *Feeds) Feed(ctx context.Context, in api.FeedRequest, send func(index uint64, kind string, doc any) error) error {
	if f.FeedFunc == nil {
		return unset("Feed")
	}

	return f.FeedFunc(ctx, in, send)
}
