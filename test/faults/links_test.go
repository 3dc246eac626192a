package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// The links of these tests, each way.
var (
	slow  = harness.Link{Delay: 200 * time.Millisecond}
	lossy = harness.Link{Delay: 100 * time.Millisecond, Loss: 0.05}
)

const onLinks = `pipeline "links" {
  module "m" {
    script  = "cat data > copy"
    outputs = ["copy"]
  }
}
`

// accepted waits until a node accepts a run, and then until that has succeeded.
func accepted(t *testing.T, c *harness.Cluster, n *harness.Node) {
	t.Helper()
	// New bytes each time: they go to a second node first.
	c.WriteFile("links/data", time.Now().String())
	file := c.WriteFile("links/p.hcl", onLinks)
	var id string
	testutil.Eventually(t, harness.Wait, func() error {
		r := c.CLI("submit", "-detach", "-address", "https://"+n.IP+":8080", file)
		if r.Code != 0 {
			return fmt.Errorf("submit: exit %d: %s", r.Code, r.Stderr)
		}
		id = strings.TrimSpace(r.Stdout)
		t.Logf("%s accepted a run after %v", n.Name, r.Took)
		return nil
	})
	testutil.Eventually(t, harness.Wait, func() error {
		r := c.CLI("status", "-json", "-address", "https://"+n.IP+":8080", id)
		var run wire.Run
		if r.Code != 0 || json.Unmarshal([]byte(r.Stdout), &run) != nil || string(run.State) != "succeeded" {
			return fmt.Errorf("exit %d: %.300s", r.Code, r.Stdout+r.Stderr)
		}
		return nil
	})
}

// terms counts, during a time, how often another leader or term is seen, and for
// how long a majority saw no leader.
func terms(t *testing.T, c *harness.Cluster, during time.Duration) (changes int) {
	t.Helper()
	const every = 200 * time.Millisecond
	var last uint64
	var without time.Duration
	for end := time.Now().Add(during); time.Now().Before(end); <-time.After(every) {
		led := 0
		for _, n := range c.Nodes {
			h, err := n.Health()
			if err != nil || !h.Quorum {
				continue
			}
			led++
			if h.Term > last {
				if last != 0 {
					changes += int(h.Term - last)
				}
				last = h.Term
			}
		}
		if led <= len(c.Nodes)/2 {
			without += every
		}
	}
	t.Logf("in %v: %d changes of the term, %v without a leader", during, changes, without)
	return changes
}

// observe is how long a test counts changes of leadership, more for measurements.
func observe(d time.Duration) time.Duration {
	if long, err := time.ParseDuration(os.Getenv("PIPELINED_OBSERVE")); err == nil {
		return long
	}
	return d
}

// steady checks that a cluster on slow links has a leader, that it stays, and that
// runs are accepted on every node.
func steady(t *testing.T, c *harness.Cluster, during time.Duration) {
	t.Helper()
	began := time.Now()
	c.Whole()
	t.Logf("whole after %v", time.Since(began))
	accepted(t, c, c.Leader())
	// A busy machine may cost one.
	if n := terms(t, c, observe(during)); n > 1 {
		t.Errorf("%d changes of the term", n)
	}
	for _, n := range c.Others(c.Leader()) {
		accepted(t, c, n)
	}
}

// With 200 ms each way between all nodes a leader is elected and stays, and runs
// are accepted. A leader that is cut off has stopped before another one leads.
func TestLinks_slow(t *testing.T) {
	t.Parallel()
	if !harness.Isolated(t) {
		return
	}
	c, w := harness.StartSlow(t, 3, slow)
	steady(t, c, 15*time.Second)

	old := c.Leader()
	w.Around(old, harness.Link{Loss: 1})
	var next *harness.Node
	testutil.Eventually(t, harness.Wait, func() error {
		for _, n := range c.Others(old) {
			if h, err := n.Health(); err == nil && h.Leader == n.Name {
				next = n
				return nil
			}
		}
		return errors.New("no node leads")
	})
	if h, err := old.Health(); err != nil || h.Leader == old.Name {
		t.Errorf("%s leads, %s leads still: %v", next.Name, old.Name, err)
	}
	accepted(t, c, next)
}

// With 100 ms each way and a loss of 5 % the leader changes once a minute at most.
func TestLinks_lossy(t *testing.T) {
	t.Parallel()
	if !harness.Isolated(t) {
		return
	}
	c, _ := harness.StartSlow(t, 3, lossy)
	steady(t, c, 25*time.Second)
}

// One of three nodes, the leader, comes to be far from the others. If the leader is
// killed, one of the others follows.
func TestLinks_oneFar(t *testing.T) {
	t.Parallel()
	if !harness.Isolated(t) {
		return
	}
	c, w := harness.StartSlow(t, 3, harness.Link{})
	c.Whole()
	w.Around(c.Leader(), slow)
	steady(t, c, 10*time.Second)

	leader := c.Leader()
	leader.Kill()
	accepted(t, c, c.Others(leader)[0])
}

// Links become slow while a cluster runs, with jitter, and fast again.
func TestLinks_change(t *testing.T) {
	t.Parallel()
	if !harness.Isolated(t) {
		return
	}
	c, w := harness.StartSlow(t, 3, harness.Link{})
	c.Whole()
	all := func(l harness.Link) {
		for _, n := range c.Nodes {
			w.Around(n, l)
		}
	}
	all(harness.Link{Delay: 150 * time.Millisecond, Jitter: 100 * time.Millisecond})
	terms(t, c, 5*time.Second)
	steady(t, c, 10*time.Second)
	all(harness.Link{})
	steady(t, c, 5*time.Second)
}
