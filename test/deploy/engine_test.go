package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
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

// startEngine starts it, with the image that the examples name.
func startEngine(t *testing.T) *engine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not here: root")
	}
	programs := []string{"dockerd", "docker", "docker-compose", "unshare", "nsenter", "ip"}
	if _, err := os.Stat(os.Getenv("PIPELINED_TEST_ROOT")); err != nil && os.Getenv("PIPELINED_TEST_IMAGE") == "" {
		programs = append(programs, "mmdebstrap") // makes the root of the image
	}
	for _, name := range programs {
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
	e.load()

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

// image is what the examples name.
const image = "ghcr.io/pipelined/pipelined:0.1.0"

// load gives the image to the daemon: that of the archive PIPELINED_TEST_IMAGE, or one that it
// builds as `make image` does. The root of Debian that the tests of packages have made, if
// they have, is taken below it.
func (e *engine) load() {
	e.tb.Helper()
	archive := os.Getenv("PIPELINED_TEST_IMAGE")
	if archive == "" {
		out := filepath.Join(e.dir, "image")
		archive = filepath.Join(out, "pipelined_0.1.0_image_"+runtime.GOARCH+".tar")
		args := []string{"run", ".", "-out", out, "-version", "0.1.0", "-image", runtime.GOARCH,
			"-tags", *tags, "-ldflags", *ldflags} // those of the Makefile, whose results Go has cached
		base := os.Getenv("PIPELINED_TEST_ROOT")
		if _, err := os.Stat(base); err == nil {
			args = append(args, "-base", base)
		}
		build := exec.Command("go", args...)
		build.Dir = filepath.Join(root, "internal/release")
		if out, err := build.CombinedOutput(); err != nil {
			e.tb.Fatalf("build the image: %v: %s", err, out)
		}
	}

	if out := e.docker("load", "-i", archive); !strings.Contains(out, image) {
		e.tb.Fatalf("docker load: %s", out)
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
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.dir+"/sock")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %v: %w: %s", name, args, err, exit.Stderr)
	}
	return string(out), err
}

// docker runs the client of the daemon; a failure ends the test.
func (e *engine) docker(args ...string) string {
	e.tb.Helper()
	out, err := e.try("docker", args...)
	if err != nil {
		e.tb.Fatal(err)
	}
	return out
}
