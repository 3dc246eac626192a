package language_test

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// A range makes as many numbers as a block may have instances.
func TestRange(t *testing.T) {
	for call, want := range map[string]string{
		"range(3)":         "[0,1,2]",
		"range(0)":         "[]",
		"range(-2)":        "[0,-1]",
		"range(1, 4)":      "[1,2,3]",
		"range(4, 1)":      "[4,3,2]",
		"range(2, 2)":      "[]",
		"range(2, 2, 5)":   "[]",
		"range(0, 5, 2)":   "[0,2,4]",
		"range(5, 0, -2)":  "[5,3,1]",
		"range(0, 1, 0.5)": "[0,0.5]",
	} {
		p := compile(t, moduleWith("command = [jsonencode("+call+")]"), language.Inputs{})
		if got := p.Modules[0].Command[0]; got != want {
			t.Errorf("%s: got %s, want %s", call, got, want)
		}
	}

	for call, want := range map[string]string{
		"range()":           "one, two or three arguments",
		"range(1, 2, 3, 4)": "one, two or three arguments",
		"range(0, 5, 0)":    "step must not be zero",
		"range(0, 5, -1)":   "step leads away from the end",
		"range(5, 0, 1)":    "step leads away from the end",
		"range(4097)":       "range makes at most 4096 numbers",
	} {
		got := mistakes(t, moduleWith("command = [jsonencode("+call+")]"), language.Inputs{})
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want %q", call, got, want)
		}
	}

	if p := compile(t, moduleWith("for_each = range(4096)\ncommand = [\"true\"]"), language.Inputs{}); len(p.Modules) != 4096 {
		t.Errorf("%d instances", len(p.Modules))
	}
}
