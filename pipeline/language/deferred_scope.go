package language

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// deferredScope evaluates the deferred expressions of a module. It decodes only what
// they name.
type deferredScope struct {
	pipeline *pipeline.Pipeline
	deps     map[string]pipeline.UpstreamResult
	// refuse makes an expensive expression a mistake.
	refuse bool

	total     int
	variables map[string]cty.Value
	locals    map[string]cty.Value
	modules   map[string]cty.Value
	// failed are the deferred locals whose mistake is kept already: without this
	// two names for each local would ask for it 2^n times.
	failed map[string]bool
	// open are the deferred locals that are being evaluated, against cycles.
	open []string
	list Diagnostics
	self *pipeline.Module
	// derived is what the module's expressions make of sensitive variables.
	derived []string
}

// module evaluates all of a module's deferred expressions.
func (s *deferredScope) module(name string) (*pipeline.Evaluated, Diagnostics) {
	m := s.pipeline.Module(name)
	out := &pipeline.Evaluated{}
	if m == nil {
		return out, nil
	}

	s.variables, s.locals, s.modules = map[string]cty.Value{}, map[string]cty.Value{}, map[string]cty.Value{}
	s.failed = map[string]bool{}
	env := func(name, value string) {
		if out.Env == nil {
			out.Env = map[string]string{}
		}
		out.Env[name] = value
	}

	names := slices.Sorted(maps.Keys(m.Deferred))

	// "env" is the module's own and goes over the pipeline's "env.NAME".
	if i := slices.Index(names, "env"); i >= 0 {
		names = append(slices.Delete(names, i, i+1), "env")
	}

	s.self = m
	if m.Dynamic {
		names = []string{"for_each"}
	}

	for _, attribute := range names {
		v, expr, r := s.expression(attribute, m.Deferred[attribute])
		if expr == nil {
			continue
		}

		switch {
		case attribute == "when":
			if yes, ok := conditionOf(r, expr, v); ok && !yes {
				out.Skip = whenFalse(m.Deferred[attribute].Source)
			}
		case attribute == "for_each":
			s.each(r, expr, v, out)
		case attribute == pipeline.DeferredMessage:
			out.Message = messageOf(r, expr, v)
		case attribute == pipeline.DeferredNotify:
			out.Message = notifyMessageOf(r, expr, v)
		case attribute == "command":
			out.Command = commandOf(r, expr, v)
		case attribute == "script":
			out.Script = scriptOf(r, expr, v)
		case attribute == cacheKeyName:
			out.CacheKey = cacheKeyOf(r, expr, v)
		case attribute == "env":
			for name, value := range environmentOf(r, expr, v) {
				env(name, value)
			}
		case strings.HasPrefix(attribute, variablesName+"."):
			s.childVariable(r, strings.TrimPrefix(attribute, variablesName+"."), expr, v, out)
		case strings.HasPrefix(attribute, "env."):
			name := strings.TrimPrefix(attribute, "env.")
			env(name, variableOf(r, name, expr.Range(), v))
		}

		if !v.IsWhollyKnown() && len(r.list) == 0 {
			r.add(expr.Range(), "", "%s: value is not known", attribute)
		}

		s.take(r, attribute)
	}

	if len(s.list) > 0 {
		return nil, s.list
	}

	out.Derived = s.derivedValues()
	return out, nil
}

// expression parses and evaluates one deferred expression. expr is nil if a
// mistake was recorded.
func (s *deferredScope) expression(attribute string, deferred pipeline.DeferredExpr) (cty.Value, hclsyntax.Expression, *report) {
	r := &report{src: deferredSource(s.pipeline.File, deferred)}
	expr := s.parse(r, deferred)
	if expr != nil {
		if v, ok := s.value(r, expr, deferred.Sensitive && reachesModule(attribute)); ok {
			return v, expr, r
		}
	}
	s.take(r, attribute)
	return cty.NilVal, nil, r
}

// parse parses a deferred expression under the limits of the prescan: the pipeline
// may come from another node.
func (s *deferredScope) parse(r *report, deferred pipeline.DeferredExpr) hclsyntax.Expression {
	if len(deferred.Source) > MaxSourceBytes {
		r.add(hcl.Range{}, "", "expression is longer than %d KiB", MaxSourceBytes>>10)
		return nil
	}
	// A shorter text cannot be nested dangerously.
	const short = 256
	if len(deferred.Source) > short {
		if r.prescan(); len(r.list) > 0 {
			return nil
		}
	}
	expr := parseExpression(r, hcl.InitialPos)
	if expr != nil && s.refuse && Expensive(expr) {
		r.add(expr.Range(), "", tooExpensive+" to be evaluated outside a helper")
		return nil
	}
	return expr
}

// value evaluates an expression in a scope of what it names, and notes what it makes
// of sensitive variables if derive is set.
func (s *deferredScope) value(r *report, expr hclsyntax.Expression, derive bool) (cty.Value, bool) {
	refs := scan(r, expr, false)
	if len(r.list) > 0 {
		return cty.NilVal, false
	}

	p := s.pipeline
	roots := map[string]cty.Value{}
	if refs.runID || refs.runNumber || refs.runTick || len(refs.runStatus) > 0 || refs.other {
		roots = rootValues(p.Name, &p.Scope)
	}

	if refs.allVars {
		refs.variables = append(refs.variables, namesAt(declared(maps.Keys(p.Scope.Variables)), expr)...)
	}

	if refs.allLocals {
		refs.locals = append(refs.locals, namesAt(maps.Keys(p.Scope.Locals), expr)...)
		refs.locals = append(refs.locals, namesAt(maps.Keys(p.Scope.DeferredLocals), expr)...)
	}

	ok := s.own(r, &refs, roots)
	for _, group := range []struct {
		root string
		refs []reference
		all  bool
		get  func(*report, reference) (cty.Value, bool)
	}{{"var", refs.variables, refs.allVars, s.variable}, {"local", refs.locals, refs.allLocals, s.local}, {"module", refs.modules, false, s.upstream}} {
		if len(group.refs) == 0 && !group.all {
			continue
		}
		values := make(map[string]cty.Value, len(group.refs))
		for _, x := range group.refs {
			v, found := group.get(r, x)
			values[x.name] = v
			ok = ok && found
		}
		roots[group.root] = cty.ObjectVal(values)
	}

	if !ok {
		return cty.NilVal, false
	}

	e := evaluation{report: r, total: s.total}
	ctx := &hcl.EvalContext{Variables: roots, Functions: functions}
	v, ok := e.value(expr, ctx)
	s.total = e.total
	if ok && derive {
		s.derive(expr, ctx)
	}

	return v, ok
}

func namesAt(names func(func(string) bool), expr hclsyntax.Expression) []reference {
	var list []reference
	for name := range names {
		list = append(list, reference{name: name, at: expr.Range()})
	}
	return list
}

func (s *deferredScope) variable(r *report, x reference) (cty.Value, bool) {
	return decoded(r, x, "variable", s.variables, s.pipeline.Scope.Variables)
}

// decoded returns a value of the scope, decoded once.
func decoded(r *report, x reference, what string, cache map[string]cty.Value, texts map[string]string) (cty.Value, bool) {
	if v, ok := cache[x.name]; ok {
		return v, true
	}
	text, ok := texts[x.name]
	if !ok {
		r.add(x.at, "", "unknown %s %s", what, quote(x.name))
		return cty.DynamicVal, false
	}
	v, err := decodeValue(text)
	if err != nil {
		r.add(x.at, "", "%s %s: %v", what, quote(x.name), err)
		return cty.DynamicVal, false
	}
	cache[x.name] = v
	return v, true
}

func (s *deferredScope) local(r *report, x reference) (cty.Value, bool) {
	deferred, ok := s.pipeline.Scope.DeferredLocals[x.name]
	if !ok {
		return decoded(r, x, "local", s.locals, s.pipeline.Scope.Locals)
	}
	if v, ok := s.locals[x.name]; ok {
		return v, true
	}
	if slices.Contains(s.open, x.name) || len(s.open) > maxLocalChain {
		r.add(x.at, "", "local %s names itself", quote(x.name))
		return cty.DynamicVal, false
	}
	if s.failed[x.name] {
		return cty.DynamicVal, false
	}
	s.open = append(s.open, x.name)
	v, expr, _ := s.expression("local."+x.name, deferred)
	s.open = s.open[:len(s.open)-1]
	if expr == nil {
		s.failed[x.name] = true
		return cty.DynamicVal, false
	}
	s.locals[x.name] = v
	return v, true
}

// upstream returns what an expression sees of a module.
func (s *deferredScope) upstream(r *report, x reference) (cty.Value, bool) {
	if v, ok := s.modules[x.name]; ok {
		return v, true
	}
	u, ok := s.deps[x.name]
	if !ok || u.Expanded {
		v, found := s.instances(r, x)
		if !found && !ok {
			r.add(x.at, "", "module.%s is not known here", x.name)
		}
		s.modules[x.name] = v
		return v, found || ok
	}
	v, ok := upstreamValue(r, x, u)
	if ok {
		s.modules[x.name] = v
	}
	return v, ok
}

// instances returns a module with instances as an object by their keys.
func (s *deferredScope) instances(r *report, x reference) (cty.Value, bool) {
	values := map[string]cty.Value{}
	all := true
	for name, u := range s.deps {
		key, ok := strings.CutPrefix(name, x.name+"[")
		if !ok {
			continue
		}
		v, ok := upstreamValue(r, x, u)
		values[strings.TrimSuffix(key, "]")] = v
		all = all && ok
	}
	return cty.ObjectVal(values), all && len(values) > 0
}

// own adds what differs between the instances of a module.
func (s *deferredScope) own(r *report, refs *references, roots map[string]cty.Value) bool {
	if !refs.instance() || s.self == nil {
		return true
	}
	ok := true
	for root, texts := range map[string]map[string]string{"matrix": s.self.Matrix, "each": s.self.Each} {
		if len(texts) == 0 {
			continue
		}
		values := make(map[string]cty.Value, len(texts))
		for name, text := range texts {
			v, err := decodeValue(text)
			if err != nil {
				r.add(hcl.Range{}, "", "%s.%s: %v", root, name, err)
				ok = false
			}
			values[name] = v
		}
		roots[root] = cty.ObjectVal(values)
	}
	return ok
}

// each stores the value of a for_each as instances.
func (s *deferredScope) each(r *report, expr hclsyntax.Expression, v cty.Value, out *pipeline.Evaluated) {
	if !v.IsWhollyKnown() {
		return
	}
	list := eachOf(r, expr, v)
	if len(r.list) > 0 {
		return
	}
	out.Expanded = true
	for i := range list {
		x := pipeline.Instance{Key: list[i].key, Each: map[string]string{}}
		for name, value := range list[i].each {
			text, err := encodeValue(value)
			if err != nil {
				r.add(expr.Range(), "", "for_each: value cannot be kept: %v", err)
				return
			}
			x.Each[name] = text
		}
		out.Instances = append(out.Instances, x)
	}
}

// childVariable stores the value of a variable for the pipeline that a module runs.
func (s *deferredScope) childVariable(r *report, name string, expr hclsyntax.Expression, v cty.Value, out *pipeline.Evaluated) {
	if !v.IsWhollyKnown() {
		return
	}
	text, err := encodeValue(v)
	if err != nil {
		r.add(expr.Range(), "", "variables.%s: value cannot be kept: %v", name, err)
		return
	}
	if out.Variables == nil {
		out.Variables = map[string]string{}
	}
	out.Variables[name] = text
}

// upstreamValue returns what an expression sees of one module.
func upstreamValue(r *report, x reference, u pipeline.UpstreamResult) (cty.Value, bool) {
	result, err := resultValue(u.Result)
	if err != nil {
		r.add(x.at, "", "module.%s.result: %v", x.name, err)
		return cty.DynamicVal, false
	}
	status, exit := u.Status, cty.NullVal(cty.Number)
	if status == pipeline.ModuleCached {
		status = pipeline.ModuleSucceeded
	}
	if u.ExitCode != nil {
		exit = cty.NumberIntVal(int64(*u.ExitCode))
	}
	outputs := cty.ListValEmpty(cty.String)
	if len(u.Outputs) > 0 {
		list := make([]cty.Value, len(u.Outputs))
		for i, path := range u.Outputs {
			list[i] = cty.StringVal(path)
		}
		outputs = cty.ListVal(list)
	}
	v := cty.ObjectVal(map[string]cty.Value{
		"status": cty.StringVal(string(status)), "result": result, "outputs": outputs, "exit_code": exit,
		"duration": cty.NumberFloatVal(float64(u.Duration.Milliseconds()) / 1000),
		"cached":   cty.BoolVal(u.Cached || u.Status == pipeline.ModuleCached),
	})
	return v, true
}

// take keeps the mistakes of one expression under the attribute's name.
func (s *deferredScope) take(r *report, attribute string) {
	for _, d := range r.done() {
		if !strings.HasPrefix(d.Summary, attribute) {
			d.Summary = attribute + ": " + d.Summary
		}
		s.list = append(s.list, d)
	}
	r.list = nil
}
