package pipeline

// Schedule says when the cluster makes runs of a pipeline that is registered
// for it.
type Schedule struct {
	// Cron are expressions; the schedule is due when one of them is.
	Cron []string `json:"cron"`
	// Timezone is the name of the zone whose clock they are read off.
	Timezone string `json:"timezone"`
	// Overlap is what becomes of a tick while an earlier run of the schedule is
	// not over, CatchUp what becomes of ticks that passed without a leader.
	Overlap string `json:"overlap"`
	CatchUp string `json:"catchUp"`
}

// What Run.Trigger may hold besides "": a run of a schedule was triggered by hand, or
// made for a tick of the past.
const (
	TriggerManual   = "manual"
	TriggerBackfill = "backfill"
)

// Bounds of a backfill: the ticks of its interval, and the runs that are under way at
// once.
const (
	MaxBackfillTicks    = 1000
	MaxBackfillParallel = 100
)

// What Schedule.Overlap and Schedule.CatchUp may hold.
const (
	OverlapSkip  = "skip"
	OverlapQueue = "queue"
	OverlapAllow = "allow"
	CatchUpNone  = "none"
	CatchUpLast  = "last"
	CatchUpAll   = "all"
)

// Concurrency limits a group to one active run at a time, over the whole
// cluster.
type Concurrency struct {
	Group string `json:"group"`
	// CancelInProgress cancels the earlier runs of the group in favour of a new
	// one; otherwise the new run is queued.
	CancelInProgress bool `json:"cancelInProgress,omitempty"`
}

// MaxGroupBytes bounds the name of a group.
const MaxGroupBytes = 255
