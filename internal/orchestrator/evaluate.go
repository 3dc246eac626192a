package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// evaluate works out the late expressions of a module whose dependencies are
// final: here where that is cheap, in a bounded helper where not.
func (t *term) evaluate(m *mod) {
	if m.evaluating {
		return
	}
	m.evaluating = true
	deps := make(map[string]pipeline.UpstreamResult, len(m.deps))
	for _, d := range m.deps {
		deps[d.def.Name] = d.upstreamResult()
	}
	def := m.run.def
	if def.Scope.RunNumber == 0 || def.Scope.RunID == "" {
		c := *def
		c.Scope.RunNumber, c.Scope.RunID = m.run.head.Number, string(m.run.head.ID)
		def = &c
	}
	if !m.def.Expensive {
		e, err := t.cfg.Evaluate(t.ctx, def, m.def, deps)
		t.evaluatedTo(m, e, err)
		return
	}
	t.group.Go(func() error {
		e, err := t.cfg.Evaluate(t.ctx, def, m.def, deps)
		if err != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		t.post(func() {
			if t.runs[m.run.head.ID] == m.run && !m.state.Final() {
				t.evaluatedTo(m, e, err)
			}
		})
		return nil
	})
}

func (t *term) evaluatedTo(m *mod, e *pipeline.Evaluated, err error) {
	m.evaluating = false
	if pipeline.KindOf(err) == pipeline.Unavailable {
		t.log.Warn("evaluate expressions", "run", m.run.head.ID, "module", m.def.Name, "error", err)
		m.notBefore = time.Now().Add(500 * time.Millisecond)
		t.delay(m)
		return
	}
	if err != nil {
		t.end(m, pipeline.ModuleFailed, "expression: "+err.Error())
		return
	}
	m.evaluated = e
	t.advance(m)
}

// upstreamResult is what expressions of other modules see of this one.
func (m *mod) upstreamResult() pipeline.UpstreamResult {
	return pipeline.UpstreamResult{Status: m.state, Result: m.result, Outputs: m.outputPaths, ExitCode: m.exitCode, Duration: m.duration,
		Cached: m.state == pipeline.ModuleCached, Expanded: m.def.Dynamic}
}
