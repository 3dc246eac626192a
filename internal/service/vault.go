package service

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// What the state holds sealed, and the purpose that each is sealed for
// (docs/adr/0008). A value only opens for the purpose it was sealed for.
const (
	sealScope     = "scope of "     // and a pipeline's name
	sealEvaluated = "evaluated of " // and a pipeline's and a module's name
	sealDerived   = "derived of "   // and the same
	sealSource    = "source of "    // and a pipeline's name
	sealSources   = "sources of "   // and the name of the pipeline whose modules run them
	sealGiven     = "given for "    // and a pipeline's name
	sealSecret    = "secret "       // and its name
)

// Vault seals what the replicated state must not show and opens it for attempts.
// It implements orchestrator.Vault.
type Vault struct {
	keys       *keys.Keys
	secrets    *Secrets
	evaluators Evaluators
}

// NewVault makes a vault. evaluators evaluate deferred expressions.
func NewVault(k *keys.Keys, secrets *Secrets, evaluators Evaluators) *Vault {
	return &Vault{keys: k, secrets: secrets, evaluators: evaluators}
}

// encodeDefinition encodes a pipeline as the state keeps it: the values of its
// sensitive variables are sealed. It is the only encoding of a definition.
func (v *Vault) encodeDefinition(def *pipeline.Pipeline) ([]byte, error) {
	def, err := v.sealScope(def)
	if err == nil {
		def, err = v.sealGiven(def)
	}
	if err == nil {
		def, err = v.sealChildren(def)
	}
	if err != nil {
		return nil, err
	}
	raw, err := fsm.EncodeDefinition(def)
	if err != nil || len(raw) <= fsm.MaxCommandBytes/2 || def.Given.Source == "" && len(def.Given.Sealed) == 0 {
		return raw, err
	}

	// A run without its source can do everything but be retried with other variables.
	small := *def
	small.Given.Source, small.Given.Imports, small.Given.Sealed = "", nil, nil
	return fsm.EncodeDefinition(&small)
}

// sealScope gives a pipeline whose sensitive variables are sealed. It does not
// change def.
func (v *Vault) sealScope(def *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if len(def.Scope.Sensitive) == 0 {
		return def, nil
	}

	sealed := *def
	sealed.Scope.Variables = maps.Clone(def.Scope.Variables)
	hidden := map[string]string{}
	for _, name := range def.Scope.Sensitive {
		hidden[name] = sealed.Scope.Variables[name]
		delete(sealed.Scope.Variables, name)
	}
	raw, err := json.Marshal(hidden)
	if err != nil {
		return nil, fmt.Errorf("encode sensitive variables: %w", err)
	}
	sealed.Scope.Sealed = v.keys.Seal(sealScope+def.Name, raw)
	return &sealed, nil
}

// openScope gives the scope of a pipeline with the values of its sensitive
// variables.
func (v *Vault) openScope(def *pipeline.Pipeline) (pipeline.Scope, error) {
	scope := def.Scope
	if len(scope.Sealed) == 0 {
		return scope, nil
	}

	raw, err := v.keys.Open(sealScope+def.Name, scope.Sealed)
	if err != nil {
		return scope, fmt.Errorf("open the sensitive variables of pipeline %s: %w", def.Name, err)
	}
	all := map[string]string{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return scope, fmt.Errorf("decode the sensitive variables of pipeline %s: %w", def.Name, err)
	}
	maps.Copy(all, scope.Variables)
	scope.Variables, scope.Sealed = all, nil
	return scope, nil
}

// Evaluate evaluates the deferred expressions of a module for the orchestrator.
// If sensitive variables went into the result, it comes back sealed, and an error
// does not show their values.
func (v *Vault) Evaluate(ctx context.Context, def *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
	if !m.Sensitive {
		return language.Evaluate(ctx, evaluatorFor(v.evaluators, def.Scope.Submitter), def, m, deps)
	}

	scope, err := v.openScope(def)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
	}
	open := *def
	open.Scope = scope
	evaluated, err := language.Evaluate(ctx, evaluatorFor(v.evaluators, def.Scope.Submitter), &open, m, deps)
	if err != nil {
		return nil, hideScope(&scope, err)
	}
	return v.sealEvaluated(def, m, evaluated)
}

// hideScope replaces the values of sensitive variables in an error.
func hideScope(scope *pipeline.Scope, err error) error {
	if len(scope.Sensitive) == 0 {
		return err
	}
	return &pipeline.Error{Kind: pipeline.KindOf(err), Message: mask.New(language.SensitiveValues(scope)).String(err.Error())}
}

func (v *Vault) sealEvaluated(def *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (*pipeline.Evaluated, error) {
	if e.Command == nil && e.Script == "" && e.Env == nil && e.CacheKey == nil {
		return e, nil
	}

	raw, err := json.Marshal(pipeline.Evaluated{Command: e.Command, Script: e.Script, Env: e.Env, CacheKey: e.CacheKey})
	if err != nil {
		return nil, fmt.Errorf("encode what was evaluated: %w", err)
	}
	sealed := *e
	sealed.Command, sealed.Script, sealed.Env, sealed.CacheKey, sealed.Derived = nil, "", nil, nil, nil
	sealed.Sealed = v.keys.Seal(sealEvaluated+def.Name+"/"+m.Name, raw)
	if len(e.Derived) == 0 {
		return &sealed, nil
	}

	if raw, err = json.Marshal(e.Derived); err != nil {
		return nil, fmt.Errorf("encode what was evaluated: %w", err)
	}
	sealed.SealedDerived = v.keys.Seal(sealDerived+def.Name+"/"+m.Name, raw)
	return &sealed, nil
}

// requestDigest tells requests apart. It is keyed, so that it does not help to
// guess what is in them.
func (v *Vault) requestDigest(request []byte) pipeline.Digest {
	sum := v.keys.Digest("request", request)
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

// Missing says which of the secrets is not set and how to set it; "" if all are.
func (v *Vault) Missing(names []string) string { return v.secrets.firstMissing(names) }

// Open gives an attempt of a module its secrets, its opened command and what is
// to be masked in its output. The secrets of the pipeline's other modules are
// masked too, because files and results carry them from module to module.
func (v *Vault) Open(def *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (orchestrator.Opened, error) {
	out := orchestrator.Opened{Evaluated: e}
	for _, name := range m.SecretNames() {
		value, ok, err := v.secrets.value(name)
		if err != nil {
			return out, err
		}
		if !ok {
			return out, pipeline.Errorf(pipeline.NotFound, "%s", v.secrets.firstMissing([]string{name}))
		}
		if out.Secrets == nil {
			out.Secrets = map[string]string{}
		}
		out.Secrets[name] = value
	}

	var err error
	if out.Mask, err = v.hidden(def, out.Secrets); err != nil {
		return out, err
	}
	if e != nil && len(e.Sealed) > 0 {
		if out.Evaluated, err = v.openEvaluated(def, m.Name, e); err == nil {
			out.Mask = append(out.Mask, out.Evaluated.Derived...)
		}
	}
	return out, err
}

func (v *Vault) openEvaluated(def *pipeline.Pipeline, module string, e *pipeline.Evaluated) (*pipeline.Evaluated, error) {
	raw, err := v.keys.Open(sealEvaluated+def.Name+"/"+module, e.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open the command of module %s: %w", module, err)
	}

	open := *e
	if err := json.Unmarshal(raw, &open); err != nil {
		return nil, fmt.Errorf("decode the command of module %s: %w", module, err)
	}
	open.Sealed, open.SealedDerived = nil, nil
	open.Derived, err = v.openDerived(def, module, e)
	return &open, err
}

func (v *Vault) openDerived(def *pipeline.Pipeline, module string, e *pipeline.Evaluated) (list []string, err error) {
	if len(e.SealedDerived) == 0 {
		return nil, nil
	}

	raw, err := v.keys.Open(sealDerived+def.Name+"/"+module, e.SealedDerived)
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("open what module %s made of sensitive variables: %w", module, err)
	}
	return list, nil
}

// hidden lists all values that must not show in what modules of a pipeline
// leave, except those of the secrets in known.
func (v *Vault) hidden(def *pipeline.Pipeline, known map[string]string) ([]string, error) {
	var values []string
	seen := map[string]bool{}
	for i := range def.Modules {
		for _, name := range def.Modules[i].Secrets {
			if _, ok := known[name]; ok || seen[name] {
				continue
			}
			seen[name] = true
			if value, ok, err := v.secrets.value(name); err == nil && ok {
				values = append(values, value)
			}
		}
	}

	scope, err := v.openScope(def)
	if err != nil {
		return nil, err
	}
	return append(values, language.SensitiveValues(&scope)...), nil
}

// Derived lists what the expressions of modules of a run made of sensitive variables,
// for all attempts that they have had.
func (v *Vault) Derived(run pipeline.RunID, def *pipeline.Pipeline, modules []string) (list []string, err error) {
	if len(modules) == 0 {
		return nil, nil
	}
	err = v.secrets.state.View(func(view *fsm.View) error {
		for _, name := range modules {
			rec := view.Module(run, name)
			for i := range rec.Attempts {
				e := rec.Attempts[i].Evaluated
				if e == nil {
					continue
				}
				derived, err := v.openDerived(def, name, e)
				if err != nil {
					return err
				}
				if list = append(list, derived...); len(list) >= orchestrator.MaxDerived {
					list = list[:orchestrator.MaxDerived]
					return nil
				}
			}
		}
		return nil
	})
	return list, err
}

// RunMask gives the values to mask in what a run's modules leave, for workers
// that do not mask by themselves; none if there is no such run.
func (v *Vault) RunMask(id pipeline.RunID) ([]string, error) {
	var def *pipeline.Pipeline
	var sensitive []string
	err := v.secrets.state.View(func(view *fsm.View) (err error) {
		if def, err = view.Definition(id); err != nil || len(def.Scope.Sensitive) == 0 {
			return err
		}
		modules, err := view.RunModules(id)
		for i := range modules {
			if modules[i].Sensitive {
				sensitive = append(sensitive, modules[i].Name)
			}
		}
		return err
	})
	if pipeline.KindOf(err) == pipeline.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	values, err := v.hidden(def, nil)
	if err != nil {
		return nil, err
	}
	derived, err := v.Derived(id, def, sensitive)
	return append(values, derived...), err
}
