package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// cleaned is a run whose modules write what they do to files.
const cleaned = `pipeline "cleaned" {
  workspace { exclude = ["**"] }
  variable "out" {}
  module "m" {
    script = "echo running > ${var.out}/m; i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"
    hooks { after = "echo hook >> ${var.out}/hooks" }
  }
  module "clean" {
    depends_on = [module.m]
    always_run = true
    script     = "echo cleaning; echo begun >> ${var.out}/clean; sleep 0.3; echo done >> ${var.out}/clean"
  }
  hooks { after = "echo pipeline >> ${var.out}/hooks" }
}
`

// runOf is a shell command with a "pipelined run" in it, in a process group of its own.
type runOf struct {
	t    *testing.T
	c    *harness.Cluster
	out  string
	cmd  *exec.Cmd
	done chan struct{}
}

// startRun starts a shell command; $RUN is "pipelined run" of cleaned.
func startRun(t *testing.T, c *harness.Cluster, shell string) *runOf {
	t.Helper()
	r := &runOf{t: t, c: c, out: t.TempDir(), done: make(chan struct{})}
	file := c.WriteFile("cleaned.hcl", cleaned)
	run := fmt.Sprintf("%s run -var out=%s %s", c.Bin, r.out, file)
	r.cmd = exec.Command("sh", "-c", strings.ReplaceAll(shell, "$RUN", run))
	var text bytes.Buffer
	r.cmd.Env, r.cmd.Dir, r.cmd.Stderr = c.Env, c.Dir, &text
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup ends
		defer close(r.done)
		_ = r.cmd.Wait() // how it ends is the test's subject
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		<-r.done
		if t.Failed() {
			t.Logf("stderr:\n%s", text.String())
		}
	})
	return r
}

// begun waits until the first module runs.
func (r *runOf) begun() {
	r.t.Helper()
	testutil.Eventually(r.t, harness.Wait, func() error {
		_, err := os.Stat(filepath.Join(r.out, "m"))
		return err
	})
}

// signal sends signals to the whole group, as a terminal does.
func (r *runOf) signal(list ...syscall.Signal) {
	for _, s := range list {
		_ = syscall.Kill(-r.cmd.Process.Pid, s)
	}
}

// ended waits for the command and checks that all was cleaned up, once.
func (r *runOf) ended() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(harness.Wait):
		r.t.Fatal("the command did not end")
	}
	if got := r.read("clean"); got != "begun done" {
		r.t.Errorf("the cleanup module: %q", got)
	}
	if got := r.read("hooks"); got != "hook pipeline" {
		r.t.Errorf("the hooks: %q", got)
	}
}

func (r *runOf) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(r.out, name))
	return strings.Join(strings.Fields(string(b)), " ")
}

// states are those of the runs that are stored, newest first.
func states(t *testing.T, c *harness.Cluster) []string {
	t.Helper()
	var list struct {
		Runs []struct{ State string }
	}
	if err := json.Unmarshal([]byte(c.OK("-address", "run", "list", "-json")), &list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list.Runs {
		out = append(out, r.State)
	}
	return out
}

// A run whose output cannot be written, or that is interrupted in any way, cleans up.
func TestRun_cleansUp(t *testing.T) {
	for _, tc := range []struct {
		name, shell string
		signals     []syscall.Signal
	}{
		{"its reader ends", "$RUN | head -2 >head.out", nil},
		{"the disk behind stdout is full", "$RUN >/dev/full", nil},
		{"Ctrl-C reaches tee too", "$RUN | tee log >/dev/null", []syscall.Signal{syscall.SIGINT}},
		{"two signals at once", "exec $RUN >/dev/null", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}},
		{"its terminal goes away", "exec $RUN >/dev/null", []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGHUP}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := harness.New(t)
			r := startRun(t, c, tc.shell)
			r.begun()
			r.signal(tc.signals...)
			if tc.signals != nil && strings.Contains(tc.shell, "|") {
				// The shell may end before the run does.
				testutil.Eventually(t, harness.Wait, func() error {
					if got := r.read("hooks"); got != "hook pipeline" {
						return fmt.Errorf("hooks: %q", got)
					}
					return nil
				})
			}
			r.ended()
			testutil.Eventually(t, harness.Wait, func() error {
				if got := states(t, c); !slices.Equal(got, []string{"cancelled"}) {
					return fmt.Errorf("runs: %q", got)
				}
				return nil
			})
		})
	}
}

// What a run that was killed has not done, no later run does: its modules with
// always_run belong to a process that is gone.
func TestRun_killedStartsNothingLater(t *testing.T) {
	c := harness.New(t)
	r := startRun(t, c, "exec $RUN >/dev/null")
	r.begun()
	r.signal(syscall.SIGKILL)
	<-r.done

	c.OK("run", c.WriteFile("next.hcl", `pipeline "next" {
  module "m" { script = "sleep 1" }
}
`))
	if got := states(t, c); !slices.Equal(got, []string{"succeeded", "cancelled"}) {
		t.Errorf("runs: %q", got)
	}
	if got := r.read("clean") + r.read("hooks"); got != "" {
		t.Errorf("a later run did %q", got)
	}
}
