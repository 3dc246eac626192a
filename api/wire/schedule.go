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
	// Backfill is its last backfill; unset if it had none.
	Backfill *Backfill `json:"backfill,omitempty"`
	// Variables are the values that it was registered with or that are the default, long
	// ones cut. Those of sensitive variables are not among them: Sensitive names them.
	Variables map[string]string `json:"variables,omitempty"`
	Sensitive []string          `json:"sensitive,omitempty"`
	// Group is the concurrency group of its runs.
	Group        string          `json:"group,omitempty"`
	ModuleCount  int             `json:"moduleCount"`
	Workspace    pipeline.Digest `json:"workspace,omitempty"`
	Submitter    string          `json:"submitter,omitempty"`
	RegisteredAt time.Time       `json:"registeredAt"`
	// Git are the facts of the commit that its files are of; nil if there was none.
	Git *pipeline.Git `json:"git,omitempty"`
}

// TriggerRequest goes to POST /api/v1/schedules/{name}/trigger. An empty body says
// nothing.
type TriggerRequest struct {
	// Tick is the time that the run is for: RFC 3339, or a date with or without a time of
	// day by the clock of the schedule's zone. "" is now.
	Tick string `json:"tick,omitempty"`
	// Variables replace values that the schedule was registered with.
	Variables map[string]string `json:"variables,omitempty"`
}

// BackfillRequest goes to POST /api/v1/schedules/{name}/backfill.
type BackfillRequest struct {
	// From and To are written as TriggerRequest.Tick is, and are part of the interval. A
	// date alone as To is the end of that day, "" is now.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// MaxParallel bounds the runs that are under way at once; 0 is 1.
	MaxParallel int `json:"maxParallel,omitempty"`
	// Again makes runs for ticks too that have one.
	Again bool `json:"again,omitempty"`
}

// Backfill says how far a backfill is. Times are by the clock of the schedule's zone.
type Backfill struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Ticks is how many lie in the interval.
	Ticks       int       `json:"ticks"`
	MaxParallel int       `json:"maxParallel"`
	Again       bool      `json:"again,omitempty"`
	By          string    `json:"by,omitempty"`
	StartedAt   time.Time `json:"startedAt"`
	// Next is the tick that is decided next; unset if all are.
	Next *time.Time `json:"next,omitempty"`
	// Runs is how many were made, HadRuns how many ticks were left out because they had
	// a run. Running, Succeeded and Failed count runs by how they are now or ended; one
	// that was retried is counted again.
	Runs      int `json:"runs"`
	HadRuns   int `json:"hadRuns"`
	Running   int `json:"running"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	// FinishedAt is unset while it is under way. Stopped says why it ended early.
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	Stopped    string     `json:"stopped,omitempty"`
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
