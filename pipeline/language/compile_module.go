package language

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// environment evaluates an env attribute over that of the pipeline, and returns
// its deferred entries too. It does not change the maps passed to it.
func (c *compilation) environment(e *environment, base map[string]string, baseDeferred map[string]*deferrable) (map[string]string, map[string]*deferrable) {
	if len(e.static) == 0 && len(e.entries) == 0 && e.whole == nil {
		return base, baseDeferred
	}

	env, deferred := maps.Clone(base), maps.Clone(baseDeferred)
	if env == nil {
		env = map[string]string{}
	}

	if deferred == nil {
		deferred = map[string]*deferrable{}
	}

	set := func(name, value string) {
		env[name] = value
		delete(deferred, "env."+name)
	}

	for name, value := range e.static {
		set(name, value)
	}

	for _, entry := range e.entries {
		name := strings.TrimPrefix(entry.name, "env.")
		if c.deferred(entry) {
			delete(env, name)
			deferred[entry.name] = entry
		}

		if c.unknown(entry) {
			continue
		}

		if v, ok := c.eval(entry.expr); ok {
			if text := variableOf(c.report, name, entry.expr.Range(), v); !c.deferred(entry) {
				set(name, text)
			}
		}
	}

	if e.whole != nil {
		if c.deferred(e.whole) {
			deferred["env"] = e.whole
		}

		if c.unknown(e.whole) {
			return env, deferred
		}

		if v, ok := c.eval(e.whole.expr); ok {
			all := environmentOf(c.report, e.whole.expr, v)
			for name, value := range all {
				if !c.deferred(e.whole) {
					set(name, value)
				}
			}
		}
	}

	return env, deferred
}

// module compiles one module block, into as many modules as it has instances.
func (c *compilation) module(index int, m *module, env map[string]string, deferred map[string]*deferrable) {
	list, ok := c.expand(m)
	if ok && len(list) == 0 {
		c.nothing(m)
		c.names[index] = []string{m.static.Name}
		return
	}

	c.unknownEach = m.dynamic(c.in.RunID != "")
	defer func() { c.unknownEach = false }()

	for i := range list {
		if c.total > maxTotal {
			return
		}

		x := &list[i]
		if x.matrix != nil {
			c.roots["matrix"] = x.scope()
		}

		if x.each != nil {
			c.roots["each"] = cty.ObjectVal(x.each)
		}

		c.instance(m, x, env, deferred)
		delete(c.roots, "matrix")
		delete(c.roots, "each")
		c.names[index] = append(c.names[index], x.name(m.static.Name))
	}

	if len(c.out.Modules) > maxModules && len(list) > 1 {
		c.add(m.at, "", "more than %d modules", maxModules)
		c.total = maxTotal + 1
	}
}

// nothing compiles a module that is known at submission to have no instances. It
// stays a module of the run, so that expressions can name it: it becomes its
// instances, of which there are none, once what it depends on has succeeded.
func (c *compilation) nothing(m *module) {
	all := m.static
	ownApproval(&all)
	ownServices(&all)

	// What names an instance has no value, and none needs it.
	for i := range m.pending {
		if p := &m.pending[i]; !p.refs.instance() {
			apply(c, &all, p)
		}
	}

	c.checkRunIf(m, &all)
	out := pipeline.Module{Name: all.Name, Description: all.Description, Tags: all.Tags, Line: all.Line,
		AlwaysRun: all.AlwaysRun, RunIf: all.RunIf, IgnoreFailure: all.IgnoreFailure, Dynamic: true}
	none := c.src.deferred(m.instances.expr.Range())
	none.Source = pipeline.NoInstances
	out.Deferred = map[string]pipeline.DeferredExpr{"for_each": none}

	if l := m.when; l != nil && !l.refs.instance() && !c.unknown(l) {
		if v, ok := c.eval(l.expr); ok {
			if yes, ok := conditionOf(c.report, l.expr, v); ok && !yes {
				out.Skip = whenFalse(l.text.Source)
			}
		}
	}

	c.spend(8*overhead+len(out.Name), m.at)
	c.out.Modules = append(c.out.Modules, out)
}

// instance compiles one instance of a module.
func (c *compilation) instance(m *module, x *instance, env map[string]string, deferred map[string]*deferrable) {
	out := m.static
	if x.key != "" {
		out.Of, out.Key, out.Name = out.Name, x.key, x.name(out.Name)
		c.encodeInstance(&out, x, m.at)
	}

	ownApproval(&out)
	ownServices(&out)

	for i := range m.pending {
		apply(c, &out, &m.pending[i])
	}

	out.Shell = c.shell(out.Shell)
	if len(out.Locks) > 0 {
		out.OnDisconnect = pipeline.DisconnectKill
	}

	if m.retryAt != nil {
		finishRetry(c.report, &out, *m.retryAt)
	}

	c.checkRunIf(m, &out)
	c.checkRegistryAuth(m, &out)

	if out.Approval != nil {
		env, deferred = nil, nil // it has no user
		c.approval(m, &out)
	} else if out.Child != nil {
		env, deferred = nil, nil // what its pipeline runs has its own
		c.child(m, &out)
	} else {
		env, deferred = c.taken(m, env, deferred)
	}

	own, waiting := c.environment(&m.base, env, deferred)
	own, waiting = c.environment(&m.env, own, waiting)
	if len(out.Caches) == 0 {
		c.cacheless(m)
		own, waiting = withoutCache(own, waiting)
	}
	out.Env = own

	n := 0
	for name, value := range own {
		n += 2*overhead + len(name) + len(value)
	}

	c.spend(n, m.at)
	c.attribute(&out, m.command, func(v cty.Value, keep bool) {
		if command := commandOf(c.report, m.command.expr, v); keep {
			out.Command = command
		}
	})

	c.attribute(&out, m.script, func(v cty.Value, keep bool) {
		if script := scriptOf(c.report, m.script.expr, v); keep {
			out.Script = script
		}
	})

	if l := m.when; l != nil {
		// Nothing of a sensitive value is in a yes or no.
		if c.unknown(l) {
			c.wait(&out, l)
		} else if v, ok := c.eval(l.expr); ok {
			if yes, ok := conditionOf(c.report, l.expr, v); ok && !yes {
				out.Skip = whenFalse(l.text.Source)
			}
		}
	}

	c.cacheKey(&out, m.cacheKey)
	if m.dynamic(c.in.RunID != "") {
		out.Dynamic = true
		c.wait(&out, m.instances.each)
	}

	for _, l := range waiting {
		c.wait(&out, l)
	}

	c.out.Modules = append(c.out.Modules, out)
}

// checkRunIf refuses run_if where it could change nothing, if parsing did not.
func (c *compilation) checkRunIf(m *module, out *pipeline.Module) {
	if out.AlwaysRun && !m.static.AlwaysRun {
		c.report.checkRunIf(m)
	}
}

// among returns the instances of a module: all, or only those that are named.
func (c *compilation) among(j int, only []reference) []string {
	all := c.names[j]
	m := c.file.modules[j]
	if len(only) == 0 || len(all) == 0 || m.dynamic(c.in.RunID != "") || m.instances != nil && all[0] == m.static.Name {
		if len(only) > 0 && m.dynamic(true) {
			c.add(only[0].at, "write module."+m.static.Name+", which waits for all of them", "the instances of module %q are known only when its for_each is: none can be named", m.static.Name)
		}
		return all
	}

	var names []string
	for _, x := range only {
		name := pipeline.InstanceName(m.static.Name, x.key)
		if !slices.Contains(all, name) {
			detail := didYouMean(name, all)
			if detail == "" {
				detail = "it has " + strings.Join(all[:min(len(all), 10)], ", ")
				if len(all) > 10 {
					detail += ", …"
				}
			}
			c.add(x.at, detail, "module %q has no instance %s", m.static.Name, quote(x.key))
			continue
		}

		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}

	return names
}

// dependencies names for each module the instances that it depends on.
func (c *compilation) dependencies() {
	total, at := 0, 0
	for i, m := range c.file.modules {
		var names []string
		for _, j := range m.needs {
			names = append(names, c.among(j, m.only[j])...)
		}

		var wishes []string
		for _, j := range m.wishes {
			wishes = append(wishes, c.among(j, m.onlyWished[j])...)
		}

		slices.Sort(names)

		for range c.names[i] {
			if total += len(names) + len(wishes); total > maxNeeds {
				c.add(m.at, oneBetween, "more than %d dependencies", maxNeeds)
				return
			}
			if at < len(c.out.Modules) {
				c.out.Modules[at].DependsOn, c.out.Modules[at].Wishes = names, wishes
			}
			at++
		}
	}
}

// wait keeps an expression for later.
func (c *compilation) wait(m *pipeline.Module, l *deferrable) {
	if m.Deferred == nil {
		m.Deferred = map[string]pipeline.DeferredExpr{}
	}

	text := l.text
	text.Sensitive = l.sensitive
	m.Deferred[l.name] = text
	c.spend(len(l.text.Source)+len(l.name)+4*overhead, l.expr.Range())
	m.Expensive = m.Expensive || Expensive(l.expr)
	m.Sensitive = m.Sensitive || l.sensitive

	for _, local := range c.file.named(l.refs) {
		m.Expensive = m.Expensive || (local.expensive && c.deferred(&local.value))
		c.keep(local)
	}
}

// keep puts a local that a deferred expression names, and the locals that this one
// names, into the scope.
func (c *compilation) keep(l *local) {
	s := &c.out.Scope
	if !c.deferred(&l.value) {
		if _, done := s.Locals[l.name]; !done {
			if s.Locals == nil {
				s.Locals = map[string]string{}
			}
			s.Locals[l.name] = c.encode(c.locals[l.name], l.at)
		}
		return
	}

	if _, done := s.DeferredLocals[l.name]; done {
		return
	}

	if s.DeferredLocals == nil {
		s.DeferredLocals = map[string]pipeline.DeferredExpr{}
	}

	text := l.value.text
	text.Sensitive = l.value.sensitive
	s.DeferredLocals[l.name] = text

	for _, next := range c.file.named(l.value.refs) {
		c.keep(next)
	}
}

func (c *compilation) encode(v cty.Value, at hcl.Range) string {
	if !v.IsWhollyKnown() {
		return "" // the mistake was recorded earlier
	}
	text, err := encodeValue(v)
	if err != nil {
		c.add(at, "", "value cannot be kept: %v", err)
	}
	return text
}

// scope keeps what deferred expressions may name besides locals.
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

	for _, name := range slices.Sorted(maps.Keys(c.credentials)) {
		if s.Variables == nil {
			s.Variables = map[string]string{}
		}
		s.Variables[credentialPrefix+name] = c.encode(cty.StringVal(c.in.Env[name]), c.file.nameAt)
		s.Sensitive = append(s.Sensitive, credentialPrefix+name)
	}
}
