package convert

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// parameters converts params to variables.
func (d *dag) parameters(n *yaml.Node, after *body) {
	if n == nil {
		return
	}
	add := func(name string, v variable) {
		if name == "" {
			d.positional++
			after.block("variable "+quote("arg"+strconv.Itoa(d.positional)), v.body("arg"+strconv.Itoa(d.positional)))
			return
		}
		if !identifier(name) {
			d.note("", n.Line, "params."+name, "its name is no name of the language")
			return
		}
		d.params = append(d.params, name)
		after.block("variable "+quote(strings.ToLower(name)), v.body(strings.ToLower(name)))
	}
	switch n.Kind {
	case yaml.ScalarNode:
		for _, word := range shellWords(n.Value) {
			name, value, named := strings.Cut(word, "=")
			if !named {
				name, value = "", word
			}
			add(name, variable{kind: textKind, value: quote(value)})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			add(n.Content[i].Value, variable{kind: textKind, value: quote(text(n.Content[i+1]))})
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			d.parameter(resolved(c), add)
		}
	}
}

// parameter converts an element of a list: "NAME=VALUE", {NAME: VALUE}, or one with a
// name, a type and more.
func (d *dag) parameter(c *yaml.Node, add func(string, variable)) {
	if c.Kind != yaml.MappingNode {
		name, value, named := strings.Cut(text(c), "=")
		if !named {
			name, value = "", text(c)
		}
		add(name, variable{kind: textKind, value: quote(strings.Trim(value, `"'`))})
		return
	}
	if name := text(get(c, "name")); name != "" {
		v := variable{kind: textKind, description: text(get(c, "description")), options: texts(get(c, "enum"))}
		switch text(get(c, "type")) {
		case "integer", "number":
			v.kind = numberKind
		case "boolean":
			v.kind = boolKind
		}
		if preset := get(c, "default"); preset != nil {
			if v.value = text(preset); v.kind == textKind || !valid(v.kind, v.value) {
				v.value, v.kind = quote(v.value), textKind
			}
		}
		add(name, v)
		return
	}
	for i := 0; i+1 < len(c.Content); i += 2 {
		add(c.Content[i].Value, variable{kind: textKind, value: quote(text(c.Content[i+1]))})
	}
}

// shellWords splits a line as a shell does, without expansions.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	begun, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

var shellReference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// environment converts variables. Values may name those before them; what only a worker
// knows is computed there.
func (d *dag) environment(n *yaml.Node, known map[string]string) []pair {
	var pairs []pair
	add := func(name string, value *yaml.Node) {
		if value.Kind != yaml.ScalarNode || !variableName.MatchString(name) || strings.HasPrefix(name, "PIPELINED_") {
			return
		}
		expr, why := d.value(text(value), known)
		if why != "" {
			d.late = append(d.late, pair{name, text(value)})
			return
		}
		known[name] = expr
		pairs = append(pairs, pair{name, expr})
	}
	each := func(m *yaml.Node) {
		for i := 0; i+1 < len(m.Content); i += 2 {
			add(m.Content[i].Value, resolved(m.Content[i+1]))
		}
	}
	switch {
	case n == nil:
	case n.Kind == yaml.MappingNode:
		each(n)
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			if c = resolved(c); c.Kind == yaml.MappingNode {
				each(c)
			} else if name, value, is := strings.Cut(text(c), "="); is {
				add(name, &yaml.Node{Kind: yaml.ScalarNode, Value: value, Line: c.Line})
			}
		}
	}
	return pairs
}

// value converts a value with references to an expression, or says why it cannot.
func (d *dag) value(value string, known map[string]string) (expr, why string) {
	if strings.Contains(value, "`") || strings.Contains(value, "$(") {
		return "", "a command: run it in the script"
	}
	var b strings.Builder
	at := 0
	for _, m := range shellReference.FindAllStringSubmatchIndex(value, -1) {
		name := submatch(value, m, 1) + submatch(value, m, 2)
		has, is := known[name]
		if slices.Contains(d.params, name) {
			has, is = "var."+strings.ToLower(name), true
		}
		if !is {
			return "", "$" + name + " is known on the worker alone: set it in the script"
		}
		b.WriteString(quoted(value[at:m[0]]))
		if inside, is := strings.CutPrefix(has, `"`); is {
			b.WriteString(strings.TrimSuffix(inside, `"`))
		} else {
			b.WriteString("${" + has + "}")
		}
		at = m[1]
	}
	b.WriteString(quoted(value[at:]))
	return `"` + b.String() + `"`, ""
}

func submatch(text string, m []int, n int) string {
	if m[2*n] < 0 {
		return ""
	}
	return text[m[2*n]:m[2*n+1]]
}
