package pipeline

import "time"

// Pipeline is a checked, normalized pipeline as it is stored with a run:
// variables have their values, everything that can be known at submission is
// known, and what depends on results is kept as the source of its expression.
type Pipeline struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// File is the name of the source, for messages about deferred expressions.
	File string `json:"file,omitempty"`
	// MaxParallel bounds how many modules of a run execute at once, over the
	// whole cluster; 0 means no limit.
	MaxParallel int `json:"maxParallel,omitempty"`
	// Timeout bounds the whole run from the start of its first module on; 0
	// means none.
	Timeout time.Duration `json:"timeout,omitempty"`
	// OnFailure is "" or OnFailureStop (nothing new is started once a module has
	// failed), OnFailureCancel (and what runs is stopped) or OnFailureContinue (what
	// does not depend on the failure runs).
	OnFailure string `json:"onFailure,omitempty"`
	// Shell is that of modules which set none.
	Shell string `json:"shell,omitempty"`
	// Schedule and Concurrency are nil if the pipeline sets none.
	Schedule    *Schedule    `json:"schedule,omitempty"`
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	// Notify are the notify blocks, in the order of the source.
	Notify []Notify `json:"notify,omitempty"`
	// Modules are in the order of the source.
	Modules []Module `json:"modules"`
	// Scope holds what deferred expressions may name besides results.
	Scope Scope `json:"scope"`
	// Sources are the texts of the files of its children, and of what these import, by
	// their paths relative to the directory of File. They may hold defaults of sensitive
	// variables: in the replicated state they are in SealedSources instead.
	Sources       map[string]string `json:"sources,omitempty"`
	SealedSources []byte            `json:"sealedSources,omitempty"`
	// Given is what it was compiled of.
	Given Given `json:"given,omitzero"`
}

// MaxGivenSource is up to how many bytes a source is kept with its imports.
const MaxGivenSource = 64 << 10

// Given is what a submission said besides its files, so that the same source, whose
// name is Pipeline.File, can be compiled again with other values of variables.
type Given struct {
	// Source is "" if it and the texts of its imports, by their paths, have more than
	// MaxGivenSource bytes, or if there is none.
	Source  string            `json:"source,omitempty"`
	Imports map[string]string `json:"imports,omitempty"`
	// Sealed has both in their place in the replicated state, if they may hold defaults
	// of sensitive variables. Other sources compress better with the rest.
	Sealed []byte `json:"sealed,omitempty"`
	// Variables are the values that were given, as texts; of sensitive variables only
	// the names, in Sensitive.
	Variables map[string]string `json:"variables,omitempty"`
	Sensitive []string          `json:"sensitive,omitempty"`
	// Env is what env_from took, without credentials.
	Env map[string]string `json:"env,omitempty"`
	// Targets, Tags and Skip selected modules.
	Targets []string `json:"targets,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Skip    []string `json:"skip,omitempty"`
}

// IsZero reports whether nothing was given.
func (g Given) IsZero() bool {
	return g.Source == "" && len(g.Sealed)+len(g.Variables)+len(g.Sensitive)+len(g.Env)+len(g.Targets)+len(g.Tags)+len(g.Skip) == 0
}

// Scope is what the expressions of a run see besides module results. Values
// are JSON texts with their type as language.encodeValue writes them.
type Scope struct {
	// Variables by name.
	Variables map[string]string `json:"variables,omitempty"`
	// Sensitive names the variables whose values are masked in output.
	// Expressions that use them are deferred, so that their values are in
	// Variables only. In the replicated state they are in Sealed instead: the
	// JSON of the same map, encrypted with the cluster's key.
	Sensitive []string `json:"sensitive,omitempty"`
	Sealed    []byte   `json:"sealed,omitempty"`
	// Locals by name: those known at submission that a deferred expression names.
	Locals map[string]string `json:"locals,omitempty"`
	// DeferredLocals by name: the sources of those that are known only later.
	DeferredLocals map[string]DeferredExpr `json:"deferredLocals,omitempty"`
	// Git facts of the workspace at submission.
	Git Git `json:"git"`
	// RunID, RunNumber, RunTick and Submitter are what expressions see as run.*.
	// A run without a tick has "".
	RunID     string `json:"runId,omitempty"`
	RunNumber uint64 `json:"runNumber,omitempty"`
	RunTick   string `json:"runTick,omitempty"`
	Submitter string `json:"submitter,omitempty"`
	// RunStatus is what the message of a notification sees as run.status.
	RunStatus string `json:"runStatus,omitempty"`
}

// DeferredExpr is the HCL source of an expression that is evaluated when the
// results it names are known, with its position.
type DeferredExpr struct {
	Source string `json:"source"`
	// File is the name of the imported file that it stands in; "" is Pipeline.File.
	File string `json:"file,omitempty"`
	// Line and Column count from 1, the column in characters.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Sensitive reports that the expression names a sensitive variable.
	Sensitive bool `json:"sensitive,omitempty"`
}

// ShellBash is a shell of modules: bash -euo pipefail.
const ShellBash = "bash"

// NoInstances is the source of Deferred["for_each"] of a module whose matrix or
// for_each was empty at submission.
const NoInstances = "[]"

// Git is what expressions see as git.*; empty outside a repository.
type Git struct {
	SHA    string `json:"sha,omitempty"`
	Branch string `json:"branch,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Dirty  bool   `json:"dirty,omitempty"`
}

// CacheDir stands in values of a module's environment for the directory of its caches,
// which only the worker knows. It is what a source has for it, so that definitions and
// cache keys are the same on every worker.
const CacheDir = "${cache.dir}"

// EnvUnset is the value of a variable that a module's environment must not have: null
// in the source. No variable of a process can hold a zero byte, so no source has it.
const EnvUnset = "\x00unset"

// Module is one unit of work of a pipeline.
type Module struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Tags are what a selection of modules goes by; workers' tags are Requires.
	Tags []string `json:"tags,omitempty"`
	// DependsOn names the modules it waits for, explicit and implied, sorted.
	DependsOn []string `json:"dependsOn,omitempty"`
	// Wishes are modules that it waits for only if the run includes them: those
	// that are left after the selection are in DependsOn too.
	Wishes []string `json:"wishes,omitempty"`
	// Exactly one of Command and Script is set, or has its source in Deferred.
	Command []string `json:"command,omitempty"`
	Script  string   `json:"script,omitempty"`
	// Shell runs Script and the hooks, if they name no interpreter: "" is sh.
	Shell string `json:"shell,omitempty"`
	// Env is the pipeline's env with the module's own over it. A value may be
	// EnvUnset.
	Env map[string]string `json:"env,omitempty"`
	// Deferred holds the expressions that are known only when the module may
	// start (they name other modules, or the run's id, number or tick), by attribute:
	// "command", "script", "when", "cache_key", "env.NAME", or "env" if the
	// whole object is one expression. language.Evaluate turns them into
	// Evaluated.
	Deferred map[string]DeferredExpr `json:"deferred,omitempty"`
	// Expensive reports that a deferred expression is more than literals,
	// traversals and templates, so that it is evaluated in a bounded helper.
	Expensive bool `json:"expensive,omitempty"`
	// Inputs are globs over the workspace; with InputsAll the whole of it.
	Inputs    []string `json:"inputs,omitempty"`
	InputsAll bool     `json:"inputsAll,omitempty"`
	// Outputs and OutputsOptional are globs in the module's directory.
	Outputs         []string `json:"outputs,omitempty"`
	OutputsOptional []string `json:"outputsOptional,omitempty"`
	// Reports are the files in which it reports its tests.
	Reports Reports `json:"reports,omitzero"`
	// Timeout bounds one attempt; 0 means none. Grace is between TERM and KILL.
	Timeout time.Duration `json:"timeout,omitempty"`
	Grace   time.Duration `json:"grace,omitempty"`
	Retry   Retry         `json:"retry"`
	// Secrets are names of the cluster's secrets that the module sees as variables
	// of its environment.
	Secrets []string `json:"secrets,omitempty"`
	// Sensitive reports that a deferred expression names a sensitive variable:
	// its value is kept sealed.
	Sensitive bool `json:"sensitive,omitempty"`
	// Caches are names of directories kept by the worker between runs. Values of Env
	// have CacheDir in the place of the directory that holds them.
	Caches []string `json:"caches,omitempty"`
	// Requires is what a worker must have.
	Requires Requires `json:"requires"`
	// WorkingDir is relative to and inside the module's directory.
	WorkingDir string `json:"workingDir,omitempty"`
	// Layout is "" (outputs of dependencies at their own paths) or "by-module".
	Layout string `json:"layout,omitempty"`
	// Line is the module's line in the source, for messages.
	Line int `json:"line,omitempty"`

	// Of is the name of the module block that this is an instance of, Key the
	// part of Name in brackets; both are "" without matrix or for_each.
	Of  string `json:"of,omitempty"`
	Key string `json:"key,omitempty"`
	// Dynamic marks a module whose for_each waits for results (Deferred["for_each"]):
	// it becomes its instances when these are known.
	Dynamic bool `json:"dynamic,omitempty"`
	// MaxParallel bounds how many instances of its block execute at once in a run, over
	// the whole cluster; 0 means no limit.
	MaxParallel int `json:"maxParallel,omitempty"`
	// Matrix and Each are what expressions see as matrix.* and each.*, encoded as
	// the values of Scope are.
	Matrix map[string]string `json:"matrix,omitempty"`
	Each   map[string]string `json:"each,omitempty"`

	// Skip is why the module does not run, if its condition is known to be
	// false at submission. A condition that depends on results is
	// Deferred["when"].
	Skip string `json:"skip,omitempty"`
	// AlwaysRun modules run whatever became of what they depend on, also when
	// the run fails or is cancelled.
	AlwaysRun bool `json:"alwaysRun,omitempty"`
	// RunIf is "" (it runs if all that it depends on succeeded) or RunIfNotFailed
	// (also if that was skipped, or failed with IgnoreFailure).
	RunIf string `json:"runIf,omitempty"`
	// IgnoreFailure leaves the run "succeeded with warnings" if the module
	// fails.
	IgnoreFailure bool `json:"ignoreFailure,omitempty"`
	// Priority orders ready modules: the highest is first.
	Priority int `json:"priority,omitempty"`
	// Locks are the keys of not_in_parallel, sorted: held over the whole cluster
	// while an attempt is live. LockHolders has those of which the module allows more
	// than one holder, with how many.
	Locks       []string       `json:"locks,omitempty"`
	LockHolders map[string]int `json:"lockHolders,omitempty"`
	// OnDisconnect is "" or DisconnectKeep, or DisconnectKill: a worker that lost
	// the cluster stops the module.
	OnDisconnect string `json:"onDisconnect,omitempty"`
	// OnLost is "" or LostRerun, or LostFail: an attempt that was lost with its
	// worker is not repeated.
	OnLost string `json:"onLost,omitempty"`
	// Cache uses the cached result of the same work if there is one, and
	// records this module's result if it succeeds. CacheKey is part of the key
	// of the work: values as language.encodeValue writes them. It may be
	// Deferred["cache_key"].
	Cache    bool     `json:"cache,omitempty"`
	CacheKey []string `json:"cacheKey,omitempty"`
	// IdleTimeout stops an attempt that writes nothing for so long; 0 means
	// never.
	IdleTimeout time.Duration `json:"idleTimeout,omitempty"`
	// Hooks run around the module's process, Resources bound it.
	Hooks     Hooks     `json:"hooks,omitzero"`
	Resources Resources `json:"resources,omitzero"`
	// Hook says which of the pipeline's own hooks the module is; "" for those
	// that are none.
	Hook Hook `json:"hook,omitempty"`
	// NotifyOn are the events of a module that is the command of a notification.
	NotifyOn []string `json:"notifyOn,omitempty"`
	// Failure is the reason of a failed module instead of its exit code; ""
	// means the exit code.
	Failure string `json:"failure,omitempty"`
	// Container is where the module's process runs; without an image it is the
	// worker's machine itself.
	Container Container `json:"container,omitzero"`
	// Approval is set if the module waits for a decision and runs nothing.
	// Command and Script are empty then.
	Approval *Approval `json:"approval,omitempty"`
	// Child is set if the module runs a pipeline. Command and Script are empty then.
	Child *Child `json:"child,omitempty"`
}

// What Pipeline.OnFailure, Module.RunIf, Module.OnDisconnect and Module.OnLost may
// hold. The first of each is "" in a definition.
const (
	OnFailureStop     = "stop"
	OnFailureCancel   = "cancel"
	OnFailureContinue = "continue"
	RunIfSucceeded    = "succeeded"
	RunIfNotFailed    = "not_failed"
	DisconnectKeep    = "keep"
	DisconnectKill    = "kill"
	LostRerun         = "rerun"
	LostFail          = "fail"
)

// Hook says when a hook of a pipeline runs.
type Hook string

// The hooks of a pipeline. Each is a module of the run: HookBefore goes before
// all others, and the rest follow when all others have ended, whatever became of
// them: HookSuccess or HookFailure by how the run went, and HookAfter at the very
// end.
const (
	HookBefore  Hook = "before"
	HookSuccess Hook = "on_success"
	HookFailure Hook = "on_failure"
	HookAfter   Hook = "after"
)

// The commands of notify blocks are modules of the run, too: HookNotifyStart runs
// beside the others, HookNotify when all of them, and the hooks, have ended. How they
// end says nothing about the run.
const (
	HookNotifyStart Hook = "notify_start"
	HookNotify      Hook = "notify"
)

// Notifies reports whether the module is the command of a notification.
func (h Hook) Notifies() bool { return h == HookNotifyStart || h == HookNotify }

// InstanceName is what the instance of a block is called.
func InstanceName(block, key string) string { return block + "[" + key + "]" }

// Selects reports whether a name given by a user selects a module: the module's
// own name, or that of the block that it is an instance of.
func Selects(given, module string) bool {
	return given == module || len(module) > len(given) && module[:len(given)] == given && module[len(given)] == '['
}

// Instance returns one of the instances that a dynamic module became.
func (m *Module) Instance(x Instance) Module {
	out := *m
	out.Name, out.Of, out.Key, out.Each, out.Dynamic = InstanceName(m.Name, x.Key), m.Name, x.Key, x.Each, false
	out.Deferred = make(map[string]DeferredExpr, len(m.Deferred))

	for name, deferred := range m.Deferred {
		if name != "for_each" {
			out.Deferred[name] = deferred
		}
	}

	return out
}

// Block is the name of the block in the source that the module is, or is an instance of.
func (m *Module) Block() string {
	if m.Of != "" {
		return m.Of
	}
	return m.Name
}

// Instances returns the modules of a block: the one of that name, or its
// instances in the order of the source; nil if there are none.
func (p *Pipeline) Instances(block string) []*Module {
	var list []*Module
	for i := range p.Modules {
		if m := &p.Modules[i]; m.Name == block || m.Of == block {
			list = append(list, m)
		}
	}

	return list
}

// Retry is the module's own budget for failures. Losses of workers are counted
// apart and bounded by MaxLosses.
type Retry struct {
	// Attempts is the number of tries in all; 0 and 1 mean no retry.
	Attempts int `json:"attempts,omitempty"`
	// Backoff is the first wait; it doubles, with jitter, up to MaxBackoff.
	Backoff    time.Duration `json:"backoff,omitempty"`
	MaxBackoff time.Duration `json:"maxBackoff,omitempty"`
	// ExitCodes limits retries to these codes; empty means any failure.
	ExitCodes []int `json:"exitCodes,omitempty"`
}

// Pause is the wait before a module is repeated that has failed so often: doubled with
// each failure, at most MaxBackoff.
func (r *Retry) Pause(failures int) time.Duration {
	d, limit := r.Backoff, r.MaxBackoff
	if d <= 0 {
		d = DefaultBackoff
	}

	if limit <= 0 {
		limit = DefaultMaxBackoff
	}

	for i := 1; i < failures && d < limit; i++ {
		d *= 2
	}
	return min(d, limit)
}

// Requires is what a module needs of its worker. All of it must hold;
// comparisons ignore case.
type Requires struct {
	OS    string   `json:"os,omitempty"`
	Arch  string   `json:"arch,omitempty"`
	Tools []string `json:"tools,omitempty"`
	Tags  []string `json:"tags,omitempty"`
	// Engine is a container engine, which modules with an image need.
	Engine bool `json:"engine,omitempty"`
}

// Resources are what a module needs of a worker's machine while it runs. The
// planner reserves them, so that the modules on a worker together need no more
// than it has. If the machine has control groups of version 2 with these
// controllers, a module is also limited to them.
type Resources struct {
	// CPU is a number of processors, which may be a fraction; 0 means unsaid.
	CPU float64 `json:"cpu,omitempty"`
	// Memory is in bytes; 0 means unsaid.
	Memory int64 `json:"memory,omitempty"`
}

// Hooks are shell scripts that run around a module's process on its worker, in
// the module's directory, with the same environment and PIPELINED_STATUS: running,
// succeeded, failed, timed_out or cancelled. "" means none.
//
// Each is an end in itself: what it leaves running ends with it. Outputs are
// captured after the last one.
type Hooks struct {
	// Before runs first, within the module's timeouts. If it fails, the attempt
	// fails and the module is not started.
	Before string `json:"before,omitempty"`
	// After runs last, in any case. OnSuccess and OnFailure run before it. If
	// After or OnSuccess fails, an attempt that had succeeded fails.
	After     string `json:"after,omitempty"`
	OnSuccess string `json:"onSuccess,omitempty"`
	OnFailure string `json:"onFailure,omitempty"`
}

// MaxLosses is how often an attempt may be lost with its worker before the
// module fails.
const MaxLosses = 5

// MaxResultBytes bounds what a module may write to $PIPELINED_OUTPUT.
const MaxResultBytes = 64 << 10

// Defaults of a module's timing.
const (
	DefaultTimeout    = 30 * time.Minute
	DefaultGrace      = 10 * time.Second
	DefaultBackoff    = time.Second
	DefaultMaxBackoff = time.Minute
)

// Skipped names the modules that surely do not run: those that are skipped at
// submission, and what depends on them.
func (p *Pipeline) Skipped() map[string]bool {
	dependents := map[string][]*Module{}
	skipped := map[string]bool{}
	var next []string
	for i := range p.Modules {
		m := &p.Modules[i]
		for _, d := range m.DependsOn {
			dependents[d] = append(dependents[d], m)
		}
		if m.Skip != "" {
			skipped[m.Name] = true
			next = append(next, m.Name)
		}
	}

	for len(next) > 0 {
		name := next[len(next)-1]
		next = next[:len(next)-1]
		for _, m := range dependents[name] {
			if m.SkippedWithDependency() && !skipped[m.Name] {
				skipped[m.Name] = true
				next = append(next, m.Name)
			}
		}
	}
	return skipped
}

// The most keys of not_in_parallel that a module has, and holders of one.
const (
	MaxLocks       = 64
	MaxLockHolders = 1000
)

// LockLimit is how many holders the module allows of a key of not_in_parallel.
func (m *Module) LockLimit(key string) int { return LockLimit(m.LockHolders, key) }

// LockLimit is how many holders a key may have by Module.LockHolders.
func LockLimit(holders map[string]int, key string) int { return max(1, holders[key]) }

// LockAdmits reports whether a key of not_in_parallel has room for one more holder
// with this limit: there must be fewer holders than each of them, and the new one,
// allows. limits are those of the holders.
func LockAdmits(limits []int, limit int) bool {
	for _, n := range limits {
		limit = min(limit, n)
	}
	return len(limits) < limit
}

// SkippedWithDependency reports whether the module is skipped if a module that it
// depends on is skipped by its condition or by the submitter.
func (m *Module) SkippedWithDependency() bool { return !m.AlwaysRun && m.RunIf != RunIfNotFailed }

// Module finds a module by name; nil if there is none.
func (p *Pipeline) Module(name string) *Module {
	for i := range p.Modules {
		if p.Modules[i].Name == name {
			return &p.Modules[i]
		}
	}

	return nil
}
