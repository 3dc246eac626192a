package convert

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// logCommand is a line ::NAME …:: that GitHub reads in the output of a step; std::error:: is
// none.
var logCommand = regexp.MustCompile(`(?:^|[^\w:])::([a-z-]+)(?: |::)`)

// logCommands say what becomes of such lines. add-mask is the same here.
var logCommands = []struct {
	names []string
	why   string
}{
	{[]string{"set-output", "save-state"}, `such a line gives no result: write echo "NAME=value" >> "$PIPELINED_OUTPUT" instead`},
	{[]string{"set-env", "add-path"}, "such a line changes nothing: write an export, or a line to $GITHUB_ENV or $GITHUB_PATH"},
	{[]string{"error", "warning", "notice", "debug"}, "such a line is a line of the log: there are no annotations"},
	{[]string{"group", "endgroup"}, "such a line is a line of the log: nothing is folded"},
	{[]string{"stop-commands", "echo"}, "such a line is a line of the log, and changes nothing"},
}

// githubVariable is a variable of GitHub that a script reads.
var githubVariable = regexp.MustCompile(`(?:\$\{?|environ\[["']|getenv\(["']|environ\.get\(["'])((?:GITHUB|RUNNER|ACTIONS)_[A-Z0-9_]+)`)

// commandNotes says what in the script of a step speaks to GitHub and means nothing here.
func (j *job) commandNotes(st *actionlint.Step, pos *actionlint.Pos, what, text string) {
	found := map[string]bool{}
	for _, m := range logCommand.FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	for _, c := range logCommands {
		if names := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return !found[name] }); len(names) > 0 {
			j.w.note(j, pos, what+": ::"+strings.Join(names, ", ::"), c.why)
		}
	}
	if usesVariable(text, "GITHUB_STEP_SUMMARY") {
		j.w.note(j, pos, what+": GITHUB_STEP_SUMMARY", "the summary goes to the log: a run has no page for it")
	}

	for _, m := range githubVariable.FindAllStringSubmatch(text, -1) {
		if name := m[1]; !j.sets(st, name) && !strings.Contains(text, name+"=") {
			j.w.note(j, pos, what+": $"+name, `the variable has no value here: set it, or take it along with env_from = ["`+name+`"]`)
		}
	}
}

// sets reports whether a step has a variable: from the workflow, or as what is supplied.
func (j *job) sets(st *actionlint.Step, name string) bool {
	for _, env := range []*actionlint.Env{st.Env, j.src.Env, j.w.src.Env} {
		if slices.ContainsFunc(sortedEnv(env), func(v *actionlint.EnvVar) bool { return v.Name.Value == name }) {
			return true
		}
	}
	for _, v := range supplied {
		if v.name == name {
			return true
		}
	}
	return name == "GITHUB_ENV" || name == "GITHUB_PATH"
}
