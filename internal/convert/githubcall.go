package convert

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

func (s *scope) call(n *actionlint.FuncCallNode) (value, error) {
	name := strings.ToLower(n.Callee)
	switch name {
	case "success":
		return value{expr: "true", kind: boolKind}, nil
	case "always":
		s.always = true
		return value{expr: "true", kind: boolKind}, nil
	case "cancelled":
		return value{expr: "false", kind: boolKind}, nil
	case "failure":
		return s.failure()
	case "hashfiles":
		return value{}, unsupported("hashFiles()", "cache = true looks at the files of inputs by itself")
	case "startswith":
		if v, is, err := s.startsWithRef(n); is {
			return v, err
		}
	}

	if name == "contains" && len(n.Args) == 2 && s.isResults(n.Args[0]) {
		if text, is := n.Args[1].(*actionlint.StringNode); is {
			return value{expr: "contains(" + s.statuses(s.j.needs) + ", " + quote(stateOf(text.Value)) + ")", kind: boolKind}, nil
		}
	}

	args := make([]value, len(n.Args))
	texts := make([]string, len(n.Args))
	for i, a := range n.Args {
		v, err := s.value(a)
		if err != nil {
			return value{}, err
		}
		if v.shell {
			return value{}, unsupported(n.Callee+"("+v.expr+")", "the value is known in the script alone")
		}
		args[i], texts[i] = v, v.expr
	}
	made := func(name string, k kind) (value, error) {
		return value{expr: name + "(" + strings.Join(texts, ", ") + ")", kind: k}, nil
	}
	switch {
	case name == "contains" && len(args) == 2 && args[0].kind == listKind:
		return made("contains", boolKind)
	case name == "contains" && len(args) == 2:
		return made("strcontains", boolKind)
	case (name == "startswith" || name == "endswith") && len(args) == 2:
		return made(name, boolKind)
	case name == "tojson" && len(args) == 1:
		return made("jsonencode", textKind)
	case name == "fromjson" && len(args) == 1:
		k := anyKind
		if text, is := n.Args[0].(*actionlint.StringNode); is && strings.HasPrefix(strings.TrimSpace(text.Value), "[") {
			k = listKind
		}
		s.w.jsonDefault(texts[0])
		return made("jsondecode", k)
	case name == "join" && len(args) >= 1:
		separator := `","`
		if len(args) > 1 {
			separator = texts[1]
		}
		return value{expr: "join(" + separator + ", " + texts[0] + ")", kind: textKind}, nil
	case name == "format" && len(args) >= 1:
		return format(n, args)
	}
	return value{}, unsupported(n.Callee+"()", "there is no such function")
}

// failure is true if a job before has failed, of those that it needs or that these need.
func (s *scope) failure() (value, error) {
	if s.inStep {
		s.failed = true
		return value{expr: "true", kind: boolKind}, nil
	}
	s.always = true
	if s.j == nil || len(s.j.needs) == 0 {
		return value{}, unsupported("failure()", "the job needs no other one")
	}
	before := slices.Clone(s.j.needs)
	for i := 0; i < len(before); i++ {
		if dep := s.w.jobs[before[i]]; dep != nil {
			for _, need := range dep.needs {
				if !slices.Contains(before, need) {
					before = append(before, need)
				}
			}
		}
	}
	if len(before) == 1 && s.w.jobs[before[0]] != nil && !s.w.jobs[before[0]].instances() {
		return value{expr: "module." + s.w.jobs[before[0]].name + `.status == "failed"`, kind: boolKind, operator: true}, nil
	}
	return value{expr: "contains(" + s.statuses(before) + `, "failed")`, kind: boolKind}, nil
}

// statuses is the list of the states of jobs, and of their instances.
func (s *scope) statuses(jobs []string) string {
	var single, parts []string
	for _, id := range jobs {
		switch dep := s.w.jobs[id]; {
		case dep == nil:
		case dep.instances():
			parts = append(parts, "[for m in module."+dep.name+" : m.status]")
		default:
			single = append(single, "module."+dep.name+".status")
		}
	}
	if len(parts) == 0 {
		return "[" + strings.Join(single, ", ") + "]"
	}
	if len(single) > 0 {
		parts = append([]string{"[" + strings.Join(single, ", ") + "]"}, parts...)
	}
	return "concat(" + strings.Join(parts, ", ") + ")"
}

// isResults reports whether an expression is needs.*.result.
func (s *scope) isResults(node actionlint.ExprNode) bool {
	result, is := node.(*actionlint.ObjectDerefNode)
	if !is || result.Property != "result" || s.j == nil {
		return false
	}
	all, is := result.Receiver.(*actionlint.ArrayDerefNode)
	if !is {
		return false
	}
	needs, is := all.Receiver.(*actionlint.VariableNode)
	return is && needs.Name == "needs"
}

// stateOf is what a result of GitHub is called here.
func stateOf(result string) string {
	switch result {
	case "success":
		return "succeeded"
	case "failure":
		return "failed"
	}
	return result
}

// startsWithRef converts startsWith(github.ref, 'refs/tags/v').
func (s *scope) startsWithRef(n *actionlint.FuncCallNode) (value, bool, error) {
	if len(n.Args) != 2 {
		return value{}, false, nil
	}
	path, err := pathOf(n.Args[0])
	text, is := n.Args[1].(*actionlint.StringNode)
	if err != nil || !is || !slices.Equal(path, []string{"github", "ref"}) {
		return value{}, false, nil
	}
	for prefix, of := range refs {
		if strings.TrimSuffix(prefix, "/") == text.Value || prefix == text.Value {
			return value{expr: of + ` != ""`, kind: boolKind, operator: true}, true, nil
		}
		if name, is := strings.CutPrefix(text.Value, prefix); is {
			return value{expr: "startswith(" + of + ", " + quote(name) + ")", kind: boolKind}, true, nil
		}
	}
	return value{}, true, unsupported("github.ref", "it is compared with no branch or tag")
}

// format converts format('{0} {1}', a, b) to a template.
func format(n *actionlint.FuncCallNode, args []value) (value, error) {
	pattern, is := n.Args[0].(*actionlint.StringNode)
	if !is {
		return value{}, unsupported("format()", "its first argument is no text")
	}
	out := quoted(strings.NewReplacer("{{", "\x01", "}}", "\x02").Replace(pattern.Value))
	for i, a := range args[1:] {
		out = strings.ReplaceAll(out, "{"+strconv.Itoa(i)+"}", "${"+a.expr+"}")
	}
	out = strings.NewReplacer(`\u0001`, "{", `\u0002`, "}").Replace(out)
	return value{expr: `"` + out + `"`, kind: textKind}, nil
}
