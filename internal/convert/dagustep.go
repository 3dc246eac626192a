package convert

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// step is a step that becomes a module.
type step struct {
	name    string
	line    int
	entries []entry
	deps    []*step
	// tolerant is set if what depends on it runs although it failed or was skipped,
	// ignored if its failure is none of the DAG.
	tolerant, ignored bool
	// uses are the variables of other steps that its scripts name.
	uses []string
}

func (s *step) get(key string) *yaml.Node {
	for _, e := range s.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// read finds the steps, their names and what they depend on.
func (d *dag) read(list, defaults *yaml.Node, kind string) {
	used := map[string]bool{}
	add := func(name string, line int, es []entry) *step {
		for _, e := range entries(defaults) {
			if !slices.ContainsFunc(es, func(o entry) bool { return o.key == e.key }) {
				es = append(es, e)
			}
		}
		s := &step{line: line, entries: es}
		id := text(s.get("id"))
		name = cmp.Or(name, text(s.get("name")), id, "step"+strconv.Itoa(len(d.steps)+1))
		s.name = pipelineName(name)
		for base, n := s.name, 2; used[s.name]; n++ {
			s.name = base + "-" + strconv.Itoa(n)
		}
		used[s.name] = true
		d.steps = append(d.steps, s)
		d.by[name] = s
		if id != "" {
			d.by[id] = s
		}
		switch on := s.get("continueon"); {
		case on == nil:
		case on.Kind == yaml.ScalarNode:
			s.tolerant, s.ignored = true, text(on) == "failed"
		default:
			s.ignored = text(get(on, "failure")) == "true" || text(get(on, "failed")) == "true"
			s.tolerant = s.ignored || text(get(on, "skipped")) == "true"
			for _, e := range entries(on) {
				if !slices.Contains([]string{"failure", "failed", "skipped"}, e.key) {
					d.note(s.name, e.line, "continueOn."+e.name, "ignore_failure counts for every failure: let the script end with 0")
				}
			}
		}
		if name := outputName(s.get("output")); identifier(name) {
			d.outputs[name] = s
		}
		return s
	}

	// Steps of a nested list run side by side.
	var groups [][]*step
	one := func(c *yaml.Node) *step {
		if c = resolved(c); c.Kind == yaml.ScalarNode {
			return add("", c.Line, []entry{{"command", "command", c, c.Line}})
		}
		return add("", c.Line, entries(c))
	}
	if list.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(list.Content); i += 2 {
			groups = append(groups, []*step{add(list.Content[i].Value, list.Content[i].Line, entries(resolved(list.Content[i+1])))})
		}
	} else {
		for _, c := range list.Content {
			if c = resolved(c); c.Kind != yaml.SequenceNode {
				groups = append(groups, []*step{one(c)})
				continue
			}
			var side []*step
			for _, n := range c.Content {
				side = append(side, one(n))
			}
			groups = append(groups, side)
		}
	}
	d.link(groups, kind)
}

// outputName is the variable that gets the standard output of a step; "" if none does.
func outputName(out *yaml.Node) string {
	return strings.TrimPrefix(cmp.Or(text(out), text(get(out, "name"))), "$")
}

// link finds what each step depends on. In a chain that is the steps before it.
func (d *dag) link(groups [][]*step, kind string) {
	chain := kind == "chain" || kind == "" && !slices.ContainsFunc(d.steps, func(s *step) bool { return s.get("depends") != nil })
	var before []*step
	for _, g := range groups {
		for _, s := range g {
			depends := s.get("depends")
			for _, name := range texts(depends) {
				if dep := d.by[name]; dep != nil {
					s.deps = append(s.deps, dep)
				} else {
					d.note(s.name, depends.Line, "depends: "+name, "there is no such step")
				}
			}
			if depends == nil && chain {
				s.deps = before
			}
		}
		before = g
	}
}

// shown are keys of steps that say nothing about what runs, or are converted elsewhere.
var shown = []string{"name", "id", "depends", "logoutput", "output", "command", "script", "continueon", "args", "shellpackages", "config", "with"}

// module converts a step; it reports whether nothing of it is missing.
func (d *dag) module(s *step) (*body, bool) {
	b := &body{}
	notes := len(d.notes)
	late := len(d.late)
	env := d.environment(s.get("env"), map[string]string{})
	script, prelude, when := "", "", ""
	blocked := false
	attrs := &body{}
	retry := &body{}
	for _, e := range s.entries {
		switch e.key {
		case "description":
			b.attr("description", quote(oneLine(text(e.value))))
		case "retrypolicy":
			d.retry(s, e, retry)
		case "timeoutsec":
			attrs.attr("timeout", quote(text(e.value)+"s"))
		case "workingdir", "dir":
			prelude += d.enter(s, e, attrs)
		case "stdout":
			prelude += "exec >> \"" + d.script(s, text(e.value)) + "\"\n"
		case "stderr":
			prelude += "exec 2>> \"" + d.script(s, text(e.value)) + "\"\n"
		case "preconditions":
			when = d.when(s, e)
		case "shell":
			if name := shellName(strings.Join(texts(e.value), " ")); name == "sh" || name == "bash" {
				attrs.attr("shell", quote(name))
			} else {
				prelude = "#!/usr/bin/env " + templated.Replace(name) + "\n" + prelude
			}
		case "workerselector":
			var tags []string
			for _, kv := range entries(e.value) {
				tags = append(tags, quote(kv.key+"="+text(kv.value)))
			}
			if len(tags) > 0 {
				attrs.attr("requires", "{ tags = "+list(tags)+" }")
			}
		case "executor", "type", "exec":
			blocked = d.executor(s, e, attrs) || blocked
		case "container":
			blocked = !d.image(s.name, e, attrs) || blocked
		case "call", "run", "parallel", "foreach", "routes", "value":
			d.note(s.name, e.line, e.name, whyNot[e.key])
			blocked = true
		case "env":
		default:
			if !slices.Contains(shown, e.key) {
				d.note(s.name, e.line, e.name, cmp.Or(whyNot[e.key], "there is no counterpart"))
			}
		}
	}
	if d.dir != "" && s.get("workingdir") == nil && s.get("dir") == nil {
		prelude = d.enter(s, entry{"workingdir", "workingDir", &yaml.Node{Kind: yaml.ScalarNode, Value: d.dir}, s.line}, attrs) + prelude
	}
	if d.container != nil && s.get("container") == nil && s.get("executor") == nil && s.get("type") == nil {
		blocked = !d.image("", *d.container, attrs) || blocked
	}
	if !blocked {
		if !attrs.set["timeout"] {
			attrs.attr("timeout", `"0"`) // Dagu has no limit
		}
		script = d.command(s, &prelude, attrs)
		prelude = d.computed(s, prelude, script, env)
	}
	d.late = d.late[:late]
	if blocked {
		when = "false"
	}

	var deps []string
	tolerant := false
	for _, dep := range s.deps {
		deps = append(deps, "module."+dep.name)
		tolerant = tolerant || dep.tolerant
	}
	b.attr("depends_on", list(deps))
	if tolerant {
		b.attr("run_if", `"not_failed"`)
	}
	b.attr("when", when)
	if s.ignored {
		b.attr("ignore_failure", "true")
	}
	for _, name := range s.uses {
		env = append(env, pair{name, "module." + d.outputs[name].name + ".result." + name})
	}
	b.attr("env", object(env))
	b.lines = append(b.lines, attrs.lines...)
	switch {
	case attrs.set["command"]:
	case script == "":
		b.attr("command", `["true"]`)
	default:
		b.attr("script", d.oneOrMore(prelude+script, 2))
	}
	b.block("retry", retry)

	all := &body{}
	for _, n := range d.notes {
		if n.In == s.name {
			all.marks([]Note{n})
		}
	}
	all.lines = append(all.lines, b.lines...)
	return all, len(d.notes) == notes
}

// computed adds to a prelude the variables of a script that only the worker knows. Dagu
// runs scripts that name variables which nothing sets.
func (d *dag) computed(s *step, prelude, script string, env []pair) string {
	if strings.HasPrefix(prelude+script, "#!") {
		return prelude
	}
	lines, loose := "", false
	set := map[string]bool{"HOME": true, "PATH": true, "TMPDIR": true, "CI": true}
	for _, p := range env {
		set[p.name] = true
	}
	for _, p := range d.late {
		if usesVariable(script, p.name) && !set[p.name] {
			lines += "export " + p.name + "=\"" + d.script(s, strings.ReplaceAll(p.expr, `"`, `\"`)) + "\"\n"
			set[p.name] = true
		}
	}
	for _, m := range shellReference.FindAllStringSubmatch(strings.ReplaceAll(script, "$${", "${"), -1) {
		name := m[1] + m[2]
		_, known := d.known[name]
		loose = loose || !known && !set[name] && d.outputs[name] == nil && !strings.HasPrefix(name, "PIPELINED_") && !strings.Contains(script, name+"=")
	}
	if loose {
		lines = "set +u\n" + lines
	}
	return lines + prelude
}

// retry converts a retryPolicy. Its pauses are all as long, unless it has a backoff.
func (d *dag) retry(s *step, e entry, b *body) {
	n := e.value
	limit, err := strconv.Atoi(text(get(n, "limit")))
	if err != nil {
		d.note(s.name, e.line, e.name+".limit "+text(get(n, "limit")), "retry.attempts is a number")
		return
	}
	b.attr("attempts", strconv.Itoa(limit+1))
	if sec := text(get(n, "intervalsec")); numeral.MatchString(sec) {
		b.attr("backoff", quote(sec+"s"))
		if growing := text(get(n, "backoff")); growing == "" || growing == "false" {
			b.attr("max_backoff", quote(sec+"s"))
		}
	} else if sec != "" {
		d.note(s.name, e.line, e.name+".intervalSec "+sec, "retry.backoff is a duration")
	}
	if most := text(get(n, "maxintervalsec")); numeral.MatchString(most) {
		b.attr("max_backoff", quote(most+"s"))
	}
	codes := slices.DeleteFunc(texts(get(n, "exitcode")), func(c string) bool { return !numeral.MatchString(c) })
	b.attr("exit_codes", list(codes))
}

// enter makes the directory of a step: in the module's, or, for one of the machine, in
// the script.
func (d *dag) enter(s *step, e entry, attrs *body) string {
	dir := text(e.value)
	if dir == "" || dir == "." {
		return ""
	}
	if !strings.ContainsAny(dir, "$~") && !strings.HasPrefix(dir, "/") && !strings.Contains(dir, "..") {
		attrs.attr("working_dir", quote(strings.TrimPrefix(dir, "./")))
		return ""
	}
	d.note(s.name, e.line, "directory "+dir, "it is that of one machine: requires.tags can name it")
	return "cd \"" + d.script(s, strings.Replace(dir, "~", "$HOME", 1)) + "\"\n"
}

// executor converts other executors than the shell; it reports whether the step must not
// run as it is.
func (d *dag) executor(s *step, e entry, attrs *body) bool {
	if e.key == "exec" {
		words := append([]string{text(get(e.value, "command"))}, texts(get(e.value, "args"))...)
		attrs.attr("command", list(quoteAll(words)))
		return false
	}
	kind := cmp.Or(text(e.value), text(get(e.value, "type")))
	switch kind {
	case "", "shell", "command":
		return false
	case "docker", "container":
		config := get(e.value, "config")
		if config == nil { // beside the type
			config = cmp.Or(s.get("config"), s.get("with"))
		}
		return !d.image(s.name, entry{e.key, "executor " + kind, config, e.line}, attrs)
	}
	why := map[string]string{
		"http": "call curl in a script", "ssh": "call ssh in a script", "jq": "call jq in a script",
		"mail": "call a program that sends it in a script", "dag": subWhy, "subworkflow": subWhy,
	}[kind]
	d.note(s.name, e.line, "executor "+kind, cmp.Or(why, "there is no counterpart"))
	return true
}

// knownBefore are the variables that are known when a step begins: those of the DAG, and
// the outputs of the steps that it comes after.
func (d *dag) knownBefore(s *step) map[string]string {
	known := maps.Clone(d.known)
	seen := map[*step]bool{}
	for next := s.deps; len(next) > 0; {
		dep := next[0]
		next = next[1:]
		if seen[dep] {
			continue
		}
		seen[dep] = true
		next = append(next, dep.deps...)
		if name := outputName(dep.get("output")); d.outputs[name] == dep {
			known[name] = "module." + dep.name + ".result." + name
		}
	}
	return known
}

// when converts the conditions of a step. One that is more than a comparison of a
// parameter becomes false.
func (d *dag) when(s *step, e entry) string {
	var parts []string
	for _, c := range conditions(e.value) {
		expr, why := "", "a command decides; write it into the script"
		if c.expected != "" {
			expr, why = d.value(d.arguments(c.condition), d.knownBefore(s))
			for n := 1; n <= d.positional; n++ {
				expr = strings.ReplaceAll(expr, "$arg"+strconv.Itoa(n), "${var.arg"+strconv.Itoa(n)+"}")
			}
		}
		if why != "" {
			d.note(s.name, e.line, "precondition "+c.condition, why)
			return "false"
		}
		if inner, is := strings.CutPrefix(expr, `"${`); is && strings.Count(expr, "${") == 1 && strings.HasSuffix(inner, `}"`) {
			expr = strings.TrimSuffix(inner, `}"`)
		}
		if pattern, is := strings.CutPrefix(c.expected, "re:"); is {
			parts = append(parts, "can(regex("+quote(pattern)+", "+expr+"))")
		} else {
			parts = append(parts, expr+" == "+quote(c.expected))
		}
	}
	return strings.Join(parts, " && ")
}
