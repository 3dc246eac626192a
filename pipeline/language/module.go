package language

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

var (
	moduleNamesAll = append([]string{"command", "script", "depends_on", "optional_depends_on", "env", "env_from", "requires", "resources", "retry", "reports", hookBlock, serviceBlock,
		"when", "matrix", "for_each", "use", "approval", "cache_key", childName, variablesName}, slices.Sorted(maps.Keys(moduleSpecs))...)
	retryNames    = slices.Sorted(maps.Keys(retrySpecs))
	reportNames   = slices.Sorted(maps.Keys(reportSpecs))
	requiresNames = slices.Sorted(maps.Keys(requiresSpecs))
	resourceNames = slices.Sorted(maps.Keys(resourceSpecs))
)

// module decodes a module block.
func (p *parser) module(b *hclsyntax.Block) {
	f := p.file
	index := len(f.modules)
	name, at, ok := p.label(b, "module", checkName)
	line, _ := p.src.position(b.TypeRange.Start.Byte)
	m := &module{at: at, static: pipeline.Module{Name: name, Line: line, InputsAll: true,
		Timeout: pipeline.DefaultTimeout, Grace: pipeline.DefaultGrace}}
	f.modules = append(f.modules, m)

	if ok {
		if first, twice := f.moduleIndex[name]; twice {
			p.add(at, "the first is at "+p.positionText(f.modules[first].at), "second module %q", name)
		} else {
			f.moduleIndex[name] = index
		}
	}

	body := p.useTemplate(m, b.Body, index)
	var command, script, child, variables *hclsyntax.Attribute
	for _, a := range attributes(body) {
		switch a.Name {
		case "command":
			command = a
			p.command(m, a, index)
		case "script":
			script = a
			p.script(m, a, index)
		case childName:
			child = a
		case variablesName:
			variables = a
		case "env":
			m.env = p.environment(a, index)
		case "depends_on":
			m.depends = append(m.depends, p.dependsOn(a)...)
		case "optional_depends_on":
			m.optional = p.dependsOn(a)
		case "requires":
			p.object(m, a, index, requiresSpecs, requiresNames, `{ os = "linux", tools = ["go"] }`)
		case "resources":
			p.object(m, a, index, resourceSpecs, resourceNames, `{ cpu = 2, memory = "1GiB" }`)
		case "when":
			p.when(m, a, index)
		case "cache_key":
			p.cacheKey(m, a, index)
		case "matrix", "for_each":
			p.expansion(m, a, index)
		case "env_from":
			m.envFrom = p.envFrom(a)
		default:
			p.moduleAttribute(m, a, index)
		}
	}

	p.checkLocks(m)
	if a := body.Attributes["max_parallel"]; a != nil && m.instances == nil && approvalOf(body) == nil {
		p.add(a.NameRange, "give it a matrix or for_each, or bound all modules of the run with max_parallel of the pipeline",
			"max_parallel bounds the instances of a module, and module %q has neither matrix nor for_each", name)
	}
	if m.static.AlwaysRun {
		p.checkRunIf(m)
	}
	p.checkCache(body)
	p.checkContainer(body)

	approval := approvalOf(body)
	switch {
	case command != nil && script != nil:
		later := script
		if command.NameRange.Start.Byte > script.NameRange.Start.Byte {
			later = command
		}
		p.add(later.NameRange, "keep one of them: command is a list and runs without a shell, script is run by sh", "module %q has both command and script", name)
	case approval != nil:
		p.approval(m, approval, body, index)
	case child != nil:
		p.child(m, child, variables, body, index)
	case variables != nil:
		p.add(variables.NameRange, `write pipeline = "FILE.hcl" beside it, or env for a command or a script`, "variables of module %q are for a pipeline, and it runs none", name)
	case command == nil && script == nil:
		p.absent(b.TypeRange, `write command = ["program", "argument"] or script = "…"`, "module %q has neither command nor script", name)
	}

	p.moduleBlocks(m, body, index)
}

// checkLocks requires that a module with a lock is stopped if its worker has
// lost the cluster: otherwise the lock could pass on while it still runs.
func (p *parser) checkLocks(m *module) {
	if m.lockAt == nil {
		return
	}
	if m.disconnectAt != nil && m.static.OnDisconnect == pipeline.DisconnectKeep {
		p.add(*m.disconnectAt, `leave it out: a module with not_in_parallel is stopped where its worker has lost the cluster`,
			`on_disconnect = "keep" cannot stand beside not_in_parallel`)
	}
	m.static.OnDisconnect = pipeline.DisconnectKill
}

// checkRunIf refuses run_if in a module with always_run, where it changes nothing.
func (r *report) checkRunIf(m *module) {
	if m.runIfAt != nil {
		r.add(*m.runIfAt, "keep one of them: a module with always_run runs whatever became of what it depends on",
			"module %q has both run_if and always_run", m.static.Name)
	}
}

// when decodes the condition of a module.
func (p *parser) when(m *module, a *hclsyntax.Attribute, index int) {
	l, constant := p.deferredUse("when", a.Expr, false, index)
	if !constant {
		m.when = l
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		if yes, ok := conditionOf(p.report, a.Expr, v); ok && !yes {
			m.static.Skip = whenFalse(l.exprText(p.src))
		}
	}
}

func (l *deferrable) exprText(src *source) string { return string(src.slice(l.expr.Range())) }

// whenFalse is the reason of a module whose condition is false.
func whenFalse(source string) string {
	source = strings.Join(strings.Fields(source), " ")
	if len(source) > 200 {
		source = strings.ToValidUTF8(source[:200], "") + "…"
	}
	return "when is false: " + source
}

// conditionOf reads the value of a condition.
func conditionOf(r *report, expr hclsyntax.Expression, v cty.Value) (value, ok bool) {
	value, bad := flagOf(v)
	if bad != nil {
		r.add(expr.Range(), cmp.Or(unquoted("when", expr), bad.detail), "when: %s", bad.summary)
	}
	return value, bad == nil && v.IsKnown()
}

// unquoted says how a condition is written that is in quotes; "" if it is not.
func unquoted(name string, expr hclsyntax.Expression) string {
	if _, ok := expr.(*hclsyntax.TemplateExpr); !ok {
		return ""
	}
	if plainText(expr) == "always" {
		return "write always_run = true for a module that runs whatever became of those that it depends on"
	}
	if text := plainText(expr); constantExpr(expr) && len(text) <= 100 && strings.ContainsAny(text, ".=<>!&|(") && !strings.Contains(text, "\n") {
		return fmt.Sprintf("write it without quotes: %s = %s", name, text)
	}
	return fmt.Sprintf(`write the condition without quotes: %s = var.NAME == "value"`, name)
}

// envFrom reads patterns of names of variables: letters, digits, _ and *.
func (p *parser) envFrom(a *hclsyntax.Attribute) []string {
	v, ok := p.constant("env_from", a.Expr)
	if !ok {
		return nil
	}
	s := spec[module]{kind: kindTexts, check: checkEnvPattern}
	x, _ := s.read(p.report, "env_from", a.Expr, v)
	return unique(x.texts)
}

func checkEnvPattern(s string) *problem {
	name := strings.ReplaceAll(s, "*", "")
	if name == "" && s != "" {
		return wrong(`name what is wanted, such as "GITHUB_*"`, "pattern %s takes every variable", quote(s))
	}
	return checkEnvName(name)
}

func (p *parser) moduleAttribute(m *module, a *hclsyntax.Attribute, index int) {
	switch a.Name {
	case "not_in_parallel":
		m.lockAt = &a.NameRange
	case "on_disconnect":
		m.disconnectAt = &a.NameRange
	case "run_if":
		m.runIfAt = &a.NameRange
	case "secrets":
		m.secretsAt = &a.NameRange
	}
	switch s, known := moduleSpecs[a.Name]; {
	case known:
		m.pending = decodeInto(p, m.pending, &m.static, a.Name, a.Expr, s, index)
	case a.Name == "retry":
		p.add(a.NameRange, "write retry { attempts = … } without =", "retry is a block")
	case a.Name == "reports":
		p.add(a.NameRange, `write reports { junit = ["**/*.xml"] } without =`, "reports is a block")
	case a.Name == "approval":
		p.add(a.NameRange, `write approval { message = "…" } without =`, "approval is a block")
	case a.Name == hookBlock:
		p.add(a.NameRange, "write hooks { after = … } without =", "hooks is a block")
	case a.Name == serviceBlock:
		p.add(a.NameRange, `write service "NAME" { image = … } without =`, "service is a block")
	default:
		p.unknown("attribute", a.Name, a.NameRange, "module", moduleNamesAll)
	}
}

// moduleBlocks decodes the blocks in a module.
func (p *parser) moduleBlocks(m *module, body *hclsyntax.Body, index int) {
	declared := map[string]*hclsyntax.Block{}
	for _, inner := range body.Blocks {
		switch {
		case inner.Type == "retry":
			if p.once(declared, inner) {
				p.retry(m, inner, index)
			}
		case inner.Type == "reports":
			if p.once(declared, inner) {
				p.reports(m, inner, index)
			}
		case inner.Type == "approval":
			p.once(declared, inner)
		case inner.Type == serviceBlock:
			p.service(m, inner, index)
		case inner.Type == hookBlock:
			if p.once(declared, inner) {
				m.pending = hookAttributes(p, m.pending, &m.static, inner, moduleHookSpecs, index)
				m.scripts = append(m.scripts, hookScripts(inner)...)
			}
		case slices.Contains(moduleNamesAll, inner.Type):
			p.add(inner.TypeRange, writeAttribute(inner.Type), "%s is an attribute, not a block", inner.Type)
		default:
			p.unknown("block", inner.Type, inner.TypeRange, "module", moduleNamesAll)
		}
	}
}

func (p *parser) retry(m *module, b *hclsyntax.Block, index int) {
	m.retryAt = &b.TypeRange
	p.noBlocks(b.Body, "retry", retryNames)
	for _, a := range attributes(b.Body) {
		if s, known := retrySpecs[a.Name]; known {
			m.pending = decodeInto(p, m.pending, &m.static, a.Name, a.Expr, s, index)
		} else {
			p.unknown("attribute", a.Name, a.NameRange, "retry", retryNames)
		}
	}
	if _, given := b.Body.Attributes["attempts"]; !given {
		p.absent(b.TypeRange, "write how many tries there are in all: attempts = 3", "retry without attempts")
	}
}

// reports decodes the reports block of a module.
func (p *parser) reports(m *module, b *hclsyntax.Block, index int) {
	p.noBlocks(b.Body, "reports", reportNames)
	for _, a := range attributes(b.Body) {
		if s, known := reportSpecs[a.Name]; known {
			m.pending = decodeInto(p, m.pending, &m.static, "reports."+a.Name, a.Expr, s, index)
		} else {
			p.unknown("attribute", a.Name, a.NameRange, "reports", reportNames)
		}
	}
	if len(b.Body.Attributes) == 0 {
		p.absent(b.TypeRange, `write which files are JUnit's XML: junit = ["**/*.xml"]`, "reports without junit")
	}
}

// finishRetry fills in what the retry block leaves out, once its attributes
// are known.
func finishRetry(r *report, m *pipeline.Module, at hcl.Range) {
	x := &m.Retry
	if x.Backoff == 0 {
		x.Backoff = pipeline.DefaultBackoff
	}
	if x.MaxBackoff == 0 {
		x.MaxBackoff = max(pipeline.DefaultMaxBackoff, x.Backoff)
	}
	if x.MaxBackoff < x.Backoff {
		r.add(at, fmt.Sprintf("backoff %s grows up to max_backoff", x.Backoff), "max_backoff %s is below backoff %s", x.MaxBackoff, x.Backoff)
	}
}

// object decodes an attribute that is an object whose keys are written out, each
// with a spec. example is what one looks like.
func (p *parser) object(m *module, a *hclsyntax.Attribute, index int, specs map[string]spec[pipeline.Module], names []string, example string) {
	object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		p.absent(a.Expr.Range(), "write "+a.Name+" = "+example, "%s is an object that is written out", a.Name)
		return
	}
	seen := map[string]bool{}
	for _, item := range object.Items {
		key, ok := literalKey(item.KeyExpr)
		at := item.KeyExpr.Range()
		switch s, known := specs[key]; {
		case !ok:
			p.add(at, a.Name+" has "+strings.Join(names, ", "), "a name in %s is written out", a.Name)
		case seen[key]:
			p.add(at, "", "second %q in %s", key, a.Name)
		case !known:
			p.unknown("attribute", key, at, a.Name, names)
		default:
			seen[key] = true
			m.pending = decodeInto(p, m.pending, &m.static, a.Name+"."+key, item.ValueExpr, s, index)
		}
	}
}

// literalKey returns the key of an object's item if it is written out.
func literalKey(expr hclsyntax.Expression) (string, bool) {
	key, ok := expr.(*hclsyntax.ObjectConsKeyExpr)
	if !ok {
		return "", false
	}
	if word := hcl.ExprAsKeyword(key.Wrapped); word != "" && !key.ForceNonLiteral {
		return word, true
	}
	if !constantExpr(key.Wrapped) {
		return "", false
	}
	v, diags := value(key, nil)
	if diags.HasErrors() {
		return "", false
	}
	text, bad := textOf(v)
	return text, bad == nil && v.IsKnown()
}

// deferredUse records an expression that may wait for results and returns what
// the file keeps of it. constant is set if it depends on nothing.
func (p *parser) deferredUse(name string, expr hclsyntax.Expression, script bool, owner int) (l *deferrable, constant bool) {
	refs := scan(p.report, expr, script)
	l = &deferrable{name: name, expr: expr, refs: &refs}
	if reachesModule(name) {
		p.takeText(name, expr, owner)
	} else {
		p.takeNumbers(&refs, owner)
	}
	if refs.none() && !Expensive(expr) {
		return l, true
	}
	l.text = p.deferredExpr(expr)
	p.use(use{name: name, expr: expr, refs: &refs, mode: useDeferred, module: owner, local: -1, deferrable: l})
	return l, false
}

// deferredExpr is the text of an expression with its place.
func (p *parser) deferredExpr(expr hclsyntax.Expression) pipeline.DeferredExpr {
	return p.src.deferred(expr.Range())
}

func (p *parser) command(m *module, a *hclsyntax.Attribute, index int) {
	m.commandExpr = a.Expr
	l, constant := p.deferredUse("command", a.Expr, false, index)
	if !constant {
		m.command = l
		if t, ok := a.Expr.(*hclsyntax.TupleConsExpr); ok {
			for i, e := range t.Exprs {
				if constantExpr(e) {
					if v, diags := value(e, nil); !diags.HasErrors() {
						commandElement(p.report, i, e.Range(), v)
					}
				}
			}
		}
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		m.static.Command = commandOf(p.report, a.Expr, v)
	}
}

// commandOf reads a command from its value; nil if it is unknown or wrong.
func commandOf(r *report, expr hclsyntax.Expression, v cty.Value) []string {
	elements, ok := elementsOf(r, "command", expr, v)
	if !ok {
		return nil
	}
	if len(elements) == 0 {
		r.add(expr.Range(), `write command = ["program", "argument"]`, "command is empty")
		return nil
	}
	command := make([]string, len(elements))
	for i, e := range elements {
		s, ok2 := commandElement(r, i, elementRange(expr, i), e)
		command[i], ok = s, ok && ok2
	}
	if !ok {
		return nil
	}
	return command
}

func commandElement(r *report, i int, at hcl.Range, v cty.Value) (string, bool) {
	s, bad := textOf(v)
	if bad == nil && v.IsKnown() {
		if bad = checkArgument(s); bad == nil && i == 0 && s == "" {
			bad = wrong("the first element is the program", "empty text")
		}
	}
	if bad != nil {
		r.add(at, bad.detail, "command[%d]: %s", i, bad.summary)
	}
	return s, bad == nil && v.IsKnown()
}

func (p *parser) script(m *module, a *hclsyntax.Attribute, index int) {
	m.scripts = append(m.scripts, scriptText{attr: a})
	l, constant := p.deferredUse("script", a.Expr, true, index)
	if !constant {
		m.script = l
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		m.static.Script = scriptOf(p.report, a.Expr, v)
	}
}

func scriptOf(r *report, expr hclsyntax.Expression, v cty.Value) string {
	s, bad := textOf(v)
	if bad == nil && v.IsKnown() {
		if bad = checkText(s); bad == nil && s == "" {
			bad = wrong(`write script = "…", or command = […]`, "empty text")
		}
	}
	if bad != nil {
		if t := v.Type(); t.IsTupleType() || t.IsListType() {
			bad.detail = "write its elements as lines of one text; " + linesHint
		}
		r.add(expr.Range(), bad.detail, "script: %s", bad.summary)
	}
	return s
}

// environment decodes env = { NAME = value }.
func (p *parser) environment(a *hclsyntax.Attribute, owner int) environment {
	env := environment{at: a.NameRange, static: map[string]string{}}

	object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
	for i := 0; ok && i < len(object.Items); i++ {
		if _, written := literalKey(object.Items[i].KeyExpr); !written {
			ok = false
		}
	}

	if !ok {
		l, constant := p.deferredUse("env", a.Expr, false, owner)
		if !constant {
			env.whole = l
		} else if v, ok := literal(p.report, a.Expr); ok {
			env.static = environmentOf(p.report, a.Expr, v)
		}
		return env
	}

	places := map[string]hcl.Range{}
	for _, item := range object.Items {
		name, _ := literalKey(item.KeyExpr)
		at := item.KeyExpr.Range()
		if first, twice := places[name]; twice {
			p.add(at, "the first is at "+p.positionText(first), "second %q in env", name)
			continue
		}
		places[name] = at
		if bad := checkEnvName(name); bad != nil {
			p.add(at, bad.detail, "env: %s", bad.summary)
			continue
		}
		l, constant := p.deferredUse("env."+name, item.ValueExpr, false, owner)
		if !constant {
			env.entries = append(env.entries, l)
			continue
		}
		if v, ok := literal(p.report, item.ValueExpr); ok {
			env.static[name] = variableOf(p.report, name, item.ValueExpr.Range(), v)
		}
	}

	return env
}

// environmentOf reads a whole object as variables of a process.
func environmentOf(r *report, expr hclsyntax.Expression, v cty.Value) map[string]string {
	if !v.IsKnown() {
		return nil
	}
	if t := v.Type(); v.IsNull() || !(t.IsObjectType() || t.IsMapType()) {
		r.add(expr.Range(), "write env = { NAME = value }", "env: expected an object, got %s", friendly(v))
		return nil
	}
	env := make(map[string]string, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		key, element := it.Element()
		name := key.AsString()
		if bad := checkEnvName(name); bad != nil {
			r.add(expr.Range(), bad.detail, "env: %s", bad.summary)
			continue
		}
		env[name] = variableOf(r, name, expr.Range(), element)
	}
	return env
}

// variableOf reads one variable of a process; null is pipeline.EnvUnset.
func variableOf(r *report, name string, at hcl.Range, v cty.Value) string {
	if v.IsKnown() && v.IsNull() {
		return pipeline.EnvUnset
	}
	s, bad := textOf(v)
	if bad == nil && v.IsKnown() {
		bad = checkArgument(s)
	}
	if bad != nil {
		r.add(at, bad.detail, "env.%s: %s", name, bad.summary)
	}
	return s
}
