package orchestrator

import (
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// spec is what the worker of an attempt receives. evaluated holds the values of
// the module's deferred expressions, decrypted. The result is the same for every
// dispatch of the attempt, except that Term is the present one and After is unset
// once the predecessor has ended.
func (a *activeAttempt) spec(term uint64, evaluated *pipeline.Evaluated) pipeline.Spec {
	m, r := a.module, a.module.run
	d := m.def

	s := pipeline.Spec{ID: a.id, Pipeline: r.head.Pipeline, Fence: a.fence, Term: term, Incarnation: a.incarnation,
		Command: d.Command, Script: d.Script, Shell: d.Shell, Env: d.Env,
		Workspace: r.head.Workspace, Inputs: d.Inputs, InputsAll: d.InputsAll, Layout: d.Layout, WorkingDir: d.WorkingDir,
		Outputs: d.Outputs, OutputsOptional: d.OutputsOptional, Reports: d.Reports, Timeout: d.Timeout, Grace: d.Grace, Caches: d.Caches, OwnCaches: r.head.Untrusted,
		IdleTimeout: d.IdleTimeout, OnDisconnect: d.OnDisconnect, Hooks: d.Hooks, Resources: d.Resources, Container: d.Container,
		Holders: r.head.Holders, Trace: r.head.Trace, Tick: calendar.Text(r.head.Tick, r.head.Zone)}

	// The worker waits for the predecessor itself; it needs no further word.
	if a.predecessor != nil {
		s.Predecessor = &a.predecessor.id
	}

	// Values replace what the definition has; variables are merged over it.
	if e := evaluated; e != nil {
		if e.Command != nil {
			s.Command = e.Command
		}
		if e.Script != "" {
			s.Script = e.Script
		}
		if e.Env != nil {
			s.Env = merged(d.Env, e.Env)
		}
	}

	if d.Hook != "" {
		// A hook depends on all modules, but does not need their files.
		s.Status = m.hookStatus()
		return s
	}

	// Holders are hints: the worker asks others if they do not have the outputs.
	for _, dep := range m.dependencies {
		if dep.product.outputs != "" {
			s.Upstream = append(s.Upstream, pipeline.Upstream{Module: dep.def.Name, Outputs: dep.product.outputs,
				Holders: dep.product.holders})
		}
	}
	return s
}

// merged returns a with the entries of b over it. It changes neither.
func merged(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}

	out := make(map[string]string, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}

	for k, v := range b {
		out[k] = v
	}
	return out
}
