package convert

import "strings"

// facts are values of the context github that have a counterpart.
var facts = map[string]string{
	"sha":              "git.sha",
	"ref_name":         "git.branch",
	"head_ref":         "git.branch",
	"run_id":           "run.id",
	"run_number":       "run.number",
	"actor":            "run.submitter",
	"triggering_actor": "run.submitter",
	"workflow":         "pipeline.name",
}

// parameters are values of the context github that the submission has to give: their
// default, and what they are.
var parameters = map[string][2]string{
	"event_name":       {"push", "The event that GitHub would have"},
	"repository":       {"", "OWNER/NAME of the repository at GitHub"},
	"repository_owner": {"", "The owner of the repository at GitHub"},
	"base_ref":         {"", "The branch that a pull request goes to"},
	"server_url":       {"https://github.com", "The address of GitHub"},
	"api_url":          {"https://api.github.com", "The address of GitHub's API"},
}

// context converts a value of a context.
func (s *scope) context(path []string) (value, error) {
	name := ""
	if len(path) > 1 {
		name = path[1]
	}
	switch path[0] {
	case "github":
		return s.github(path, name)
	case "inputs":
		return s.input(name)
	case "vars":
		v := s.w.declare(s.spelled(name), variable{kind: textKind, value: `""`, description: "A variable of the repository at GitHub"})
		return value{expr: "var." + v.name, kind: v.kind}, nil
	case "matrix":
		return s.matrix(path)
	case "needs":
		return s.needs(path)
	case "steps":
		return s.step(path)
	case "secrets":
		if s.j != nil && s.script {
			s.j.secret(strings.ToUpper(name))
			return value{expr: "$" + strings.ToUpper(name), kind: textKind, shell: true}, nil
		}
		return value{}, unsupported(strings.Join(path, "."), "a secret is known on the worker alone: use its variable in a script")
	case "env":
		return s.env(name)
	case "runner":
		return s.runner(name)
	case "job", "strategy":
		return value{}, unsupported(strings.Join(path, "."), "there is no counterpart")
	}
	return value{}, unsupported(strings.Join(path, "."), "it is not known")
}

func (s *scope) github(path []string, name string) (value, error) {
	if name == "event" && len(path) == 4 && path[2] == "inputs" {
		return s.input(path[3])
	}
	if len(path) != 2 {
		return value{}, unsupported(strings.Join(path, "."), "there are no events of GitHub here")
	}
	if expr, is := facts[name]; is {
		return value{expr: expr, kind: textKind}, nil
	}
	if p, is := parameters[name]; is {
		s.w.declare("github_"+name, variable{kind: textKind, value: quote(p[0]), description: p[1]})
		return value{expr: "var.github_" + name, kind: textKind}, nil
	}
	switch {
	case name == "job" && s.j != nil:
		return value{expr: quote(s.j.name), kind: textKind}, nil
	case name == "workspace" && s.script:
		return value{expr: "$PIPELINED_WORKSPACE", kind: textKind, shell: true}, nil
	case name == "ref":
		return value{expr: `git.tag != "" ? "refs/tags/${git.tag}" : "refs/heads/${git.branch}"`, kind: textKind, operator: true}, nil
	case name == "token" && s.script && s.j != nil:
		s.j.secret("GITHUB_TOKEN")
		return value{expr: "$GITHUB_TOKEN", kind: textKind, shell: true}, nil
	}
	return value{}, unsupported(strings.Join(path, "."), "there is no counterpart")
}

func (s *scope) input(name string) (value, error) {
	v := s.w.declare(s.spelled(name), variable{kind: textKind, value: `""`, description: "An input of the workflow"})
	return value{expr: "var." + v.name, kind: v.kind}, nil
}

func (s *scope) matrix(path []string) (value, error) {
	if s.j == nil || s.j.axes == "" || len(path) < 2 {
		return value{}, unsupported(strings.Join(path, "."), "the matrix is not converted")
	}
	names := make([]string, len(path)-1)
	for i, name := range path[1:] {
		if names[i] = s.spelled(name); !identifier(names[i]) {
			return value{}, unsupported(strings.Join(path, "."), "its name is no name of the language")
		}
	}
	if !s.j.single && !s.j.axisNames[path[1]] {
		return value{expr: `""`, kind: textKind}, nil // what is missing is empty
	}
	if s.j.axes == "each.value" && s.j.single { // the list is of the values of the one axis
		return value{expr: "each.value"}, nil
	}
	k := anyKind
	if s.j.bools[path[1]] {
		k = boolKind
	}
	expr := s.j.axes + "." + strings.Join(names, ".")
	if len(names) > 1 { // not every value needs to have it
		expr = "try(" + expr + `, "")`
	}
	return value{expr: expr, kind: k}, nil
}

func (s *scope) needs(path []string) (value, error) {
	if len(path) < 3 {
		return value{}, unsupported(strings.Join(path, "."), "only a result or an output of a job is converted")
	}
	need := s.w.jobs[path[1]]
	switch {
	case need == nil:
		return value{}, unsupported(strings.Join(path, "."), "there is no such job")
	case need.instances():
		return value{}, unsupported(strings.Join(path, "."), "the job "+path[1]+" has instances: write module."+path[1]+`["KEY"]`)
	case path[2] == "result":
		return value{expr: "module." + need.name + ".status", kind: textKind}, nil
	case path[2] == "outputs" && len(path) == 4:
		if key, is := need.outputs[strings.ToLower(path[3])]; is {
			return value{expr: "try(module." + need.name + ".result." + key + `, "")`, kind: textKind}, nil // what is missing is empty
		}
	}
	return value{}, unsupported(strings.Join(path, "."), "the output is not converted")
}

// step is the output of an earlier step of the same job, which is read back from where
// the script wrote it.
func (s *scope) step(path []string) (value, error) {
	if !s.script || s.j == nil || len(path) != 4 || path[2] != "outputs" || !s.j.writes[strings.ToLower(path[1])] {
		return value{}, unsupported(strings.Join(path, "."), "only outputs of earlier run steps are converted, in scripts")
	}
	return value{expr: `$(sed -n ` + shellWord("s/^"+s.spelled(path[3])+"=//p") + ` "$PIPELINED_OUTPUT" | tail -n 1)`, kind: textKind, shell: true}, nil
}

func (s *scope) env(name string) (value, error) {
	name = s.spelled(name)
	if s.script {
		return value{expr: "$$" + "{" + name + "-}", kind: textKind, shell: true}, nil
	}
	if s.j != nil {
		if expr, is := s.j.known[name]; is {
			return value{expr: expr, kind: textKind}, nil
		}
	}
	if expr, is := s.w.known[name]; is {
		return value{expr: expr, kind: textKind}, nil
	}
	return value{}, unsupported("env."+name, "it is known in the script alone")
}

func (s *scope) runner(name string) (value, error) {
	switch name {
	case "os":
		return value{expr: `"Linux"`, kind: textKind}, nil
	case "arch":
		return value{expr: `"X64"`, kind: textKind}, nil
	case "temp":
		if s.script {
			return value{expr: "$TMPDIR", kind: textKind, shell: true}, nil
		}
	}
	return value{}, unsupported("runner."+name, "there is no counterpart")
}
