package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// MaxUpcoming bounds Schedule.Upcoming.
const MaxUpcoming = 400

// ScheduleList answers GET /api/v1/schedules, by name.
type ScheduleList struct {
	Schedules []Schedule `json:"schedules"`
}

// Schedule is a pipeline that is registered for its schedule.
type Schedule struct {
	// Name is the pipeline's.
	Name     string   `json:"name"`
	Cron     []string `json:"cron"`
	Timezone string   `json:"timezone"`
	Overlap  string   `json:"overlap"`
	CatchUp  string   `json:"catchUp"`
	Paused   bool     `json:"paused"`
	// Next is the next tick; nil if it is paused.
	Next *time.Time `json:"next"`
	// Upcoming are the ticks of the days that were asked for, at most MaxUpcoming; none
	// if it is paused.
	Upcoming []time.Time `json:"upcoming,omitempty"`
	// UpcomingUntil is the last of Upcoming if there are more in the days that were asked
	// for; unset if there are not.
	UpcomingUntil *time.Time `json:"upcomingUntil,omitempty"`
	// Last is what became of the last tick, Ticks of the last ones, newest first.
	// A list of schedules leaves Ticks out.
	Last  *Tick  `json:"last"`
	Ticks []Tick `json:"ticks,omitempty"`
	// Fired and Skipped count ticks.
	Fired   uint64 `json:"fired"`
	Skipped uint64 `json:"skipped"`
	// Group is the concurrency group of its runs.
	Group        string          `json:"group,omitempty"`
	ModuleCount  int             `json:"moduleCount"`
	Workspace    pipeline.Digest `json:"workspace,omitempty"`
	Submitter    string          `json:"submitter,omitempty"`
	RegisteredAt time.Time       `json:"registeredAt"`
}

// TriggerRequest goes to POST /api/v1/schedules/{name}/trigger. An empty body says
// nothing.
type TriggerRequest struct {
	// Tick is the time that the run is for: RFC 3339, or a date with or without a time of
	// day by the clock of the schedule's zone. "" is now.
	Tick string `json:"tick,omitempty"`
}

// Tick is what became of a tick: a run, or nothing for a reason.
type Tick struct {
	Tick time.Time `json:"tick"`
	// At is when it was decided.
	At time.Time `json:"at"`
	// Run was made for it. State is the run's; "" if it is no longer kept.
	Run   pipeline.RunID    `json:"run,omitempty"`
	State pipeline.RunState `json:"state,omitempty"`
	// StartedAt is when the run began; unset if it has not, or is no longer kept.
	StartedAt *time.Time `json:"startedAt,omitempty"`
	// Skipped says why there is no run. Count is how many ticks, of which this is
	// the last, were skipped with it.
	Skipped string `json:"skipped,omitempty"`
	Count   uint64 `json:"count,omitempty"`
}
