package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// SubmitRequest asks for a run of a pipeline. It goes to POST /api/v1/runs
// with an optional Idempotency-Key header.
type SubmitRequest struct {
	Source   string `json:"source"`
	FileName string `json:"fileName"`
	// Imports are the texts of the files that the source imports, directly or not, by
	// their paths relative to the directory of the file ("lib/go.hcl").
	Imports map[string]string `json:"imports,omitempty"`
	// Workspace is the digest of a tree whose blobs were sent before; empty
	// if no files go along.
	Workspace pipeline.Digest   `json:"workspace,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	// Env is kept for env_from; modules do not see it otherwise.
	Env map[string]string `json:"env,omitempty"`
	Git *pipeline.Git     `json:"git,omitempty"`
	// Targets, Tags and Skip select modules: with Targets or Tags the run has
	// those and what they need; Skip names modules that are skipped.
	Targets []string `json:"targets,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Skip    []string `json:"skip,omitempty"`
	// Cache is "" (modules with cache = true take cached results and record
	// theirs), "refresh" (they take none) or "off" (neither).
	Cache string `json:"cache,omitempty"`
	// Trace is the trace that the submission is part of. It goes in headers, as the
	// standard says: traceparent, tracestate, baggage.
	Trace pipeline.TraceContext `json:"-"`
}

// RunCreated answers a submission, once the run is committed.
type RunCreated struct {
	ID     pipeline.RunID `json:"id"`
	Number uint64         `json:"number"`
	// Repeated is set if the idempotency key was known and nothing was made.
	Repeated bool `json:"repeated,omitempty"`
}

// Run is a run with its modules, as GET /api/v1/runs/{id} gives it.
type Run struct {
	RunSummary
	// File is the pipeline's file as the submitter named it.
	File string `json:"file,omitempty"`
	// Variables are the values that the run was submitted with or that are the default,
	// long ones cut. Those of sensitive variables are not among them: Sensitive names
	// these.
	Variables map[string]string `json:"variables,omitempty"`
	Sensitive []string          `json:"sensitive,omitempty"`
	Modules   []Module          `json:"modules"`
	// Index is the raft index of the newest change in the answer; ask with
	// ?index=N&wait=30s to be answered when there is a newer one, and with
	// ?since=N to get only the modules that changed after N.
	Index uint64 `json:"index"`
}

// RunSummary is a run as lists show it.
type RunSummary struct {
	ID          pipeline.RunID    `json:"id"`
	Number      uint64            `json:"number"`
	Pipeline    string            `json:"pipeline"`
	State       pipeline.RunState `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Submitter   string            `json:"submitter,omitempty"`
	SubmittedAt time.Time         `json:"submittedAt"`
	StartedAt   *time.Time        `json:"startedAt,omitempty"`
	FinishedAt  *time.Time        `json:"finishedAt,omitempty"`
	// IdleSeconds is how long the run had finished before it was retried; it is no
	// part of how long the run took.
	IdleSeconds float64         `json:"idleSeconds,omitempty"`
	Workspace   pipeline.Digest `json:"workspace,omitempty"`
	// Schedule is the schedule that the run is of, Tick the time that it is for, as the
	// clock of the schedule's zone shows it. Trigger is unset if the schedule made the run
	// at its tick, "manual" if it was triggered by hand, and "backfill" if a backfill made it. Group is its concurrency group.
	Schedule string     `json:"schedule,omitempty"`
	Tick     *time.Time `json:"tick,omitempty"`
	Trigger  string     `json:"trigger,omitempty"`
	Group    string     `json:"group,omitempty"`
	// RetryOf is set if the run retries another one with other values of variables, of
	// which Variables names those that differ. RetriedAs are the newest runs that retry
	// this one so. Each of them may be gone.
	RetryOf   *RetryOf  `json:"retryOf,omitempty"`
	RetriedAs []RunLink `json:"retriedAs,omitempty"`
	// ModuleCount and ModulesDone count over the whole run; a block that became
	// instances does not count beside them.
	ModuleCount int `json:"moduleCount"`
	ModulesDone int `json:"modulesDone"`
	// Of these ModulesCached took a cached result, and ModulesFailed failed, ignored or
	// not, or were cancelled. ModulesRunning counts the attempts that are under way, and Approvals
	// the modules that wait for a person.
	ModulesCached  int `json:"modulesCached,omitempty"`
	ModulesFailed  int `json:"modulesFailed,omitempty"`
	ModulesRunning int `json:"modulesRunning,omitempty"`
	Approvals      int `json:"approvals,omitempty"`
	// Git are the facts of the commit at submission; nil if there was none.
	Git *pipeline.Git `json:"git,omitempty"`
	// Parent is the module of another run that made the run; nil if none did.
	Parent *pipeline.Parent `json:"parent,omitempty"`
	// Pinned runs are kept whole whatever the limits say.
	Pinned bool `json:"pinned,omitempty"`
	// ArtifactsGone and LogsGone: a limit let them go.
	ArtifactsGone bool `json:"artifactsGone,omitempty"`
	LogsGone      bool `json:"logsGone,omitempty"`
	// Notices are what became of its notifications to webhooks, oldest first.
	Notices []pipeline.Notice `json:"notices,omitempty"`
}

// RetryFacts says which run the run retries with which values, and which runs retry it.
func (r *Run) RetryFacts() (facts []string) {
	if of := r.RetryOf; of != nil {
		fact := fmt.Sprintf("retry of run %d", of.Number)
		for i, name := range of.Variables {
			value, ok := r.Variables[name]
			if !ok {
				value = "(sensitive)"
			}
			fact += fmt.Sprintf("%s %s = %s", []string{" with", ","}[min(i, 1)], name, value)
		}
		facts = append(facts, fact)
	}
	for _, run := range r.RetriedAs {
		facts = append(facts, fmt.Sprintf("retried with other variables as run %d", run.Number))
	}
	return facts
}

// RetryOf and RunLink are the read models of the same names.
type (
	RetryOf = pipeline.RetryOf
	RunLink = pipeline.RunLink
)

// Took is how long the run took, or has taken at a time.
func (r *RunSummary) Took(now time.Time) time.Duration {
	if r.FinishedAt != nil {
		now = *r.FinishedAt
	}
	return max(0, now.Sub(r.SubmittedAt)-time.Duration(r.IdleSeconds*float64(time.Second)))
}

// Module is a module of a run.
type Module struct {
	Name string `json:"name"`
	// Of is the block that the module is an instance of (matrix, for_each).
	Of        string               `json:"of,omitempty"`
	State     pipeline.ModuleState `json:"state"`
	Reason    string               `json:"reason"`
	Worker    string               `json:"worker"`
	DependsOn []string             `json:"dependsOn,omitempty"`
	// Line is where the module is written in the run's file.
	Line     int             `json:"line,omitempty"`
	Result   json.RawMessage `json:"result"`
	ExitCode *int            `json:"exitCode"`
	Outputs  []string        `json:"outputs"`
	// OutputCount is how many outputs there are, if Outputs does not list all.
	OutputCount int `json:"outputCount,omitempty"`
	// OutputBytes is the size of all outputs.
	OutputBytes int64 `json:"outputBytes,omitempty"`
	// StartedAt and FinishedAt are of the deciding attempt; DurationSeconds
	// lies between them.
	StartedAt       *time.Time `json:"startedAt,omitempty"`
	FinishedAt      *time.Time `json:"finishedAt,omitempty"`
	DurationSeconds float64    `json:"durationSeconds,omitempty"`
	// ExpectedSeconds is how long earlier runs say that a module takes that has not
	// ended; unset if there were none.
	ExpectedSeconds float64    `json:"expectedSeconds,omitempty"`
	NotBefore       *time.Time `json:"notBefore,omitempty"`
	// Approval is of a module that waits for a person.
	Approval *Approval `json:"approval,omitempty"`
	// Pipeline is what a module runs in the place of a process, Children are the runs that
	// it made of it: the last one counts.
	Pipeline string     `json:"pipeline,omitempty"`
	Children []ChildRun `json:"children,omitempty"`
	Attempts []Attempt  `json:"attempts"`
	// Tests is what it reported of its tests, by the reports block; nil if nothing.
	Tests *ModuleTests `json:"tests,omitempty"`
	// Warnings say what of it could not be read, such as a report of tests.
	Warnings []string `json:"warnings,omitempty"`
	// CachedFrom says whose cached result a cached module has.
	CachedFrom *CachedFrom `json:"cachedFrom,omitempty"`
}

// ChildRun is a run that a module made.
type ChildRun struct {
	Run        pipeline.RunID    `json:"run"`
	Number     uint64            `json:"number"`
	State      pipeline.RunState `json:"state"`
	Reason     string            `json:"reason,omitempty"`
	StartedAt  *time.Time        `json:"startedAt,omitempty"`
	FinishedAt *time.Time        `json:"finishedAt,omitempty"`
}

// Child is the newest run that the module made; nil if there is none.
func (m *Module) Child() *ChildRun {
	if len(m.Children) == 0 {
		return nil
	}
	return &m.Children[len(m.Children)-1]
}

// Last is the newest attempt; nil if there is none.
func (m *Module) Last() *Attempt {
	if len(m.Attempts) == 0 {
		return nil
	}
	return &m.Attempts[len(m.Attempts)-1]
}

// CachedFrom names the attempt that produced a cached result.
type CachedFrom = pipeline.CachedFrom

// Attempt is one try of a module. Worker is a node name.
type Attempt struct {
	Number     int                   `json:"number"`
	Worker     string                `json:"worker"`
	State      pipeline.AttemptState `json:"state"`
	Reason     string                `json:"reason"`
	ExitCode   *int                  `json:"exitCode"`
	AssignedAt *time.Time            `json:"assignedAt,omitempty"`
	StartedAt  *time.Time            `json:"startedAt"`
	FinishedAt *time.Time            `json:"finishedAt"`
	LogSize    int64                 `json:"logSize"`
	// Image is the digest of the image that it ran in, if it ran in one.
	Image string `json:"image,omitempty"`
	// Replicas says on how many nodes log and outputs were at commit.
	Replicas int `json:"replicas,omitempty"`
	// LocalBytes is how many bytes more of its inputs the worker had than another
	// that had less to do, if that decided where it went.
	LocalBytes int64 `json:"localBytes,omitempty"`
}

// RunList answers GET /api/v1/runs?limit=N&cursor=C&state=S&pipeline=P, newest
// first. Cursor is empty on the last page.
type RunList struct {
	Runs   []RunSummary `json:"runs"`
	Cursor string       `json:"cursor,omitempty"`
}

// CancelRequest goes to POST /api/v1/runs/{id}/cancel. The answer is the run's
// RunSummary.
type CancelRequest struct {
	Reason string `json:"reason,omitempty"`
	// Request is an id of the caller's choice. A second cancellation with another
	// one stops what runs on cancel too (always_run).
	Request string `json:"request,omitempty"`
}

// RetryRequest goes to POST /api/v1/runs/{id}/retry: the run resumes with what
// did not succeed, or, with From, with these modules and all that depends on
// them. With Variables a new run is made, with these values over those that were
// given before, which takes over the results of modules whose work stays the same.
// The answer is the RunSummary of the run that executes.
type RetryRequest struct {
	From      []string          `json:"from,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	// Env has the credentials that env_from took, which are not kept for this.
	Env map[string]string `json:"env,omitempty"`
	// Request is an id of the caller's choice, or the call's Idempotency-Key: the
	// same one again changes nothing.
	Request string `json:"request,omitempty"`
}

// RetryPlan answers POST /api/v1/runs/{id}/retry/plan: the modules of the run, and for
// those that the retry would run again why.
type RetryPlan struct {
	Modules []RetryModule `json:"modules"`
}

// RetryModule is a module of a RetryPlan. If it is not to run again, it keeps its state
// in a run that resumes, and its result is taken over by a new one.
type RetryModule struct {
	Name    string `json:"name"`
	Again   bool   `json:"again"`
	Because string `json:"because,omitempty"`
}

// Why explains a run, or one module of it.
type Why struct {
	Run RunSummary `json:"run"`
	// Because are facts about the run: which one it retries, and which retry it.
	Because []string    `json:"because,omitempty"`
	Module  []WhyModule `json:"modules"`
}

// WhyModule says why a module is where it is: a sentence for each fact.
type WhyModule struct {
	Name    string               `json:"name"`
	State   pipeline.ModuleState `json:"state"`
	Because []string             `json:"because"`
}

// LockList answers GET /api/v1/locks: the keys of not_in_parallel that are held
// or waited for.
type LockList struct {
	Locks []Lock `json:"locks"`
}

// Lock and LockUser are the read models of the same names.
type (
	Lock     = pipeline.Lock
	LockUser = pipeline.LockUser
)

// Artifact is one output file of a module.
type Artifact struct {
	Module string          `json:"module"`
	Path   string          `json:"path"`
	Size   int64           `json:"size"`
	Mode   uint32          `json:"mode"`
	Digest pipeline.Digest `json:"digest,omitempty"`
	Link   string          `json:"link,omitempty"`
}

// ArtifactList answers GET /api/v1/runs/{id}/artifacts[?module=M].
type ArtifactList struct {
	Artifacts []Artifact `json:"artifacts"`
}
