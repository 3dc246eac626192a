package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Vault opens what the state holds sealed. What it gives is for the worker of an
// attempt alone, and is nowhere kept here.
type Vault interface {
	// Missing says which of the secrets that are named there is not; "" where all
	// of them are there.
	Missing(names []string) string
	// Open gives what a module of a pipeline needs and the state holds sealed. e
	// is what its late expressions came to, or nil. An error means that it cannot
	// be run, and says why in words for its author.
	Open(p *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (Opened, error)
}

// Opened is what a vault gives for an attempt.
type Opened struct {
	// Evaluated is what was given, with nothing in it sealed.
	Evaluated *pipeline.Evaluated
	// Secrets and Mask are what pipeline.Spec holds under these names.
	Secrets map[string]string
	Mask    []string
}

// confidential reports whether attempts of the run need the vault: its modules
// name secrets, or hide what others of them might show.
func confidential(p *pipeline.Pipeline) bool {
	if len(p.Scope.Sensitive) > 0 {
		return true
	}
	for i := range p.Modules {
		if len(p.Modules[i].Secrets) > 0 {
			return true
		}
	}
	return false
}

// private reports whether the module itself is given what is secret.
func (m *mod) private() bool { return len(m.def.Secrets) > 0 || m.def.Sensitive }

// deny says why a module that was placed cannot be run: a secret that it names
// is not there. "" where it can.
func (t *term) deny(m *mod) string {
	if len(m.def.Secrets) == 0 || t.cfg.Vault == nil {
		return ""
	}
	return t.cfg.Vault.Missing(m.def.Secrets)
}

// fill makes the specification of an attempt whole. Where that cannot be, it
// ends the attempt and reports false.
func (t *term) fill(l *live) (pipeline.Spec, bool) {
	m := l.mod
	if t.cfg.Vault == nil || !m.run.confidential {
		return l.spec(t.number, l.evaluated), true
	}
	open, err := t.cfg.Vault.Open(m.run.def, m.def, l.evaluated)
	if err != nil {
		t.outcome(l, pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "not started: " + err.Error(), FinishedAt: time.Now().UTC()})
		return pipeline.Spec{}, false
	}
	s := l.spec(t.number, open.Evaluated)
	s.Secrets, s.Mask, s.Private = open.Secrets, open.Mask, m.private()
	return s, true
}
