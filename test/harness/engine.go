package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Image is the image that an Engine has: a shell and some small programs.
const Image = "test/busybox:1"

// engine is the dockerd of this test binary, with an own directory and in a network
// namespace of its own, so that nothing of it reaches the machine.
type engine struct {
	dir  string
	host string
	// why is why there is none.
	why  string
	done chan struct{}
	cmd  *exec.Cmd
}

var startEngine = sync.OnceValue(func() *engine {
	e := &engine{done: make(chan struct{})}
	if err := e.start(); err != nil {
		e.why = err.Error()
		e.stop()
	}
	return e
})

// engineStarted says that Clean has one to stop.
var engineStarted bool

// EngineHost gives the socket of a Docker daemon for this test binary, which has
// Image, and starts it first; "", and why, if this machine cannot.
func EngineHost() (host, why string) {
	e := startEngine()
	return e.host, e.why
}

// Engine is EngineHost for a test that cannot do without.
func Engine(tb testing.TB) (host string) {
	tb.Helper()
	host, why := EngineHost()
	if host == "" {
		tb.Skip(why)
	}
	return host
}

// Docker runs the docker command against the daemon of Engine and gives its output.
func Docker(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := docker(Engine(tb), nil, args...)
	if err != nil {
		tb.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func docker(host string, stdin []byte, args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	cmd.Env, cmd.Stdin = append(os.Environ(), "DOCKER_HOST="+host), bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *engine) start() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root, for dockerd")
	}
	for name, from := range map[string]string{"dockerd": "docker.io", "docker": "docker.io", "busybox": "busybox-static", "ip": "iproute2"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("needs %s (package %s)", name, from)
		}
	}

	var err error
	if e.dir, err = os.MkdirTemp("", "pipelined-docker-"); err != nil {
		return err
	}
	engineStarted = true
	log, err := os.Create(filepath.Join(e.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	host := "unix://" + e.dir + "/docker.sock"
	e.cmd = exec.Command("sh", "-c", "ip link set lo up && exec dockerd --data-root "+e.dir+"/data --exec-root "+e.dir+"/exec --pidfile "+e.dir+
		"/pid -H "+host+" --iptables=false --ip6tables=false")
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() { // ends with the daemon, which stop ends
		runtime.LockOSThread() // its end would end the daemon
		defer runtime.UnlockOSThread()
		defer close(e.done)
		err := e.cmd.Start()
		started <- err
		if err == nil {
			_ = e.cmd.Wait() // it is killed at the end
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start dockerd in a network namespace: %w", err)
	}

	if !e.answers(host) {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("dockerd does not start: %s", text[max(0, len(text)-2000):])
	}
	e.host = host
	return e.makeImage()
}

// answers waits until the daemon answers, or has ended.
func (e *engine) answers(host string) bool {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(Wait); ; {
		if _, err := docker(host, nil, "version"); err == nil {
			return true
		}
		select {
		case <-tick.C:
		case <-e.done:
			return false
		case <-end:
			return false
		}
	}
}

// makeImage makes Image of busybox alone.
func (e *engine) makeImage() error {
	root := filepath.Join(e.dir, "root")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	script := "mkdir -p $1/bin $1/tmp && chmod 1777 $1/tmp && cp $2 $1/bin/busybox && for a in $($2 --list); do [ -e $1/bin/$a ] || ln -s busybox $1/bin/$a; done && tar -C $1 -c ."
	tar, err := exec.Command("sh", "-euc", script, "sh", root, busybox).Output()
	if err == nil {
		_, err = docker(e.host, tar, "import", "-", Image)
	}
	if err != nil {
		e.host = ""
		return fmt.Errorf("make an image: %w", err)
	}
	return nil
}

// stop ends the daemon and removes what it had.
func (e *engine) stop() {
	if e.dir == "" {
		return
	}
	if e.cmd != nil && e.cmd.Process != nil {
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.done:
		case <-time.After(20 * time.Second):
			_ = unix.Kill(-e.cmd.Process.Pid, unix.SIGKILL)
			<-e.done
		}
	}
	_ = unix.Unmount(e.dir+"/exec/netns/default", unix.MNT_DETACH) // it keeps its network namespace
	_ = os.RemoveAll(e.dir)
	e.dir = ""
}
