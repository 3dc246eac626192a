package language

import (
	"maps"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// environment evaluates an env attribute over that of the pipeline, and gives
// what of it is late. The maps it is given are not changed.
func (c *compilation) environment(e *environment, base map[string]string, baseLate map[string]*lateable) (map[string]string, map[string]*lateable) {
	if len(e.static) == 0 && len(e.entries) == 0 && e.whole == nil {
		return base, baseLate
	}
	env, late := maps.Clone(base), maps.Clone(baseLate)
	if env == nil {
		env = map[string]string{}
	}
	if late == nil {
		late = map[string]*lateable{}
	}
	set := func(name, value string) {
		env[name] = value
		delete(late, "env."+name)
	}
	for name, value := range e.static {
		set(name, value)
	}
	for _, entry := range e.entries {
		name := strings.TrimPrefix(entry.name, "env.")
		if c.late(entry) {
			delete(env, name)
			late[entry.name] = entry
		} else if v, ok := c.eval(entry.expr); ok {
			set(name, variableOf(c.report, name, entry.expr.Range(), v))
		}
	}
	if e.whole != nil {
		if c.late(e.whole) {
			late["env"] = e.whole
		} else if v, ok := c.eval(e.whole.expr); ok {
			for name, value := range environmentOf(c.report, e.whole.expr, v) {
				set(name, value)
			}
		}
	}
	return env, late
}

// module compiles one module.
func (c *compilation) module(m *module, env map[string]string, late map[string]*lateable) {
	out := m.static
	for i := range m.pending {
		apply(c, &out, &m.pending[i])
	}
	if m.retryAt != nil {
		finishRetry(c.report, &out, *m.retryAt)
	}
	own, waiting := c.environment(&m.env, env, late)
	out.Env = own
	n := 0
	for name, value := range own {
		n += 2*overhead + len(name) + len(value)
	}
	c.spend(n, m.at)
	if m.command != nil {
		if c.late(m.command) {
			c.wait(&out, m.command)
		} else if v, ok := c.eval(m.command.expr); ok {
			out.Command = commandOf(c.report, m.command.expr, v)
		}
	}
	if m.script != nil {
		if c.late(m.script) {
			c.wait(&out, m.script)
		} else if v, ok := c.eval(m.script.expr); ok {
			out.Script = scriptOf(c.report, m.script.expr, v)
		}
	}
	for _, l := range waiting {
		c.wait(&out, l)
	}
	c.out.Modules = append(c.out.Modules, out)
}

// wait keeps an expression for later.
func (c *compilation) wait(m *pipeline.Module, l *lateable) {
	if m.Late == nil {
		m.Late = map[string]pipeline.LateExpr{}
	}
	m.Late[l.name] = l.text
	c.spend(len(l.text.Source)+len(l.name)+4*overhead, l.expr.Range())
	m.Expensive = m.Expensive || Expensive(l.expr)
	for _, local := range c.file.named(l.refs) {
		m.Expensive = m.Expensive || (local.expensive && c.late(&local.value))
		c.keep(local)
	}
}

// keep puts a local that a late expression names, and the locals that this one
// names, into the scope.
func (c *compilation) keep(l *local) {
	s := &c.out.Scope
	if !c.late(&l.value) {
		if _, done := s.Locals[l.name]; !done {
			if s.Locals == nil {
				s.Locals = map[string]string{}
			}
			s.Locals[l.name] = c.encode(c.locals[l.name], l.at)
		}
		return
	}
	if _, done := s.LateLocals[l.name]; done {
		return
	}
	if s.LateLocals == nil {
		s.LateLocals = map[string]pipeline.LateExpr{}
	}
	s.LateLocals[l.name] = l.value.text
	for _, next := range c.file.named(l.value.refs) {
		c.keep(next)
	}
}

func (c *compilation) encode(v cty.Value, at hcl.Range) string {
	if !v.IsWhollyKnown() {
		return "" // a mistake was recorded where it arose
	}
	text, err := encodeValue(v)
	if err != nil {
		c.add(at, "", "value cannot be kept: %v", err)
	}
	return text
}

// scope keeps what late expressions may name besides locals.
func (c *compilation) scope() {
	s := &c.out.Scope
	s.Git, s.RunID, s.RunNumber, s.Submitter = c.in.Git, c.in.RunID, c.in.RunNumber, c.in.Submitter
	for _, v := range c.file.variables {
		if s.Variables == nil {
			s.Variables = map[string]string{}
		}
		s.Variables[v.name] = c.encode(c.variables[v.name], v.at)
		if v.sensitive {
			s.Sensitive = append(s.Sensitive, v.name)
		}
	}
}
