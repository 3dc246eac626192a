package scaffold

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline/language"
)

// Pipeline is the text of a pipeline for the project. The caller formats it.
func (p *Project) Pipeline() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by pipelined init; yours to change. pipelined schema lists what may stand here.\n")
	if slices.ContainsFunc(p.modules, func(m module) bool { return m.cached }) {
		b.WriteString("# cache = true: if the files are the same, the recorded result is used.\n")
	}
	fmt.Fprintf(&b, "pipeline %s {\n", quote(p.Name))
	if p.image {
		b.WriteString("variable \"image\" {\ntype = bool\ndefault = false\ndescription = \"Build the image\"\n}\n\n")
	}

	if len(p.exclude) > 0 {
		fmt.Fprintf(&b, "# Besides what .gitignore names.\nworkspace {\nexclude = %s\n}\n\n", list(p.exclude))
	}

	if len(p.envFrom) > 0 {
		fmt.Fprintf(&b, "# Taken from where the run is submitted, if they are set there.\nenv_from = %s\n\n", list(p.envFrom))
	}

	if len(p.env) > 0 {
		b.WriteString("# Kept by each worker between runs: see caches.\nenv = {\n")
		for _, v := range p.env {
			fmt.Fprintf(&b, "%s = \"%s\"\n", v.name, v.value)
		}
		b.WriteString("}\n\n")
	}

	for i := range p.modules {
		if i > 0 {
			b.WriteString("\n")
		}
		p.modules[i].write(&b)
	}
	b.WriteString("}\n")
	return b.String()
}

// ModuleNames are the names of the modules, in their order.
func (p *Project) ModuleNames() []string {
	var names []string
	for _, m := range p.modules {
		names = append(names, m.name)
	}

	return names
}

func (m *module) write(b *strings.Builder) {
	fmt.Fprintf(b, "module %s {\n", quote(m.name))
	text := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s = %s\n", name, value)
		}
	}
	text("description", maybe(m.description))
	if len(m.dependsOn) > 0 {
		needs := make([]string, len(m.dependsOn))
		for i, name := range m.dependsOn {
			needs[i] = reference(name)
		}
		text("depends_on", "["+strings.Join(needs, ", ")+"]")
	}
	text("when", m.when)
	text("working_dir", maybe(m.dir))
	text("command", list(m.command))
	if script := strings.TrimSuffix(m.script, "\n"); strings.Contains(script, "\n") {
		fmt.Fprintf(b, "script = <<-SH\n      %s\n    SH\n", strings.ReplaceAll(script, "\n", "\n      "))
	} else {
		text("script", maybe(script))
	}
	text("outputs", list(m.outputs))
	text("outputs_optional", list(m.optional))
	text("caches", list(m.caches))
	if m.cached {
		b.WriteString("cache = true\n")
	}
	if len(m.tools) > 0 {
		fmt.Fprintf(b, "requires = { tools = %s }\n", list(m.tools))
	}
	b.WriteString("}\n")
}

// reference names a module in an expression: by an identifier, if its name is one.
func reference(name string) string {
	if name[0] >= '0' && name[0] <= '9' {
		return "module[" + quote(name) + "]"
	}

	return "module." + name
}

// quote writes a text as a literal of the language.
func quote(text string) string { return language.Literal(text) }

func maybe(text string) string {
	if text == "" {
		return ""
	}

	return quote(text)
}

func list(texts []string) string {
	if len(texts) == 0 {
		return ""
	}

	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quote(t)
	}

	return "[" + strings.Join(quoted, ", ") + "]"
}
