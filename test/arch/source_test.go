package arch

import (
	"strings"
	"testing"
)

// find parses src as path and gives everything that is wrong with it.
func find(t *testing.T, path, src string) string {
	t.Helper()
	f, err := parseFile(path, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(checkPurity(f), checkHabits(f)...), "\n")
}

func TestCheckPurity(t *testing.T) {
	impure := `package x
import ("time"; "os"; r "math/rand/v2")
func f() time.Time { go f(); _ = os.Args; _ = r.Int(); return time.Now() }`

	for path, want := range map[string]bool{
		"scheduler/plan.go":       true,
		"scheduler/deep/heap.go":  true,
		"scheduler/plan_test.go":  false,
		"fsm/db.go":               false,
		"pipeline/run.go":         true,
		"pipeline/language/ev.go": false,
		"executor/run.go":         false,
	} {
		got := find(t, path, impure)
		for _, part := range []string{"starts a goroutine", "imports os", "imports math/rand/v2", "time.Now"} {
			if strings.Contains(got, part) != want {
				t.Errorf("%s: %q found is %v, want %v; all of it:\n%s", path, part, !want, want, got)
			}
		}
	}

	if got := find(t, "scheduler/a.go", "package x\nimport \"time\"\nfunc f(d time.Duration) time.Duration { return d * time.Second }"); got != "" {
		t.Errorf("arithmetic on durations is pure; found %s", got)
	}
}

func TestCheckSleeps(t *testing.T) {
	body := "package x\nimport \"time\"\nfunc %s() { time.Sleep(1) }"
	for _, tc := range []struct {
		path, name string
		wrong      bool
	}{
		{"storage/a_test.go", "TestA", true},
		{"test/harness/a.go", "wait", true},
		{"storage/a_test.go", "eventually", true},
		{"test/harness/a.go", "Eventually", true},
		{"test/bench/a.go", "eventually", false},
		{"executor/a.go", "wait", false},
	} {
		got := find(t, tc.path, strings.Replace(body, "%s", tc.name, 1))
		if (got != "") != tc.wrong {
			t.Errorf("%s in %s: found %q, want a fault: %v", tc.name, tc.path, got, tc.wrong)
		}
	}

	bubble := "package x\nimport (\"testing/synctest\"; \"testing\"; \"time\")\nfunc TestA(t *testing.T) { synctest.Test(t, func(*testing.T) { time.Sleep(1) }) }"
	if got := find(t, "a_test.go", bubble); got != "" {
		t.Errorf("under synctest the clock is not real; found %s", got)
	}
}

func TestCheckExits(t *testing.T) {
	src := "package x\nimport (\"os\"; \"log\")\nfunc f() { log.Fatalf(\"\"); os.Exit(1) }"
	if got := find(t, "storage/a.go", src); strings.Count(got, "only commands end the process") != 2 {
		t.Errorf("found %q, want both", got)
	}

	for _, path := range []string{"cmd/pipelined/main.go", "storage/a_test.go"} {
		if got := find(t, path, src); got != "" {
			t.Errorf("%s: found %q, want nothing", path, got)
		}
	}
}

func TestCheckErrorText(t *testing.T) {
	for src, wrong := range map[string]bool{
		`if err.Error() == "x" {}`:                 true,
		`if "x" != err.Error() {}`:                 true,
		`switch err.Error() {}`:                    true,
		`if strings.Contains(err.Error(), "x") {}`: true,
		`if err.Error() != nil {}`:                 false,
		`print(err.Error())`:                       false,
		`if strings.Contains(s, "x") {}`:           false,
		"// arch:allow-error-text x has no typed errors\nif err.Error() == \"\" {}": false,
		"if err.Error() == \"\" {} // arch:allow-error-text x has no typed errors":  false,
		"// arch:allow-error-text \nif err.Error() == \"\" {}":                      true,
		"// arch:allow-error-text far away\nprint()\n\nif err.Error() == \"x\" {}":  true,
	} {
		got := find(t, "storage/a.go", "package x\nimport \"strings\"\nfunc f(err error, s string) {\n"+src+"\n}")
		if (got != "") != wrong {
			t.Errorf("%s: found %q, want a fault: %v", src, got, wrong)
		}
	}
}

func TestCheckHabits_length(t *testing.T) {
	long := "package x\n" + strings.Repeat("\n", maxLines)
	if got := find(t, "storage/a.go", long); !strings.Contains(got, "lines; split it") {
		t.Errorf("a file of %d lines passed: %q", maxLines+1, got)
	}
}
