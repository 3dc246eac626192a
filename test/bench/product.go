package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// product is the binary, with folders of its own for everything that it keeps.
type product struct {
	bin, dir string
	env      []string
	http     *http.Client
}

// newProduct makes the folders and a cluster key, so that nothing of the
// user's, or of root's, is touched.
func newProduct(bin, dir string) (*product, error) {
	p := &product{bin: bin, dir: dir, http: newHTTP()}
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}

	p.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8",
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_STATE_HOME=" + filepath.Join(home, "state")}

	key, err := commandEnv(30*time.Second, p.env, dir, bin, "keygen")
	if err != nil {
		return nil, err
	}

	p.env = append(p.env, "PIPELINED_KEY="+strings.TrimSpace(key))

	return p, nil
}

// agent is a running node of the product.
type agent struct {
	name, host, url string
	data            string
	args            []string
	proc            *process
}

// cluster is some agents and a token to use them.
type cluster struct {
	p      *product
	agents []*agent
	token  string
}

// startCluster starts n agents on loopback addresses of their own and waits
// until they are one cluster.
func (p *product) startCluster(name string, n int) (*cluster, error) {
	c := &cluster{p: p}
	gossip, err := freePort("127.0.0.1")
	if err != nil {
		return nil, err
	}

	for i := range n {
		a := &agent{name: fmt.Sprintf("%s-%d", name, i+1), host: fmt.Sprintf("127.0.0.%d", i+1)}
		a.data = filepath.Join(p.dir, a.name)

		web, err := freePort(a.host)
		if err != nil {
			return nil, err
		}

		peer, err := freePort(a.host)
		if err != nil {
			return nil, err
		}

		a.url = "http://" + a.host + ":" + strconv.Itoa(web)
		a.args = []string{"agent", "-name", a.name, "-bind", a.host, "-data-dir", a.data, "-http-port", strconv.Itoa(web),
			"-peer-port", strconv.Itoa(peer), "-gossip-port", strconv.Itoa(gossip)}

		if i > 0 {
			a.args = append(a.args, "-join", fmt.Sprintf("127.0.0.1:%d", gossip))
		}

		c.agents = append(c.agents, a)
	}

	for _, a := range c.agents {
		if err := c.start(a); err != nil {
			c.stop()
			return nil, err
		}
	}

	if err := c.whole(60 * time.Second); err != nil {
		c.stop()
		return nil, err
	}

	out, err := commandEnv(30*time.Second, p.env, p.dir, p.bin, "token", "create", "-role", "admin", "-name", "bench", "-address", c.agents[0].url)
	if err != nil {
		c.stop()
		return nil, err
	}

	c.token = strings.TrimSpace(out)

	return c, nil
}

// start starts an agent, for the first time or again.
func (c *cluster) start(a *agent) (err error) {
	a.proc, err = start(c.p.env, a.data+".log", c.p.bin, a.args...)
	return err
}

// stop ends all agents, and whatever of them outlasts its agent.
func (c *cluster) stop() {
	var wg sync.WaitGroup
	for _, a := range c.agents {
		if a.proc == nil {
			continue
		}
		wg.Go(func() {
			keepers := keepersOf(a.data)
			a.proc.stop(syscall.SIGTERM, 10*time.Second)
			for _, pid := range keepers {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}

	wg.Wait()
}

// keepersOf finds the keeper of a data folder: the process of our binary that
// has the folder on its command line and is not the agent itself.
func keepersOf(data string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range dirs {
		args := strings.Split(readTrim(f), "\x00")
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || len(args) < 2 || args[1] == "agent" || pid == os.Getpid() {
			continue
		}
		for _, a := range args {
			if a == data || strings.HasPrefix(a, data+"/") || strings.HasSuffix(a, "="+data) {
				pids = append(pids, pid)
				break
			}
		}
	}

	return pids
}

// whole waits until every agent says that all of them are voters under the
// same leader.
func (c *cluster) whole(limit time.Duration) error {
	return eventually(limit, 20*time.Millisecond, func() error {
		leader := ""
		for _, a := range c.agents {
			if a.proc.exited() {
				return fmt.Errorf("%s has ended:\n%s", a.name, a.proc.output())
			}
			h, err := c.health(a)
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			if h.Status != "healthy" || h.Leader == "" || len(h.Voters) != len(c.agents) || leader != "" && leader != h.Leader {
				return fmt.Errorf("%s is %s under %q with voters %v", a.name, h.Status, h.Leader, h.Voters)
			}
			leader = h.Leader
		}

		return nil
	})
}

// health asks an agent how it is.
func (c *cluster) health(a *agent) (wire.Health, error) {
	var h wire.Health
	err := c.call(a, http.MethodGet, "/api/health", nil, &h)
	return h, err
}

// leader finds the agent that leads.
func (c *cluster) leader() (*agent, error) {
	for _, a := range c.agents {
		if h, err := c.health(a); err == nil {
			for _, l := range c.agents {
				if l.name == h.Leader {
					return l, nil
				}
			}
		}
	}
	return nil, errors.New("no agent names a leader")
}

// call makes one request and decodes its answer.
func (c *cluster) call(a *agent, method, path string, in, into any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}

	req, err := http.NewRequest(method, a.url+path, body)
	if err != nil {
		return err
	}

	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	resp, err := c.p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}

	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}

	return json.Unmarshal(b, into)
}

// submit posts a pipeline to an agent and returns the run.
func (c *cluster) submit(a *agent, source string) (pipeline.RunID, error) {
	var made wire.RunCreated
	err := c.call(a, http.MethodPost, "/api/v1/runs", wire.SubmitRequest{Source: source, FileName: "bench.hcl"}, &made)
	return made.ID, err
}

// wait waits for the end of a run. It asks seldom and for no modules, so that
// the watching costs the cluster next to nothing.
func (c *cluster) wait(a *agent, id pipeline.RunID, every time.Duration) (wire.Run, error) {
	var r wire.Run
	err := eventually(5*time.Minute, every, func() error {
		r = wire.Run{}
		if err := c.call(a, http.MethodGet, "/api/v1/runs/"+string(id)+"?since="+strconv.FormatUint(1<<62, 10), nil, &r); err != nil {
			return err
		}
		if !r.State.Final() {
			return fmt.Errorf("run %s is %s with %d of %d modules done", id, r.State, r.ModulesDone, r.ModuleCount)
		}
		return nil
	})
	if err == nil && r.State != pipeline.RunSucceeded {
		err = fmt.Errorf("run %s is %s: %s", id, r.State, r.Reason)
	}

	return r, err
}

// timeRun runs a shape and returns the time from its acceptance to its end, by
// the cluster's own stamps.
func (c *cluster) timeRun(s shape, argv []string) (time.Duration, error) {
	a, err := c.leader()
	if err != nil {
		return 0, err
	}

	id, err := c.submit(a, hcl(s, argv))
	if err != nil {
		return 0, err
	}

	r, err := c.wait(a, id, 25*time.Millisecond)
	if err != nil {
		return 0, err
	}

	if r.FinishedAt == nil {
		return 0, fmt.Errorf("run %s has ended without saying when", id)
	}

	return r.FinishedAt.Sub(r.SubmittedAt), nil
}
