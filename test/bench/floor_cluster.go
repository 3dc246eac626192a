package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// floorCluster is some bare raft nodes, each a process of its own.
type floorCluster struct {
	dir   string
	nodes []*floorProcess
	t     timings
	http  *http.Client
}

// floorProcess is a node of it.
type floorProcess struct {
	id, url string
	args    []string
	log     string
	proc    *process
}

// startFloor starts n bare raft nodes on loopback and waits for their leader.
func startFloor(dir string, n int, t timings) (*floorCluster, error) {
	c := &floorCluster{dir: dir, t: t, http: newHTTP()}

	var peers []string
	for i := range n {
		port, err := freePort("127.0.0.1")
		if err != nil {
			return nil, err
		}
		peers = append(peers, fmt.Sprintf("n%d=127.0.0.1:%d", i, port))
	}

	for i := range n {
		port, err := freePort("127.0.0.1")
		if err != nil {
			return nil, err
		}

		addr := "127.0.0.1:" + strconv.Itoa(port)
		p := &floorProcess{id: fmt.Sprintf("n%d", i), url: "http://" + addr}
		data := filepath.Join(dir, p.id)
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}

		p.log = filepath.Join(dir, p.id+".log")
		p.args = []string{raftNodeCommand, "-id", p.id, "-dir", data, "-http", addr, "-peers", strings.Join(peers, ","),
			"-heartbeat", t.heartbeat.String(), "-election", t.election.String(), "-lease", t.lease.String()}
		c.nodes = append(c.nodes, p)
	}

	for _, p := range c.nodes {
		if err := p.start(); err != nil {
			c.stop()
			return nil, err
		}
	}

	if _, err := c.leader(20 * time.Second); err != nil {
		c.stop()
		return nil, err
	}

	return c, nil
}

func (p *floorProcess) start() (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.proc, err = start(os.Environ(), p.log, self, p.args...)
	return err
}

// stop kills all nodes.
func (c *floorCluster) stop() {
	for _, p := range c.nodes {
		if p.proc != nil {
			p.proc.kill()
		}
	}
}

// leader waits until a living node is the leader and says so itself.
func (c *floorCluster) leader(limit time.Duration) (*floorProcess, error) {
	var found *floorProcess
	err := eventually(limit, 5*time.Millisecond, func() error {
		for _, p := range c.nodes {
			if p.proc.exited() {
				continue
			}
			var id string
			if err := c.get(p.url+"/leader", &id); err == nil && id == p.id {
				found = p
				return nil
			}
		}
		return errors.New("the bare raft nodes have no leader: " + c.nodes[0].proc.output())
	})

	return found, err
}

func (c *floorCluster) get(url string, into any) error {
	resp, err := c.http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// work lets the leader do a shape with one entry and one process per module. On
// a busy machine a leader may lose its role meanwhile; then the work is
// repeated.
func (c *floorCluster) work(s shape, argv []string) (took time.Duration, err error) {
	for range 5 {
		if took, err = c.workOnce(s, argv); err == nil {
			return took, nil
		}
	}
	return 0, err
}

func (c *floorCluster) workOnce(s shape, argv []string) (time.Duration, error) {
	l, err := c.leader(10 * time.Second)
	if err != nil {
		return 0, err
	}

	resp, err := c.http.PostForm(l.url+"/work", url.Values{"layers": {strconv.Itoa(s.layers)},
		"width": {strconv.Itoa(s.width)}, "command": {strings.Join(argv, " ")}})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()

	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}

	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("durable floor: %s: %s", resp.Status, bytes.TrimSpace(body))
	}

	var took time.Duration

	return took, json.Unmarshal(body, &took)
}

// apply commits one entry over HTTP.
func (c *floorCluster) apply(url string) error {
	resp, err := c.http.Post(url+"/apply", "application/octet-stream", bytes.NewReader(make([]byte, entrySize)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("apply: %s", resp.Status)
	}
	return nil
}

// submissions is raft behind HTTP: n entries from some clients at once. It
// gives how long each took.
func (c *floorCluster) submissions(n, clients int) ([]time.Duration, error) {
	l, err := c.leader(10 * time.Second)
	if err != nil {
		return nil, err
	}
	return fanOut(n, clients, func(int) error { return c.apply(l.url) })
}

// failover kills the leader and returns the time until another node has
// committed an entry and run a process. The dead node is started again.
func (c *floorCluster) failover(argv []string) (time.Duration, error) {
	l, err := c.leader(10 * time.Second)
	if err != nil {
		return 0, err
	}

	spawn, err := spawner(argv)
	if err != nil {
		return 0, err
	}

	begin := time.Now()
	_ = l.proc.cmd.Process.Signal(syscall.SIGKILL) // its end is waited for below
	err = eventually(30*time.Second, 2*time.Millisecond, func() error {
		for _, p := range c.nodes {
			if p != l && c.apply(p.url) == nil {
				return nil
			}
		}
		return errors.New("no other node commits")
	})
	if err == nil {
		err = spawn()
	}

	took := time.Since(begin)
	l.proc.kill()

	if err != nil {
		return 0, err
	}

	if err := l.start(); err != nil {
		return 0, err
	}

	// The next round begins with all nodes: the restarted one is part of the
	// majority again when it follows the leader.
	return took, eventually(20*time.Second, 20*time.Millisecond, func() error {
		var id string
		if err := c.get(l.url+"/leader", &id); err != nil {
			return err
		} else if id == "" {
			return errors.New("the restarted node knows no leader")
		}
		return nil
	})
}

// boot returns the time from exec of one node without any state until it has
// committed its first entry over HTTP.
func bootFloor(dir string, t timings) (time.Duration, error) {
	begin := time.Now()
	c, err := startFloor(dir, 1, t)
	if err != nil {
		return 0, err
	}
	defer c.stop()
	err = eventually(20*time.Second, time.Millisecond, func() error { return c.apply(c.nodes[0].url) })
	return time.Since(begin), err
}

// freePort returns a TCP port that was free a moment ago, on UDP too.
func freePort(host string) (int, error) {
	for range 50 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
		l.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}

	return 0, errors.New("find a free port: none is free for both TCP and UDP")
}

// newHTTP makes a client with an idle connection for every client of a
// workload.
func newHTTP() *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}
}
