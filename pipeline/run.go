package pipeline

import (
	"encoding/json"
	"time"
)

// Run is the head of one execution of a pipeline. Its modules are records of
// their own (ModuleRecord), so that an outcome rewrites little.
type Run struct {
	ID       RunID    `json:"id"`
	Number   uint64   `json:"number"`
	Pipeline string   `json:"pipeline"`
	State    RunState `json:"state"`
	Reason   string   `json:"reason,omitempty"`
	// Submitter is the token's name or the user that submitted.
	Submitter   string    `json:"submitter,omitempty"`
	SubmittedAt time.Time `json:"submittedAt"`
	StartedAt   time.Time `json:"startedAt,omitzero"`
	FinishedAt  time.Time `json:"finishedAt,omitzero"`
	// Workspace is the digest of the workspace's tree; "" if there is none.
	Workspace Digest `json:"workspace,omitempty"`
	// Holders are nodes that had the workspace's blobs at submission.
	Holders []NodeID `json:"holders,omitempty"`
	// RetryOf is set if the run was made of another one with other values of variables,
	// and took its results over. RetriedAs are the newest runs that were made so of
	// this one.
	RetryOf   *RetryOf  `json:"retryOf,omitempty"`
	RetriedAs []RunLink `json:"retriedAs,omitempty"`
	// Modules is how many the run has, Done how many of them are final.
	Modules int `json:"modules"`
	Done    int `json:"done"`
	// Replaced counts those of them that became instances. The instances count
	// too, and users see only the instances.
	Replaced int `json:"replaced,omitempty"`
	// Failed counts the failed and the cancelled modules.
	Failed int `json:"failed,omitempty"`
	// Cached counts the modules that took a cached result, Skipped the skipped ones,
	// and Flaky those that succeeded after an attempt of theirs had failed.
	Cached  int `json:"cached,omitempty"`
	Skipped int `json:"skipped,omitempty"`
	Flaky   int `json:"flaky,omitempty"`
	// Approvals counts the modules that wait for an approval now.
	Approvals int `json:"approvals,omitempty"`
	// Live counts the attempts that are assigned or running.
	Live int `json:"live,omitempty"`
	// Trace is the trace that the submission was part of.
	Trace TraceContext `json:"trace,omitzero"`
	// Key is the idempotency key of the submission.
	Key string `json:"key,omitempty"`
	// Cache is "", CacheOff or CacheRefresh.
	Cache string `json:"cache,omitempty"`
	// Untrusted marks a run that was submitted with an untrusted token: it uses cached
	// results, and no other run uses its own; its caches are of one attempt.
	Untrusted bool `json:"untrusted,omitempty"`
	// PinWorker restricts every module to one node (execute with a token).
	PinWorker NodeID `json:"pinWorker,omitempty"`
	// Forced marks a run that was cancelled a second time: modules that would
	// run after a cancellation are stopped too.
	Forced bool `json:"forced,omitempty"`
	// CancelledBy is the id of the request that cancelled it first.
	CancelledBy string `json:"cancelledBy,omitempty"`
	// TimedOut marks a run that is being stopped because it exceeded its
	// timeout: it ends as failed.
	TimedOut bool `json:"timedOut,omitempty"`
	// Warnings counts the failed modules whose failure is ignored.
	Warnings int `json:"warnings,omitempty"`
	// RetryKeys are the ids of the newest requests that retried it, so that a
	// repeat of one changes nothing.
	RetryKeys []string `json:"retryKeys,omitempty"`
	// Tries is how often the run was retried after it had ended, RetriedAt when
	// the last time; the run's timeout counts from there.
	Tries     int       `json:"tries,omitempty"`
	RetriedAt time.Time `json:"retriedAt,omitzero"`
	// Idle is how long it had finished before it was retried, over all retries.
	Idle time.Duration `json:"idle,omitempty"`
	// Schedule names the schedule that the run is of, Tick is the time that it is for:
	// when it was due, or what a trigger by hand chose. Zone is the schedule's. Trigger
	// is "" if the schedule made it at its tick. Queued runs wait for the schedule's
	// earlier runs.
	Schedule string    `json:"schedule,omitempty"`
	Tick     time.Time `json:"tick,omitzero"`
	Zone     string    `json:"zone,omitempty"`
	Trigger  string    `json:"trigger,omitempty"`
	// Backfill is the id of the schedule's backfill that made it.
	Backfill string `json:"backfill,omitempty"`
	Queued   bool   `json:"queued,omitempty"`
	// Group is the concurrency group, of which one run is active at a time.
	// Cancels means that the run cancels earlier runs of the group.
	Group   string `json:"group,omitempty"`
	Cancels bool   `json:"cancels,omitempty"`
	// QueueIndex orders the queues of the run's group and schedule: the raft index
	// at which it was made or last retried. 0 if it has neither.
	QueueIndex uint64 `json:"queueIndex,omitempty"`
	// Notify are the notify blocks with a webhook, Notices what became of what they
	// sent, at most MaxNotices, oldest first.
	Notify  []NotifyTarget `json:"notify,omitempty"`
	Notices []Notice       `json:"notices,omitempty"`
	// Git are the facts of the commit at submission, for lists.
	Git Git `json:"git,omitzero"`
	// Parent is the module of another run that made it; zero if none did. ByParent marks
	// one whose cancellation came from there. Children are the runs of its modules that
	// have not ended.
	Parent   Parent  `json:"parent,omitzero"`
	ByParent bool    `json:"byParent,omitempty"`
	Children []RunID `json:"children,omitempty"`
	// Events counts the events of its modules since it was last retried.
	Events int `json:"events,omitempty"`
	// Index is the raft index of the last change.
	Index uint64 `json:"index,omitempty"`
	// Pinned runs are kept whole whatever the limits say.
	Pinned bool `json:"pinned,omitempty"`
	// ArtifactsGone and LogsGone report that a limit deleted them; the
	// workspace is deleted with the artifacts.
	ArtifactsGone bool `json:"artifactsGone,omitempty"`
	LogsGone      bool `json:"logsGone,omitempty"`
}

// RunLink names a run, which may be gone by now.
type RunLink struct {
	ID     RunID  `json:"id"`
	Number uint64 `json:"number"`
}

// RetryOf is the run that another one retries with other values, and the names of the
// variables whose values differ, sorted.
type RetryOf struct {
	RunLink
	Variables []string `json:"variables,omitempty"`
}

// Attempt is one try of one module on one worker.
type Attempt struct {
	Number     int          `json:"number"`
	Worker     NodeID       `json:"workerId,omitempty"`
	WorkerName string       `json:"worker,omitempty"`
	State      AttemptState `json:"state"`
	Reason     string       `json:"reason,omitempty"`
	ExitCode   *int         `json:"exitCode,omitempty"`
	AssignedAt time.Time    `json:"assignedAt,omitzero"`
	StartedAt  time.Time    `json:"startedAt,omitzero"`
	FinishedAt time.Time    `json:"finishedAt,omitzero"`
	// Fence is the raft index of the entry that assigned the attempt.
	Fence uint64 `json:"fence,omitempty"`
	// Incarnation is the worker's at assignment: a worker with another
	// incarnation has lost the attempt unless its journal has it.
	Incarnation string `json:"incarnation,omitempty"`
	// Predecessor is the attempt of the run on the same worker behind which this one
	// was queued; nil if it was given a free slot.
	Predecessor *AttemptID `json:"predecessor,omitempty"`
	// LocalBytes is how many bytes more of its inputs the worker had than a less
	// busy one, if that decided the placement; else 0.
	LocalBytes int64 `json:"localBytes,omitempty"`
	// Log is the whole output, LogSize its length in bytes. The blob may hold
	// more: when it was written (LogMarks), behind the output.
	Log     Digest `json:"log,omitempty"`
	LogSize int64  `json:"logSize,omitempty"`
	// Image is the digest of the image that it ran in; "" without one.
	Image string `json:"image,omitempty"`
	// Replicas is on how many nodes log and outputs were when it committed.
	Replicas int `json:"replicas,omitempty"`
	// Holders are the nodes that had log and outputs then.
	Holders []NodeID `json:"holders,omitempty"`
	// Evaluated holds the values of deferred expressions, nil if there were
	// none. After the end only SealedDerived is left.
	Evaluated *Evaluated `json:"evaluated,omitempty"`
	// Locks are the keys that the attempt holds until it ends.
	Locks []string `json:"locks,omitempty"`
	// Cache is set if the result may be, or was, recorded.
	Cache *CacheLookup `json:"cache,omitempty"`
	// From is the attempt whose cached result was used; nil if this attempt was
	// run.
	From *AttemptID `json:"from,omitempty"`
	// Tests is what it reported of its tests; nil if it reported none.
	Tests *TestSummary `json:"tests,omitempty"`
	// Waited is what the module waited for last: "" if it was placed as soon as it could
	// run, or if an earlier leader knew it.
	Waited string `json:"waited,omitempty"`
	// Phases are how long its other parts took; nil if they were short.
	Phases *Phases `json:"phases,omitempty"`
}

// Evaluated is what the deferred expressions of a module came to. It is committed
// with the assignment, so that the next leader uses the same.
type Evaluated struct {
	Command []string          `json:"command,omitempty"`
	Script  string            `json:"script,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// CacheKey is what Module.CacheKey is.
	CacheKey []string `json:"cacheKey,omitempty"`
	// Skip is why the module is not to run: its condition is false. "" else.
	Skip string `json:"skip,omitempty"`
	// Instances are what a module with a deferred for_each is to be run for.
	// Expanded distinguishes an empty list from one that is not evaluated.
	Instances []Instance `json:"instances,omitempty"`
	Expanded  bool       `json:"expanded,omitempty"`
	// Message is what an approval asks.
	Message string `json:"message,omitempty"`
	// Variables are those of the child, encoded as in Scope.
	Variables map[string]string `json:"variables,omitempty"`
	// Derived is what Command, Script and Env contain that was made of sensitive
	// variables, and is to be masked like these.
	Derived []string `json:"derived,omitempty"`
	// Sealed replaces Command, Script, Env and CacheKey if a sensitive variable is part
	// of them: their JSON, encrypted with the cluster's key. SealedDerived replaces
	// Derived.
	Sealed        []byte `json:"sealed,omitempty"`
	SealedDerived []byte `json:"sealedDerived,omitempty"`
}

// Instance is one of what a module with a deferred for_each is run for.
type Instance struct {
	Key string `json:"key"`
	// Each is Module.Each.
	Each map[string]string `json:"each"`
}

// ModuleRecord is a module of a run in the replicated state.
type ModuleRecord struct {
	Name   string      `json:"name"`
	State  ModuleState `json:"state"`
	Reason string      `json:"reason,omitempty"`
	// Attempts are in the order of their numbers.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Failures count against the module's own retries, Losses against MaxLosses.
	Failures int `json:"failures,omitempty"`
	Losses   int `json:"losses,omitempty"`
	// Ignored marks a failure that leaves the run succeeded with warnings.
	Ignored bool `json:"ignored,omitempty"`
	// Blocked marks a module that was skipped because another failed or was cancelled.
	Blocked bool `json:"blocked,omitempty"`
	// Instances are what a module with a deferred for_each became; Expanded is set
	// once they are known.
	Instances []Instance `json:"instances,omitempty"`
	Expanded  bool       `json:"expanded,omitempty"`
	// ApprovalWait is set once a module with an approval waits for it, and stays.
	ApprovalWait *ApprovalWait `json:"approvalWait,omitempty"`
	// Children are the runs that the module made, in the order in which it made them.
	Children []ChildRun `json:"children,omitempty"`
	// Tried is how many attempts were made before the run was last retried.
	Tried int `json:"tried,omitempty"`
	// Earlier marks a failure of before the run was last retried, of a module that
	// was not retried with it: nothing stops because of it.
	Earlier bool `json:"earlier,omitempty"`
	// NotBefore is when the next attempt may start (backoff).
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Result is the JSON object that the module left, empty if it left none.
	Result json.RawMessage `json:"result,omitempty"`
	// Outputs is the digest of the tree of output files; OutputPaths lists
	// their paths, cut at MaxOutputPaths (the tree has all).
	Outputs     Digest   `json:"outputs,omitempty"`
	OutputPaths []string `json:"outputPaths,omitempty"`
	OutputCount int      `json:"outputCount,omitempty"`
	OutputBytes int64    `json:"outputBytes,omitempty"`
	ExitCode    *int     `json:"exitCode,omitempty"`
	// StartedAt and FinishedAt are of the deciding attempt.
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// Recorded is how long what a cached module took its result from took.
	Recorded time.Duration `json:"recorded,omitempty"`
	// Index is the raft index of the last change.
	Index uint64 `json:"index,omitempty"`
}

// MaxOutputPaths is how many paths of outputs a record lists itself.
const MaxOutputPaths = 256

// NotFailed reports whether the module ended so that those with RunIfNotFailed that
// depend on it may run.
func (m *ModuleRecord) NotFailed() bool {
	return m.State.Success() || m.State == ModuleSkipped && !m.Blocked || m.State == ModuleFailed && m.Ignored
}

// Last is the newest attempt; nil if there is none.
func (m *ModuleRecord) Last() *Attempt {
	if len(m.Attempts) == 0 {
		return nil
	}
	return &m.Attempts[len(m.Attempts)-1]
}

// FailedBefore is the newest attempt that had failed when the module succeeded; nil
// if none had, or if the module did not succeed by an attempt of its own.
func (m *ModuleRecord) FailedBefore() *Attempt {
	if m.State != ModuleSucceeded {
		return nil
	}
	for i := len(m.Attempts) - 1; i >= 0; i-- {
		if a := &m.Attempts[i]; a.State == AttemptFailed || a.State == AttemptTimedOut {
			return a
		}
	}
	return nil
}

// Outcome is how an attempt ended, as its worker reports it.
type Outcome struct {
	ID     AttemptID `json:"id"`
	Fence  uint64    `json:"fence,omitempty"`
	Worker NodeID    `json:"worker"`
	// State is final: succeeded, failed, timed_out, cancelled or lost.
	State       AttemptState    `json:"state"`
	Reason      string          `json:"reason,omitempty"`
	ExitCode    *int            `json:"exitCode,omitempty"`
	StartedAt   time.Time       `json:"startedAt,omitzero"`
	FinishedAt  time.Time       `json:"finishedAt,omitzero"`
	Result      json.RawMessage `json:"result,omitempty"`
	Log         Digest          `json:"log,omitempty"`
	LogSize     int64           `json:"logSize,omitempty"`
	Outputs     Digest          `json:"outputs,omitempty"`
	OutputPaths []string        `json:"outputPaths,omitempty"`
	OutputCount int             `json:"outputCount,omitempty"`
	OutputBytes int64           `json:"outputBytes,omitempty"`
	// Tests is what the attempt reported of its tests; nil if it reported none.
	Tests *TestSummary `json:"tests,omitempty"`
	// Holders are the nodes that have log and outputs now.
	Holders []NodeID `json:"holders,omitempty"`
	// LostOutputs names dependencies whose outputs are on no node that answers;
	// State is AttemptLost then, and they are run again.
	LostOutputs []string `json:"lostOutputs,omitempty"`
	// Image is the digest of the image that the module ran in; "" without one.
	// ServiceImages are those of its services, in order.
	Image         string   `json:"image,omitempty"`
	ServiceImages []string `json:"serviceImages,omitempty"`
	// NeverBegun says that surely no process of the attempt was started, so that it
	// may be repeated whatever the module's OnLost is.
	NeverBegun bool `json:"neverBegun,omitempty"`
	// Phases are how long its other parts took, without Report; nil if they were short.
	Phases *Phases `json:"phases,omitempty"`
}

// Spec is everything a worker needs to execute an attempt. It is derived from
// the state by the orchestrator at dispatch, the same for every dispatch of
// the same attempt.
type Spec struct {
	ID       AttemptID `json:"id"`
	Pipeline string    `json:"pipeline"`
	// Fence is the raft index of the assignment, Term the leader's term.
	Fence       uint64 `json:"fence"`
	Term        uint64 `json:"term"`
	Incarnation string `json:"incarnation,omitempty"`
	// Predecessor is an attempt on the same worker: this one starts when that one has
	// succeeded there, and is given back if it did not. nil means at once.
	Predecessor *AttemptID `json:"predecessor,omitempty"`

	Command []string          `json:"command,omitempty"`
	Script  string            `json:"script,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// Shell is that of the module.
	Shell string `json:"shell,omitempty"`

	// Workspace, Inputs and InputsAll say which files are laid out first.
	Workspace Digest   `json:"workspace,omitempty"`
	Inputs    []string `json:"inputs,omitempty"`
	InputsAll bool     `json:"inputsAll,omitempty"`
	// Upstream are the outputs of direct dependencies, laid over them.
	Upstream        []Upstream    `json:"upstream,omitempty"`
	Layout          string        `json:"layout,omitempty"`
	WorkingDir      string        `json:"workingDir,omitempty"`
	Outputs         []string      `json:"outputs,omitempty"`
	OutputsOptional []string      `json:"outputsOptional,omitempty"`
	Reports         Reports       `json:"reports,omitzero"`
	Timeout         time.Duration `json:"timeout,omitempty"`
	Grace           time.Duration `json:"grace,omitempty"`
	// IdleTimeout ends an attempt that has written nothing to standard output
	// or error for so long, as a timeout does; 0 means never.
	IdleTimeout time.Duration `json:"idleTimeout,omitempty"`
	// OnDisconnect is DisconnectKeep ("" means the same) or DisconnectKill.
	OnDisconnect string   `json:"onDisconnect,omitempty"`
	Caches       []string `json:"caches,omitempty"`
	// OwnCaches gives the attempt empty caches, which are deleted with its directory.
	OwnCaches bool  `json:"ownCaches,omitempty"`
	Hooks     Hooks `json:"hooks,omitzero"`
	// Status is how the run has gone so far, for a hook of its pipeline; "" for
	// other modules.
	Status string `json:"status,omitempty"`
	// Notice is what the command of a notification finds in a file; nil for other
	// modules. The worker adds the last lines.
	Notice *RunNotice `json:"notice,omitempty"`
	// Resources limit the module, and each hook, if the machine can.
	Resources Resources `json:"resources,omitzero"`
	// Container is where the module and its hooks run.
	Container Container `json:"container,omitzero"`
	// Secrets are added to the environment under their names, over Env. Mask
	// holds further values that, like those of Secrets, become *** in output,
	// results and reasons. Neither is ever written to disk. If there are any,
	// Command, Script, Env and Hooks are not written either, since they may
	// contain them: a worker's journal has the rest, with Sealed set.
	Secrets map[string]string `json:"secrets,omitempty"`
	Mask    []string          `json:"mask,omitempty"`
	// Private marks a specification that holds secrets, or what was made of
	// sensitive variables.
	Private bool `json:"private,omitempty"`
	// Sealed marks a request from which all this was removed. It cannot be
	// started.
	Sealed bool `json:"sealed,omitempty"`
	// Holders are nodes that are likely to have the workspace.
	Holders []NodeID `json:"holders,omitempty"`
	// Trace is that of the run.
	Trace TraceContext `json:"trace,omitzero"`
	// Tick is that of the run, as text; "" if it has none.
	Tick string `json:"tick,omitempty"`
}

// Upstream is what one dependency left.
type Upstream struct {
	Module  string   `json:"module"`
	Outputs Digest   `json:"outputs"`
	Holders []NodeID `json:"holders,omitempty"`
}

// TreeEntry is one file, link or empty directory of a tree. A tree is the sorted
// list of its entries (by path, bytewise); its blob is their JSON array.
type TreeEntry struct {
	// Path is relative, slash-separated, clean, and never leaves its root.
	Path string `json:"path"`
	// Mode holds the permission bits (0o777); Dir marks an empty directory.
	Mode uint32 `json:"mode"`
	Size int64  `json:"size,omitempty"`
	// Digest of the content; "" for links and directories.
	Digest Digest `json:"digest,omitempty"`
	// Link is a symbolic link's target, which stays inside the tree.
	Link string `json:"link,omitempty"`
	Dir  bool   `json:"dir,omitempty"`
}

// Worker is a node or a program that can execute modules, as the planner and
// the API see it.
type Worker struct {
	ID           NodeID       `json:"id"`
	Name         string       `json:"name"`
	Endpoint     string       `json:"endpoint"`
	Capabilities Capabilities `json:"capabilities"`
	// Status is Online, Draining (it answers and takes nothing new) or Offline.
	Status string `json:"status"`
	// External marks one that registered over HTTP.
	External    bool `json:"external,omitempty"`
	CurrentLoad int  `json:"currentLoad"`
	// Reserved is what its modules have asked for together.
	Reserved Resources `json:"reserved,omitzero"`
	Since    time.Time `json:"since,omitzero"`
}

// Capabilities is what a worker offers, in the protocol's words.
type Capabilities struct {
	OS                 string   `json:"os"`
	Arch               string   `json:"arch,omitempty"`
	InstalledTools     []string `json:"installedTools"`
	MaxParallelModules int      `json:"maxParallelModules"`
	Tags               []string `json:"tags"`
	// CPU is a number of processors, Memory is in bytes: what modules may reserve
	// together. 0 means that it is not known; then nothing can be reserved.
	CPU    float64 `json:"cpu,omitempty"`
	Memory int64   `json:"memory,omitempty"`
	// ContainerEngine is the engine for modules with an image, as in "docker 28.2"; ""
	// if there is none.
	ContainerEngine string `json:"containerEngine,omitempty"`
}

// The states of a worker.
const (
	WorkerOnline   = "Online"
	WorkerDraining = "Draining"
	WorkerOffline  = "Offline"
)
