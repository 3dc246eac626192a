package orchestrator

import "github.com/pipelined/pipelined/pipeline"

// Vault opens what the replicated state holds sealed. What it returns is for the
// worker of one attempt and is stored nowhere. Both methods are called from the
// loop and must not block.
type Vault interface {
	// Missing is why a named secret is not available; "" if all are.
	Missing(names []string) string
	// Open returns the plain form of what a module of a pipeline needs. e holds the
	// values of its deferred expressions, or is nil. An error means that the module
	// cannot run, and tells its author why.
	Open(p *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (Opened, error)
}

// Opened is what a vault returns for an attempt.
type Opened struct {
	// Evaluated is what was given to Open, with nothing in it sealed.
	Evaluated *pipeline.Evaluated
	// Secrets and Mask are the fields of the same names in pipeline.Spec.
	Secrets map[string]string
	Mask    []string
}

// confidential reports whether attempts of the pipeline need the vault: a module
// names a secret, or a variable must be masked.
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
