package language

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Evaluate computes the deferred expressions of one module. deps holds at least
// the modules that it depends on. The result has only what was deferred: the
// command or script, and environment variables that override Module.Env. If
// nothing is deferred it is an empty Evaluated; for a dynamic module it has
// only the instances.
//
// Cheap expressions are evaluated in this process and need no evaluator; e may
// then be nil. An error of kind Invalid is permanent, and names the attribute
// and its position. After an error of another kind, try again.
func Evaluate(ctx context.Context, e Evaluator, p *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
	if m == nil {
		return nil, pipeline.Errorf(pipeline.NotFound, "pipeline %s has no such module", p.Name)
	}

	if len(m.Deferred) == 0 {
		return &pipeline.Evaluated{}, nil
	}

	module := m.Name
	only := *p
	only.Modules, only.Sources, only.SealedSources, only.Given = []pipeline.Module{*m}, nil, nil, pipeline.Given{}

	if !m.Expensive {
		out, diags := evaluateInline(&only, module, deps)
		if len(diags) == 0 {
			return out, nil
		}
		return nil, deferredError(diags)
	}

	if e == nil {
		return nil, pipeline.Errorf(pipeline.Internal, "evaluate module %q: its expressions need a helper process, and there is none", module)
	}

	out, err := ask(ctx, e, request{Evaluate: &evaluateRequest{Pipeline: only, Module: module, Deps: deps}})
	switch {
	case errors.Is(err, ErrTooExpensive):
		return nil, deferredError(tooExpensiveDeferred(p, m))
	case err != nil && ctx.Err() != nil:
		return nil, pipeline.Errorf(pipeline.Canceled, "evaluate module %q: %w", module, err)
	case err != nil:
		return nil, pipeline.Errorf(pipeline.Unavailable, "evaluate module %q: %w", module, err)
	case len(out.Diagnostics) > 0:
		return nil, deferredError(out.Diagnostics)
	case out.Evaluated == nil:
		return nil, pipeline.Errorf(pipeline.Unavailable, "evaluate module %q: the helper gave no answer", module)
	}

	return out.Evaluated, nil
}

// deferredError makes one error of the mistakes: a module's reason is a line.
func deferredError(diags Diagnostics) error {
	texts := make([]string, 0, len(diags))
	for _, d := range diags {
		s := d.Summary
		if d.Detail != "" {
			s += " (" + strings.ReplaceAll(d.Detail, "\n", "; ") + ")"
		}
		if place := d.place(); place != "" {
			s = place + ": " + s
		}
		texts = append(texts, printable(s))
	}

	err := pipeline.Errorf(pipeline.Invalid, "%s", strings.Join(texts, "; "))
	if slices.ContainsFunc(diags, func(d Diagnostic) bool { return strings.Contains(d.Summary, tooExpensive) }) {
		err = &pipeline.Error{Kind: pipeline.Invalid, Message: strings.Join(texts, "; "), Err: ErrTooExpensive}
	}

	return err
}

// tooExpensiveDeferred reports that the helper exceeded its limits.
func tooExpensiveDeferred(p *pipeline.Pipeline, m *pipeline.Module) Diagnostics {
	names := slices.Sorted(maps.Keys(m.Deferred))
	at := m.Deferred[names[0]]
	return Diagnostics{{File: cmp.Or(at.File, p.File), Line: at.Line, Column: at.Column,
		Summary: fmt.Sprintf("%s: %s", strings.Join(names, ", "), tooExpensive),
		Detail:  "the expressions of a module may take 1 s and some memory, all together"}}
}

// evaluateInline evaluates in this process, and refuses expensive expressions
// even if the module is not marked as expensive.
func evaluateInline(p *pipeline.Pipeline, module string, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, Diagnostics) {
	s := &deferredScope{pipeline: p, deps: deps, refuse: true}
	return s.module(module)
}

// evaluate evaluates in a helper.
func evaluate(p *pipeline.Pipeline, module string, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, Diagnostics) {
	s := &deferredScope{pipeline: p, deps: deps}
	return s.module(module)
}
