package pipeline

import (
	"encoding/json"
	"time"
)

// The read models below are what the leader and the cluster say about what they
// do. They are defined here once, with their JSON names: the orchestrator fills
// them, and the API sends them as they are.

// Lock is a key of not_in_parallel that is held or waited for.
type Lock struct {
	Key string `json:"key"`
	// Limit is how many holders it may have now: the smallest number that one of its
	// holders allows, or the first waiter if there are none.
	Limit int `json:"limit"`
	// Holders are sorted by when they got the key.
	Holders []LockUser `json:"holders"`
	// Waiters are sorted: the first gets the key next.
	Waiters []LockUser `json:"waiters"`
}

// LockUser is a module that holds a lock or waits for it.
type LockUser struct {
	Run    RunID  `json:"run"`
	Module string `json:"module"`
	// Worker is the name of the node that runs the module; "" if it waits.
	Worker string `json:"worker,omitempty"`
	// Limit is how many holders the module allows.
	Limit int `json:"limit"`
	// Since is when the module got the key, or began to wait for it.
	Since time.Time `json:"since"`
}

// Waiting is a module that waits for something else than other modules of its run, or
// several modules of a run that wait for the same.
type Waiting struct {
	// Modules are their names, at most MaxWaitingNames; Count is how many there are.
	Modules []string `json:"modules"`
	Count   int      `json:"count"`
	// Kind is a class of reasons: lock, slots, resources, tags, approval, backoff, group,
	// limit, cache, expression or turn.
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
	// Since is when the first of them was ready but for this.
	Since time.Time `json:"since"`
}

// MaxWaitingNames bounds the names in a Waiting.
const MaxWaitingNames = 3

// Estimate is what a run would look like if all workers were idle.
type Estimate struct {
	// Known reports whether the duration of at least one module is known. If not,
	// all seconds are meaningless and CriticalPath is empty.
	Known bool `json:"known"`
	// Seconds is how long the run would take on the present workers.
	Seconds float64 `json:"seconds"`
	// CriticalPath is the longest chain of modules. No number of workers makes the
	// run shorter than CriticalPathSeconds.
	CriticalPath        []string         `json:"criticalPath"`
	CriticalPathSeconds float64          `json:"criticalPathSeconds"`
	Modules             []ModuleEstimate `json:"modules"`
}

// ModuleEstimate is one module of an Estimate.
type ModuleEstimate struct {
	Name string `json:"name"`
	// ExpectedSeconds is the median of the module's newest successful attempts;
	// unset if it never succeeded.
	ExpectedSeconds float64 `json:"expectedSeconds,omitempty"`
	// StartSeconds and EndSeconds count from the start of the run. They are
	// guesses if ExpectedSeconds is unset.
	StartSeconds float64 `json:"startSeconds"`
	EndSeconds   float64 `json:"endSeconds"`
	// Worker is a node name.
	Worker string `json:"worker,omitempty"`
	// Waits is why the module would not start; "" if it would.
	Waits string `json:"waits,omitempty"`
	// Succeeded, Failed and Other count the module's past attempts by outcome.
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Other     int `json:"other"`
}

// CacheForecast says what the result cache would do for the modules of a run
// that has cache = true.
type CacheForecast struct {
	Modules []ModuleForecast `json:"modules"`
}

// ModuleForecast is the result of one cache lookup that nothing was run for.
// Exactly one of CachedFrom, Missed and Unknown is set.
type ModuleForecast struct {
	Name string `json:"name"`
	// CachedFrom is the attempt whose result the module would get.
	CachedFrom *CachedFrom `json:"cachedFrom,omitempty"`
	// Missed lists why there is no cached result, one reason per line.
	Missed []string `json:"missed,omitempty"`
	// Unknown is what must be known before the module can be looked up.
	Unknown string `json:"unknown,omitempty"`
}

// CachedFrom names the attempt that produced a cached result.
type CachedFrom struct {
	Run     RunID  `json:"run"`
	Module  string `json:"module"`
	Attempt int    `json:"attempt"`
	// Worker is the name of the node that ran it, DurationSeconds how long it took.
	Worker          string  `json:"worker,omitempty"`
	DurationSeconds float64 `json:"durationSeconds"`
}

// UpstreamResult is what an expression sees of a dependency that has finished.
type UpstreamResult struct {
	Status ModuleState `json:"status"`
	// Result is the JSON object that the module left; empty if it left none.
	Result json.RawMessage `json:"result,omitempty"`
	// Outputs are the paths of its output files.
	Outputs []string `json:"outputs,omitempty"`
	// ExitCode is nil if the process did not end by itself.
	ExitCode *int `json:"exitCode,omitempty"`
	// Duration is the deciding attempt's; expressions see seconds.
	Duration time.Duration `json:"duration,omitempty"`
	Cached   bool          `json:"cached,omitempty"`
	// Expanded marks a module with a for_each whose instances are modules of their
	// own: it has no result itself.
	Expanded bool `json:"expanded,omitempty"`
}

// Member is one node of the cluster as another node sees it.
type Member struct {
	ID   NodeID `json:"id"`
	Name string `json:"name"`
	// Addr is host:port of gossip, PeerAddr of the peer port.
	Addr     string `json:"addr"`
	PeerAddr string `json:"peerAddr"`
	HTTPAddr string `json:"httpAddr"`
	HTTPS    bool   `json:"https,omitempty"`
	Mode     Mode   `json:"mode"`
	// Status is MemberAlive, MemberFailed or MemberLeft.
	Status string `json:"status"`
	// RaftRole is the member's role in raft, as cluster names it.
	RaftRole    string `json:"raftRole"`
	Slots       int    `json:"slots"`
	Load        int    `json:"load"`
	Incarnation string `json:"incarnation,omitempty"`
	Draining    bool   `json:"draining,omitempty"`
	Leaving     bool   `json:"leaving,omitempty"`
	Version     string `json:"version,omitempty"`
	// ClockAhead is by how much its clock is ahead of the clock of the node that
	// answers, negative if it is behind; 0 below MaxClockSkew.
	ClockAhead time.Duration `json:"clockAhead,omitempty"`
}

// MaxClockSkew is by how much the clocks of two nodes may differ before it is
// reported.
const MaxClockSkew = time.Second

// The states of a member as gossip sees it. Failed members and members that
// left stay in the list for a while.
const (
	MemberAlive  = "alive"
	MemberFailed = "failed"
	MemberLeft   = "left"
)
