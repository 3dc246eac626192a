package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child that runs in the background, as the leader of a process
// group. Its output is kept in a file for the case that something goes wrong.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts a child with an environment of its own; its output is appended
// to the file log. A file and no pipe, so that the end of the child is seen at
// once even if its own children hold the output open.
func start(env []string, log, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(name, args...), log: log, done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = out, out

	// Own group: a signal from the terminal reaches us alone, and we clean up.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}

	go func() {
		_ = p.cmd.Wait() // its output reports how it ended
		close(p.done)
	}()

	return p, nil
}

// output returns the end of what the child has printed.
func (p *process) output() string { return lastLines(readTrim(p.log), 15) }

// pid is the child's process id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// kill sends SIGKILL to the child alone, and waits until it is gone.
func (p *process) kill() { p.stop(syscall.SIGKILL, 10*time.Second) }

// stop sends a signal to the child and waits; it is killed if it outlasts the
// wait.
func (p *process) stop(sig syscall.Signal, wait time.Duration) {
	_ = p.cmd.Process.Signal(sig) // it may be gone already
	select {
	case <-p.done:
		return
	case <-time.After(wait):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// exited reports whether the child has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// command runs a command to its end and returns its standard output.
func command(limit time.Duration, name string, args ...string) (string, error) {
	return commandEnv(limit, os.Environ(), "", name, args...)
}

// commandEnv is command with an environment and a folder.
func commandEnv(limit time.Duration, env []string, dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = env, dir, time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %s", limit)
	}

	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(errs.String(), 5))
	}

	return string(out), nil
}

func lastLines(s string, n int) string {
	ls := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(ls[max(0, len(ls)-n):], "\n")
}

// eventually calls f every few milliseconds until it returns no error, and
// returns the last error when the limit has passed.
func eventually(limit, every time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", limit, err)
		}
		time.Sleep(every)
	}
}

// usage is what the kernel says of a process.
type usage struct {
	rss int64         // bytes
	cpu time.Duration // user and system, of the process and its reaped children
}

// measure reads the usage of some processes together.
func measure(pids ...int) (usage, error) {
	var u usage
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return u, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}

		// The name in parentheses may hold anything; the fields follow it.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 22 {
			return u, errors.New("read the usage: the kernel gave too few fields")
		}

		for _, i := range []int{11, 12, 13, 14} {
			ticks, _ := strconv.ParseInt(fields[i], 10, 64)
			u.cpu += time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 on Linux
		}

		pages, _ := strconv.ParseInt(fields[21], 10, 64)
		u.rss += pages * int64(os.Getpagesize())
	}

	return u, nil
}
