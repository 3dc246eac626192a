package convert

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

var argument = regexp.MustCompile(`\$\{?([1-9])\}?`)

// arguments marks positional parameters, so that they are no references of a shell.
func (d *dag) arguments(text string) string {
	return argument.ReplaceAllStringFunc(text, func(m string) string {
		n, _ := strconv.Atoi(strings.Trim(m, "${}"))
		if n > d.positional {
			return m
		}
		return "\x01" + strconv.Itoa(n)
	})
}

// attributes are what of a value is meant: a.b[0].
var attributes = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]+\])*$`)

var ofStep = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_-]*)\.([A-Za-z0-9_.\[\]-]+)\}`)

// script converts the text of a script: references to parameters and to other steps. The
// shell's own stay.
func (d *dag) script(s *step, text string) string {
	var kept []string // expressions, which are not escaped
	keep := func(expr string) string {
		kept = append(kept, "${"+expr+"}")
		return fmt.Sprintf("\x02%d\x03", len(kept)-1)
	}
	text = ofStep.ReplaceAllStringFunc(text, func(m string) string {
		p := ofStep.FindStringSubmatch(m)
		if of, path, is := d.by[p[1]], p[2], d.by[p[1]] != nil; is {
			if key, is := strings.CutPrefix(path, "output."); is && identifier(key) {
				return keep("module." + of.name + ".result." + key)
			}
			if path == "exit_code" || path == "exitCode" {
				return keep("module." + of.name + ".exit_code")
			}
			if s != nil {
				d.note(s.name, s.line, m, "a step shares its result: see PIPELINED_OUTPUT")
			}
			return m
		}
		if of := d.outputs[p[1]]; of != nil && attributes.MatchString(p[2]) {
			return keep("jsondecode(module." + of.name + ".result." + p[1] + ")." + p[2])
		}
		return m
	})
	text = argument.ReplaceAllStringFunc(text, func(m string) string {
		n, _ := strconv.Atoi(strings.Trim(m, "${}"))
		if n > d.positional {
			return m
		}
		return keep("var.arg" + strconv.Itoa(n))
	})
	if s != nil {
		for _, m := range shellReference.FindAllStringSubmatch(text, -1) {
			name := m[1] + m[2]
			if of := d.outputs[name]; of != nil && of != s && !slices.Contains(s.uses, name) {
				s.uses = append(s.uses, name)
			}
		}
	}
	text = templated.Replace(text)
	for i, expr := range kept {
		text = strings.ReplaceAll(text, fmt.Sprintf("\x02%d\x03", i), expr)
	}
	return text
}

// command is the script of a step, which writes its output as a result.
func (d *dag) command(s *step, prelude *string, attrs *body) string {
	command, script := strings.Join(texts(s.get("command")), "\n"), text(s.get("script"))
	if args := texts(s.get("args")); len(args) > 0 {
		for _, a := range args {
			command += " " + shellWord(a)
		}
	}
	out := s.get("output")
	switch {
	case script != "" && strings.TrimSpace(command) != "" && shellName(command) != "sh" && shellName(command) != "bash":
		*prelude = "#!/usr/bin/env " + templated.Replace(strings.TrimSpace(command)) + "\n"
		if strings.Contains(strings.TrimSpace(command), " ") {
			*prelude = "#!/usr/bin/env -S " + templated.Replace(strings.TrimSpace(command)) + "\n"
		}
		if out != nil {
			d.note(s.name, out.Line, "output", "the script writes NAME=VALUE to the file PIPELINED_OUTPUT")
		}
		return d.script(s, script)
	case script != "":
		if shellName(command) == "bash" {
			attrs.attr("shell", `"bash"`)
		}
		command = script
	}
	if interpreter, is := strings.CutPrefix(strings.TrimSpace(command), "#!env "); is {
		command = "#!/usr/bin/env " + interpreter
	}
	command = d.script(s, command)
	return d.captured(s, command, attrs)
}

// captured adds what writes standard output as a result, or the values that the step
// publishes.
func (d *dag) captured(s *step, command string, attrs *body) string {
	out := s.get("output")
	if out == nil {
		return command
	}
	name := outputName(out)
	if name != "" && !identifier(name) {
		d.note(s.name, out.Line, "output: "+name, "its name is no name of the language")
		return command
	}
	if name == "" {
		for i := 0; i+1 < len(out.Content); i += 2 {
			if v := resolved(out.Content[i+1]); v.Kind == yaml.ScalarNode && identifier(out.Content[i].Value) {
				command += "\necho \"" + out.Content[i].Value + "=" + d.script(s, strings.ReplaceAll(v.Value, `"`, `\"`)) + "\" >> \"$PIPELINED_OUTPUT\""
			} else {
				d.note(s.name, out.Content[i].Line, "output."+out.Content[i].Value, "only values are converted: write others to the file PIPELINED_OUTPUT")
			}
		}
		return strings.TrimLeft(command, "\n")
	}
	writes := "printf '" + name + "<<PIPELINED_END\\n%s\\nPIPELINED_END\\n' \"$(cat \"$TMPDIR/output\")\" >> \"$PIPELINED_OUTPUT\""
	command = "{\n" + strings.Trim(command, "\n") + "\n} "
	if attrs.set["image"] { // which need not have bash
		return "trap 'cat \"$TMPDIR/output\"' EXIT\n" + command + "> \"$TMPDIR/output\"\n" + writes
	}
	attrs.attr("shell", `"bash"`) // so that a failure before tee counts
	return command + "| tee \"$TMPDIR/output\"\n" + writes
}

// image converts a container, of a step or of the DAG; it reports whether it could.
func (d *dag) image(in string, e entry, attrs *body) bool {
	image := cmp.Or(text(e.value), text(get(e.value, "image")))
	expr, why := d.value(image, d.known)
	if image == "" || why != "" {
		d.note(in, e.line, e.name, cmp.Or(why, "image of a module names its container"))
		return false
	}
	attrs.attr("image", expr)
	for _, o := range entries(e.value) {
		switch o.key {
		case "image", "name", "autoremove", "keepcontainer", "waitfor", "startup":
		case "pullpolicy", "pull":
			if policy := strings.ToLower(text(o.value)); policy == "always" || policy == "never" {
				attrs.attr("pull", quote(policy))
			}
		default:
			d.note(in, o.line, e.name+": "+o.name, "a module has image, pull, registry_auth, env, resources and service blocks")
		}
	}
	return true
}
