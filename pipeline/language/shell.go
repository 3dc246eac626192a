package language

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// What shell may be.
const (
	shellSh   = "sh"
	shellBash = pipeline.ShellBash
)

// shell is what pipeline.Module.Shell is for a module that has this in its source.
func (c *compilation) shell(own string) string {
	if own == "" {
		own = c.out.Shell
	}
	if own == shellSh {
		own = ""
	}

	return own
}

// scriptText is a script of the source. hook names it in messages if it is a hook, and
// is "" otherwise.
type scriptText struct {
	attr *hclsyntax.Attribute
	hook string
}

// Warnings are what is valid and likely a mistake: commands of one text with spaces,
// scripts for sh, hooks included, in which the failure of a command before a | has no
// effect, and LostZeros.
func (f *File) Warnings() Diagnostics {
	list := append(f.LostZeros(), f.hiddenFailures("", f.pipeline.Shell, f.hooks.scripts)...)
	for _, x := range f.notifies {
		list = append(list, f.hiddenFailures(fmt.Sprintf("notify %q: ", x.static.Name), f.pipeline.Shell, x.run.scripts)...)
	}
	for _, m := range f.modules {
		if at, advice := oneText(m.commandExpr); advice != "" {
			list = append(list, f.src.diagnostic(at, fmt.Sprintf("module %q: the name of the program has a space", m.static.Name), advice))
		}

		list = append(list, f.hiddenFailures(fmt.Sprintf("module %q: ", m.static.Name), cmp.Or(m.static.Shell, f.pipeline.Shell), m.scripts)...)
	}

	order := func(d Diagnostic) int { return f.src.order(d.File) }
	slices.SortStableFunc(list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Line, b.Line))
	})
	return list
}

// hiddenFailures lists the scripts whose shell ignores a failure before a |.
func (f *File) hiddenFailures(of, shell string, scripts []scriptText) (list Diagnostics) {
	if shell == shellBash {
		return nil
	}

	for _, s := range scripts {
		if command := hiddenFailure(plainText(s.attr.Expr)); command != "" {
			list = append(list, f.src.diagnostic(s.attr.NameRange, fmt.Sprintf("%s%ssh ignores a failure of %s before |", of, s.hook, quote(command)),
				`with shell = "bash" (bash -euo pipefail) it fails then`))
		}
	}
	return list
}

// oneText returns where a command is one text that is likely a whole command line, and
// what would be right; "" if it is not. "./my tool" may well be a program.
func oneText(expr hclsyntax.Expression) (at hcl.Range, advice string) {
	list, ok := expr.(*hclsyntax.TupleConsExpr)
	if !ok || len(list.Exprs) != 1 {
		return at, ""
	}
	text := plainText(list.Exprs[0])
	if words := strings.Fields(text); len(words) < 2 || strings.Contains(words[0], "/") {
		return at, ""
	}
	if !constantExpr(list.Exprs[0]) {
		text = ""
	}
	return list.Exprs[0].Range(), splitCommand(text)
}

// splitCommand says how to write a command line that was given as one text; "" is one
// that is not shown.
func splitCommand(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > 10 || strings.ContainsAny(text, "'\"`$|&;<>(){}*?\\") {
		return "there is no shell: write each argument as an element of its own, or use script"
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return "write [" + strings.Join(words, ", ") + "]"
}

// plainText is the text of a template, with a word in the place of each expression.
func plainText(expr hclsyntax.Expression) string {
	switch x := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		if x.Val.Type() == cty.String && x.Val.IsKnown() && !x.Val.IsNull() {
			return x.Val.AsString()
		}
	case *hclsyntax.TemplateExpr:
		var b strings.Builder
		for _, part := range x.Parts {
			b.WriteString(plainText(part))
		}
		return b.String()
	case *hclsyntax.TemplateWrapExpr:
		return plainText(x.Wrapped)
	}

	return "x"
}

// hiddenFailure returns the first command of a script whose failure sh ignores because
// a | follows it; "" if there is none, or if the script is not one for sh. It reads
// as much of the shell's syntax as that needs; what stands in quotes and in $(…) does
// not count.
func hiddenFailure(script string) string {
	if strings.HasPrefix(script, "#!") || strings.Contains(script, "pipefail") {
		return ""
	}

	s := &pipeScanner{text: script}
	for s.at < len(s.text) && s.found == "" {
		s.step()
	}
	s.end(false)

	return s.found
}

// pipeScanner goes through a script, command by command.
type pipeScanner struct {
	text string
	at   int
	// start is where the present list of commands begins, pipes where a | separates them.
	start int
	pipes []int
	// depth counts open parentheses of subshells.
	depth int
	// ends are the lines that end the here-documents which begin after this line.
	ends  []string
	found string
}

func (s *pipeScanner) next(n int) string { return s.text[s.at:min(len(s.text), s.at+n)] }

// step reads one token.
func (s *pipeScanner) step() {
	c := s.text[s.at]
	switch {
	case c == '\\':
		s.at += 2
	case c == '\'' || c == '"' || c == '`':
		s.at = skipQuoted(s.text, s.at)
	case s.next(2) == "$(":
		s.at = skipParentheses(s.text, s.at+1)
	case c == '#' && (s.at == 0 || strings.IndexByte(" \t\n;(", s.text[s.at-1]) >= 0):
		s.at += strings.IndexByte(s.text[s.at:]+"\n", '\n')
	case s.next(2) == "<<":
		s.hereDocument()
	case c == '\n':
		s.newline()
	case s.next(2) == "||":
		s.end(true)
		s.at, s.start = s.at+2, s.at+2
	case c == '|' && s.at > 0 && s.text[s.at-1] != '>':
		s.pipes = append(s.pipes, s.at)
		s.at++
	case s.next(2) == "&&", s.next(2) == ";;":
		s.end(false)
		s.at, s.start = s.at+2, s.at+2
	case c == ';', c == '(', c == ')':
		s.bracket(c)
	default:
		s.at++
	}
}

// bracket handles what ends a command. A ) without its ( ends a pattern of case.
func (s *pipeScanner) bracket(c byte) {
	switch {
	case c == '(':
		s.depth++
	case c == ')' && s.depth == 0:
		s.pipes = nil
	case c == ')':
		s.depth--
	}

	s.end(false)
	s.at++
	s.start = s.at
}

func (s *pipeScanner) newline() {
	if n := len(s.pipes); n > 0 && strings.TrimSpace(s.text[s.pipes[n-1]+1:s.at]) == "" {
		s.at++ // the command goes on in the next line
		return
	}

	s.end(false)
	s.at++
	for _, end := range s.ends {
		for s.at < len(s.text) {
			line, _, _ := strings.Cut(s.text[s.at:], "\n")
			s.at = min(len(s.text), s.at+len(line)+1)
			if strings.TrimLeft(line, "\t") == end {
				break
			}
		}
	}

	s.ends, s.start = nil, s.at
}

func (s *pipeScanner) hereDocument() {
	rest := strings.TrimLeft(s.text[s.at:], "<- \t")
	n := strings.IndexAny(rest+"\n", " \t\n;|&<>()")
	s.ends = append(s.ends, strings.Trim(rest[:n], `'"\`))
	s.at = len(s.text) - len(rest) + n
}

// end judges the list of commands that ends here; handled is set if || follows.
func (s *pipeScanner) end(handled bool) {
	from, pipes := s.start, s.pipes
	s.pipes = nil
	if handled || s.found != "" {
		return
	}

	for _, to := range pipes {
		command := strings.TrimSpace(s.text[from:to])
		from = to + 1
		switch word := firstWord(&command); {
		case slices.Contains([]string{"if", "elif", "while", "until", "!"}, word):
			return // a condition, which may be false
		case !slices.Contains([]string{"", "echo", "printf", "true", ":", "yes", "seq"}, word):
			s.found = command
			return
		}
	}
}

// firstWord is the name of the program that a command starts. What may precede it is
// cut off the command.
func firstWord(command *string) string {
	for {
		word, rest, more := strings.Cut(strings.TrimSpace(*command), " ")
		before := slices.Contains([]string{"then", "do", "else", "{", "time"}, word) || strings.Contains(word, "=")
		if !more || !before {
			return word
		}
		*command = strings.TrimSpace(rest)
	}
}

// skipQuoted returns the position after the quotes that begin at i.
func skipQuoted(text string, i int) int {
	quote := text[i]
	for i++; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return i + 1
		case quote == '\'':
		case text[i] == '\\':
			i++
		case quote == '"' && strings.HasPrefix(text[i:], "$("):
			i = skipParentheses(text, i+1) - 1
		}
	}

	return len(text)
}

// skipParentheses returns the position after the parentheses that begin at i.
func skipParentheses(text string, i int) int {
	depth := 0
	for i < len(text) {
		switch text[i] {
		case '\\':
			i++
		case '\'', '"', '`':
			i = skipQuoted(text, i) - 1
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}

	return len(text)
}
