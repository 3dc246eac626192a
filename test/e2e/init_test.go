package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// compiling bounds a run that compiles the standard library into an empty cache.
const compiling = 8 * time.Minute

// What init writes for a project is valid, in the usual form, and runs; the second init
// changes nothing.
func TestInit(t *testing.T) {
	const goTest = "package hello\n\nimport \"testing\"\n\nfunc TestHello(t *testing.T) { println(\"the test ran\") }\n"
	goFiles := map[string]string{"go.mod": "module example.com/hello\n\ngo 1.24\n", "hello_test.go": goTest, "cmd/app/main.go": "package main\n\nfunc main() {}\n"}
	const nodePackage = `{"name": "n", "scripts": {"test": "node -e 'console.log(\"the script ran\")'", "build": "mkdir -p dist && echo x > dist/a.js"}}`
	several := map[string]string{"web/package.json": nodePackage, "tools/package.json": nodePackage, "Makefile": "test:\n\tfalse\n", "Dockerfile": "FROM scratch\n", ".github/workflows/ci.yml": "jobs:\n"}
	for _, c := range []struct {
		name, needs string
		files       map[string]string
		want        string
	}{
		{"go", "go", goFiles, "build: succeeded"},
		{"node", "npm", map[string]string{"package.json": nodePackage}, "test | the script ran"},
		{"make", "make", map[string]string{"Makefile": "all:\n\tfalse\nbuild:\n\techo built\ntest: build\n\techo tested\n"}, "test | tested"},
		{"empty", "sh", nil, "hello | hello from local"},
		{"several", "npm", several, "web-test | the script ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.needs); err != nil {
				t.Skipf("%s is not installed", c.needs)
			}
			h := harness.New(t)
			dir := filepath.Join(t.TempDir(), "project")
			testutil.WriteFiles(t, dir, c.files)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			ok := func(args ...string) string {
				t.Helper()
				r := h.Command(dir, compiling, args...).Wait()
				if r.Code != 0 {
					t.Fatalf("%q: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
				}
				return r.Stdout + r.Stderr
			}
			if r := h.Command(dir, harness.Wait, "run").Wait(); r.Code != 2 || !strings.Contains(r.Stderr, "pipelined init writes one") {
				t.Errorf("run without a pipeline: exit %d, %s", r.Code, r.Stderr)
			}
			if out := ok("init"); !strings.Contains(out, "wrote pipeline.hcl") || !strings.Contains(out, "pipelined run") {
				t.Errorf("init says\n%s", out)
			}
			before, err := os.ReadFile(filepath.Join(dir, "pipeline.hcl"))
			if err != nil {
				t.Fatal(err)
			}
			if r := h.Command(dir, harness.Wait, "init").Wait(); r.Code != 1 || !strings.Contains(r.Stderr, "never overwritten") {
				t.Errorf("second init: exit %d, %s", r.Code, r.Stderr)
			}
			if after, err := os.ReadFile(filepath.Join(dir, "pipeline.hcl")); err != nil || string(after) != string(before) {
				t.Errorf("the second init changed the file: %v\n%s", err, after)
			}
			ok("validate", "-strict")
			ok("fmt", "-check")
			ok("plan")
			ok("graph")
			if out := ok("run"); !strings.Contains(out, c.want) {
				t.Errorf("run prints\n%s\nwant %q", out, c.want)
			}
		})
	}
}
