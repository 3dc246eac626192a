package language

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

// template is a template block: settings that modules take with use.
type template struct {
	at   hcl.Range
	body *hclsyntax.Body
}

// templates collects the template blocks, which modules may use before their
// position in the source.
func (p *parser) templates(body *hclsyntax.Body) {
	for _, inner := range body.Blocks {
		if inner.Type != "template" {
			continue
		}

		name, at, ok := p.label(inner, "template", checkName)
		if !ok {
			continue
		}

		if first := p.file.templates[name]; first != nil {
			p.add(at, "the first is at "+p.positionText(first.at), "second template %q", name)
			continue
		}

		p.file.templates[name] = &template{at: at, body: inner.Body}

		for _, a := range attributes(inner.Body) {
			switch {
			case a.Name == "use":
				p.add(a.NameRange, "write the settings out", "a template uses no other template")
			case !slices.Contains(moduleNamesAll, a.Name):
				p.unknown("attribute", a.Name, a.NameRange, "template", moduleNamesAll)
			}
		}
	}
}

// useTemplate returns the body of a module with the settings of the template
// that it uses. The module's own settings override those, and in env each
// variable does by itself.
func (p *parser) useTemplate(m *module, own *hclsyntax.Body, index int) *hclsyntax.Body {
	use := own.Attributes["use"]
	if use == nil {
		return own
	}

	merged := *own
	merged.Attributes = maps.Clone(own.Attributes)
	delete(merged.Attributes, "use")

	t := p.templateOf(use)
	if t == nil {
		return &merged
	}

	for name, a := range t.body.Attributes {
		_, given := own.Attributes[name]
		_, command := own.Attributes["command"]
		_, script := own.Attributes["script"]
		switch {
		case name == "env" && given:
			m.base = p.environment(a, index)
		case given, name == "script" && command, name == "command" && script, name == "use":
		case !slices.Contains(moduleNamesAll, name):
			// Reported at the template.
		default:
			merged.Attributes[name] = a
		}
	}

	merged.Blocks = slices.Clone(own.Blocks)

	for _, b := range t.body.Blocks {
		if !slices.ContainsFunc(own.Blocks, func(o *hclsyntax.Block) bool { return o.Type == b.Type }) {
			merged.Blocks = append(merged.Blocks, b)
		}
	}

	return &merged
}

func (p *parser) templateOf(use *hclsyntax.Attribute) *template {
	at := use.Expr.Range()
	e, ok := use.Expr.(*hclsyntax.ScopeTraversalExpr)
	if !ok || e.Traversal.RootName() != "template" || len(e.Traversal) != 2 {
		p.absent(at, "write use = template.NAME", "use names a template")
		return nil
	}

	_, name := step(e.Traversal, 1)
	t := p.file.templates[name]
	if t == nil {
		p.report.missing(reference{name: name, at: at}, "template", `declare it: template "`+name+`" { … }`, func() []string {
			return slices.Sorted(maps.Keys(p.file.templates))
		})
	}

	return t
}

// requirement is a requirement block: a command that must succeed before
// anything else is run.
type requirement struct {
	name    string
	at      hcl.Range
	static  pipeline.Module
	pending []pending[pipeline.Module]
}

// requirementBlock is the name under which requirements are listed as modules.
const requirementBlock = "requirement"

var requirementSpecs = map[string]spec[pipeline.Module]{
	"command": {kind: kindTexts, check: checkArgument, set: func(m *pipeline.Module, r reading) { m.Command = r.texts }},
	"message": {kind: kindText, check: checkText, set: func(m *pipeline.Module, r reading) { m.Failure = r.text }},
	"timeout": {kind: kindDuration, zero: "no timeout", set: func(m *pipeline.Module, r reading) { m.Timeout = r.duration }},
}

func (p *parser) requirement(b *hclsyntax.Block) {
	name, at, ok := p.label(b, "requirement", checkKey)
	if !ok {
		return
	}

	for _, other := range p.file.requirements {
		if other.name == name {
			p.add(at, "the first is at "+p.positionText(other.at), "second requirement %q", name)
		}
	}

	line, _ := p.src.position(b.TypeRange.Start.Byte)
	x := &requirement{name: name, at: at, static: pipeline.Module{Name: requirementBlock + "[" + name + "]", Of: requirementBlock, Key: name,
		Line: line, Timeout: pipeline.DefaultTimeout, Grace: pipeline.DefaultGrace, Failure: "requirement " + quote(name) + " is not met"}}
	names := slices.Sorted(maps.Keys(requirementSpecs))
	p.noBlocks(b.Body, "requirement", names)

	for _, a := range attributes(b.Body) {
		s, known := requirementSpecs[a.Name]
		if !known {
			p.unknown("attribute", a.Name, a.NameRange, "requirement", names)
			continue
		}
		x.pending = decodeInto(p, x.pending, &x.static, a.Name, a.Expr, s, -1)
	}

	if _, given := b.Body.Attributes["command"]; !given {
		p.absent(b.TypeRange, `write command = ["program", "argument"]`, "requirement %q has no command", name)
	}

	p.file.requirements = append(p.file.requirements, x)
}

// checkKey checks the key in brackets of a module's name.
func checkKey(s string) *problem { return keyText(s) }

// require adds the requirements as modules that all others depend on.
func (c *compilation) require() {
	var names []string
	first := make([]pipeline.Module, 0, len(c.file.requirements)+len(c.out.Modules))
	for _, x := range c.file.requirements {
		out := x.static
		for i := range x.pending {
			apply(c, &out, &x.pending[i])
		}
		if len(out.Command) == 0 {
			c.add(x.at, `write command = ["program", "argument"]`, "command is empty")
		}
		names = append(names, out.Name)
		first = append(first, out)
	}

	if len(names) == 0 {
		return
	}

	for i := range c.out.Modules {
		m := &c.out.Modules[i]
		if m.Name == requirementBlock || m.Of == requirementBlock {
			c.add(c.file.nameAt, "name the module differently", "a module cannot be named requirement beside requirement blocks")
			return
		}
		m.DependsOn = append(slices.Clip(m.DependsOn), names...)
		slices.Sort(m.DependsOn)
	}

	c.out.Modules = append(first, c.out.Modules...)
}
