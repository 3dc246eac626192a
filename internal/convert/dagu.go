package convert

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// dag is a file of Dagu that is being converted.
type dag struct {
	name  string
	steps []*step
	by    map[string]*step // by name and by id
	// params are the names of the parameters, env the variables of all steps as
	// expressions: both are variables of the modules' environment.
	params []string
	known  map[string]string
	// outputs are the steps by the variable that they set.
	outputs map[string]*step
	// positional is how many parameters have no name.
	positional int
	// late are variables that only a worker can compute: the scripts that use them do.
	late []pair
	dir  string
	// container is that of all steps; nil if there is none.
	container *entry
	notes     []Note
}

// entry is a key of a mapping. Dagu has had two ways to write them, so that they compare
// without underscores and in lower case.
type entry struct {
	key   string
	name  string // as it is written
	value *yaml.Node
	line  int
}

func entries(n *yaml.Node) []entry {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var list []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := strings.ToLower(strings.ReplaceAll(n.Content[i].Value, "_", ""))
		list = append(list, entry{key, n.Content[i].Value, resolved(n.Content[i+1]), n.Content[i].Line})
	}
	return list
}

// resolved is what an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// get is the value of a key; nil if there is none.
func get(n *yaml.Node, key string) *yaml.Node {
	for _, e := range entries(n) {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// text is a scalar; "" if there is none.
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// texts are those of a list, or a single one.
func texts(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		if t := text(n); t != "" {
			return []string{t}
		}
		return nil
	}
	var list []string
	for _, c := range n.Content {
		if t := text(resolved(c)); t != "" {
			list = append(list, t)
		}
	}
	return list
}

func (d *dag) note(in string, line int, what, why string) {
	n := Note{line, in, oneLine(what), oneLine(why)}
	if !slices.Contains(d.notes, n) {
		d.notes = append(d.notes, n)
	}
}

func convertDAG(name string, source []byte) (Result, error) {
	dec := yaml.NewDecoder(bytes.NewReader(source))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return Result{}, errors.New("the file is empty")
	} else if err != nil {
		return Result{}, err
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return Result{}, errors.New("a DAG is an object, with steps")
	}
	root := doc.Content[0]
	if n := text(get(root, "name")); n != "" {
		name = pipelineName(n)
	}
	d := &dag{name: name, by: map[string]*step{}, known: map[string]string{}, outputs: map[string]*step{}}
	var other yaml.Node
	if err := dec.Decode(&other); !errors.Is(err, io.EOF) && len(other.Content) > 0 {
		d.note("", other.Content[0].Line, "further DAGs of the file", "convert each in a file of its own")
	}

	list := get(root, "steps")
	if list == nil || len(list.Content) == 0 {
		return Result{}, errors.New("a DAG has steps, and here are none")
	}
	d.read(list, get(root, "defaults"), text(get(root, "type")))

	head, after := &body{}, &body{}
	d.top(root, head, after)
	converted := 0
	for _, s := range d.steps {
		m, ok := d.module(s)
		after.block("module "+quote(s.name), m)
		if ok {
			converted++
		}
	}
	slices.SortStableFunc(d.notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })

	out := &body{}
	out.comment("Converted from a DAG of Dagu by pipelined convert; yours to change.")
	out.comment("Each module starts in a directory of its own: what one leaves for another is in its outputs.")
	for _, n := range d.notes {
		if n.In == "" {
			out.marks([]Note{n})
		}
	}
	if len(head.lines) > 0 {
		head.gap()
	}
	head.lines = append(head.lines, after.lines...)
	out.block("pipeline "+quote(name), head)
	return Result{Name: name, Source: out.String() + "\n", Modules: len(d.steps), Steps: len(d.steps), Converted: converted, Notes: d.notes}, nil
}

// silent are keys of a DAG that say nothing about what runs.
var silent = []string{"name", "steps", "type", "defaults", "logdir", "logoutput", "histretentiondays", "histretentionruns", "maxoutputsize", "group",
	"restartwaitsec", "maxcleanuptimesec", "otel", "runconfig", "artifacts", "infomail", "errormail", "smtp"}

const (
	mailWhy = "a notify block tells a webhook, or a command, of failures"
	subWhy  = `convert that DAG too, and write pipeline = "ITS.hcl" and variables = { … } in place of command`
)

// whyNot says why keys are not converted, of DAGs and of steps.
var whyNot = map[string]string{
	"mailon":           mailWhy,
	"mailonerror":      mailWhy,
	"dotenv":           "give the values with -var-file, or name variables in env_from",
	"delaysec":         "write sleep into the first script",
	"params":           "variables of the module have the values",
	"queue":            "a concurrency block lets runs wait for each other",
	"registryauths":    "registry_auth of a module names a secret",
	"skipifsuccessful": "put cache = true into its modules",
	"secrets":          "pipelined secrets set stores them, and secrets of a module names them",
	"ssh":              "call ssh in a script",
	"repeatpolicy":     "write a loop into the script, or a schedule block",
	"parallel":         "for_each makes an instance for each element",
	"foreach":          "for_each makes an instance for each element",
	"signalonstop":     "a module gets TERM",
	"approval":         "a module with an approval block waits for people",
	"call":             subWhy,
	"run":              subWhy,
	"routes":           "when of each module says whether it runs",
	"value":            "when of each module says whether it runs",
}

// top converts what is not a step: attributes first, blocks after them.
func (d *dag) top(root *yaml.Node, head, after *body) {
	d.parameters(get(root, "params"), after)
	env := d.environment(get(root, "env"), d.known)
	for i, p := range d.params {
		if identifier(p) {
			env = slices.Insert(env, i, pair{p, "var." + strings.ToLower(p)})
			d.known[p] = "var." + strings.ToLower(p)
		}
	}
	for _, e := range entries(root) {
		switch e.key {
		case "description":
			head.attr("description", quote(oneLine(text(e.value))))
		case "tags", "labels":
			d.tags(e, head)
		case "timeoutsec":
			head.attr("timeout", quote(text(e.value)+"s"))
		case "maxactivesteps":
			if n := text(e.value); numeral.MatchString(n) {
				head.attr("max_parallel", n)
			} else {
				d.note("", e.line, e.name, "it is no number")
			}
		case "maxactiveruns":
			if text(e.value) == "1" {
				after.block("concurrency", &body{lines: []string{"group = " + quote(d.name)}})
			} else {
				d.note("", e.line, "maxActiveRuns: "+text(e.value), "a concurrency block lets one run at a time")
			}
		case "schedule":
			d.schedule(e, after)
		case "handleron":
			d.handlers(e.value, after)
		case "preconditions":
			d.requirements(e.value, after)
		case "workingdir", "dir":
			d.dir = text(e.value)
		case "shell":
			d.shell(e, head)
		case "container":
			d.container = &e
		case "params", "env":
		case "workerselector":
			d.note("", e.line, "worker_selector", "requires.tags of each module names what a worker must have")
		case "catchupwindow", "overlappolicy":
			d.note("", e.line, e.name, "catch_up and overlap of the schedule block say what becomes of ticks")
		default:
			if !slices.Contains(silent, e.key) {
				d.note("", e.line, e.name, cmp.Or(whyNot[e.key], "there is no counterpart"))
			}
		}
	}
	if len(d.steps) > 1 {
		head.attr("on_failure", `"continue"`) // steps that do not depend on the failed one still run
	}
	head.attr("env", object(env))
}

func (d *dag) tags(e entry, head *body) {
	list := texts(e.value)
	if len(list) == 1 {
		list = strings.FieldsFunc(list[0], func(r rune) bool { return r == ',' || r == ' ' })
	}
	for _, kv := range entries(e.value) {
		list = append(list, kv.key+"="+text(kv.value))
	}
	head.attr("tags", "["+strings.Join(quoteAll(list), ", ")+"]")
}

func (d *dag) shell(e entry, head *body) {
	switch name := shellName(strings.Join(texts(e.value), " ")); name {
	case "sh", "bash":
		head.attr("shell", quote(name))
	default:
		d.note("", e.line, "shell: "+name, "begin each script with #!/usr/bin/env "+name)
	}
}

// shellName is the program of a shell: bash of /bin/bash -e.
func shellName(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return first[strings.LastIndexByte(first, '/')+1:]
}

func (d *dag) schedule(e entry, after *body) {
	times := e.value
	if times.Kind == yaml.MappingNode {
		for _, kv := range entries(times) {
			if kv.key != "start" {
				d.note("", kv.line, "schedule."+kv.key, "a schedule starts runs; pipelined cancel stops one")
			}
		}
		times = get(times, "start")
	}
	var crons, zones []string
	for _, c := range texts(times) {
		zone := ""
		if rest, ok := strings.CutPrefix(c, "CRON_TZ="); ok {
			zone, c, _ = strings.Cut(rest, " ")
		}
		crons = append(crons, quote(c))
		if !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	if len(crons) == 0 {
		return
	}

	b := &body{}
	if len(crons) > 1 {
		b.attr("cron", list(crons))
	} else {
		b.attr("cron", crons[0])
	}
	switch {
	case len(zones) > 1:
		d.note("", e.line, "CRON_TZ of "+strings.Join(zones, ", "), "a schedule has one timezone")
	case zones[0] != "":
		b.attr("timezone", quote(zones[0]))
	default:
		d.note("", e.line, "the zone of schedule", "it was that of Dagu's machine, and is UTC unless timezone says another")
	}
	after.block("schedule", b)
}

// hookNames are the hooks for handlers.
var hookNames = map[string]string{"init": "before", "success": "on_success", "failure": "on_failure", "exit": "after"}

func (d *dag) handlers(n *yaml.Node, after *body) {
	b := &body{}
	for _, e := range entries(n) {
		command := cmp.Or(text(get(e.value, "script")), strings.Join(texts(get(e.value, "command")), "\n"))
		name := hookNames[e.key]
		if name == "" || command == "" {
			d.note("", e.line, "handlerOn."+e.name, "hooks have before, on_success, on_failure and after, each a script")
			continue
		}
		b.attr(name, d.oneOrMore(d.script(nil, command), 2))
	}
	after.block("hooks", b)
}

// oneOrMore writes a script: as a literal, if it has one line.
func (d *dag) oneOrMore(script string, depth int) string {
	script = strings.Trim(script, "\n")
	if !strings.Contains(script, "\n") && !strings.Contains(script, `"`) && !strings.Contains(script, `\`) {
		return `"` + script + `"`
	}
	return heredoc(script, depth)
}

// requirements converts the conditions of the whole DAG.
func (d *dag) requirements(n *yaml.Node, after *body) {
	for i, c := range conditions(n) {
		command := c.condition
		if c.expected != "" {
			command = "test \"" + command + "\" = " + shellWord(c.expected)
		}
		b := &body{}
		b.attr("command", list(append(quoteAll([]string{"sh", "-c"}), `"`+quotedShell(d.script(nil, command))+`"`)))
		b.attr("message", quote("the precondition does not hold: "+oneLine(c.condition)))
		after.block("requirement "+quote(fmt.Sprintf("precondition %d", i+1)), b)
	}
}

// quotedShell puts the inside of a template of several lines into a literal.
func quotedShell(script string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(script)
}

// precondition must hold before something runs. Without expected it is a command.
type precondition struct{ condition, expected string }

func conditions(n *yaml.Node) []precondition {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		var list []precondition
		for _, c := range n.Content {
			list = append(list, conditions(resolved(c))...)
		}
		return list
	}
	if n.Kind == yaml.MappingNode {
		return []precondition{{text(get(n, "condition")), text(get(n, "expected"))}}
	}
	return []precondition{{condition: text(n)}}
}
