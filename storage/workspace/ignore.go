package workspace

import (
	"bytes"
	"strings"
)

// ignoreRule is one line of a .gitignore.
type ignoreRule struct {
	pattern string
	// base is the directory of the file it stands in, relative to the root that
	// paths are matched against; "" for that root.
	base    string
	negated bool
	dirOnly bool
	// nameOnly rules are matched against the last name of a path alone.
	nameOnly bool
	// fixed is how many bytes stand before the first special character. Patterns
	// without any, and those that are "*" and then none (suffix), are by far the
	// most common and need no matcher.
	fixed  int
	suffix bool
}

// parseIgnore reads the lines of a .gitignore that lies in base. Lines mean what
// gitignore(5) says and git does.
func parseIgnore(text []byte, base string) []ignoreRule {
	var rules []ignoreRule
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		if rule, ok := parseIgnoreLine(strings.TrimSuffix(string(line), "\r"), base); ok {
			rules = append(rules, rule)
		}
	}
	return rules
}

func parseIgnoreLine(line, base string) (ignoreRule, bool) {
	if strings.HasPrefix(line, "#") {
		return ignoreRule{}, false
	}
	line = trimTrailingBlanks(line)
	r := ignoreRule{base: base}
	if strings.HasPrefix(line, "!") {
		r.negated, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly, line = true, line[:len(line)-1]
	}
	r.nameOnly = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return ignoreRule{}, false
	}
	r.pattern = line
	if r.fixed = strings.IndexAny(line, `*?[\`); r.fixed < 0 {
		r.fixed = len(line)
	}
	if r.nameOnly && line[0] == '*' && !strings.ContainsAny(line[1:], `*?[\`) {
		r.suffix = true
	}
	return r, true
}

// trimTrailingBlanks removes blanks at the end unless a backslash keeps them.
func trimTrailingBlanks(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// matches reports whether the rule speaks of a path. name is the path's last
// part.
func (r *ignoreRule) matches(path, name string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if r.nameOnly {
		switch {
		case r.fixed == len(r.pattern):
			return name == r.pattern
		case r.suffix:
			return strings.HasSuffix(name, r.pattern[1:])
		}
		return wildmatch(r.pattern, name)
	}
	if r.base != "" {
		path = path[len(r.base)+1:] // a file's rules are only asked below it
	}
	// As git does it, the fixed part is taken off first. So "a**/b", where the
	// stars are no whole part of a path, is nevertheless "a" and then "**/b".
	rest, ok := strings.CutPrefix(path, r.pattern[:r.fixed])
	return ok && wildmatch(r.pattern[r.fixed:], rest)
}

// ignoreList is the rules that hold in a directory, those of the root first. A
// directory adds its own behind those of its parent; the last that matches wins.
type ignoreList struct {
	parent *ignoreList
	rules  []ignoreRule
}

func (l *ignoreList) with(rules []ignoreRule) *ignoreList {
	if len(rules) == 0 {
		return l
	}
	return &ignoreList{parent: l, rules: rules}
}

// decide reports whether a path is ignored; known is false where no rule speaks
// of it. A path in an ignored directory is never asked for.
func (l *ignoreList) decide(path string, isDir bool) (ignored, known bool) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for ; l != nil; l = l.parent {
		for i := len(l.rules) - 1; i >= 0; i-- {
			if l.rules[i].matches(path, name, isDir) {
				return !l.rules[i].negated, true
			}
		}
	}
	return false, false
}

// wildmatch matches a whole path against a pattern: "*", "?" and "[…]" never
// match a slash, "**" does where it is a whole part of the path.
func wildmatch(pattern, path string) bool {
	m := wildmatcher{budget: 1 << 16}
	return m.match(pattern, path, true)
}

// wildmatcher bounds the work of patterns with many stars, which could take
// time exponential in their number. A pattern that runs out matches nothing.
type wildmatcher struct{ budget int }

// match matches p against s; start is true where p is at the start of a part.
func (m *wildmatcher) match(p, s string, start bool) bool {
	for len(p) > 0 {
		if m.budget--; m.budget < 0 {
			return false
		}
		switch p[0] {
		case '*':
			return m.star(p, s, start)
		case '?':
			if s == "" || s[0] == '/' {
				return false
			}
			p, s, start = p[1:], s[1:], false
		case '[':
			ok, rest := matchClass(p, s)
			if !ok {
				return false
			}
			p, s, start = rest, s[1:], false
		default:
			if p[0] == '\\' {
				if p = p[1:]; p == "" {
					return false
				}
			}
			if s == "" || p[0] != s[0] {
				return false
			}
			start = p[0] == '/'
			p, s = p[1:], s[1:]
		}
	}
	return s == ""
}

// star matches p, which begins with a star, against s.
func (m *wildmatcher) star(p, s string, start bool) bool {
	rest := strings.TrimLeft(p, "*")
	if len(p)-len(rest) >= 2 && start && (rest == "" || rest[0] == '/') {
		if rest == "" {
			return true // "/**" at the end: all that is below
		}
		// "**/" is no directory, or any number of them.
		for tail := s; ; {
			if m.match(rest[1:], tail, true) {
				return true
			}
			i := strings.IndexByte(tail, '/')
			if i < 0 || m.budget < 0 {
				return false
			}
			tail = tail[i+1:]
		}
	}
	for {
		if m.match(rest, s, false) {
			return true
		}
		if s == "" || s[0] == '/' || m.budget < 0 {
			return false
		}
		s = s[1:]
	}
}

// matchClass matches the first byte of s against the bracket expression that p
// begins with, and gives what follows it.
func matchClass(p, s string) (ok bool, rest string) {
	if s == "" || s[0] == '/' {
		return false, ""
	}
	c, i, negated, found := s[0], 1, false, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		negated, i = true, i+1
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return false, "" // it does not end: such a pattern matches nothing
		}
		if p[i] == ']' && !first {
			return found != negated, p[i+1:]
		}
		if p[i] == '[' && i+1 < len(p) && p[i+1] == ':' {
			end := strings.Index(p[i+2:], ":]")
			if end < 0 {
				return false, ""
			}
			in, known := namedClass(p[i+2:i+2+end], c)
			if !known {
				return false, ""
			}
			found, i = found || in, i+2+end+2
			continue
		}
		lo, next, valid := classChar(p, i)
		if !valid {
			return false, ""
		}
		hi := lo
		if next+1 < len(p) && p[next] == '-' && p[next+1] != ']' {
			if hi, next, valid = classChar(p, next+1); !valid {
				return false, ""
			}
		}
		found, i = found || lo <= c && c <= hi, next
	}
}

func classChar(p string, i int) (c byte, next int, ok bool) {
	if p[i] == '\\' {
		i++
	}
	if i >= len(p) {
		return 0, i, false
	}
	return p[i], i + 1, true
}

func namedClass(name string, c byte) (in, known bool) {
	lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
	graph := c > ' ' && c < 0x7f
	switch name {
	case "alnum":
		return lower || upper || digit, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || c == ' ', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "space":
		return c == ' ' || c >= '\t' && c <= '\r', true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F', true
	}
	return false, false
}
