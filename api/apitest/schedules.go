package apitest

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
)

// ScheduleFuncs are the methods of api.Schedules.
type ScheduleFuncs struct {
	RegisterScheduleFunc func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.Schedule, error)
	SchedulesFunc        func(context.Context) (wire.ScheduleList, error)
	ScheduleFunc         func(context.Context, string) (wire.Schedule, error)
	ChangeScheduleFunc   func(context.Context, api.Subject, string, api.ScheduleChange) (wire.Schedule, error)
	TriggerScheduleFunc  func(context.Context, api.Subject, string, string) (wire.RunCreated, error)
}

func (b *ScheduleFuncs) RegisterSchedule(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	if b.RegisterScheduleFunc == nil {
		return wire.Schedule{}, unset("RegisterSchedule")
	}
	return b.RegisterScheduleFunc(ctx, by, key, in)
}

func (b *ScheduleFuncs) Schedules(ctx context.Context) (wire.ScheduleList, error) {
	if b.SchedulesFunc == nil {
		return wire.ScheduleList{}, unset("Schedules")
	}
	return b.SchedulesFunc(ctx)
}

func (b *ScheduleFuncs) Schedule(ctx context.Context, name string) (wire.Schedule, error) {
	if b.ScheduleFunc == nil {
		return wire.Schedule{}, unset("Schedule")
	}
	return b.ScheduleFunc(ctx, name)
}

func (b *ScheduleFuncs) ChangeSchedule(ctx context.Context, by api.Subject, name string, change api.ScheduleChange) (wire.Schedule, error) {
	if b.ChangeScheduleFunc == nil {
		return wire.Schedule{}, unset("ChangeSchedule")
	}
	return b.ChangeScheduleFunc(ctx, by, name, change)
}

func (b *ScheduleFuncs) TriggerSchedule(ctx context.Context, by api.Subject, key, name string) (wire.RunCreated, error) {
	if b.TriggerScheduleFunc == nil {
		return wire.RunCreated{}, unset("TriggerSchedule")
	}
	return b.TriggerScheduleFunc(ctx, by, key, name)
}
