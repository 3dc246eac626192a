package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// part is a step as lines of a script.
type part struct {
	text string // of a template
	// own is set if it needs a shell of its own, as every step has at GitHub.
	own bool
	// tolerated is set if its failure is ignored.
	tolerated bool
	pipefail  bool
	// done is set if there is nothing to add to the script.
	done bool
}

// script converts the steps of a job to one script, and to hooks those that run after a
// failure or always.
func (j *job) script() (script string, hooks *body) {
	var parts, failed, after []part
	hooks = &body{}
	for _, st := range j.src.Steps {
		j.w.result.Steps++
		n := len(j.w.notes)
		p, s := j.step(st)
		if p.text != "" || len(j.w.notes) == n || p.done {
			j.w.result.Converted++
		}
		if len(j.w.notes) > n && p.text == "" && !p.done {
			p.text = "# not converted (line " + fmt.Sprint(st.Pos.Line) + "): " + templated.Replace(stepName(st))
		}
		if p.text == "" {
			continue
		}
		switch {
		case s.failed:
			failed = append(failed, p)
		case s.always || s.notCancelled && !s.notFailed:
			after = append(after, p)
		default:
			parts = append(parts, p)
		}
	}
	enter := ""
	if dir := j.workingDirectory(); dir != "" {
		enter = "cd " + shellWord(templated.Replace(dir)) + "\n" // hooks begin in the directory of the module
	}
	if join := j.join(failed); join != "" {
		hooks.attr("on_failure", heredoc(enter+join, 3))
	}
	if join := j.join(after); join != "" {
		hooks.attr("after", heredoc(enter+join, 3))
	}
	if len(parts) > 0 && !slices.ContainsFunc(parts, part.runs) {
		j.blocked = true // a success would let run what needs it
	}
	return j.join(parts), hooks
}

// runs reports whether the step is more than a comment.
func (p part) runs() bool { return !strings.HasPrefix(p.text, "# not converted") }

// stepName is how a note names a step.
func stepName(st *actionlint.Step) string {
	if st.Name != nil && st.Name.Value != "" {
		return oneLine(st.Name.Value)
	}
	if a, is := st.Exec.(*actionlint.ExecAction); is && a.Uses != nil {
		return "uses: " + oneLine(a.Uses.Value)
	}
	if r, is := st.Exec.(*actionlint.ExecRun); is && r.Run != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(r.Run.Value), "\n")
		return "run: " + oneLine(first)
	}
	return "step"
}

// join puts steps together. Text that is no more than comments gives nothing but them.
func (j *job) join(parts []part) string {
	if len(parts) == 0 {
		return ""
	}
	var texts []string
	runs := 0
	for _, p := range parts {
		if p.runs() {
			runs++
		}
	}
	for _, p := range parts {
		text := strings.TrimRight(p.text, "\n")
		if p.pipefail && slices.ContainsFunc(parts, func(o part) bool { return !o.pipefail }) && strings.Contains(text, "|") {
			text, p.own = "set -o pipefail\n"+text, true
		}
		switch {
		case p.tolerated:
			text = "set +e\n(\nset -e\n" + text + "\n)\nset -e"
		case p.own && runs > 1 || strings.HasPrefix(text, "cd ") && runs > 1:
			text = "(\n" + text + "\n)"
		}
		texts = append(texts, text)
	}
	body := strings.Join(texts, "\n")
	if runs == 0 {
		return body + "\ntrue"
	}
	return j.prelude(body, slices.ContainsFunc(parts, func(o part) bool { return !o.pipefail })) + body
}

// supplied are variables that GitHub sets and a script may use: what they become.
var supplied = []struct{ name, value string }{
	{"GITHUB_SHA", "${git.sha}"},
	{"GITHUB_REF_NAME", "${git.branch}"},
	{"GITHUB_HEAD_REF", "${git.branch}"},
	{"GITHUB_RUN_ID", "${run.id}"},
	{"GITHUB_RUN_NUMBER", "${run.number}"},
	{"GITHUB_ACTOR", "${run.submitter}"},
	{"GITHUB_WORKFLOW", "${pipeline.name}"},
	{"GITHUB_WORKSPACE", "$PIPELINED_WORKSPACE"},
	{"GITHUB_OUTPUT", "$PIPELINED_OUTPUT"},
	{"GITHUB_STEP_SUMMARY", "/dev/stdout"},
	{"GITHUB_REF", `${git.tag != "" ? "refs/tags/${git.tag}" : "refs/heads/${git.branch}"}`},
	{"RUNNER_OS", "Linux"},
	{"RUNNER_ARCH", "X64"},
	{"RUNNER_TEMP", "$TMPDIR"},
}

// readEnv sets the variables that a step wrote to GITHUB_ENV: NAME=VALUE, or NAME<<END,
// lines, END.
const readEnv = `export GITHUB_ENV="$TMPDIR/github_env"; : > "$GITHUB_ENV"
github_env() {
  while IFS= read -r line; do
    case "$line" in
    *=*) export "$line" ;;
    *"<<"*)
      value=; end="${line#*<<}"; name="${line%%<<*}"
      while IFS= read -r line && [ "$line" != "$end" ]; do value="$value
$line"; done
      export "$name=${value#?}" ;;
    esac
  done < "$GITHUB_ENV"
}
`

// prelude sets what the script relies on, and runs it as GitHub does: without nounset,
// and without pipefail unless a step says so.
func (j *job) prelude(script string, loose bool) string {
	var b strings.Builder
	switch {
	case loose && strings.Contains(script, "|") && !j.plainShell():
		b.WriteString("set +u +o pipefail\n")
	case strings.Contains(script, "$"):
		b.WriteString("set +u\n")
	}
	for _, p := range j.renamed() {
		fmt.Fprintf(&b, "export %s=\"$%s\"\n", p.name, p.expr)
	}
	for _, v := range supplied {
		if usesVariable(script, v.name) {
			fmt.Fprintf(&b, "export %s=\"%s\"\n", v.name, v.value)
		}
	}
	if usesVariable(script, "GITHUB_ENV") {
		b.WriteString(templated.Replace(readEnv))
	}
	if usesVariable(script, "GITHUB_PATH") {
		b.WriteString("export GITHUB_PATH=\"$TMPDIR/github_path\"; : > \"$GITHUB_PATH\"\n")
	}
	return b.String()
}

// usesVariable reports whether a script names a variable.
func usesVariable(script, name string) bool {
	for at := 0; ; {
		i := strings.Index(script[at:], name)
		if i < 0 {
			return false
		}
		at += i + len(name)
		if at == len(script) || !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz0123456789", rune(script[at])) {
			return true
		}
	}
}

// step converts one step. The scope says when it runs.
func (j *job) step(st *actionlint.Step) (part, *scope) {
	s := &scope{w: j.w, j: j, inStep: true}
	guard := ""
	if st.If != nil {
		expr, err := s.condition(st.If.Value)
		if err != nil {
			s.note(st.If.Pos, "step "+stepName(st)+": if", err)
			return part{}, s
		}
		if expr != "true" {
			guard = expr
		}
	}
	var p part
	switch e := st.Exec.(type) {
	case *actionlint.ExecRun:
		p = j.run(st, e)
	case *actionlint.ExecAction:
		p = j.action(st, e)
	}
	if p.text == "" {
		return p, s
	}
	if t := st.TimeoutMinutes; t != nil {
		j.w.note(j, t.Pos, "step "+stepName(st)+": timeout-minutes", "timeout is that of the whole module")
	}
	if guard != "" {
		p.text = "if [ \"${" + guard + "}\" = true ]; then\n" + strings.TrimRight(p.text, "\n") + "\nfi"
	}
	if st.Name != nil && st.Name.Value != "" {
		p.text = "# " + templated.Replace(oneLine(plain(st.Name.Value))) + "\n" + p.text
	}
	if c := st.ContinueOnError; c != nil {
		if c.Expression != nil {
			j.w.note(j, c.Pos, "step "+stepName(st)+": continue-on-error", "it is true or false, no expression")
		}
		p.tolerated = c.Value && c.Expression == nil
	}
	return p, s
}

// plain takes the signs of expressions out of a name.
func plain(text string) string {
	return strings.NewReplacer("${{", "", "}}", "").Replace(text)
}

// run converts a run step.
func (j *job) run(st *actionlint.Step, e *actionlint.ExecRun) part {
	shell := j.shell(e)
	program, _, _ := strings.Cut(shell, " ")
	s := &scope{w: j.w, j: j, script: program != "python"} // no shell replaces variables in it
	what := "step " + stepName(st)
	if e.Run == nil {
		return part{}
	}
	text, err := s.text(e.Run.Value, templated.Replace)
	if err != nil {
		s.note(e.Run.Pos, what, err)
		return part{}
	}
	j.commandNotes(st, e.Run.Pos, what, e.Run.Value)
	p := part{text: text, pipefail: shell == "bash"}
	switch program {
	case "", "bash", "sh":
	case "python":
		p.text = "python3 - <<'PYTHON'\n" + strings.TrimRight(text, "\n") + "\nPYTHON"
		j.tool("python3")
	default:
		j.w.note(j, e.Run.Pos, what, "shell "+shell+" is not converted")
		return part{}
	}
	p.own = strings.Contains(text, "exit ") || strings.Contains(text, "set ") || strings.Contains(text, "cd ") || strings.Contains(text, "trap ")

	lines, own := j.stepEnv(s, st)
	p.own = p.own || own
	if e.WorkingDirectory != nil {
		line, err := j.enter(&scope{w: j.w, j: j, script: true}, e.WorkingDirectory.Value)
		if err != nil {
			s.note(e.WorkingDirectory.Pos, what+": working-directory", err)
			return part{}
		}
		lines = append(lines, line)
		p.own = true
	}
	p.text = strings.Join(append(lines, strings.TrimLeft(p.text, "\n")), "\n")
	if usesVariable(text, "GITHUB_ENV") {
		p.text = "(\n" + strings.TrimRight(p.text, "\n") + "\n)\ngithub_env"
		p.own = false
	}
	if usesVariable(text, "GITHUB_PATH") {
		p.text = "(\n" + strings.TrimRight(p.text, "\n") + "\n)\nwhile IFS= read -r line; do PATH=\"$line:$PATH\"; done < \"$GITHUB_PATH\""
		p.own = false
	}
	return p
}

// enter is the line that goes to the directory of a step, which is relative to the
// workspace and not to the directory of the job.
func (j *job) enter(s *scope, dir string) (string, error) {
	dir, err := s.text(dir, templated.Replace)
	if j.workingDirectory() != "" && !strings.HasPrefix(dir, "/") && !strings.HasPrefix(dir, "$PIPELINED_WORKSPACE") {
		dir = strings.TrimSuffix("$PIPELINED_WORKSPACE/"+dir, "/")
	}
	return `cd "` + dir + `"`, err
}

// stepEnv converts the variables of a step: to those of the module if it is the only one,
// else to lines of the script, since the other steps do not have them.
func (j *job) stepEnv(s *scope, st *actionlint.Step) (lines []string, own bool) {
	outside := &scope{w: j.w, j: j}
	for _, v := range sortedEnv(st.Env) {
		n := len(j.w.notes)
		if j.isOnly(v) && j.variable(outside, v) && len(j.w.notes) == n {
			continue
		}
		j.w.notes = j.w.notes[:n] // a script may know it
		if secret := onlySecret(v.Value.Value); secret != "" {
			if j.secret(secret); secret == v.Name.Value {
				continue
			}
			lines, own = append(lines, fmt.Sprintf("export %s=\"$%s\"", v.Name.Value, secret)), true
			continue
		}
		text, err := s.text(v.Value.Value, func(text string) string {
			return templated.Replace(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(text))
		})
		if err != nil {
			s.note(v.Name.Pos, "env."+v.Name.Value, err)
			continue
		}
		lines, own = append(lines, "export "+v.Name.Value+`="`+text+`"`), true
	}
	return lines, own
}

// isOnly reports whether the module can have a variable of a step: no other step sees it,
// and the script sets it to nothing else.
func (j *job) isOnly(v *actionlint.EnvVar) bool {
	steps := 0
	for _, st := range j.src.Steps {
		a, is := st.Exec.(*actionlint.ExecAction)
		if !is || commands[actionName(a)].program != "" { // others become no lines of the script
			steps++
		}
	}
	return steps == 1 && !slices.ContainsFunc(j.renamed(), func(p pair) bool { return p.name == v.Name.Value })
}

// shell is that of a step, of the job, or of the workflow; "" if none says.
func (j *job) shell(e *actionlint.ExecRun) string {
	if e.Shell != nil {
		return e.Shell.Value
	}
	for _, d := range []*actionlint.Defaults{j.src.Defaults, j.w.src.Defaults} {
		if d != nil && d.Run != nil && d.Run.Shell != nil {
			return d.Run.Shell.Value
		}
	}
	return ""
}
