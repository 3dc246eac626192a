package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// failover is W6: the leader's daemon is killed with SIGKILL, and the time
// counts until a module that was submitted afterwards has run. The daemon is
// started again, and the cluster is whole when it returns.
func (c *cluster) failover() (time.Duration, error) {
	dead, err := c.leader()
	if err != nil {
		return 0, err
	}

	source := hcl(shape{1, 1}, noop)
	begin := time.Now()
	_ = dead.proc.cmd.Process.Signal(syscall.SIGKILL) // its end is waited for below

	took, err := c.firstRun(dead, source, begin)
	dead.proc.kill()

	if err != nil {
		return 0, err
	}

	if err := c.start(dead); err != nil {
		return 0, err
	}

	return took, c.whole(60 * time.Second)
}

// firstRun submits to the remaining agents, again and again until one accepts,
// and waits until the run has succeeded.
func (c *cluster) firstRun(dead *agent, source string, begin time.Time) (time.Duration, error) {
	var (
		id pipeline.RunID
		at *agent
	)

	err := eventually(30*time.Second, 2*time.Millisecond, func() (err error) {
		for _, a := range c.agents {
			if a == dead {
				continue
			}
			if id, err = c.submit(a, source); err == nil {
				at = a
				return nil
			}
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("no agent took a run after the leader's death: %w", err)
	}

	err = eventually(30*time.Second, 2*time.Millisecond, func() error {
		var r wire.Run
		if err := c.call(at, "GET", "/api/v1/runs/"+string(id), nil, &r); err != nil {
			return err
		}
		if r.State != pipeline.RunSucceeded {
			return errors.New("the run is " + string(r.State))
		}
		return nil
	})

	return time.Since(begin), err
}

// bootProduct is the time from exec of one agent without any state until it
// has accepted its first run.
func (p *product) boot(name string) (time.Duration, error) {
	c := &cluster{p: p}
	port, err := freePort("127.0.0.1")
	if err != nil {
		return 0, err
	}

	a := &agent{name: name, host: "127.0.0.1", data: p.dir + "/" + name, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	a.args = []string{"agent", "-name", name, "-data-dir", a.data, "-http-port", fmt.Sprint(port), "-peer-port", "0", "-gossip-port", "0"}
	c.agents = []*agent{a}
	begin := time.Now()
	if err := c.start(a); err != nil {
		return 0, err
	}
	defer c.stop()

	// Health needs no token. The rest is one submission, which is timed by
	// itself below, since making a token starts a process of the command line.
	if err := eventually(30*time.Second, time.Millisecond, func() error {
		h, err := c.health(a)
		if err == nil && (h.Status != "healthy" || h.Leader == "") {
			err = errors.New("it is " + h.Status)
		}
		return err
	}); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, a.proc.output())
	}

	ready := time.Since(begin)
	token, err := commandEnv(30*time.Second, p.env, p.dir, p.bin, "token", "create", "-role", "submit", "-address", a.url)
	if err != nil {
		return 0, err
	}

	c.token = trim(token)
	begin = time.Now()
	if _, err := c.submit(a, hcl(shape{1, 1}, noop)); err != nil {
		return 0, err
	}

	return ready + time.Since(begin), nil
}
