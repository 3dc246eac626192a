package terminal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDetectCI(t *testing.T) {
	for name, want := range map[string]CI{"GITHUB_ACTIONS": github, "GITLAB_CI": gitlab, "TF_BUILD": Azure, "BUILDKITE": Buildkite, "CI": noCI} {
		got := DetectCI(func(asked string) string {
			if asked == name {
				return "True"
			}
			return ""
		})
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestConsole_ci has progress in a group, and the recap behind it with annotations.
// Standard output is that of any pipe.
func TestConsole_ci(t *testing.T) {
	var plain string
	for _, tc := range []struct {
		ci                 CI
		begins, ends, note string
	}{
		{noCI, "build: started", "\n\nlint failed", ""},
		{github, "::group::pipelined: output and progress\n", "\n::endgroup::\n", "::error file=src/a.go,line=7,title=lint failed::exit code 75 on node-1\n"},
		{gitlab, "\x1b[0Ksection_start:1772366400:pipelined_output[collapsed=true]\r\x1b[0Kpipelined: output", "\x1b[0Ksection_end:1772366412:pipelined_output\r\x1b[0K\n\nlint failed", ""},
		{Azure, "##[group]pipelined", "\n##[endgroup]\n", "##vso[task.logissue type=error;sourcepath=src/a.go;linenumber=7;]lint failed: exit code 75 on node-1\n"},
		{Buildkite, "--- pipelined", "\n+++ release 7 failed\n\nlint failed", ""},
	} {
		var out, err bytes.Buffer
		clock := storyStart
		c := newTestConsole(NewStream(&out), NewStream(&err), &clock, ConsoleConfig{CI: tc.ci, Exists: func(name string) bool { return name == "src/a.go" }})
		c.begin()
		c.part(part{"lint", []byte("gone.go:3: x (src/a.go:7: y)"), true, true})
		play(c, &clock)
		got := err.String()
		if !strings.HasPrefix(got, tc.begins) || !strings.Contains(got, tc.ends) || !strings.Contains(got, tc.note) {
			t.Errorf("%v: %q", tc.ci, got)
		}
		if tc.note == "" && strings.Contains(got, "error file") {
			t.Errorf("%v annotates: %q", tc.ci, got)
		}
		if tc.ci == noCI {
			plain = out.String()
		} else if diff := cmp.Diff(plain, out.String()); diff != "" {
			t.Errorf("%v changes stdout:\n%s", tc.ci, diff)
		}
	}
}

func TestCI_annotate(t *testing.T) {
	for ci, want := range map[CI]string{
		github:    "::error file=a%2Cb%3A%25.go,line=3,title=t%3A::x: 100%25%0Ay\n",
		Azure:     "##vso[task.logissue type=error;sourcepath=a,b:%AZP25.go;linenumber=3;]t:: x: 100%AZP25%0Ay\n",
		Buildkite: "",
	} {
		var b bytes.Buffer
		ci.Annotate(&b, "a,b:%.go", 3, "t:", "x: 100%\ny")
		if b.String() != want {
			t.Errorf("%v: %q, want %q", ci, b.String(), want)
		}
	}
}

func TestPlace(t *testing.T) {
	lines := []numbered{{1, "  src/x_test.go:88: run 01a2"}, {2, "at http://host:80/a.js:1 and 12:30"}, {3, "error[E0308]: main.rs:5:9"}}
	for want, exists := range map[string]func(string) bool{
		"src/x_test.go 88": func(string) bool { return true },
		"main.rs 5":        func(name string) bool { return name == "main.rs" },
		" 0":               func(string) bool { return false },
	} {
		file, line := place(lines, exists)
		if got := fmt.Sprint(file, " ", line); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
