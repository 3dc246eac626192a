package convert

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// kind is what is known of the value of an expression.
type kind int

const (
	anyKind kind = iota
	boolKind
	numberKind
	textKind
	listKind
)

// value is an expression of the language; with shell it is a text that only a shell
// replaces.
type value struct {
	expr  string
	kind  kind
	shell bool
	// operator is set if it needs parentheses inside of another one.
	operator bool
}

func (v value) inner() string {
	if v.operator {
		return "(" + v.expr + ")"
	}
	return v.expr
}

// scope is where an expression stands.
type scope struct {
	w *workflow
	j *job // nil outside of jobs
	// script is set in scripts, which may use variables of the shell.
	script bool
	// inStep is set in the condition of a step, of which failure() means the steps before.
	inStep bool
	// always and failed are set by a condition that holds although a job or step failed
	// before, or only then; notFailed and notCancelled by !failure() and !cancelled().
	always, failed, notFailed, notCancelled bool
	// spelling has the names of the expression as they are written there: the parser gives
	// them in lower case.
	spelling map[string]string
}

// errUnsupported is what is not convertible, and why.
type errUnsupported struct{ what, why string }

func (e *errUnsupported) Error() string { return e.what + ": " + e.why }

func unsupported(what, why string) error { return &errUnsupported{what, why} }

// note makes a note of an error of an expression.
func (s *scope) note(pos *actionlint.Pos, what string, err error) {
	why := err.Error()
	var u *errUnsupported
	if errors.As(err, &u) {
		what, why = what+": "+u.what, u.why
	}
	s.w.note(s.j, pos, what, why)
}

// parse reads what stands between ${{ and }}.
func (s *scope) parse(text string) (actionlint.ExprNode, error) {
	s.spelling = map[string]string{}
	for _, name := range nameInExpression.FindAllString(text, -1) {
		s.spelling[strings.ToLower(name)] = name
	}
	node, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(text + "}}"))
	if err != nil {
		return nil, unsupported(strings.TrimSpace(text), err.Message)
	}
	return node, nil
}

// text converts a text that may hold expressions: literal writes what stands around
// them.
func (s *scope) text(text string, literal func(string) string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${{")
		b.WriteString(literal(before))
		if !found {
			return b.String(), nil
		}
		end := expressionEnd(rest)
		if end < 0 {
			return "", unsupported("${{"+rest, "it has no end")
		}
		v, err := s.expression(rest[:end])
		if err != nil {
			return "", err
		}
		if v.shell {
			b.WriteString(v.expr)
		} else {
			b.WriteString("${" + v.expr + "}")
		}
		text = rest[end+2:]
	}
}

// expressionEnd is where }} is that is in no text of the expression; -1 if nowhere.
func expressionEnd(text string) int {
	quoted := false
	for i := 0; i+1 < len(text); i++ {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case !quoted && text[i] == '}' && text[i+1] == '}':
			return i
		}
	}
	return -1
}

// literal converts a text to an expression: a literal, a template, or what alone stands
// in it.
func (s *scope) literal(text string) (string, error) {
	if inner, whole := strings.CutPrefix(strings.TrimSpace(text), "${{"); whole {
		if end := expressionEnd(inner); end >= 0 && end+2 == len(inner) {
			v, err := s.expression(inner[:end])
			return v.expr, err
		}
	}
	inside, err := s.text(text, quoted)
	return `"` + inside + `"`, err
}

func (s *scope) expression(text string) (value, error) {
	node, err := s.parse(text)
	if err != nil {
		return value{}, err
	}
	return s.value(node)
}

var nameInExpression = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_-]*`)

// condition converts an `if`. The scope says afterwards when it holds although a job or
// step failed before.
func (s *scope) condition(text string) (expr string, err error) {
	text = strings.TrimSpace(text)
	if inner, whole := strings.CutPrefix(text, "${{"); whole {
		if end := expressionEnd(inner); end >= 0 && end+2 == len(inner) {
			text = inner[:end]
		}
	}
	node, err := s.parse(text)
	if err != nil {
		return "", err
	}
	v, err := s.truth(node)
	return v.expr, err
}

// truth converts an operand of which only its truth matters.
func (s *scope) truth(node actionlint.ExprNode) (value, error) {
	v, err := s.value(node)
	switch {
	case err != nil || v.kind == boolKind:
		return v, err
	case v.shell:
		return v, unsupported(v.expr, "it is known in the script alone")
	case v.kind == numberKind:
		return value{expr: v.inner() + " != 0", kind: boolKind, operator: true}, nil
	}
	return value{expr: v.inner() + ` != ""`, kind: boolKind, operator: true}, nil
}

func (s *scope) value(node actionlint.ExprNode) (value, error) {
	switch n := node.(type) {
	case *actionlint.NullNode:
		return value{expr: "null"}, nil
	case *actionlint.BoolNode:
		return value{expr: strconv.FormatBool(n.Value), kind: boolKind}, nil
	case *actionlint.IntNode:
		return value{expr: strconv.Itoa(n.Value), kind: numberKind}, nil
	case *actionlint.FloatNode:
		return value{expr: strconv.FormatFloat(n.Value, 'f', -1, 64), kind: numberKind}, nil
	case *actionlint.StringNode:
		return value{expr: quote(n.Value), kind: textKind}, nil
	case *actionlint.NotOpNode:
		switch {
		case isCall(n.Operand, "cancelled"):
			s.notCancelled = true
			return value{expr: "true", kind: boolKind}, nil
		case isCall(n.Operand, "failure"):
			s.notFailed = true
			return value{expr: "true", kind: boolKind}, nil
		}
		v, err := s.truth(n.Operand)
		return value{expr: "!" + v.inner(), kind: boolKind}, err
	case *actionlint.CompareOpNode:
		return s.compare(n)
	case *actionlint.LogicalOpNode:
		return s.logical(n)
	case *actionlint.FuncCallNode:
		return s.call(n)
	}
	path, err := pathOf(node)
	if err != nil {
		return value{}, err
	}
	return s.context(path)
}

// spelled is a name as the source writes it.
func (s *scope) spelled(name string) string {
	if as, is := s.spelling[strings.ToLower(name)]; is {
		return as
	}
	return name
}

func isCall(node actionlint.ExprNode, name string) bool {
	n, is := node.(*actionlint.FuncCallNode)
	return is && strings.EqualFold(n.Callee, name)
}

// pathOf is a.b['c'] as a list of names.
func pathOf(node actionlint.ExprNode) ([]string, error) {
	switch n := node.(type) {
	case *actionlint.VariableNode:
		return []string{n.Name}, nil
	case *actionlint.ObjectDerefNode:
		path, err := pathOf(n.Receiver)
		return append(path, n.Property), err
	case *actionlint.IndexAccessNode:
		path, err := pathOf(n.Operand)
		if index, is := n.Index.(*actionlint.StringNode); is && err == nil {
			return append(path, index.Value), nil
		}
		return path, cmpErr(err, unsupported(strings.Join(path, ".")+"[…]", "only a text may stand in the brackets"))
	case *actionlint.ArrayDerefNode:
		path, err := pathOf(n.Receiver)
		return path, cmpErr(err, unsupported(strings.Join(path, ".")+".*", "lists of objects are not converted"))
	}
	return nil, unsupported("a value inside of another expression", "write it by hand")
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// logical converts && and ||, which give one of their operands.
func (s *scope) logical(n *actionlint.LogicalOpNode) (value, error) {
	and := n.Kind == actionlint.LogicalOpNodeKindAnd
	if !and && (isCall(n.Left, "success") && isCall(n.Right, "failure") || isCall(n.Left, "failure") && isCall(n.Right, "success")) {
		s.notCancelled = true
		return value{expr: "true", kind: boolKind}, nil
	}
	if cond, last := lastOfAnd(n.Left); cond != nil && !and {
		then, err := s.value(last)
		if err != nil {
			return value{}, err
		}
		if then.kind != boolKind { // cond && a || b
			cond, err := s.truth(cond)
			if err != nil {
				return value{}, err
			}
			other, err := s.value(n.Right)
			if err == nil && (then.shell || other.shell) {
				err = unsupported("a choice between variables of the shell", "write it in the script")
			}
			return value{expr: cond.inner() + " ? " + then.inner() + " : " + other.inner(), kind: then.kind, operator: true}, err
		}
	}
	if !and {
		if left, err := s.value(n.Left); err == nil && left.kind != boolKind && !left.shell { // a || 'default'
			right, err := s.value(n.Right)
			return value{expr: left.inner() + ` != "" ? ` + left.inner() + " : " + right.inner(), kind: right.kind, operator: true}, err
		}
	}

	left, err := s.truth(n.Left)
	if err != nil {
		return value{}, err
	}
	right, err := s.truth(n.Right)
	if err != nil {
		return value{}, err
	}
	switch {
	case and && left.expr == "true", !and && left.expr == "false":
		return right, nil
	case and && right.expr == "true", !and && right.expr == "false":
		return left, nil
	case !and && (left.expr == "true" || right.expr == "true"):
		return value{expr: "true", kind: boolKind}, nil
	}
	return value{expr: s.operand(left, n.Left, n.Kind) + " " + n.Kind.String() + " " + s.operand(right, n.Right, n.Kind), kind: boolKind, operator: true}, nil
}

// lastOfAnd takes the last operand off a && b && c; the rest is nil if there is no &&.
func lastOfAnd(node actionlint.ExprNode) (rest, last actionlint.ExprNode) {
	n, is := node.(*actionlint.LogicalOpNode)
	if !is || n.Kind != actionlint.LogicalOpNodeKindAnd {
		return nil, node
	}
	rest, last = lastOfAnd(n.Right)
	if rest == nil {
		return n.Left, last
	}
	return &actionlint.LogicalOpNode{Kind: n.Kind, Left: n.Left, Right: rest}, last
}

// operand writes an operand of && or || with parentheses only if they are needed.
func (s *scope) operand(v value, node actionlint.ExprNode, in actionlint.LogicalOpNodeKind) string {
	switch n := node.(type) {
	case *actionlint.CompareOpNode:
		return v.expr
	case *actionlint.LogicalOpNode:
		if n.Kind == in {
			return v.expr
		}
	}
	if strings.HasSuffix(v.expr, ` != ""`) && !strings.Contains(v.expr, "?") && !strings.Contains(v.expr, "&&") && !strings.Contains(v.expr, "||") {
		return v.expr
	}
	return v.inner()
}

func (s *scope) compare(n *actionlint.CompareOpNode) (value, error) {
	left, right := n.Left, n.Right
	if _, is := left.(*actionlint.StringNode); is && n.Kind.IsEqualityOp() {
		left, right = right, left
	}
	if v, is, err := s.compareRef(n, left, right); is {
		return v, err
	}
	a, err := s.value(left)
	if err != nil {
		return value{}, err
	}
	b, err := s.value(right)
	if err != nil {
		return value{}, err
	}
	if a.shell || b.shell {
		return value{}, unsupported(a.expr+" "+n.Kind.String()+" "+b.expr, "the value is known in the script alone")
	}
	if path, err := pathOf(left); err == nil && len(path) == 3 && path[0] == "needs" && path[2] == "result" && b.kind == textKind {
		if text, is := right.(*actionlint.StringNode); is {
			b.expr = quote(stateOf(text.Value))
		}
	}
	if n.Kind.IsEqualityOp() {
		// GitHub compares a number or a bool with the text of one as if both were the same.
		if a.kind == anyKind || a.kind == textKind {
			b = asText(b)
		} else if a.kind == boolKind && (b.expr == `"true"` || b.expr == `"false"`) {
			b.expr = strings.Trim(b.expr, `"`)
		}
	}
	if !n.Kind.IsEqualityOp() && (a.kind != numberKind || b.kind != numberKind) { // GitHub makes numbers of both; nothing is less than what is none
		return value{expr: "try(tonumber(" + a.expr + ") " + n.Kind.String() + " tonumber(" + b.expr + "), false)", kind: boolKind}, nil
	}
	return value{expr: a.inner() + " " + n.Kind.String() + " " + b.inner(), kind: boolKind, operator: true}, nil
}

func asText(v value) value {
	if v.kind == numberKind || v.kind == boolKind && (v.expr == "true" || v.expr == "false") {
		return value{expr: `"` + v.expr + `"`, kind: textKind}
	}
	return v
}

// compareRef converts a comparison with github.ref, which names a branch or a tag.
func (s *scope) compareRef(n *actionlint.CompareOpNode, left, right actionlint.ExprNode) (value, bool, error) {
	path, err := pathOf(left)
	text, is := right.(*actionlint.StringNode)
	if err != nil || !is || len(path) != 2 || path[0] != "github" || path[1] != "ref" || !n.Kind.IsEqualityOp() {
		return value{}, false, nil
	}
	for prefix, of := range refs {
		if name, is := strings.CutPrefix(text.Value, prefix); is {
			return value{expr: of + " " + n.Kind.String() + " " + quote(name), kind: boolKind, operator: true}, true, nil
		}
	}
	return value{}, true, unsupported("github.ref", "it is compared with no branch or tag")
}

// refs are the prefixes of github.ref, and what has the rest.
var refs = map[string]string{"refs/heads/": "git.branch", "refs/tags/": "git.tag"}
