package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestContainers runs the image with the Docker engine, as docs/deploy.md says.
func TestContainers(t *testing.T) {
	e := startEngine(t)
	e.docker("run", "-d", "--name", "one", "-v", "one:/var/lib/pipelined", image, "agent", "-max-parallel", "2")
	inspectImage(t, e)
	runInImage(t, e)
	restartUnderModules(t, e)
	composeCluster(t, e)
}

// inspectImage wants the engine to see who the image is and how it is run.
func inspectImage(t *testing.T, e *engine) {
	t.Helper()
	var found []struct {
		Config struct {
			User, StopSignal string
			Entrypoint, Cmd  []string
			Healthcheck      struct{ Test []string }
			Volumes          map[string]any
			Labels           map[string]string
		}
	}
	if err := json.Unmarshal([]byte(e.docker("image", "inspect", image)), &found); err != nil {
		t.Fatal(err)
	}
	c := found[0].Config
	command := append(c.Entrypoint, c.Cmd...)
	if c.User != "10001:10001" || c.StopSignal != "SIGTERM" || !slices.Equal(command, []string{"pipelined", "agent"}) || len(c.Healthcheck.Test) < 2 {
		t.Errorf("configuration: %+v", c)
	}
	if _, ok := c.Volumes["/var/lib/pipelined"]; !ok {
		t.Errorf("volumes: %v", c.Volumes)
	}
	if c.Labels["org.opencontainers.image.version"] != "0.1.0" || len(c.Labels["org.opencontainers.image.revision"]) != 40 {
		t.Errorf("labels: %v", c.Labels)
	}
}

// write writes a pipeline into a directory of its own.
func (e *engine) write(name, pipeline string) {
	e.tb.Helper()
	dir := filepath.Join(e.project, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), []byte(pipeline), 0o644); err != nil {
		e.tb.Fatal(err)
	}
}

// runInImage runs a pipeline in a container that ends with it: as the user of the image, and
// with what the image has.
func runInImage(t *testing.T, e *engine) {
	t.Helper()
	e.write("tools", `pipeline "tools" {
  module "look" {
    script = <<-SH
      echo "user $(id -un), group $(id -gn), home $HOME"
      git --version
      test -s /etc/ssl/certs/ca-certificates.crt
      TZ=Asia/Tokyo date +%Z
      apt-get --version | head -n 1
    SH
  }
}
`)
	out := e.docker("run", "--rm", "--network", "none", "-v", filepath.Join(e.project, "tools")+":/work:ro", "-w", "/work", image, "run", "-logs")
	for _, want := range []string{"user pipelined, group pipelined", "git version 2.", "JST", "apt 2."} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// restartUnderModules restarts the container "one", in which modules run, without the time that they
// need: they end with it, the node says so when it is back, and what may be repeated is.
func restartUnderModules(t *testing.T, e *engine) {
	t.Helper()
	e.write("work", `pipeline "work" {
  on_failure = "continue"
  module "again" {
    script = "test $PIPELINED_ATTEMPT = 2 || sleep 1000"
  }
  module "once" {
    on_lost = "fail"
    script  = "sleep 1000"
  }
}
`)
	defer func() {
		if out, err := e.try("docker", "logs", "--tail", "40", "one"); err == nil && t.Failed() {
			t.Logf("log of the container:\n%s", out)
		}
		e.docker("rm", "-f", "-v", "one")
	}()
	eventually(t, func() error {
		if got := e.docker("inspect", "-f", "{{.State.Health.Status}}", "one"); got != "healthy\n" {
			return fmt.Errorf("the container is %s", got)
		}
		return nil
	})

	e.docker("cp", filepath.Join(e.project, "work"), "one:/tmp/work")
	run := strings.TrimSpace(e.docker("exec", "-w", "/tmp/work", "one", "pipelined", "submit", "-yes", "-detach"))
	attempts := func(want string) func() error {
		return func() error {
			out, err := e.try("docker", "exec", "one", "pipelined", "-timeout", "5s", "status", "-json", run)
			if err != nil {
				return err
			}
			var found runDocument
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				return err
			}
			if got := found.String(); got != want {
				return fmt.Errorf("got %s, want %s", got, want)
			}
			return nil
		}
	}
	eventually(t, attempts("running: again running; once running"))
	e.docker("restart", "-t", "1", "one")
	eventually(t, attempts("failed: again lost, succeeded; once lost"))
	t.Log(e.docker("exec", "one", "pipelined", "status", run))
}
