package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// softLimit is the size in bytes at which a batch is proposed before it is
// complete. One more element adds at most a result of 64 KiB or an evaluated
// command, so that an entry stays below fsm.MaxCommandBytes.
const softLimit = 96 << 10

// batch collects decisions for one raft entry, and for each list of them whom they
// concern, in the same order: commits.go needs them when their fate is known.
type batch struct {
	fsm.Batch
	// size is an estimate of the encoded size in bytes.
	size int
	// at is when it was proposed.
	at       time.Time
	starts   []*activeAttempt
	outcomes []*activeAttempt
	ends     []*moduleState
	expands  []*moduleState
	awaits   []*moduleState
	decides  []*moduleState
	assigns  []*activeAttempt
	runs     map[*run]struct{}
}

func (b *batch) empty() bool {
	return len(b.Starts)+len(b.Outcomes)+len(b.Ends)+len(b.Assigns)+len(b.Runs)+len(b.Copies)+len(b.Reopens)+
		len(b.Expands)+len(b.Awaits)+len(b.Decides) == 0
}

// full reports whether the batch should be proposed before anything is added.
func (b *batch) full() bool { return b.size >= softLimit }

// touch notes that the batch says something about a run, in about size bytes.
func (b *batch) touch(r *run, size int) {
	if b.runs == nil {
		b.runs = map[*run]struct{}{}
	}

	b.runs[r] = struct{}{}
	b.size += size
}

// start adds that the process of an attempt has started.
func (b *batch) start(a *activeAttempt, at time.Time) {
	b.Starts = append(b.Starts, fsm.Start{ID: a.id, At: at})
	b.starts = append(b.starts, a)
	b.touch(a.module.run, 100)
}

// outcome adds how an attempt ended.
func (b *batch) outcome(a *activeAttempt, o fsm.Outcome) {
	b.Outcomes = append(b.Outcomes, o)
	b.outcomes = append(b.outcomes, a)
	b.touch(a.module.run, 400+len(o.Outcome.Result)+len(o.Reason)+len(o.Outcome.Reason)+sizeOf(o.Outcome.OutputPaths))
}

// end adds the end of a module without an active attempt; its state is set.
func (b *batch) end(m *moduleState, reason string) {
	b.Ends = append(b.Ends, fsm.End{Run: m.run.head.ID, Module: m.def.Name, State: m.state, Reason: reason,
		Ignored: m.def.IgnoreFailure, Blocked: m.blocked})
	b.ends = append(b.ends, m)
	b.touch(m.run, 120+len(reason))
}

// endCached adds the end of a module with a cached result; its state is set.
func (b *batch) endCached(m *moduleState, reason string, e *pipeline.CacheEntry) {
	hit := &fsm.CacheHit{Key: e.Key, From: e.From, Needs: m.unappliedDependencies()}
	b.Ends = append(b.Ends, fsm.End{Run: m.run.head.ID, Module: m.def.Name, State: m.state, Reason: reason, Cache: hit})
	b.ends = append(b.ends, m)
	b.touch(m.run, 300+len(reason)+len(e.From.Module)+sizeOf(hit.Needs))
}

// expand adds the instances of a module.
func (b *batch) expand(m *moduleState, list []pipeline.Instance) {
	b.Expands = append(b.Expands, fsm.Expand{Run: m.run.head.ID, Module: m.def.Name, Instances: list, Needs: m.unappliedDependencies()})
	b.expands = append(b.expands, m)

	// Instances may be many; each carries its own variables.
	n := 120
	for i := range list {
		n += len(list[i].Key) + 8
		for name, value := range list[i].Each {
			n += len(name) + len(value) + 8
		}
	}

	b.touch(m.run, n)
}

// await adds that a module waits for its approval.
func (b *batch) await(m *moduleState) {
	op := fsm.Await{Run: m.run.head.ID, Module: m.def.Name, Message: m.approval.message, Deadline: m.approval.deadline,
		Needs: m.unappliedDependencies(), Always: m.def.AlwaysRun, NotFailed: m.def.RunIf == pipeline.RunIfNotFailed}
	b.Awaits = append(b.Awaits, op)
	b.awaits = append(b.awaits, m)
	b.touch(m.run, 150+len(op.Message)+sizeOf(op.Needs))
}

// decide adds the decision about an approval that a deadline made.
func (b *batch) decide(m *moduleState, op fsm.Decide) {
	b.Decides = append(b.Decides, op)
	b.decides = append(b.decides, m)
	b.touch(m.run, 150+len(op.Reason))
}

// assign adds the assignment of an attempt to its worker, whose name is given.
func (b *batch) assign(a *activeAttempt, workerName string) {
	d := a.module.def
	op := fsm.Assign{ID: a.id, Worker: a.worker, WorkerName: workerName, Incarnation: a.incarnation, Evaluated: a.evaluated,
		Locks: d.Locks, LockHolders: d.LockHolders, Always: d.AlwaysRun, NotFailed: d.RunIf == pipeline.RunIfNotFailed, Needs: a.module.unappliedDependencies(),
		Cache: a.lookup, LocalBytes: a.localBytes, Waited: a.waited}
	if a.predecessor != nil {
		op.Predecessor = &a.predecessor.id
	}

	b.Assigns = append(b.Assigns, op)
	b.assigns = append(b.assigns, a)
	b.touch(a.module.run, 250+sizeOf(op.Needs)+2*sizeOf(op.Locks)+sizeOfLookup(a.lookup)+sizeOfEvaluated(a.evaluated))
}

// runEnd adds the end of a run.
func (b *batch) runEnd(r *run, s pipeline.RunState, reason string) {
	b.Runs = append(b.Runs, fsm.RunEnd{Run: r.head.ID, State: s, Reason: reason})
	b.touch(r, 100+len(reason))
}

// reopen adds that a module that succeeded has to run again.
func (b *batch) reopen(m *moduleState, reason string) {
	b.Reopens = append(b.Reopens, fsm.Reopen{Run: m.run.head.ID, Module: m.def.Name, Attempt: m.tries.attempts, Reason: reason})
	b.touch(m.run, 120+len(reason))
}

// sizeOf and its siblings estimate encoded sizes in bytes, on the high side.
func sizeOf(list []string) int {
	n := 0
	for _, s := range list {
		n += len(s) + 3
	}
	return n
}

func sizeOfLookup(c *pipeline.CacheLookup) int {
	if c == nil {
		return 0
	}

	n := 200 + sizeOf(c.Missed) + sizeOf(c.Inputs)
	for _, x := range c.Parts {
		n += len(x.Name) + len(x.Sum) + 8
	}
	return n
}

func sizeOfEvaluated(e *pipeline.Evaluated) int {
	if e == nil {
		return 0
	}

	n := len(e.Script) + sizeOf(e.Command)
	for k, v := range e.Env {
		n += len(k) + len(v) + 6
	}
	return n
}
