package language_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
)

// Values and names that are written to do harm or to mislead: each is refused
// with its place, at once.
func TestCompile_hostile(t *testing.T) {
	for name, row := range map[string]struct{ lines, want string }{
		"matrix of too many":         {"command = [\"a\"]\nmatrix = { a = range(65), b = range(64) }", "4:10 the matrix makes more than 4096 instances"},
		"matrix that overflows":      {"command = [\"a\"]\nmatrix = { a = range(1000), b = range(1000), c = range(1000), d = range(1000), e = range(1000), f = range(1000), g = range(1000) }", "4:10 the matrix makes more than 4096 instances"},
		"homoglyph of an attribute":  {"command = [\"a\"]\n\u0441ommand = [\"b\"]", "4:1 unknown attribute \"\u0441ommand\" in module"},
		"homoglyph of a name":        {"command = [\"a\"]\n}\nmodule \"\u0430pp\" {\ncommand = [\"a\"]", "5:8 module: invalid name \"\u0430pp\""},
		"2^63":                       {"command = [\"a\"]\npriority = 9223372036854775808", "4:12 priority: number out of range"},
		"2^64 attempts":              {"command = [\"a\"]\nretry {\nattempts = 18446744073709551616\n}", "5:12 attempts: number out of range"},
		"1e400 attempts":             {"command = [\"a\"]\nretry {\nattempts = 1e400\n}", "5:12 attempts: number out of range"},
		"-0 attempts":                {"command = [\"a\"]\nretry {\nattempts = -0\n}", "5:12 attempts: number out of range"},
		"exponent of gigabytes":      {"command = [\"a\"]\nenv = { A = 1e2000000000 }", "4:13 number out of range"},
		"number by a function":       {"command = [\"a\"]\nenv = { A = pow(9e99, 9e9) }", "4:13 number out of range"},
		"no number":                  {"command = [\"a\"]\nenv = { A = 0/0 }", "4:13 operation failed"},
		"pattern that repeats":       {"command = [\"a\"]\nenv = { A = regex(\"((((a{100}){100}){100}){100})\", \"a\") }", "4:20 invalid function argument"},
		"NUL in the name of a env":   {"command = [\"a\"]\nenv = { \"A\\u0000\" = 1 }", "4:9 env: invalid name of an environment variable"},
		"line in the name of an env": {"command = [\"a\"]\nenv = { \"A\\nB\" = 1 }", "4:9 env: invalid name of an environment variable"},
	} {
		t.Run(name, func(t *testing.T) {
			start := processorTime()
			got := mistakes(t, moduleWith(row.lines), language.Inputs{})
			if len(got) == 0 || !strings.HasPrefix(got[0], row.want) {
				t.Errorf("got %v, want %s", got, row.want)
			}
			if took := processorTime() - start; took > 3*time.Second*raceFactor {
				t.Errorf("it took %v of the processor", took)
			}
		})
	}
}

// Go's regular expressions are linear in the length of the text: a pattern that
// hangs other engines is evaluated quickly.
func TestCompile_patternsAreLinear(t *testing.T) {
	src := moduleWith(`command = ["a", tostring(can(regex("(a*)*(a*)*(a|aa)+$", "` + strings.Repeat("a", 50_000) + `!")))]`)
	start := processorTime()
	if got, want := compile(t, src, language.Inputs{}).Modules[0].Command[1], "false"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if took := processorTime() - start; took > 3*time.Second*raceFactor {
		t.Errorf("it took %v of the processor", took)
	}
}
