package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository, seen from this package's directory.
const root = "../.."

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		pkgs, err := load(root, goos)
		if err != nil {
			t.Fatal(err)
		}

		if len(pkgs) == 0 {
			t.Fatalf("go list found no package in %s", root)
		}

		for _, w := range checkImports(pkgs) {
			t.Errorf("%s: %s", goos, w)
		}
		for _, w := range checkDocs(pkgs) {
			t.Errorf("%s: %s", goos, w)
		}
	}
}

func TestSource(t *testing.T) {
	files, err := parseTree(root)
	if err != nil {
		t.Fatal(err)
	}

	n := 0
	for _, f := range files {
		for _, w := range append(checkPurity(f), checkHabits(f)...) {
			t.Error(w)
		}
		if pure(f.path) {
			n++
		}
	}

	if n == 0 {
		t.Error("no pure file was found: the rule looks in the wrong place")
	}
}

// TestImports_planted builds a module with forbidden imports and expects each
// of them to be reported, so that the rule above is known to work.
func TestImports_planted(t *testing.T) {
	dir := t.TempDir()
	write := func(path, src string) {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	write("go.mod", "module "+module+"\n\ngo 1.26\n")
	write("pipeline/a.go", "// Package pipeline is.\npackage pipeline\nimport _ \"os\"\n")
	write("fsm/a.go", "package fsm\n")
	write("scheduler/a.go", "// Package scheduler is.\npackage scheduler\nimport _ \""+module+"/fsm\"\n")
	write("api/a.go", "// Package api is.\npackage api\nimport _ \"github.com/hashicorp/raft\"\n")
	write("attic/a.go", "// Package attic is.\npackage attic\n")
	write("executor/a.go", "// Package executor is.\npackage executor\nimport (\n_ \""+module+"/pipeline\"\n_ \"os\"\n)\n")

	pkgs, err := load(dir, "linux")
	if err != nil {
		t.Fatal(err)
	}

	got := strings.Join(append(checkImports(pkgs), checkDocs(pkgs)...), "\n")
	for _, want := range []string{
		"/pipeline imports os: pipeline may not import it",
		"/scheduler imports " + module + "/fsm: scheduler may import only pipeline",
		"/api imports github.com/hashicorp/raft: only cluster/consensus",
		"/attic has no rule",
		"/fsm has no package comment",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the planted fault %q was not found; found were:\n%s", want, got)
		}
	}

	if strings.Contains(got, "executor") {
		t.Errorf("an allowed import was reported:\n%s", got)
	}
}

func TestCheckImport(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"pipeline", "encoding/json", true},
		{"pipeline", "net/http", false},
		{"pipeline", "github.com/google/uuid", false},
		{"pipeline", module + "/storage", false},
		{"pipeline/language", module + "/pipeline", true},
		{"pipeline/language", "github.com/hashicorp/hcl/v2", true},
		{"executor", "github.com/hashicorp/hcl/v2", false},
		{"scheduler", "sync", false},
		{"scheduler", "container/heap", true},
		{"storage", "go.etcd.io/bbolt", true},
		{"storage", "github.com/hashicorp/raft", false},
		{"fsm", "github.com/hashicorp/raft", true},
		{"fsm", module + "/pipeline/language", false},
		{"cluster", "github.com/hashicorp/raft", false},
		{"cluster/consensus", "github.com/hashicorp/raft-boltdb/v2", true},
		{"cluster/consensus", "github.com/hashicorp/memberlist", false},
		{"cluster/gossip", "github.com/hashicorp/memberlist", true},
		{"api", module + "/internal/node", false},
		{"api", module + "/cluster/keys", false},
		{"api/client", module + "/api", false},
		{"api/wire", module + "/storage", false},
		{"cmd/pipelined", module + "/internal/node", true},
		{"cmd/pipelined", module + "/fsm", false},
		{"internal/node", module + "/cluster", true},
		{"storage", "C", false},
	} {
		r, ok := ruleOf(module + "/" + tc.from)
		if !ok || r.path != tc.from {
			t.Fatalf("ruleOf(%s) = %s, %v", tc.from, r.path, ok)
		}
		if why := checkImport(r, tc.to); (why == "") != tc.ok {
			t.Errorf("%s -> %s: %q, want allowed: %v", tc.from, tc.to, why, tc.ok)
		}
	}
}

func TestRuleOf_longestWins(t *testing.T) {
	for path, want := range map[string]string{
		"api/client":          "api/client",
		"api/ui/parts":        "api/ui",
		"api/ux":              "api",
		"storage/storagetest": "storage",
		"cluster/keys/deep":   "cluster/keys",
		"pipelines":           "",
	} {
		if r, _ := ruleOf(module + "/" + path); r.path != want {
			t.Errorf("ruleOf(%s) = %q, want %q", path, r.path, want)
		}
	}
}
