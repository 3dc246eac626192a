package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// engine is a daemon of Docker in a network namespace of its own, so that its bridges and
// rules are not the machine's.
type engine struct {
	tb      testing.TB
	dir     string
	project string
	daemon  *exec.Cmd
	ended   chan struct{} // closed when the daemon has ended
}

// startEngine starts it, with the image that the examples name made of the product and a
// shell.
func startEngine(t *testing.T) *engine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not here: root")
	}
	for _, name := range []string{"dockerd", "docker", "docker-compose", "busybox", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("not here: %s", name)
		}
	}

	// Not below t.TempDir: the path of a socket is short.
	dir, err := os.MkdirTemp("", "pd-docker-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{tb: t, dir: dir, project: filepath.Join(dir, "project"), ended: make(chan struct{})}
	if err := os.Mkdir(e.project, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	e.daemon = exec.Command("unshare", "-n", "sh", "-c", `ip link set lo up; exec dockerd --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/pid" -H "unix://$0/sock"`, dir)
	e.daemon.Stdout, e.daemon.Stderr = log, log
	if err := e.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the daemon, which stop ends
		_ = e.daemon.Wait()
		close(e.ended)
	}()
	t.Cleanup(e.stop)
	eventually(t, func() error {
		if e.gone() {
			return nil
		}
		_, err := e.try("docker", "version")
		return err
	})
	if e.gone() {
		text, _ := os.ReadFile(log.Name())
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Skipf("not here: what a daemon of Docker needs: %s", lines[len(lines)-1])
	}
	e.image()

	return e
}

// gone reports whether the daemon has ended.
func (e *engine) gone() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// image imports a root file system with the product, a shell and nothing else.
func (e *engine) image() {
	e.tb.Helper()
	out, err := exec.Command("sh", "-euc", `
		mkdir -p "$1/root/usr/bin" "$1/root/bin" "$1/root/etc" "$1/root/tmp"
		cp "$(command -v busybox)" "$1/root/bin/busybox"
		for name in sh cat sleep; do ln -s busybox "$1/root/bin/$name"; done
		cp "$2" "$1/root/usr/bin/pipelined"
		echo "root:x:0:0:root:/root:/bin/sh" >"$1/root/etc/passwd"
		tar -C "$1/root" -c . | DOCKER_HOST="unix://$1/sock" docker import - test/pipelined:1`, "sh", e.dir, harness.Binary(e.tb)).CombinedOutput()
	if err != nil {
		e.tb.Fatalf("%v: %s", err, out)
	}
}

// stop ends everything that it has started.
func (e *engine) stop() {
	if e.tb.Failed() {
		logs, _ := e.try("docker-compose", "logs", "--tail=40", "--no-color")
		e.tb.Logf("logs of the containers:\n%s", logs)
	}
	if !e.gone() {
		if _, err := e.try("docker-compose", "down", "-v", "-t", "1"); err != nil && !e.tb.Skipped() {
			e.tb.Errorf("end the containers: %v", err)
		}
		_ = e.daemon.Process.Signal(syscall.SIGTERM)
	}
	<-e.ended
	_ = syscall.Unmount(filepath.Join(e.dir, "exec/netns/default"), 0) // the daemon leaves it mounted
	if err := os.RemoveAll(e.dir); err != nil {
		e.tb.Error(err)
	}
}

// try runs a client of the daemon.
func (e *engine) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = e.project
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.dir+"/sock", "PIPELINED_IMAGE=test/pipelined:1")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %v: %w: %s", name, args, err, exit.Stderr)
	}
	return string(out), err
}

// compose runs docker-compose; a failure ends the test.
func (e *engine) compose(args ...string) string {
	e.tb.Helper()
	out, err := e.try("docker-compose", args...)
	if err != nil {
		e.tb.Fatal(err)
	}
	return out
}

// TestCompose starts the cluster as the page says, submits to it from outside, and stops
// the container that a module runs in: the module ends first, and is not repeated.
func TestCompose(t *testing.T) {
	e := startEngine(t)
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
		Attempts []struct{ State, Worker string }
	}
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
