package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

func work() pipeline.CacheWork {
	return pipeline.CacheWork{Command: []string{"a", "b"}, Env: map[string]string{"X": "1"}, Files: "f", Outputs: []string{"o"},
		Upstream: []pipeline.Upstream{{Module: "m", Outputs: "1"}, {Module: "n", Outputs: "2"}}}
}

func keyOf(w pipeline.CacheWork) pipeline.Digest {
	return pipeline.CacheKey([]byte("salt"), w.Parts([]byte("salt")), "linux", "amd64")
}

// Everything that the result depends on changes the key, and no two changes
// have the same key.
func TestCacheKey_depends(t *testing.T) {
	seen := map[pipeline.Digest]string{keyOf(work()): "itself"}
	for name, change := range map[string]func(*pipeline.CacheWork){
		"command":        func(w *pipeline.CacheWork) { w.Command = []string{"a", "c"} },
		"joined command": func(w *pipeline.CacheWork) { w.Command = []string{"ab"} },
		"script":         func(w *pipeline.CacheWork) { w.Command, w.Script = nil, "a b" },
		"env":            func(w *pipeline.CacheWork) { w.Env = map[string]string{"X": "2"} },
		"env's name":     func(w *pipeline.CacheWork) { w.Env = map[string]string{"Y": "1"} },
		"empty env":      func(w *pipeline.CacheWork) { w.Env = map[string]string{"X": "1", "Y": ""} },
		"secret":         func(w *pipeline.CacheWork) { w.Secrets = []string{"S"} },
		"cache_key":      func(w *pipeline.CacheWork) { w.CacheKey = []string{"1"} },
		"files":          func(w *pipeline.CacheWork) { w.Files = "g" },
		"upstream":       func(w *pipeline.CacheWork) { w.Upstream = w.Upstream[:1] },
		"outputs":        func(w *pipeline.CacheWork) { w.Outputs = nil },
		"optional":       func(w *pipeline.CacheWork) { w.Outputs, w.OutputsOptional = nil, []string{"o"} },
		"working_dir":    func(w *pipeline.CacheWork) { w.WorkingDir = "d" },
		"layout":         func(w *pipeline.CacheWork) { w.Layout = "by-module" },
		"hook":           func(w *pipeline.CacheWork) { w.HookAfter = "x" },
		"other hook":     func(w *pipeline.CacheWork) { w.HookBefore = "x" },
	} {
		w := work()
		change(&w)
		k := keyOf(w)
		if other, same := seen[k]; same {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}

	w := work()

	parts := w.Parts([]byte("salt"))
	for name, k := range map[string]pipeline.Digest{"salt": pipeline.CacheKey([]byte("other"), parts, "linux", "amd64"),
		"os": pipeline.CacheKey([]byte("salt"), parts, "darwin", "amd64"), "arch": pipeline.CacheKey([]byte("salt"), parts, "linux", "arm64")} {
		if other, same := seen[k]; same {
			t.Errorf("%s has the key of %s", name, other)
		}
	}

	if _, err := pipeline.ParseDigest(string(keyOf(work()))); err != nil {
		t.Error(err)
	}
}

// If upstream files lie at their own paths, the names of the modules that made
// them do not count.
func TestCacheKey_upstream(t *testing.T) {
	w := work()
	w.Upstream = []pipeline.Upstream{{Module: "x", Outputs: "2"}, {Module: "y", Outputs: "1"}}

	if keyOf(w) != keyOf(work()) {
		t.Error("the names of the modules count")
	}

	a := work()
	a.Layout, w.Layout = "by-module", "by-module"

	if keyOf(w) == keyOf(a) {
		t.Error("the names of the directories do not count")
	}
}

// However many components there are, few are kept, and all count.
func TestCacheWork_bounded(t *testing.T) {
	w := work()
	w.Env = map[string]string{}

	for i := range 1000 {
		w.Env[fmt.Sprintf("V%04d", i)] = "x"
	}

	before := keyOf(w)
	if n := len(w.Parts(nil)); n != pipeline.MaxCacheParts {
		t.Errorf("%d components are kept", n)
	}

	w.Env["V0999"] = "y"
	if keyOf(w) == before {
		t.Error("the last variable does not count")
	}
}

func TestDiffParts(t *testing.T) {
	changed, added, removed := pipeline.DiffParts(
		[]pipeline.CachePart{{Name: "a", Sum: "1"}, {Name: "b", Sum: "1"}, {Name: "c", Sum: "1"}},
		[]pipeline.CachePart{{Name: "a", Sum: "1"}, {Name: "b", Sum: "2"}, {Name: "d", Sum: "1"}})

	if got := strings.Join(append(append(changed, added...), removed...), " "); got != "b d c" {
		t.Errorf("got %s", got)
	}
}
