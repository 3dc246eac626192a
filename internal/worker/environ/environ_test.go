package environ_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/worker/environ"
	"github.com/pipelined/pipelined/pipeline"
)

func build(t *testing.T, c environ.Config) map[string]string {
	t.Helper()
	list, err := environ.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		if _, twice := env[name]; twice {
			t.Errorf("%s is set twice in %q", name, list)
		}
		env[name] = value
	}
	return env
}

func machine(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestBuild(t *testing.T) {
	got := build(t, environ.Config{Dir: "/a", Path: "/bin", Trace: pipeline.TraceContext{Parent: "00-1", Baggage: "a=b"}, Run: "r1", Tick: "2026-11-30T03:00:00Z", Pipeline: "p", Module: "m", Attempt: 2,
		Worker: "w", Cache: "/c", PassThrough: []string{"GOPROXY", "UNSET", "GOPROXY", "PIPELINED_KEY", "EMPTY"},
		Declared: map[string]string{"A": "1", "B": "x=y"},
		Lookup:   machine(map[string]string{"GOPROXY": "http://proxy", "PIPELINED_KEY": "secret", "EMPTY": "", "OTHER": "x"})})
	if out := got["PIPELINED_OUTPUT"]; !strings.HasPrefix(out, "/dev/shm/pipelined-") && out != "/a/result" {
		t.Errorf("PIPELINED_OUTPUT=%s", out)
	}
	delete(got, "PIPELINED_OUTPUT")
	want := map[string]string{"PATH": "/bin", "HOME": "/a/home", "TMPDIR": "/a/tmp", "CI": "true", "TRACEPARENT": "00-1", "BAGGAGE": "a=b",
		"PIPELINED_RUN_ID": "r1", "PIPELINED_TICK": "2026-11-30T03:00:00Z", "PIPELINED_PIPELINE": "p", "PIPELINED_MODULE": "m", "PIPELINED_ATTEMPT": "2", "PIPELINED_WORKER": "w",
		"PIPELINED_WORKSPACE": "/a/work", "PIPELINED_CACHE": "/c", "GOPROXY": "http://proxy", "EMPTY": "", "A": "1", "B": "x=y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBuild_precedence(t *testing.T) {
	got := build(t, environ.Config{Dir: "/a", Run: "r", PassThrough: []string{"HOME", "PATH", "CI"},
		Declared: map[string]string{"PATH": "/declared", "CI": "", "PIPELINED_RUN_ID": "forged", "PIPELINED_X": "forged"},
		Lookup:   machine(map[string]string{"HOME": "/machine", "PATH": "/machine/bin", "CI": "machine"})})
	for name, want := range map[string]string{"PATH": "/declared", "CI": "", "HOME": "/machine", "TMPDIR": "/a/tmp", "PIPELINED_RUN_ID": "r"} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s=%q (%v), want %q", name, value, ok, want)
		}
	}
	for _, name := range []string{"PIPELINED_X", "PIPELINED_CACHE", "PIPELINED_ATTEMPT", "TRACEPARENT", "TRACESTATE", "BAGGAGE"} {
		if value, ok := got[name]; ok {
			t.Errorf("%s=%q, want it unset", name, value)
		}
	}
	if got := build(t, environ.Config{Lookup: machine(nil)})["PATH"]; got != environ.DefaultPath {
		t.Errorf("PATH=%q", got)
	}
	if got := build(t, environ.Config{Lookup: machine(map[string]string{"PATH": "/m"})})["PATH"]; got != "/m" {
		t.Errorf("PATH=%q, want the machine's", got)
	}
}

func TestBuild_order(t *testing.T) {
	c := environ.Config{Dir: "/a", Declared: map[string]string{"C": "3", "A": "1", "B": "2", "D": "4"}}
	first, err := environ.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := environ.Build(c); !slices.Equal(again, first) {
			t.Fatalf("order differs: %q, %q", first, again)
		}
	}
}

func TestBuild_invalid(t *testing.T) {
	for name, value := range map[string]string{"": "x", "A=B": "x", "A\x00": "x", "A": "\x00"} {
		if _, err := environ.Build(environ.Config{Declared: map[string]string{name: value}}); pipeline.KindOf(err) != pipeline.Invalid || err == nil {
			t.Errorf("%q=%q: %v, want an invalid", name, value, err)
		}
	}
}

// A variable that is unset is there in no way: neither the pipeline's, nor the machine's,
// nor one that modules have by default. The system's own stay.
func TestBuild_unset(t *testing.T) {
	got := build(t, environ.Config{Dir: "/a", Run: "r", Trace: pipeline.TraceContext{Parent: "00-1"}, PassThrough: []string{"GOPROXY", "GOFLAGS"},
		Declared: map[string]string{"A": pipeline.EnvUnset, "B": "1", "CI": pipeline.EnvUnset, "TRACEPARENT": pipeline.EnvUnset, "GOPROXY": pipeline.EnvUnset, "PIPELINED_RUN_ID": pipeline.EnvUnset},
		Lookup:   machine(map[string]string{"GOPROXY": "http://proxy", "GOFLAGS": "-x"})})
	for _, name := range []string{"A", "CI", "TRACEPARENT", "GOPROXY"} {
		if value, ok := got[name]; ok {
			t.Errorf("%s=%q, want it unset", name, value)
		}
	}
	for name, want := range map[string]string{"B": "1", "GOFLAGS": "-x", "PIPELINED_RUN_ID": "r"} {
		if got[name] != want {
			t.Errorf("%s=%q, want %q", name, got[name], want)
		}
	}
}
