package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// evaluationPause is the wait before expressions are evaluated again whose helper
// process was not available.
const evaluationPause = 500 * time.Millisecond

// evaluator computes deferred expressions once all dependencies of a module are
// final: on the loop if that is cheap, in a goroutine if not.
type evaluator struct {
	evaluateFn Evaluate
	tasks      *tasks
	inbox      *inbox
	model      *model
	logger     hclog.Logger
	steps      steps
	backoffs   *backoffs
}

// evaluate starts the evaluation for a module. Its end advances the module.
func (e *evaluator) evaluate(m *moduleState) {
	if m.deferred.running {
		return
	}

	m.deferred.running = true

	// Copied on the loop: the goroutine must not read the model.
	deps := m.upstreamResults()

	// A definition does not know the number of its run, nor its tick.
	head := &m.run.head
	c := *m.run.def
	c.Scope.RunNumber, c.Scope.RunID, c.Scope.RunTick = head.Number, string(head.ID), calendar.Text(head.Tick, head.Zone)
	def := &c

	// Literals, references and templates take microseconds.
	if !m.def.Expensive {
		values, err := e.evaluateFn(e.tasks.ctx, def, m.def, deps)
		e.done(m, values, err)
		return
	}

	e.tasks.start(func(ctx context.Context) {
		values, err := e.evaluateFn(ctx, def, m.def, deps)
		if errors.Is(err, context.Canceled) {
			return // the term ends; the next one evaluates again
		}
		e.inbox.post(func() {
			if e.model.isCurrent(m.run) && !m.state.Final() {
				e.done(m, values, err)
			}
		})
	})
}

// done takes the values. An Unavailable error says nothing about the expressions;
// any other one is final.
func (e *evaluator) done(m *moduleState, values *pipeline.Evaluated, err error) {
	m.deferred.running = false

	switch {
	case pipeline.KindOf(err) == pipeline.Unavailable:
		// The helper could not be started, or ran out of time on a busy machine.
		e.logger.Warn("evaluate expressions", m.run.head.ModuleLogFields(m.def.Name, "error", err)...)
		m.tries.notBefore = time.Now().Add(evaluationPause)
		e.backoffs.add(m)
	case err != nil:
		e.steps.end(m, pipeline.ModuleFailed, "expression: "+err.Error())
	default:
		m.deferred.evaluated = values
		e.steps.advance(m)
	}
}
