package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// trace is what an engine leaves on disk while it lives: the next one of the
// same data dir finds it only if this one did not end in order.
type trace struct {
	Boot   string `json:"boot"`
	PID    int    `json:"pid"`
	Cgroup string `json:"cgroup,omitempty"`
	// Named is the group in the named hierarchy, if that is used.
	Named string `json:"named,omitempty"`
}

func tracePath(dataDir string) string { return filepath.Join(dataDir, "runner.json") }

func (e *engine) writeTrace() error {
	t := trace{Boot: e.identity.boot, PID: os.Getpid()}
	if e.groups != nil {
		if t.Named = e.groups.group; t.Named == "" {
			t.Cgroup = e.groups.base
		}
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(tracePath(e.cfg.DataDir), b, 0o600)
}

func removeTrace(dataDir string) { _ = os.Remove(tracePath(dataDir)) }

// sweepWait bounds how long a sweep waits for the dying.
const sweepWait = 10 * time.Second

// sweepEarlier kills every process that an earlier engine of the data dir left,
// if that one ended without order during this life of the machine.
func sweepEarlier(dataDir, mark, boot string, log hclog.Logger) error {
	b, err := os.ReadFile(tracePath(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var t trace
	if json.Unmarshal(b, &t) == nil && t.Boot != boot {
		return nil // the machine was started anew: nothing is left
	}
	log.Info("an earlier runner ended without order; killing what it left", "pid", t.PID)
	if t.Cgroup != "" && filepath.Base(t.Cgroup) == "pipelined-"+mark && !killCgroup(t.Cgroup, sweepWait) {
		return fmt.Errorf("processes in %s do not die", t.Cgroup)
	}
	if filepath.Base(t.Named) == "pipelined-"+mark {
		if err := killNamed(t.Named, log); err != nil {
			return err
		}
	}
	return sweepCookie(mark, log)
}

// sweepCookie kills every process that carries a cookie of the data dir, until
// two looks find none.
func sweepCookie(mark string, log hclog.Logger) error {
	spared := lineage()
	deadline := time.Now().Add(sweepWait)
	for empty := 0; empty < 2; {
		procs, err := scanProcs()
		if err != nil {
			return err
		}
		n := 0
		for _, p := range procs {
			if p.zombie || p.ppid == 2 || p.pid == 2 || spared[p.pid] || !hasCookieOf(cookieOf(p.pid), mark) {
				continue
			}
			n++
			log.Warn("killing a process that an earlier runner left", "pid", p.pid)
			_ = sendTo(p, unix.SIGKILL) // gone meanwhile, else it is met again
		}
		if n == 0 {
			empty++
			continue
		}
		empty = 0
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of an earlier runner do not die", n)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// lineage is this process and those it descends from: a daemon that a module of
// the same data dir started must not kill itself.
func lineage() map[int]bool {
	out := make(map[int]bool)
	for pid := os.Getpid(); pid > 0 && !out[pid]; {
		out[pid] = true
		p, ok := readProc(pid)
		if !ok {
			break
		}
		pid = p.ppid
	}
	return out
}
