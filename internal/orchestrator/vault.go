package orchestrator

import "github.com/pipelined/pipelined/pipeline"

// Vault opens what the replicated state holds sealed. What it returns is for the
// worker of one attempt and is stored nowhere. Its methods are called from the loop
// and must not block.
type Vault interface {
	// Missing is why a named secret is not available; "" if all are.
	Missing(names []string) string
	// Open returns the plain form of what a module of a pipeline needs. e holds the
	// values of its deferred expressions, or is nil. An error means that the module
	// cannot run, and tells its author why.
	Open(p *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (Opened, error)
	// Derived lists what expressions of modules of a run, which have had attempts, made
	// of sensitive variables, at most MaxDerived of them.
	Derived(run pipeline.RunID, p *pipeline.Pipeline, modules []string) ([]string, error)
}

// MaxDerived bounds what is masked in the output of a module because of the modules
// before it: the cost of an attempt must not grow with the pipeline.
const MaxDerived = 256

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
		if len(p.Modules[i].SecretNames()) > 0 {
			return true
		}
	}
	return false
}

// sensitiveBefore lists the modules that a module depends on, directly or through
// others, and whose expressions name sensitive variables: their files may hold what
// these made of them. The nearest come first.
func (m *moduleState) sensitiveBefore() (names []string) {
	if len(m.run.def.Scope.Sensitive) == 0 {
		return nil
	}

	seen, queue := map[*moduleState]bool{m: true}, []*moduleState{m}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, d := range next.dependencies {
			if seen[d] {
				continue
			}
			seen[d] = true
			queue = append(queue, d)
			if d.def.Sensitive {
				names = append(names, d.def.Name)
			}
		}
	}
	return names
}
