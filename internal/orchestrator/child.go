package orchestrator

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// PrepareChild compiles the child of a module of a run, with the values of its deferred
// expressions; e may be nil. It returns the head of the new run and its definition as
// the state keeps it. An Unavailable error is temporary. It may take a second.
type PrepareChild func(ctx context.Context, parent pipeline.Run, def *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (pipeline.Run, []byte, error)

// children makes runs for modules that run a pipeline. Such a module takes no slot and
// has no attempt. The entry that makes the child marks its module as running, and the
// one that ends the child says what becomes of the module (fsm.Spawn). So neither needs
// this leader to stay: what is left to it is to begin, and to follow.
type children struct {
	prepare   PrepareChild
	model     *model
	tasks     *tasks
	inbox     *inbox
	proposals *proposals
	logger    hclog.Logger
	steps     steps
	backoffs  *backoffs
	commits   interface{ reloadStale(*batch) }

	// prepared are compiled and wait to be proposed.
	prepared []*preparedChild
}

type preparedChild struct {
	module     *moduleState
	head       pipeline.Run
	definition []byte
}

// childState is what the model knows of the children of a module.
type childState struct {
	// made is how many there are, the one that is proposed included.
	made int
	// live is set while the newest has not ended, preparing while it is compiled or waits
	// to be proposed.
	live, preparing bool
	// run is the newest one.
	run pipeline.RunID
}

// loadChildren takes the children of a module from the replicated state.
func (m *moduleState) loadChildren(rec *pipeline.ModuleRecord) {
	m.child = childState{made: len(rec.Children)}
	if c := rec.LiveChild(); c != nil {
		m.child.live, m.child.run = true, c.Run
		m.run.parents = append(m.run.parents, m)
	}
}

// full reports whether as many instances of the module's block have children as its
// max_parallel allows.
func (m *moduleState) full() bool {
	if m.def.Child == nil || m.limit == nil {
		return false
	}
	n := 0
	for _, list := range [][]*moduleState{m.run.parents, m.run.preparing} {
		for _, x := range list {
			if x.limit == m.limit && (x.child.live || x.child.preparing) {
				n++
			}
		}
	}
	return n >= m.limit.Max
}

// prepares notes whether the child of a module is compiled, or waits to be proposed.
func (m *moduleState) prepares(yes bool) {
	m.child.preparing = yes
	if m.run.preparing = slices.DeleteFunc(m.run.preparing, func(x *moduleState) bool { return x == m }); yes {
		m.run.preparing = append(m.run.preparing, m)
	}
}

// next lets other instances of a block begin, since one of its children has ended.
func (c *children) next(m *moduleState) {
	if m.limit == nil {
		return
	}
	for _, x := range m.run.list {
		if m.full() || m.run.stale {
			return
		}
		if x.limit == m.limit {
			c.steps.advance(x)
		}
	}
}

// begin makes a child for a module that may run, unless its block is full.
func (c *children) begin(m *moduleState) {
	if m.child.preparing || m.full() {
		return
	}
	m.prepares(true)

	// Copied on the loop: the goroutine must not read the model.
	head, def, one, evaluated := m.run.head, m.run.def, m.def, m.deferred.evaluated
	c.tasks.start(func(ctx context.Context) {
		child, raw, err := c.prepare(ctx, head, def, one, evaluated)
		if err != nil && ctx.Err() != nil {
			return // the term ends; the next one begins again
		}
		c.inbox.post(func() {
			if c.model.isCurrent(m.run) && !m.state.Final() {
				c.done(&preparedChild{module: m, head: child, definition: raw}, err)
			}
		})
	})
}

func (c *children) done(x *preparedChild, err error) {
	m := x.module
	switch {
	case pipeline.KindOf(err) == pipeline.Unavailable:
		c.logger.Warn("compile a child", m.run.head.ModuleLogFields(m.def.Name, "error", err)...)
		m.prepares(false)
		m.tries.notBefore = time.Now().Add(evaluationPause)
		c.backoffs.add(m)
	case err != nil:
		m.prepares(false)
		c.steps.end(m, pipeline.ModuleFailed, err.Error())
		c.next(m)
	default:
		c.prepared = append(c.prepared, x)
	}
}

// propose proposes the children whose modules' dependencies have ended in the state. It
// comes after the batch of a step, which may say so.
func (c *children) propose() {
	list := c.prepared
	c.prepared = nil
	for _, x := range list {
		m := x.module
		switch {
		case !c.model.isCurrent(m.run) || m.run.stale || m.state.Final() || m.mustCancel():
			m.prepares(false)
		case len(m.unappliedDependencies()) > 0:
			c.prepared = append(c.prepared, x)
		default:
			c.proposeOne(x)
		}
	}
}

func (c *children) proposeOne(x *preparedChild) {
	m, r, d := x.module, x.module.run, x.module.def
	m.prepares(false)
	op := &fsm.Spawn{Run: r.head.ID, Module: d.Name, Number: m.child.made + 1, Child: x.head, Definition: x.definition,
		Retry: d.Retry, Ignored: d.IgnoreFailure, Always: d.AlwaysRun}
	now := time.Now().UTC()
	err := c.proposals.submit("child of "+d.Name, &fsm.Command{At: now, Spawn: op}, func(reply any, err error) { c.proposed(m, reply, err) })
	if err != nil {
		reason := err.Error()
		if pipeline.KindOf(err) == pipeline.TooLarge {
			reason = "the pipeline " + d.Child.File + " is too large to be made a run: " + reason
		}
		c.steps.end(m, pipeline.ModuleFailed, reason)
		c.next(m)
		return
	}

	// The model is ahead, as with assignments.
	r.inFlight++
	m.child = childState{made: m.child.made + 1, live: true, run: x.head.ID}
	m.state = pipeline.ModuleRunning
	r.parents = append(r.parents, m)
	if r.head.StartedAt.IsZero() {
		r.head.StartedAt = now
	}
}

// proposed handles the fate of a proposal. After a refusal, or if it is unknown, the run
// is read again.
func (c *children) proposed(m *moduleState, reply any, err error) {
	r := m.run
	r.inFlight--
	res, _ := reply.(fsm.Result)
	if err == nil {
		err = res.Err
	}
	switch {
	case err == nil || !c.model.isCurrent(r):
	case pipeline.KindOf(err) == pipeline.Invalid && m.child.live: // it would be refused again
		m.child.live = false
		c.steps.end(m, pipeline.ModuleFailed, err.Error())
		c.next(m)
	default:
		c.logger.Warn("make a child", r.head.ModuleLogFields(m.def.Name, "error", err)...)
		r.stale = true
		r.queue.Clear()
	}
	c.commits.reloadStale(&batch{runs: map[*run]struct{}{r: {}}})
}

// observe takes what the ends of children made of the modules of a run from what was
// read of the replicated state.
func (c *children) observe(r *run, records map[string]pipeline.ModuleRecord) {
	list := r.parents
	r.parents = nil
	var ended []*moduleState
	for _, m := range list {
		rec := records[m.def.Name]
		switch {
		case !m.child.live:
		case len(rec.Children) < m.child.made || rec.LiveChild() != nil:
			r.parents = append(r.parents, m)
		default:
			ended = append(ended, m)
		}
	}

	for i, m := range ended {
		rec := records[m.def.Name]
		m.child.live = false
		m.tries.failures, m.tries.notBefore = rec.Failures, rec.NotBefore
		m.state, m.endedAt = rec.State, rec.FinishedAt

		switch {
		case m.state.Final():
			m.applied = true
			m.keepProduct(product{result: rec.Result, duration: rec.FinishedAt.Sub(rec.StartedAt)})
			c.steps.finish(m)
		case r.tally.stopAfter != "" && !m.def.AlwaysRun:
			c.steps.end(m, pipeline.ModuleFailed, rec.Reason)
		default:
			c.steps.advance(m)
		}
		c.next(m)
		if r.stale {
			r.parents = append(r.parents, ended[i+1:]...)
			return
		}
	}
}

// stop cancels the child of a module.
func (c *children) stop(m *moduleState, reason string) {
	op := &fsm.Cancel{Run: m.child.run, Reason: reason, Parent: true}
	_ = c.proposals.submit("cancellation of the child of "+m.def.Name, &fsm.Command{At: time.Now().UTC(), Cancel: op}, func(_ any, err error) {
		if err != nil {
			c.logger.Warn("cancel a child", m.run.head.ModuleLogFields(m.def.Name, "error", err)...)
			if c.model.isCurrent(m.run) && m.child.live && slices.Contains(m.run.parents, m) {
				m.run.stale = true // read again, it is stopped again
				c.commits.reloadStale(&batch{runs: map[*run]struct{}{m.run: {}}})
			}
		}
	})
}
