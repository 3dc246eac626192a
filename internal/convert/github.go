package convert

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// workflow is a file of GitHub Actions that is being converted.
type workflow struct {
	src   *actionlint.Workflow
	name  string
	jobs  map[string]*job // by their ids in lower case
	order []*job
	// variables are by their names in lower case, names in the order of their declaration.
	variables map[string]variable
	names     []string
	// known are the variables of env as expressions, for conditions. secretEnv are those
	// that are a secret: every job gets them.
	known     map[string]string
	secretEnv map[string]string
	notes     []Note
	result    Result
}

// variable is a variable of the pipeline. Without a value it must be given.
type variable struct {
	name        string // as it was first written; GitHub takes every case
	kind        kind
	value       string
	description string
	options     []string
}

// declare adds a variable, if there is none of the name, and gives the one that there is.
func (w *workflow) declare(name string, v variable) variable {
	key := strings.ToLower(name)
	if has, is := w.variables[key]; is {
		return has
	}
	v.name = name
	w.variables[key] = v
	w.names = append(w.names, name)
	return v
}

// jsonDefault makes JSON of the default of a variable that is read as such: an empty
// list of nothing, and the usual quotes, since GitHub takes single ones too.
func (w *workflow) jsonDefault(expr string) {
	key := strings.ToLower(strings.TrimPrefix(expr, "var."))
	v, is := w.variables[key]
	if !is || !strings.HasPrefix(expr, "var.") {
		return
	}
	switch {
	case v.value == `""`:
		v.value = `"[]"`
	case strings.Contains(v.value, "'") && !strings.Contains(v.value, `\"`):
		v.value = strings.ReplaceAll(v.value, "'", `\"`)
	}
	w.variables[key] = v
}

func (w *workflow) note(j *job, pos *actionlint.Pos, what, why string) {
	n := Note{What: oneLine(what), Why: oneLine(why)}
	if pos != nil {
		n.Line = pos.Line
	}
	if j != nil {
		n.In = j.name
	}
	if !slices.Contains(w.notes, n) {
		w.notes = append(w.notes, n)
	}
}

// notesIn are the notes about a module; "" is the pipeline.
func (w *workflow) notesIn(name string) []Note {
	var out []Note
	for _, n := range w.notes {
		if n.In == name {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	return out
}

func convertWorkflow(name string, text []byte) (Result, error) {
	src, errs := actionlint.Parse(text)
	if src == nil || len(src.Jobs) == 0 {
		var list []error
		for _, e := range errs {
			list = append(list, fmt.Errorf("line %d: %s", e.Line, e.Message))
		}
		if len(list) == 0 {
			list = []error{errors.New("a workflow has jobs, and here are none")}
		}
		return Result{}, errors.Join(list...)
	}

	w := &workflow{src: src, name: name, jobs: map[string]*job{}, variables: map[string]variable{}, known: map[string]string{}, secretEnv: map[string]string{}}
	for _, e := range errs {
		w.note(nil, &actionlint.Pos{Line: e.Line}, "mistake of the workflow", e.Message)
	}
	for id, j := range src.Jobs {
		w.jobs[id] = &job{w: w, src: j, name: pipelineName(j.ID.Value), known: map[string]string{}, writes: map[string]bool{}, outputs: map[string]string{}, bools: map[string]bool{}, axisNames: map[string]bool{}}
		w.order = append(w.order, w.jobs[id])
	}
	slices.SortFunc(w.order, func(a, b *job) int { return cmp.Compare(a.src.Pos.Line, b.src.Pos.Line) })

	head, schedule := &body{}, &body{}
	w.events(schedule)
	env := w.env()
	for _, j := range w.order {
		j.look()
	}
	modules := make([]*body, len(w.order))
	for i, j := range w.order {
		modules[i] = j.module()
	}

	if src.Name != nil && src.Name.Value != "" {
		head.attr("description", quote(oneLine(src.Name.Value)))
	}
	switch {
	case len(w.order) > 1:
		head.attr("on_failure", `"continue"`) // jobs that do not need the failed one still run
	case w.order[0].failsFast():
		head.attr("on_failure", `"cancel"`)
	}
	head.attr("env", env)
	w.concurrency(head)
	for _, name := range w.names {
		head.block("variable "+quote(name), w.variables[strings.ToLower(name)].body(name))
	}
	head.block("schedule", schedule)
	for i, j := range w.order {
		head.block("module "+quote(j.name), modules[i])
	}

	out := &body{}
	out.comment("Converted from a workflow of GitHub Actions by pipelined convert; yours to change.")
	out.marks(w.notesIn(""))
	out.block("pipeline "+quote(name), head)
	w.result.Name, w.result.Source, w.result.Modules = name, out.String()+"\n", len(w.order)
	slices.SortStableFunc(w.notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	w.result.Notes = w.notes
	return w.result, nil
}

// typeNames are the types of variables that are no texts.
var typeNames = map[kind]string{boolKind: "bool", numberKind: "number"}

func (v variable) body(name string) *body {
	b := &body{}
	b.attr("type", cmp.Or(typeNames[v.kind], "string"))
	b.attr("default", v.value)
	if v.description != "" {
		b.attr("description", quote(oneLine(v.description)))
	}
	if len(v.options) > 0 {
		check := &body{}
		check.attr("condition", "contains("+list(quoteAll(v.options))+", var."+name+")")
		check.attr("error_message", quote("expected one of "+strings.Join(v.options, ", ")))
		b.block("validation", check)
	}
	return b
}

// The kinds of the types of inputs that are no texts.
var (
	dispatchKinds = map[actionlint.WorkflowDispatchEventInputType]kind{
		actionlint.WorkflowDispatchEventInputTypeBoolean: boolKind,
		actionlint.WorkflowDispatchEventInputTypeNumber:  numberKind,
	}
	callKinds = map[actionlint.WorkflowCallEventInputType]kind{
		actionlint.WorkflowCallEventInputTypeBoolean: boolKind,
		actionlint.WorkflowCallEventInputTypeNumber:  numberKind,
	}
)

// events converts what starts a workflow: schedules, and the inputs of others.
func (w *workflow) events(schedule *body) {
	var crons []string
	var zone string
	for _, e := range w.src.On {
		switch e := e.(type) {
		case *actionlint.ScheduledEvent:
			for _, s := range e.Schedules {
				if s.Cron != nil {
					crons = append(crons, quote(s.Cron.Value))
				}
				if s.Timezone != nil {
					zone = s.Timezone.Value
				}
			}
		case *actionlint.WorkflowDispatchEvent:
			for _, key := range slices.Sorted(maps.Keys(e.Inputs)) {
				in := e.Inputs[key]
				w.declareInput(key, in.Name, in.Description, in.Default, in.Required, in.Options, dispatchKinds[in.Type])
			}
		case *actionlint.WorkflowCallEvent:
			for _, in := range e.Inputs {
				w.declareInput(in.ID, in.Name, in.Description, in.Default, in.Required, nil, callKinds[in.Type])
			}
			if len(e.Outputs) > 0 {
				w.note(nil, e.Pos, "outputs of on.workflow_call", "a pipeline has none; its modules have results")
			}
		case *actionlint.WebhookEvent:
			w.note(nil, e.Pos, "on: "+e.EventName(), "nothing at a forge starts a pipeline: let a hook or a job there call pipelined submit")
		case *actionlint.RepositoryDispatchEvent:
			w.note(nil, e.Pos, "on: repository_dispatch", "call pipelined submit, or POST /api/v1/runs")
		default:
			w.note(nil, nil, "on: "+e.EventName(), "there is no such event")
		}
	}
	if len(crons) == 1 {
		schedule.attr("cron", crons[0])
	} else {
		schedule.attr("cron", list(crons))
	}
	if zone != "" {
		schedule.attr("timezone", quote(zone))
	}
}

func (w *workflow) declareInput(id string, name, description, preset *actionlint.String, required *actionlint.Bool, options []*actionlint.String, k kind) {
	v := variable{kind: k}
	if v.kind == anyKind {
		v.kind = textKind
	}
	if description != nil {
		v.description = description.Value
	}
	for _, o := range options {
		v.options = append(v.options, o.Value)
	}
	zero := map[kind]string{boolKind: "false", numberKind: "0", textKind: `""`}[v.kind]
	switch {
	case preset != nil && preset.ContainsExpression():
		v.value = zero
		w.note(nil, preset.Pos, "default of the input "+id, "a default is a value, no expression")
	case preset != nil && v.kind == textKind:
		v.value = quote(preset.Value)
	case preset != nil && valid(v.kind, preset.Value):
		v.value = preset.Value
	case preset == nil && len(options) > 0:
		v.value = quote(options[0].Value)
	case required == nil || !required.Value:
		v.value = zero
	}
	if name != nil {
		id = name.Value
	}
	if !identifier(id) {
		w.note(nil, nil, "input "+id, "its name is no name of the language")
		return
	}
	w.declare(id, v)
}

func valid(k kind, text string) bool {
	if k == boolKind {
		return text == "true" || text == "false"
	}
	return numeral.MatchString(text)
}

// env converts the variables of the workflow.
func (w *workflow) env() string {
	if w.src.Env == nil {
		return ""
	}
	s := &scope{w: w}
	if w.src.Env.Expression != nil {
		w.note(nil, w.src.Env.Expression.Pos, "env", "an expression as a whole: name each variable")
	}
	var pairs []pair
	for _, v := range sortedEnv(w.src.Env) {
		if secret := onlySecret(v.Value.Value); secret != "" {
			w.secretEnv[v.Name.Value] = secret
			continue
		}
		expr, err := s.literal(v.Value.Value)
		if err != nil {
			s.note(v.Name.Pos, "env."+v.Name.Value, err)
			continue
		}
		w.known[v.Name.Value] = expr
		pairs = append(pairs, pair{v.Name.Value, expr})
	}
	return object(pairs)
}

// variableName is what a shell takes as the name of a variable.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// sortedEnv are variables in the order of the file, but for those that a worker sets or
// no shell can name.
func sortedEnv(e *actionlint.Env) []*actionlint.EnvVar {
	if e == nil {
		return nil
	}
	list := slices.Collect(maps.Values(e.Vars))
	list = slices.DeleteFunc(list, func(v *actionlint.EnvVar) bool {
		return v.Name == nil || v.Value == nil || !variableName.MatchString(v.Name.Value) || strings.HasPrefix(v.Name.Value, "PIPELINED_")
	})
	slices.SortFunc(list, func(a, b *actionlint.EnvVar) int {
		return cmp.Or(cmp.Compare(a.Name.Pos.Line, b.Name.Pos.Line), cmp.Compare(a.Name.Pos.Col, b.Name.Pos.Col))
	})
	return list
}

// onlySecret is the name of the secret that is all of a text; "" if there is more or
// none.
func onlySecret(text string) string {
	inner, is := strings.CutPrefix(strings.TrimSpace(text), "${{")
	inner, ended := strings.CutSuffix(inner, "}}")
	inner = strings.TrimSpace(inner)
	if !is || !ended {
		return ""
	}
	if inner == "github.token" {
		return "GITHUB_TOKEN"
	}
	name, is := strings.CutPrefix(inner, "secrets.")
	if !is || nameInExpression.FindString(name) != name {
		return ""
	}
	return strings.ToUpper(name)
}

func (w *workflow) concurrency(head *body) {
	c := w.src.Concurrency
	if c == nil || c.Group == nil {
		return
	}
	s := &scope{w: w}
	group, err := s.literal(c.Group.Value)
	if err != nil {
		s.note(c.Pos, "concurrency", err)
		return
	}
	if strings.Contains(group, "run.") { // each run has one of its own
		w.note(nil, c.Pos, "concurrency: "+c.Group.Value, "a group is known before there is a run: leave github.run_id out")
		return
	}
	if !strings.HasPrefix(group, `"`) { // it may be empty, which no group is
		group = `"group-${` + group + `}"`
	}
	b := &body{}
	b.attr("group", group)
	if c.CancelInProgress != nil {
		switch {
		case c.CancelInProgress.Expression != nil:
			w.note(nil, c.CancelInProgress.Pos, "cancel-in-progress", "it is true or false, no expression")
		case c.CancelInProgress.Value:
			b.attr("cancel_in_progress", "true")
		}
	}
	head.block("concurrency", b)
}
