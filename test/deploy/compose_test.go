package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

// compose runs docker-compose; a failure ends the test.
func (e *engine) compose(args ...string) string {
	e.tb.Helper()
	out, err := e.try("docker-compose", args...)
	if err != nil {
		e.tb.Fatal(err)
	}
	return out
}

// composeCluster starts the cluster as the page says, submits to it from outside, and stops
// the container that a module runs in: the module ends first, and is not repeated.
func composeCluster(t *testing.T, e *engine) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.project, "docker-compose.yml"), example(t, "compose.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(harness.Binary(t), "keygen", "-o", filepath.Join(e.project, "cluster.key")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	e.compose("up", "-d")
	healthy := func() error {
		out, err := e.try("docker-compose", "exec", "-T", "node1", "pipelined", "-timeout", "5s", "status", "-check")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	eventually(t, healthy)
	eventually(t, func() error {
		out, err := e.try("docker-compose", "ps")
		if n := strings.Count(out, "(healthy)"); n != 3 {
			return fmt.Errorf("%d containers are healthy: %w\n%s", n, err, out)
		}
		return nil
	})

	stopUnderModule(t, e)
	eventually(t, healthy)
}

// stopUnderModule submits a module that ends when the test says so, stops the container that
// it runs in, and starts it again.
func stopUnderModule(t *testing.T, e *engine) {
	t.Helper()
	pipeline := `pipeline "app" {
  module "long" {
    script = "until test -e /tmp/end; do sleep 1; done"
  }
}
`
	if err := os.WriteFile(filepath.Join(e.project, "pipeline.hcl"), []byte(pipeline), 0o644); err != nil {
		t.Fatal(err)
	}
	// In the engine's network, to the port that node1 publishes.
	run, err := e.try("nsenter", "-t", fmt.Sprint(e.daemon.Process.Pid), "-n", harness.Binary(t), "-address", "127.0.0.1:8080", "-key-file", "cluster.key",
		"submit", "-yes", "-detach", "pipeline.hcl")
	if err != nil {
		t.Fatal(err)
	}
	run = strings.TrimSpace(run)

	var node string
	eventually(t, func() error {
		found, err := e.run("node1", run)
		if node = found.worker(); node == "" {
			return fmt.Errorf("no attempt runs: %+v: %w", found, err)
		}
		return nil
	})
	other := "node1"
	if node == other {
		other = "node2"
	}

	stopped := make(chan error, 1)
	go func() { // ends at the latest with the time of try
		_, err := e.try("docker-compose", "stop", node)
		stopped <- err
	}()
	eventually(t, func() error {
		out, err := e.try("docker-compose", "exec", "-T", other, "pipelined", "-timeout", "5s", "members")
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, node) && strings.Contains(line, "draining") {
				return nil
			}
		}
		return fmt.Errorf("%s does not drain: %w\n%s", node, err, out)
	})

	e.compose("exec", "-T", node, "sh", "-c", ">/tmp/end")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	eventually(t, func() error {
		found, err := e.run(other, run)
		if err != nil || found.State != "succeeded" || len(found.Modules[0].Attempts) != 1 {
			return fmt.Errorf("the run: %+v: %w", found, err)
		}
		return nil
	})
	e.compose("start", node)
}

// runDocument is what this test reads of a run.
type runDocument struct {
	State   string
	Modules []struct {
		Name     string
		Attempts []struct{ State, Worker string }
	}
}

// String names the states of the run and of all attempts.
func (d runDocument) String() string {
	var modules []string
	for _, m := range d.Modules {
		var attempts []string
		for _, a := range m.Attempts {
			attempts = append(attempts, a.State)
		}
		modules = append(modules, m.Name+" "+strings.Join(attempts, ", "))
	}
	return d.State + ": " + strings.Join(modules, "; ")
}

// worker is where the only attempt is, if it runs.
func (d runDocument) worker() string {
	for _, m := range d.Modules {
		for _, a := range m.Attempts {
			if a.State == "running" {
				return a.Worker
			}
		}
	}
	return ""
}

// run asks a node about a run.
func (e *engine) run(node, id string) (found runDocument, err error) {
	out, err := e.try("docker-compose", "exec", "-T", node, "pipelined", "-timeout", "5s", "status", "-json", id)
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal([]byte(out), &found)
}
