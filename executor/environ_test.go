package executor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

func environ(t *testing.T, c executor.EnvConfig) map[string]string {
	t.Helper()
	list, err := executor.Environ(c)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		if _, twice := env[name]; twice {
			t.Errorf("%s stands twice in %q", name, list)
		}
		env[name] = value
	}
	return env
}

func machine(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestEnviron(t *testing.T) {
	got := environ(t, executor.EnvConfig{Dir: "/a", Path: "/bin", TraceParent: "00-1", Run: "r1", Pipeline: "p", Module: "m", Attempt: 2,
		Worker: "w", Cache: "/c", PassThrough: []string{"GOPROXY", "UNSET", "GOPROXY", "PIPELINED_KEY", "EMPTY"},
		Declared: map[string]string{"A": "1", "B": "x=y"},
		Lookup:   machine(map[string]string{"GOPROXY": "http://proxy", "PIPELINED_KEY": "secret", "EMPTY": "", "OTHER": "x"})})
	if out := got["PIPELINED_OUTPUT"]; !strings.HasPrefix(out, "/dev/shm/pipelined-") && out != "/a/result" {
		t.Errorf("PIPELINED_OUTPUT=%s", out)
	}
	delete(got, "PIPELINED_OUTPUT")
	want := map[string]string{"PATH": "/bin", "HOME": "/a/home", "TMPDIR": "/a/tmp", "CI": "true", "TRACEPARENT": "00-1",
		"PIPELINED_RUN_ID": "r1", "PIPELINED_PIPELINE": "p", "PIPELINED_MODULE": "m", "PIPELINED_ATTEMPT": "2", "PIPELINED_WORKER": "w",
		"PIPELINED_WORKSPACE": "/a/work", "PIPELINED_CACHE": "/c", "GOPROXY": "http://proxy", "EMPTY": "", "A": "1", "B": "x=y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnviron_precedence(t *testing.T) {
	got := environ(t, executor.EnvConfig{Dir: "/a", Run: "r", PassThrough: []string{"HOME", "PATH", "CI"},
		Declared: map[string]string{"PATH": "/declared", "CI": "", "PIPELINED_RUN_ID": "forged", "PIPELINED_X": "forged"},
		Lookup:   machine(map[string]string{"HOME": "/machine", "PATH": "/machine/bin", "CI": "machine"})})
	for name, want := range map[string]string{"PATH": "/declared", "CI": "", "HOME": "/machine", "TMPDIR": "/a/tmp", "PIPELINED_RUN_ID": "r"} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s=%q (%v), want %q", name, value, ok, want)
		}
	}
	for _, name := range []string{"PIPELINED_X", "PIPELINED_CACHE", "PIPELINED_ATTEMPT", "TRACEPARENT"} {
		if value, ok := got[name]; ok {
			t.Errorf("%s=%q, want it unset", name, value)
		}
	}
	if got := environ(t, executor.EnvConfig{Lookup: machine(nil)})["PATH"]; got != executor.DefaultPath {
		t.Errorf("PATH=%q", got)
	}
	if got := environ(t, executor.EnvConfig{Lookup: machine(map[string]string{"PATH": "/m"})})["PATH"]; got != "/m" {
		t.Errorf("PATH=%q, want the machine's", got)
	}
}

func TestEnviron_order(t *testing.T) {
	c := executor.EnvConfig{Dir: "/a", Declared: map[string]string{"C": "3", "A": "1", "B": "2", "D": "4"}}
	first, err := executor.Environ(c)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := executor.Environ(c); !slices.Equal(again, first) {
			t.Fatalf("order differs: %q, %q", first, again)
		}
	}
}

func TestEnviron_invalid(t *testing.T) {
	for name, value := range map[string]string{"": "x", "A=B": "x", "A\x00": "x", "A": "\x00"} {
		if _, err := executor.Environ(executor.EnvConfig{Declared: map[string]string{name: value}}); pipeline.KindOf(err) != pipeline.Invalid || err == nil {
			t.Errorf("%q=%q: %v, want an invalid", name, value, err)
		}
	}
}
