package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pipelined/pipelined/test/harness"
)

// pipeline is that of the repository which the examples are in: three modules that
// other runners can take, and one that needs their results.
const pipeline = `pipeline "app" {
  module "part" {
    for_each = ["a", "b", "c"]
    script   = "echo part > part-$NAME"
    env      = { NAME = each.value }
    outputs  = ["part-*"]
    inputs   = []
    cache    = true
  }
  module "whole" {
    depends_on = [module.part]
    script     = "cat part-* > all; grep -c part all"
    inputs     = []
    cache      = true
  }
}
`

// workflow reads an example, with replacements in its text, and gives its only job.
func workflow(t *testing.T, name string, replace ...string) job {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "examples/github-actions", name))
	if err != nil {
		t.Fatal(err)
	}

	var w struct{ Jobs map[string]job }
	if err := yaml.Unmarshal([]byte(strings.NewReplacer(replace...).Replace(string(text))), &w); err != nil {
		t.Fatal(err)
	}
	for _, j := range w.Jobs {
		if len(w.Jobs) == 1 {
			return j
		}
	}
	t.Fatalf("%s has %d jobs, want one", name, len(w.Jobs))

	return job{}
}

// checkout is a runner with the repository.
func checkout(t *testing.T) *runner {
	t.Helper()
	r := newRunner(t)
	if err := os.WriteFile(filepath.Join(r.workspace, "pipeline.hcl"), []byte(pipeline), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWorkflow_oneRunner executes the job twice, with the cache between: the second time
// no module runs.
func TestWorkflow_oneRunner(t *testing.T) {
	j := workflow(t, "one-runner.yml")
	store := filepath.Join(t.TempDir(), "store")

	for n, want := range []string{"4 succeeded", "4 cached"} {
		r := checkout(t)
		r.keep(store)
		r.uses["actions/upload-artifact"] = func(with map[string]string) error {
			_, err := os.Stat(filepath.Join(r.workspace, with["path"]))
			return err
		}

		r.job(j)
		if out := r.log.String(); r.failed || !strings.Contains(out, want) {
			t.Errorf("job %d: failed %v, and it does not say %q", n+1, r.failed, want)
		}
		if summary, err := os.ReadFile(r.env["GITHUB_STEP_SUMMARY"]); err != nil || !strings.Contains(string(summary), "app") {
			t.Errorf("job %d: the summary is %q: %v", n+1, summary, err)
		}
	}
}

// keep gives the runner a cache that other runners have as well. As that of GitHub it
// keeps what a path names, but no sockets.
func (r *runner) keep(store string) {
	move := func(script string, with map[string]string) error {
		out, err := exec.Command("sh", "-euc", script, "sh", store, r.home, strings.TrimPrefix(with["path"], "~/")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	r.uses["actions/cache/restore"] = func(with map[string]string) error {
		return move(`test ! -e "$1" || tar -C "$2" -xf "$1"`, with)
	}
	r.uses["actions/cache/save"] = func(with map[string]string) error {
		return move(`tar -C "$2" -cf "$1" "$3"`, with)
	}
}

// TestWorkflow_severalRunners executes the job twice on three runners at the same time:
// they form a cluster, and the jobs that do not submit end with the one that does. The
// second time no module runs.
func TestWorkflow_severalRunners(t *testing.T) {
	c := harness.New(t) // for its addresses
	for range 3 {
		c.Add()
	}
	key, err := exec.Command(c.Bin, "keygen").Output()
	if err != nil {
		t.Fatal(err)
	}

	j := workflow(t, "several-runners.yml", "10.0.0.11", c.Nodes[0].IP, "10.0.0.12", c.Nodes[1].IP, "10.0.0.13", c.Nodes[2].IP)
	store := filepath.Join(t.TempDir(), "store")
	for n, want := range []string{"4 succeeded", "4 cached"} {
		runners := onRunners(t, j, strings.TrimSpace(string(key)), store)
		for i, r := range runners {
			out := r.log.String()
			if r.failed || strings.Contains(out, "has not left") {
				t.Errorf("run %d: job %d failed", n+1, i+1)
			}
			if strings.Contains(out, strings.TrimSpace(string(key))) {
				t.Errorf("run %d: job %d printed the key", n+1, i+1)
			}
		}
		if !strings.Contains(runners[0].log.String(), want) {
			t.Errorf("run %d does not say %q", n+1, want)
		}
		for _, r := range runners {
			r.end()
		}
	}
}

// onRunners executes a job on as many runners as its matrix has, until all have ended.
func onRunners(t *testing.T, j job, key, store string) []*runner {
	t.Helper()
	var runners []*runner
	var jobs sync.WaitGroup
	for _, include := range j.Strategy.Matrix.Include {
		r := checkout(t)
		r.keep(store)
		r.values["secrets.PIPELINED_KEY"] = key
		for name, v := range include {
			r.values["matrix."+name] = fmt.Sprint(v)
		}
		runners = append(runners, r)
		jobs.Go(func() { r.job(j) })
	}
	jobs.Wait()

	return runners
}

// TestWorkflow_standingCluster submits to a cluster that is there, with a token and the
// cluster's authority only.
func TestWorkflow_standingCluster(t *testing.T) {
	c := harness.Start(t, 1)
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(c.Bin, append(args, "-address", c.Nodes[0].IP+":8080")...)
		cmd.Env = c.Env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}

	r := checkout(t)
	r.values["vars.PIPELINED_ADDR"] = "https://" + c.Nodes[0].IP + ":8080"
	r.values["vars.PIPELINED_CA"] = command("ca")
	r.values["secrets.PIPELINED_TOKEN"] = command("token", "create", "-role", "submit", "-ttl", "90d", "-name", "github")
	r.job(workflow(t, "standing-cluster.yml"))
	if out := r.log.String(); r.failed || !strings.Contains(out, "4 succeeded") || !strings.Contains(out, "whole | 3") {
		t.Error("the run has not succeeded, or was not followed")
	}
	if _, err := os.Stat(filepath.Join(r.workspace, "report.xml")); err != nil {
		t.Error(err)
	}
	if got := command("list", "-json"); !strings.Contains(got, "github") {
		t.Errorf("the run is not the token's:\n%s", got)
	}

	refused := checkout(t)
	refused.values["vars.PIPELINED_ADDR"], refused.values["vars.PIPELINED_CA"] = r.values["vars.PIPELINED_ADDR"], r.values["vars.PIPELINED_CA"]
	refused.values["secrets.PIPELINED_TOKEN"] = "of-another-cluster"
	refused.job(workflow(t, "standing-cluster.yml"))
	if out := refused.log.String(); !refused.failed || !strings.Contains(out, `step "Submit the pipeline": exit status 4`) || strings.Contains(out, "== Follow the run") {
		t.Errorf("a submission that is refused does not fail its step:\n%s", out)
	}
}
