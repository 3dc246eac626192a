package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// PipelineList answers GET /api/v1/pipelines: the one that ran last first.
type PipelineList struct {
	Pipelines []PipelineSummary `json:"pipelines"`
}

// PipelineSummary is what the runs that are kept say of a pipeline. A figure that they do
// not give is nil.
type PipelineSummary struct {
	Name string `json:"name"`
	// Runs counts its runs, Active those that have not ended.
	Runs   int `json:"runs"`
	Active int `json:"active"`
	// Newest are its newest runs, newest first.
	Newest []RunPoint `json:"newest"`
	PipelineFigures
	// Next is the next tick of its schedule. Paused says that it has one, which is paused.
	Next   *time.Time `json:"next,omitempty"`
	Paused bool       `json:"paused,omitempty"`
}

// PipelineFigures are computed from the newest runs of a pipeline that ended. Runs that
// were cancelled count nowhere.
type PipelineFigures struct {
	// P50Seconds and P95Seconds are of how long those took that succeeded.
	P50Seconds *float64 `json:"p50Seconds,omitempty"`
	P95Seconds *float64 `json:"p95Seconds,omitempty"`
	// FailureRate is the part of the runs that failed, CacheRate the part of the modules
	// that came from the cache, of those that did not fail.
	FailureRate *float64 `json:"failureRate,omitempty"`
	CacheRate   *float64 `json:"cacheRate,omitempty"`
	// Trend is how long the newest took in proportion to those before: 1.2 is a fifth
	// longer.
	Trend *float64 `json:"trend,omitempty"`
}

// RunPoint is a run in the history of its pipeline.
type RunPoint struct {
	ID          pipeline.RunID    `json:"id"`
	Number      uint64            `json:"number"`
	State       pipeline.RunState `json:"state"`
	SubmittedAt time.Time         `json:"submittedAt"`
	FinishedAt  *time.Time        `json:"finishedAt,omitempty"`
	// Seconds is how long it took, once it has ended.
	Seconds *float64 `json:"seconds,omitempty"`
	// Modules counts its modules, Cached, Failed (with the cancelled ones) and Flaky how
	// they ended.
	Modules   int    `json:"modules"`
	Cached    int    `json:"cached"`
	Failed    int    `json:"failed"`
	Flaky     int    `json:"flaky,omitempty"`
	Submitter string `json:"submitter,omitempty"`
	Schedule  string `json:"schedule,omitempty"`
}

// PipelineHistory answers GET /api/v1/pipelines/history?pipeline=NAME.
type PipelineHistory struct {
	PipelineSummary
	// Modules are those of the newest runs: what takes most of the time first.
	Modules []ModuleHistory `json:"modules"`
	// Tests is what they say of tests; nil if no run reported any.
	Tests *PipelineTests `json:"tests,omitempty"`
}

// ModuleHistory is a module, or an instance of one, over the newest runs of its pipeline.
type ModuleHistory struct {
	Name string `json:"name"`
	// Of is the block that it is an instance of.
	Of string `json:"of,omitempty"`
	// Runs counts the runs in which it ran or took a cached result; Failed, Cached and
	// Flaky are how it ended there.
	Runs   int `json:"runs"`
	Failed int `json:"failed"`
	Cached int `json:"cached"`
	Flaky  int `json:"flaky"`
	// The rates are parts of Runs, that of flaky ones of those that ran.
	FailureRate *float64 `json:"failureRate,omitempty"`
	CacheRate   *float64 `json:"cacheRate,omitempty"`
	FlakyRate   *float64 `json:"flakyRate,omitempty"`
	P50Seconds  *float64 `json:"p50Seconds,omitempty"`
	P95Seconds  *float64 `json:"p95Seconds,omitempty"`
	Trend       *float64 `json:"trend,omitempty"`
	// Seconds and States have a value for each of the newest runs, in their order, at
	// most: nil, and "", if it did not run there.
	Seconds []*float64             `json:"seconds"`
	States  []pipeline.ModuleState `json:"states"`
	// LastFailed and LastFlaky are the newest attempts that failed.
	LastFailed *FailedAttempt `json:"lastFailed,omitempty"`
	LastFlaky  *FailedAttempt `json:"lastFlaky,omitempty"`
}

// FailedAttempt is an attempt that failed.
type FailedAttempt struct {
	Run     pipeline.RunID `json:"run"`
	Number  uint64         `json:"number"`
	Attempt int            `json:"attempt"`
	Reason  string         `json:"reason"`
}

// Comparison answers GET /api/v1/runs/{id}/compare?with=RUN: A is the run of with.
type Comparison struct {
	A RunSummary `json:"a"`
	B RunSummary `json:"b"`
	// Different says, a sentence each, what differs between what the runs were made of.
	Different []string `json:"different"`
	// Modules are in the order of B's pipeline; those that only A has follow.
	Modules []ModuleComparison `json:"modules"`
}

// ModuleComparison is a module in two runs; nil in one that does not have it.
type ModuleComparison struct {
	Name string      `json:"name"`
	A    *ModuleSide `json:"a,omitempty"`
	B    *ModuleSide `json:"b,omitempty"`
	// Different has a sentence for each difference, none if it did the same.
	Different []string `json:"different"`
}

// ModuleSide is a module in one of two runs.
type ModuleSide struct {
	State pipeline.ModuleState `json:"state"`
	// Seconds is how long the deciding attempt took; nil if none ran.
	Seconds  *float64 `json:"seconds,omitempty"`
	Worker   string   `json:"worker,omitempty"`
	Attempts int      `json:"attempts"`
	ExitCode *int     `json:"exitCode,omitempty"`
	Reason   string   `json:"reason,omitempty"`
}

// ApprovalList answers GET /api/v1/approvals: what waits longest first.
type ApprovalList struct {
	Approvals []PendingApproval `json:"approvals"`
}

// PendingApproval is a module that waits for an approval.
type PendingApproval struct {
	Run       pipeline.RunID `json:"run"`
	Number    uint64         `json:"number"`
	Pipeline  string         `json:"pipeline"`
	Submitter string         `json:"submitter,omitempty"`
	Module    string         `json:"module"`
	Message   string         `json:"message"`
	// Approvers are patterns of the names that may decide; none means all callers
	// that may submit.
	Approvers []string  `json:"approvers,omitempty"`
	Since     time.Time `json:"since"`
	// Deadline is when OnTimeout decides: reject, approve or skip.
	Deadline  *time.Time `json:"deadline,omitempty"`
	OnTimeout string     `json:"onTimeout,omitempty"`
	// May says whether who asks may decide.
	May bool `json:"may"`
}
