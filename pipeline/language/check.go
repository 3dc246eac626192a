package language

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipelined/pipelined/pipeline"
)

// problem is what is wrong with a value and how to correct it; nil means valid.
type problem struct {
	summary, detail string
	// choices are the valid words, if there is a fixed set.
	choices []string
}

func wrong(detail, format string, args ...any) *problem {
	return &problem{summary: fmt.Sprintf(format, args...), detail: detail}
}

// quote quotes a value for a message, shortened if it is long.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return fmt.Sprintf("%q", s)
}

const (
	nameRule = "a name has letters, digits, _ and -, begins with no -, and has at most 63 of them"
	// maxArgument is the longest argument or variable that Linux accepts, its
	// terminator included.
	maxArgument = 128<<10 - 1
)

func checkName(s string) *problem {
	if !pipeline.ValidName(s) {
		return wrong(nameRule, "invalid name %s", quote(s))
	}
	return nil
}

// checkIdentifier is for names that expressions use without quotes.
func checkIdentifier(s string) *problem {
	if !pipeline.ValidName(s) || (s[0] >= '0' && s[0] <= '9') {
		return wrong("it has letters, digits, _ and -, begins with a letter or _, and has at most 63 of them", "invalid name %s", quote(s))
	}
	return nil
}

// checkWord is for tags and tools: what compares with what a worker offers.
func checkWord(s string) *problem {
	if s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) || strings.Contains(s, ",") {
		return wrong("it has from 1 to 128 characters, and no space or comma", "invalid word %s", quote(s))
	}
	return nil
}

// checkText is for what reaches a process.
func checkText(s string) *problem {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return wrong("no argument, script or variable of a process can hold one", "NUL character in the value")
	}
	return nil
}

func checkArgument(s string) *problem {
	if len(s) > maxArgument {
		return wrong("put it into a script or a file of the workspace", "argument of %d KiB is longer than the 128 KiB that the kernel takes", len(s)>>10)
	}
	return checkText(s)
}

// checkEnvName is for names of variables of a process.
func checkEnvName(s string) *problem {
	switch {
	case s == "":
		return wrong("", "empty name of an environment variable")
	case len(s) > 255:
		return wrong("it has at most 255 characters", "name of an environment variable is too long")
	case strings.ContainsAny(s, "=\x00") || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return wrong("it holds no =, no space and no control character", "invalid name of an environment variable %s", quote(s))
	case s[0] >= '0' && s[0] <= '9':
		return wrong("it begins with a letter or _", "invalid name of an environment variable %s", quote(s))
	case strings.HasPrefix(s, "PIPELINED_"):
		return wrong("names that begin with PIPELINED_ are set by the worker", "reserved name of an environment variable %s", quote(s))
	}

	return nil
}

// checkPath is for paths inside a directory.
func checkPath(s string) *problem {
	const rule = "write a path inside the directory, relative to it, such as \"dir/file\""
	switch {
	case s == "":
		return wrong(rule, "empty path")
	case len(s) > 1024:
		return wrong(rule, "path of more than 1024 characters")
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return wrong(rule, "control character in path %s", quote(s))
	case strings.Contains(s, `\`):
		return wrong("directories are separated by /", "backslash in path %s", quote(s))
	case s[0] == '/' || (len(s) > 1 && s[1] == ':' && unicode.IsLetter(rune(s[0]))):
		return wrong(rule, "absolute path %s", quote(s))
	case s[0] == '~':
		return wrong("a path is relative to the directory, and ~ has no meaning in it; write ./~ for a file of that name", "path %s begins with ~", quote(s))
	}

	for part := range strings.SplitSeq(s, "/") {
		if part == ".." {
			return wrong(rule, "path %s leaves the directory", quote(s))
		}
	}

	return nil
}

// The complexity of one pattern: matching ** and {} backtracks.
const (
	maxGlobStars  = 8
	maxGlobBraces = 8
	maxPatterns   = 1000
)

// checkGlob is for patterns of files inside a directory.
func checkGlob(s string) *problem {
	if s == "!" {
		return wrong(`write what it takes away behind the !, such as "!**/*.tmp"`, `pattern "!" matches nothing`)
	}

	// "!" takes away, and "\!" is a name that begins with "!".
	path, _ := strings.CutPrefix(s, "!")
	if path == s {
		path = strings.TrimPrefix(s, `\`+"!")
	}
	if p := checkPath(path); p != nil && (path != "" || path == s) {
		return p
	}

	switch {
	case !doublestar.ValidatePattern(s):
		return wrong("*, **, ?, [a-z] and {a,b} are what a pattern may have, and each bracket needs its end", "invalid pattern %s", quote(s))
	case strings.Count(s, "**") > maxGlobStars:
		return wrong("", "pattern %s has more than %d **", quote(s), maxGlobStars)
	case strings.Count(s, "{") > maxGlobBraces:
		return wrong("write several patterns", "pattern %s has more than %d {}", quote(s), maxGlobBraces)
	}

	return nil
}

// checkGlobs is for a list of patterns, each of which checkGlob accepted.
func checkGlobs(list []string) *problem {
	if len(list) == 0 || list[0][0] != '!' {
		return nil
	}
	detail := fmt.Sprintf(`name before it what is wanted: ["**", %.60s]`, quote(list[0]))
	if !slices.ContainsFunc(list, func(s string) bool { return s[0] != '!' }) && len(list) > 1 {
		return wrong(detail, "all patterns begin with !, and there is nothing that they could take away from")
	}
	return wrong(detail+`; a file whose name begins with ! is "./`+list[0]+`"`, "pattern %s begins with ! and is the first: it takes away what those before it match", quote(list[0]))
}

// cleanGlob makes "./a" into "a" and "dir/" into all that is in the directory.
func cleanGlob(s string) string {
	if rest, negated := strings.CutPrefix(s, "!"); negated {
		return "!" + cleanGlob(rest)
	}
	if strings.HasPrefix(s, "./") {
		if s = cleanPattern(s); s[0] == '!' {
			return `\` + s
		}
		return s
	}
	return cleanPattern(s)
}

func cleanPattern(s string) string {
	for strings.HasPrefix(s, "./") {
		s = strings.TrimLeft(s[2:], "/")
	}
	if s == "" || s == "." {
		return "**"
	}
	if strings.HasSuffix(s, "/") {
		s = strings.TrimRight(s, "/") + "/**"
	}
	return s
}

// cleanPath returns the shortest form of a path that checkPath accepted; "" is
// the directory itself.
func cleanPath(s string) string {
	if s = path.Clean(s); s == "." {
		return ""
	}
	return s
}

// checkRoot is for workspace.root: the pipeline's own directory, one inside it,
// or one above.
func checkRoot(s string) *problem {
	rest := s
	for rest == ".." || strings.HasPrefix(rest, "../") {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, ".."), "/")
	}
	if rest == "" && s != "" {
		return nil
	}
	if p := checkPath(rest); p != nil {
		return &problem{summary: p.summary, detail: `root is relative to the pipeline's file: ".", "dir", or ".." and "../.." for directories above`}
	}
	return nil
}

// maxDuration is a year.
const maxDuration = 8760 * time.Hour

// parseDuration reads a duration in Go's syntax. zero is the meaning of "0", or
// "" if it is not allowed.
func parseDuration(s, zero string) (time.Duration, *problem) {
	const syntax = `write a number and a unit, such as "90s", "10m" or "1h30m"`
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && strings.Trim(s, "0123456789") == "" && s != "":
		return 0, wrong(fmt.Sprintf("did you mean \"%.10ss\"? %s", s, syntax), "duration %s has no unit", quote(s))
	case err != nil:
		return 0, wrong(syntax, "invalid duration %s", quote(s))
	case d < 0 && zero != "":
		return 0, wrong(syntax+`; "0" is `+zero, "negative duration %s", quote(s))
	case d < 0:
		return 0, wrong(syntax, "negative duration %s", quote(s))
	case d > maxDuration && zero != "":
		return 0, wrong(`the most is "8760h", a year; "0" is `+zero, "duration %s is too long", quote(s))
	case d > maxDuration:
		return 0, wrong(`the most is "8760h", a year`, "duration %s is too long", quote(s))
	case d == 0 && zero == "":
		return 0, wrong(`write a duration above zero, such as "1s"`, "duration %s is none", quote(s))
	}

	return d, nil
}

func oneOf(words ...string) func(string) *problem {
	return func(s string) *problem {
		for _, w := range words {
			if s == w {
				return nil
			}
		}

		detail := didYouMean(s, words)
		if detail == "" {
			detail = fmt.Sprintf("write %q", words[0])
			for _, w := range words[1:] {
				detail += fmt.Sprintf(" or %q", w)
			}
		}

		bad := wrong(detail, "invalid value %s", quote(s))
		bad.choices = words

		return bad
	}
}
