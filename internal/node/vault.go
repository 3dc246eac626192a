package node

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// What the state holds sealed, and what each is sealed for (docs/adr/0008).
const (
	sealScope     = "scope of "     // of a pipeline, by its name
	sealEvaluated = "evaluated of " // a module of a pipeline
	sealSecret    = "secret "
)

// vault opens what this node's state holds sealed.
type vault struct{ n *Node }

// sealDefinition gives a pipeline as the state may keep it: without the values
// of its sensitive variables. p itself is not changed.
func (n *Node) sealDefinition(p *pipeline.Pipeline) (*pipeline.Pipeline, error) {
	if len(p.Scope.Sensitive) == 0 {
		return p, nil
	}
	c := *p
	hidden := map[string]string{}
	c.Scope.Variables = map[string]string{}
	for name, value := range p.Scope.Variables {
		c.Scope.Variables[name] = value
	}
	for _, name := range p.Scope.Sensitive {
		hidden[name] = c.Scope.Variables[name]
		delete(c.Scope.Variables, name)
	}
	raw, err := json.Marshal(hidden)
	if err != nil {
		return nil, fmt.Errorf("encode sensitive variables: %w", err)
	}
	c.Scope.Sealed = n.keys.Seal(sealScope+p.Name, raw)
	return &c, nil
}

// openScope gives a scope with the values of its sensitive variables.
func (n *Node) openScope(p *pipeline.Pipeline) (pipeline.Scope, error) {
	s := p.Scope
	if len(s.Sealed) == 0 {
		return s, nil
	}
	raw, err := n.keys.Open(sealScope+p.Name, s.Sealed)
	if err != nil {
		return s, fmt.Errorf("open the sensitive variables of pipeline %s: %w", p.Name, err)
	}
	all := map[string]string{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return s, fmt.Errorf("decode the sensitive variables of pipeline %s: %w", p.Name, err)
	}
	for name, value := range s.Variables {
		all[name] = value
	}
	s.Variables, s.Sealed = all, nil
	return s, nil
}

// sealEvaluatedOf hides what sensitive variables went into.
func (n *Node) sealEvaluatedOf(p *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (*pipeline.Evaluated, error) {
	if !m.Sensitive || e.Command == nil && e.Script == "" && e.Env == nil && e.CacheKey == nil {
		return e, nil
	}
	raw, err := json.Marshal(pipeline.Evaluated{Command: e.Command, Script: e.Script, Env: e.Env, CacheKey: e.CacheKey})
	if err != nil {
		return nil, fmt.Errorf("encode what was evaluated: %w", err)
	}
	c := *e
	c.Command, c.Script, c.Env, c.CacheKey = nil, "", nil, nil
	c.Sealed = n.keys.Seal(sealEvaluated+p.Name+"/"+m.Name, raw)
	return &c, nil
}

// requestDigest tells requests apart without giving a hint at what is in them.
func (n *Node) requestDigest(request []byte) pipeline.Digest {
	sum := n.keys.Digest("request", request)
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

// Missing says which secrets are not there.
func (v vault) Missing(names []string) string {
	return v.n.missingSecret(names)
}

// missingSecret says of the first secret that is not there how it could come
// about; "" where all are.
func (n *Node) missingSecret(names []string) string {
	for _, name := range names {
		if n.cfg.Secrets != nil {
			if _, ok := n.cfg.Secrets[name]; !ok {
				return fmt.Sprintf("secret %s is not set: %s", name, n.howToSet(name))
			}
			continue
		}
		ok := false
		err := n.store.View(func(v *fsm.View) error { _, ok = v.Secret(name); return nil })
		if err == nil && !ok {
			return fmt.Sprintf("secret %s is not there any more: %s", name, n.howToSet(name))
		}
	}
	return ""
}

// secret gives the value of a secret; false where there is none.
func (n *Node) secret(name string) (string, bool, error) {
	if n.cfg.Secrets != nil {
		value, ok := n.cfg.Secrets[name]
		return value, ok, nil
	}
	var rec fsm.SecretRecord
	var ok bool
	if err := n.store.View(func(v *fsm.View) error { rec, ok = v.Secret(name); return nil }); err != nil || !ok {
		return "", false, err
	}
	value, err := n.keys.Open(sealSecret+name, rec.Sealed)
	if err != nil {
		return "", false, fmt.Errorf("open secret %s: %w", name, err)
	}
	return string(value), true, nil
}

// Open gives what an attempt of a module needs. What other modules of the
// pipeline are given is hidden too: files and results carry it about.
func (v vault) Open(p *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (orchestrator.Opened, error) {
	n := v.n
	out := orchestrator.Opened{Evaluated: e}
	for _, name := range m.Secrets {
		value, ok, err := n.secret(name)
		if err != nil {
			return out, err
		}
		if !ok {
			return out, pipeline.Errorf(pipeline.NotFound, "%s", n.missingSecret([]string{name}))
		}
		if out.Secrets == nil {
			out.Secrets = map[string]string{}
		}
		out.Secrets[name] = value
	}
	var err error
	if out.Mask, err = n.hidden(p, out.Secrets); err != nil {
		return out, err
	}
	if e != nil && len(e.Sealed) > 0 {
		raw, err := n.keys.Open(sealEvaluated+p.Name+"/"+m.Name, e.Sealed)
		if err != nil {
			return out, fmt.Errorf("open the command of module %s: %w", m.Name, err)
		}
		open := *e
		if err := json.Unmarshal(raw, &open); err != nil {
			return out, fmt.Errorf("decode the command of module %s: %w", m.Name, err)
		}
		open.Sealed, out.Evaluated = nil, &open
	}
	return out, nil
}

// hidden gives all values that must not show in what modules of a pipeline
// leave, but for those of the secrets in known.
func (n *Node) hidden(p *pipeline.Pipeline, known map[string]string) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for i := range p.Modules {
		for _, name := range p.Modules[i].Secrets {
			if _, ok := known[name]; ok || seen[name] {
				continue
			}
			seen[name] = true
			if value, ok, err := n.secret(name); err == nil && ok {
				list = append(list, value)
			}
		}
	}
	scope, err := n.openScope(p)
	if err != nil {
		return nil, err
	}
	return append(list, language.SensitiveValues(&scope)...), nil
}

// hideFromRun masks what an outside worker reports, which does not do so itself.
func (n *Node) hideFromRun(id pipeline.RunID, res *wire.SerializedResult, in *wire.ExecuteResponse) error {
	var p *pipeline.Pipeline
	err := n.store.View(func(v *fsm.View) (err error) { p, err = v.Definition(id); return err })
	if pipeline.KindOf(err) == pipeline.NotFound {
		return nil // the report is refused anyway
	}
	if err != nil {
		return err
	}
	values, err := n.hidden(p, nil)
	if err != nil || len(values) == 0 {
		return err
	}
	set := mask.New(values)
	in.ErrorMessage = set.String(in.ErrorMessage)
	if len(res.Result) > 0 {
		res.Result = set.JSON(res.Result)
	}
	return nil
}

// hide replaces the values of a pipeline's sensitive variables in an error about
// its expressions.
func hide(s *pipeline.Scope, err error) error {
	if err == nil || len(s.Sensitive) == 0 {
		return err
	}
	return &pipeline.Error{Kind: pipeline.KindOf(err), Message: mask.New(language.SensitiveValues(s)).String(err.Error())}
}
