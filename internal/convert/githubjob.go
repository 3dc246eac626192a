package convert

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// job is a job that becomes a module.
type job struct {
	w    *workflow
	src  *actionlint.Job
	name string
	// needs are the ids, in lower case, of the jobs that it waits for.
	needs []string
	// attribute and combinations are matrix or for_each; axes is what expressions of the
	// matrix become: matrix, or each.value. With single, each.value is the value of the
	// one axis. axisNames are the axes in lower case, bools those of true and false.
	attribute, combinations, axes string
	single                        bool
	bools, axisNames              map[string]bool
	// writes are the steps, in lower case, whose outputs are in the result; outputs are
	// the keys of the result by the outputs of the job, in lower case.
	writes  map[string]bool
	outputs map[string]string
	// known are the variables of env as expressions.
	known   map[string]string
	env     []pair
	secrets []string
	tools   []string
	// outputs of the module, as expressions
	files []string
	// blocked says that the module must not run as it is.
	blocked bool
}

// defaultTimeout is how many minutes GitHub gives a job that says nothing. The language has
// a lower default.
const defaultTimeout = 360

func (j *job) instances() bool { return j.attribute != "" }

// secret adds a secret that the module gets as a variable.
func (j *job) secret(name string) {
	if !slices.Contains(j.secrets, name) {
		j.secrets = append(j.secrets, name)
	}
}

func (j *job) tool(names ...string) {
	for _, n := range names {
		if !slices.Contains(j.tools, n) {
			j.tools = append(j.tools, n)
		}
	}
}

// look finds what other jobs refer to: needs, instances and outputs.
func (j *job) look() {
	for _, n := range j.src.Needs {
		j.needs = append(j.needs, strings.ToLower(n.Value))
	}
	for _, s := range j.src.Steps {
		if _, is := s.Exec.(*actionlint.ExecRun); is && s.ID != nil {
			j.writes[strings.ToLower(s.ID.Value)] = true
		}
	}
	if st := j.src.Strategy; st != nil {
		j.matrix(st.Matrix)
	}
	for key, o := range j.src.Outputs {
		if o.Value == nil {
			continue
		}
		inner, is := strings.CutPrefix(strings.TrimSpace(o.Value.Value), "${{")
		inner, ended := strings.CutSuffix(inner, "}}")
		path := strings.Split(strings.TrimSpace(inner), ".")
		if !is || !ended || len(path) != 4 || path[0] != "steps" || path[2] != "outputs" || !j.writes[strings.ToLower(path[1])] || !identifier(path[3]) {
			j.w.note(j, o.Value.Pos, "outputs."+key, "only an output of a run step is converted")
			continue
		}
		j.outputs[key] = path[3]
	}
}

// module converts the job.
func (j *job) module() *body {
	b := &body{}
	src := j.src
	s := &scope{w: j.w, j: j}
	if call := src.WorkflowCall; call != nil {
		uses := ""
		if call.Uses != nil {
			uses = call.Uses.Value
		}
		j.w.note(j, src.Pos, "uses: "+uses, `a reusable workflow: convert it too, and write pipeline = "ITS.hcl" and variables = { … } in place of command`)
		j.blocked = true
	}

	image, services := &body{}, &body{}
	j.container(s, image)
	j.services(s, services)
	j.environment(s)
	script, hooks := j.script()
	requires := j.requires(s)
	when := j.condition(s)

	if src.Name != nil && !src.Name.ContainsExpression() {
		b.attr("description", quote(oneLine(src.Name.Value)))
	}
	b.attr(j.attribute, j.combinations)
	j.depends(s, b)
	b.attr("when", when)
	if s.always {
		b.attr("always_run", "true")
	}
	if c := src.ContinueOnError; c != nil {
		if c.Expression != nil {
			j.w.note(j, c.Pos, "continue-on-error", "ignore_failure is true or false, no expression")
		} else if c.Value {
			b.attr("ignore_failure", "true")
		}
	}
	if dir := j.workingDirectory(); dir != "" {
		b.attr("working_dir", quote(dir))
	}
	b.attr("env", object(j.env))
	b.attr("secrets", list(quoteAll(j.secrets)))
	b.attr("requires", requires)
	limit := minutes(defaultTimeout)
	if t := src.TimeoutMinutes; t != nil {
		if t.Expression != nil {
			j.w.note(j, t.Pos, "timeout-minutes", "a limit is a value, no expression")
		} else {
			limit = minutes(t.Value)
		}
	}
	if !j.blocked {
		b.attr("timeout", limit)
	}
	j.rest(s, b)
	b.attr("outputs_optional", list(j.files))
	b.lines = append(b.lines, image.lines...)
	if script == "" {
		b.attr("command", `["true"]`)
	} else {
		if !j.plainShell() {
			b.attr("shell", `"bash"`)
		}
		b.attr("script", heredoc(script, 2))
	}
	b.block("hooks", hooks)
	if len(services.lines) > 0 {
		b.gap()
		b.lines = append(b.lines, services.lines...)
	}

	all := &body{}
	all.marks(j.w.notesIn(j.name))
	all.lines = append(all.lines, b.lines...)
	return all
}

// depends names the modules that it waits for. A failure that is ignored does not keep
// what depends on it from running; neither does a skip, if the condition says !failure().
func (j *job) depends(s *scope, b *body) {
	var deps []string
	ignored := s.notFailed
	for i, n := range j.needs {
		if j.w.jobs[n] == nil {
			j.w.note(j, j.src.Needs[i].Pos, "needs: "+j.src.Needs[i].Value, "there is no such job")
		}
		if dep := j.w.jobs[n]; dep != nil {
			deps = append(deps, "module."+dep.name)
			ignored = ignored || dep.src.ContinueOnError != nil && dep.src.ContinueOnError.Value
		}
	}
	b.attr("depends_on", list(deps))
	if ignored && len(deps) > 0 && !s.always {
		b.attr("run_if", `"not_failed"`)
	}
}

// condition converts the job's if. One that cannot be converted becomes false.
func (j *job) condition(s *scope) (when string) {
	if j.src.If != nil {
		expr, err := s.condition(j.src.If.Value)
		if err != nil {
			s.note(j.src.If.Pos, "if", err)
			s.always, s.notFailed = false, false
			return "false"
		}
		when = expr
		if s.notCancelled && !s.notFailed && !s.always {
			j.w.note(j, j.src.If.Pos, "if: !cancelled()", "always_run also runs when the run is cancelled; run_if = \"not_failed\" does not run after a failure")
			s.always = true
		}
	}
	if j.blocked {
		s.always, s.notFailed = false, false
		return "false"
	}
	if when == "true" {
		when = ""
	}
	return when
}

// environment converts the variables of the job, and takes those of the workflow that
// are a secret.
func (j *job) environment(s *scope) {
	if e := j.src.Env; e != nil && e.Expression != nil {
		j.w.note(j, e.Expression.Pos, "env", "an expression as a whole: name each variable")
	}
	for _, v := range j.jobEnv() {
		j.variable(s, v)
	}
}

// jobEnv are the variables of the job and those of its container, which it wins over.
func (j *job) jobEnv() []*actionlint.EnvVar {
	list := sortedEnv(j.src.Env)
	if j.inContainer() {
		for _, v := range sortedEnv(j.src.Container.Env) {
			if !slices.ContainsFunc(list, func(o *actionlint.EnvVar) bool { return o.Name.Value == v.Name.Value }) {
				list = append(list, v)
			}
		}
	}
	return list
}

// variable sets a variable of the module; it reports whether it could.
func (j *job) variable(s *scope, v *actionlint.EnvVar) bool {
	if secret := onlySecret(v.Value.Value); secret != "" {
		if secret == v.Name.Value {
			j.secret(secret)
			return true
		}
		return false // a script sets it
	}
	expr, err := s.literal(v.Value.Value)
	if err != nil {
		s.note(v.Name.Pos, "env."+v.Name.Value, err)
		return true
	}
	if has, is := j.known[v.Name.Value]; is {
		return has == expr
	}
	j.known[v.Name.Value] = expr
	j.env = append(j.env, pair{v.Name.Value, expr})
	return true
}

// renamed are variables of a secret of another name, which the script sets.
func (j *job) renamed() []pair {
	var out []pair
	add := func(name, secret string) {
		if name != secret {
			out = append(out, pair{name, secret})
		}
		j.secret(secret)
	}
	for _, v := range sortedEnv(j.w.src.Env) {
		if secret := j.w.secretEnv[v.Name.Value]; secret != "" {
			add(v.Name.Value, secret)
		}
	}
	for _, v := range j.jobEnv() {
		if secret := onlySecret(v.Value.Value); secret != "" {
			add(v.Name.Value, secret)
		}
	}
	return out
}

func (j *job) workingDirectory() string {
	dir := ""
	for _, d := range []*actionlint.Defaults{j.w.src.Defaults, j.src.Defaults} {
		if d != nil && d.Run != nil && d.Run.WorkingDirectory != nil {
			dir = d.Run.WorkingDirectory.Value
			if d.Run.WorkingDirectory.ContainsExpression() {
				j.w.note(j, d.Run.WorkingDirectory.Pos, "working-directory", "working_dir is a path, no expression")
				dir = ""
			}
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(dir, "./"), "/")
}

// failsFast reports whether the first failure of an instance cancels the others. That is
// what GitHub does unless fail-fast says no.
func (j *job) failsFast() bool {
	st := j.src.Strategy
	return j.instances() && (st.FailFast == nil || st.FailFast.Expression == nil && st.FailFast.Value)
}

// rest converts what else a job has.
func (j *job) rest(s *scope, b *body) {
	src := j.src
	if c := src.Concurrency; c != nil && c.Group != nil {
		group, err := s.literal(c.Group.Value)
		if err != nil || strings.Contains(group, "${") || !strings.HasPrefix(group, `"`) {
			j.w.note(j, c.Pos, "concurrency", "not_in_parallel has keys, no expressions")
		} else {
			b.attr("not_in_parallel", "["+group+"]")
		}
	}
	if len(j.w.order) > 1 && j.failsFast() {
		j.w.note(j, src.Strategy.Pos, "fail-fast", "the other instances run on; on_failure = \"cancel\" of the pipeline stops all that runs")
	}
	if st := src.Strategy; st != nil && st.MaxParallel != nil && st.MaxParallel.Expression == nil && j.instances() {
		b.attr("max_parallel", strconv.Itoa(st.MaxParallel.Value))
	}
	if e := src.Environment; e != nil && e.Name != nil {
		j.w.note(j, e.Pos, "environment: "+e.Name.Value, "if people approve it, write a module with an approval block and depend on it; its secrets are set by pipelined secrets set")
	}
}
