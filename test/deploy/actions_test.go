package deploy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

func eventually(tb testing.TB, check func() error) {
	tb.Helper()
	testutil.Eventually(tb, harness.Wait, check)
}

// workflows are the examples.
func workflows(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(root, "examples/github-actions/*.yml"))
	if err != nil || len(files) < 3 {
		tb.Fatalf("only %d workflows were found: %v", len(files), err)
	}
	return files
}

// ours is how the examples name the action.
const ours = "pipelined/pipelined@v0.1.0"

// TestActionlint checks the workflows, and their use of action.yml, with actionlint.
func TestActionlint(t *testing.T) {
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	project, err := actionlint.NewProject(dir)
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range workflows(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("uses: "+ours)); n != 1 {
			t.Errorf("%s uses %s %d times, want once", file, ours, n)
		}
		// As a local action it is checked as well: names of inputs and outputs.
		text = bytes.ReplaceAll(text, []byte("uses: "+ours), []byte("uses: ./"))
		for _, e := range lint(t, project, filepath.Base(file), text) {
			t.Error(e)
		}
	}

	// It finds what it is there for.
	for _, wrong := range []string{"expects: 3", "key: ${{ secret.KEY }}"} {
		text := "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - uses: ./\n        with:\n          " + wrong + "\n"
		if len(lint(t, project, "wrong.yml", []byte(text))) == 0 {
			t.Errorf("nothing was found in %s", wrong)
		}
	}
}

func lint(t *testing.T, project *actionlint.Project, name string, text []byte) []*actionlint.Error {
	t.Helper()
	config := filepath.Join(t.TempDir(), "actionlint.yaml")
	if err := os.WriteFile(config, []byte("self-hosted-runner:\n  labels: [build-1, build-2, build-3]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{ConfigFile: config, Shellcheck: os.Getenv("PIPELINED_TEST_SHELLCHECK")})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.Lint(name, text, project)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// use is a step that uses the action.
func use(ref string, with map[string]any) step {
	return step{ID: "pipelined", Uses: "pipelined/pipelined@" + ref, With: with}
}

// TestAction_release installs a release that the runner downloads, and none that is not
// what its checksum says.
func TestAction_release(t *testing.T) {
	name := "pipelined_1.2.3_linux_" + runtime.GOARCH
	archive := pack(t, name+"/pipelined", "#!/bin/sh\necho pipelined 1.2.3\n")
	sums := fmt.Sprintf("%x  other.tar.gz\n%x  %s.tar.gz\n", sha256.Sum256(nil), sha256.Sum256(archive), name)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1.2.3/" + name + ".tar.gz":
			w.Write(archive)
		case "/v1.2.3/SHA256SUMS":
			io.WriteString(w, sums)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()

	for _, c := range []struct {
		ref, version, sums, want string
	}{
		{"v1.2.3", "", sums, ""},
		{"main", "1.2.3", sums, ""},
		{"main", "v1.2.3", sums, ""},
		{"v1.2.3", "", strings.Replace(sums, fmt.Sprintf("%x  pipe", sha256.Sum256(archive)), fmt.Sprintf("%x  pipe", sha256.Sum256(nil)), 1), "is not what SHA256SUMS says"},
		{"v1.2.3", "", "", "is not what SHA256SUMS says"},
		{"v1.2.4", "", sums, "is 1.2.4 a release?"},
	} {
		all := sums
		sums = c.sums
		r := newRunner(t)
		r.inputs = map[string]string{"download": server.URL, "agent": "false", "version": c.version}
		err := r.step(use(c.ref, nil))
		out := r.log.String()
		switch version := r.values["steps.pipelined.outputs.version"]; {
		case c.want != "":
			if err == nil || !strings.Contains(out, "::error::") || !strings.Contains(out, c.want) {
				t.Errorf("%+v: %v, and it does not say %q:\n%s", c, err, c.want, out)
			}
		case err != nil || version != "pipelined 1.2.3" || r.path[0] != filepath.Join(r.temp, "pipelined/bin"):
			t.Errorf("%+v: %v, version %q, path %q\n%s", c, err, version, r.path[0], out)
		}
		sums = all
	}
}

// pack makes a compressed archive of one program.
func pack(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	a := tar.NewWriter(z)
	if err := a.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(a, text); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestAction_source builds the action's own source if "uses" names a branch.
func TestAction_source(t *testing.T) {
	r := newRunner(t)
	r.inputs = map[string]string{"agent": "false"}
	if err := r.step(use("main", nil)); err != nil {
		t.Fatalf("%v\n%s", err, r.log.String())
	}
	if v := r.values["steps.pipelined.outputs.version"]; !strings.HasPrefix(v, "pipelined ") {
		t.Errorf("the version is %q", v)
	}
	if pid := r.values["pid"]; pid != "" {
		t.Errorf("an agent was started, with the process id %s", pid)
	}
}

// TestAction_agent starts an agent and submits to it with nothing but what was exported.
func TestAction_agent(t *testing.T) {
	c := harness.New(t) // for its address
	r := newRunner(t)
	r.inputs["bind"] = c.Add().IP
	if err := r.step(use("main", nil)); err != nil {
		t.Fatal(err)
	}

	address := r.values["steps.pipelined.outputs.address"]
	if want := c.Nodes[0].IP + ":8080"; address != want || r.env["PIPELINED_ADDR"] != want {
		t.Errorf("the address is %q, exported %q, want %s", address, r.env["PIPELINED_ADDR"], want)
	}
	info, err := os.Stat(r.env["PIPELINED_KEY_FILE"])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %q: %v, mode %v", r.env["PIPELINED_KEY_FILE"], err, info.Mode())
	}

	pipeline, err := os.ReadFile(filepath.Join(root, "examples/hello.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.workspace, "pipeline.hcl"), pipeline, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.step(step{Name: "submit", Run: "pipelined submit -yes pipeline.hcl"}); err != nil || !strings.Contains(r.log.String(), "Hello, world") {
		t.Errorf("submit: %v", err)
	}
}

// TestAction_fails says why no agent is ready, with its log.
func TestAction_fails(t *testing.T) {
	for _, c := range []struct {
		inputs map[string]string
		os     string
		want   []string
	}{
		{map[string]string{"key": "nonsense"}, "Linux", []string{"::error::the agent has ended", "not a cluster key"}},
		{map[string]string{"expect": "2", "wait": "1"}, "Linux", []string{"::error::the agent is not ready after 1 s", "can this runner reach", "waiting for the first nodes"}},
		{map[string]string{"wait": "a[$(touch executed)]"}, "Linux", []string{`::error::wait: expected a number of seconds such as 300, got "a[$(touch executed)]"`}},
		{map[string]string{"agent": "no"}, "Linux", []string{`::error::agent: expected true or false, got "no"`}},
		{nil, "macOS", []string{"::error::agents run on Linux only, this runner has macOS"}},
	} {
		n := harness.New(t).Add()
		r := newRunner(t)
		r.env["RUNNER_OS"] = c.os
		r.inputs["bind"], r.inputs["join"] = n.IP, n.IP
		for name, v := range c.inputs {
			r.inputs[name] = v
		}
		err := r.step(use("main", nil))
		for _, want := range c.want {
			if err == nil || !strings.Contains(r.log.String(), want) {
				t.Errorf("%v: %v, and it does not say %q:\n%s", c.inputs, err, want, r.log.String())
			}
		}
		if r.env["PIPELINED_ADDR"] != "" {
			t.Errorf("%v: an address was exported", c.inputs)
		}
		if left, err := os.ReadDir(r.workspace); err != nil || len(left) > 0 {
			t.Errorf("%v: a step left %v in the workspace: %v", c.inputs, left, err)
		}
	}
}
