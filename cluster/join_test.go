package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// logOf keeps what a node says.
type logOf struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logOf) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logOf) has(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.buf.String(), text) {
		return fmt.Errorf("the log does not say %q:\n%s", text, l.buf.String())
	}
	return nil
}

func logged(to *logOf) func(*cluster.Config) {
	return func(c *cluster.Config) {
		c.Logger = hclog.New(&hclog.LoggerOptions{Name: c.Name, Level: hclog.Info, Output: to})
	}
}

func TestJoin_wrongKey(t *testing.T) {
	var said, saidB logOf
	a := newNode(t, "a", logged(&said)).start()
	waitReady(t, a)
	b := newNode(t, "b", join(a), logged(&saidB), func(c *cluster.Config) { c.Key = bytes.Repeat([]byte{8}, 32) }).start()
	testutil.Eventually(t, 10*time.Second, func() error {
		return errors.Join(saidB.has(a.c.Addresses().Gossip+" uses a different cluster key than"),
			said.has("uses a different cluster key than"))
	})
	if n := len(a.c.Members()) + len(b.c.Members()); n != 2 {
		t.Errorf("%d members", n)
	}
	select {
	case <-b.c.Ready():
		t.Error("ready without a cluster")
	default:
	}
}

func TestJoin_otherCluster(t *testing.T) {
	var saidA, saidB logOf
	a, b := newNode(t, "a", logged(&saidA)).start(), newNode(t, "b").start()
	waitReady(t, a, b)
	apply(t, b, "something that must not be lost")
	idA, idB := a.c.ID(), b.c.ID()
	b.kill()
	join(a)(&b.cfg)
	logged(&saidB)(&b.cfg)
	b.start()
	waitReady(t, b)
	testutil.Eventually(t, 20*time.Second, func() error {
		return errors.Join(saidA.has(idB), saidA.has("refused b at"), saidB.has(idA), saidB.has("refused a at"), saidB.has("-data-dir"))
	})
	if len(a.c.Members()) != 1 || len(b.c.Members()) != 1 || b.c.ID() != idB {
		t.Errorf("%d and %d members", len(a.c.Members()), len(b.c.Members()))
	}
}

func TestJoin_emptyClusterGivesWay(t *testing.T) {
	a, b := newNode(t, "a").start(), newNode(t, "b").start()
	waitReady(t, a, b)
	apply(t, a, "x")
	own := b.c.ID()
	b.kill()
	join(a)(&b.cfg)
	b.start()
	wantRoles(t, []*testNode{a, b}, 1, 1, 0)
	if b.c.ID() != a.c.ID() || b.c.ID() == own {
		t.Errorf("b is of %s, a of %s", b.c.ID(), a.c.ID())
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if got := b.fsm.all(); len(got) != 1 || got[0] != "x" {
			return fmt.Errorf("b has %q", got)
		}
		return nil
	})
	// It has given way for good.
	b.freeze()
	b.kill()
	b.start()
	wantRoles(t, []*testNode{a, b}, 1, 1, 0)
}

// sameList starts nodes at the same moment with one and the same -join list.
func sameList(t *testing.T, names ...string) []*testNode {
	t.Helper()
	var nodes []*testNode
	var list []string
	for i, name := range names {
		n := newNode(t, name)
		n.cfg.GossipPort = 20000 + os.Getpid()%20000 + i
		list = append(list, fmt.Sprintf("%s:%d", n.cfg.BindAddr, n.cfg.GossipPort))
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.cfg.Join = list
		if err := n.open(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		n.run()
	}
	return nodes
}

func TestJoin_sameList(t *testing.T) {
	nodes := sameList(t, "c", "a", "b")
	wantRoles(t, nodes, 3, 0, 0)
	for _, n := range nodes {
		if n.c.ID() != nodes[0].c.ID() {
			t.Errorf("%s is of %s, %s of %s", n.cfg.Name, n.c.ID(), nodes[0].cfg.Name, nodes[0].c.ID())
		}
	}
	// Nobody begins anew when all start again at once.
	id := nodes[0].c.ID()
	for _, n := range nodes {
		n.freeze()
		n.kill()
	}
	for _, n := range nodes {
		n.start()
	}
	wantRoles(t, nodes, 3, 0, 0)
	if nodes[1].c.ID() != id {
		t.Errorf("cluster %s, want %s", nodes[1].c.ID(), id)
	}
}

func TestJoin_expect(t *testing.T) {
	expect := func(c *cluster.Config) { c.Expect = 3 }
	a := newNode(t, "a", expect).start()
	b := newNode(t, "b", expect, join(a)).start()
	testutil.Eventually(t, 10*time.Second, func() error {
		if len(a.c.Members()) != 2 {
			return errors.New("they do not see each other")
		}
		return nil
	})
	if a.c.ID() != "" || b.c.ID() != "" {
		t.Error("began with two of three")
	}
	c := newNode(t, "c", expect, join(a)).start()
	wantRoles(t, []*testNode{a, b, c}, 3, 0, 0)
}

func TestJoin_ownAddressOnly(t *testing.T) {
	n := newNode(t, "a")
	n.cfg.GossipPort = 20000 + os.Getpid()%20000 + 7
	n.cfg.Join = []string{fmt.Sprintf("%s:%d", n.cfg.BindAddr, n.cfg.GossipPort)}
	n.start()
	waitReady(t, n)
}

func TestJoin_standalone(t *testing.T) {
	var said logOf
	a := newNode(t, "a", mode(pipeline.ModeStandalone)).start()
	waitReady(t, a)
	b := newNode(t, "b", join(a), logged(&said)).start()
	testutil.Eventually(t, 10*time.Second, func() error { return said.has("standalone and admits no other") })
	if len(a.c.Members()) != 1 || b.c.ID() != "" {
		t.Error("a standalone node was joined")
	}
}

func TestJoin_laterThanTheOthers(t *testing.T) {
	// The node to join is not there yet: b waits and says so by not being ready.
	a := newNode(t, "a")
	a.cfg.GossipPort = 20000 + os.Getpid()%20000 + 8
	b := newNode(t, "b", func(c *cluster.Config) {
		c.Join = []string{fmt.Sprintf("%s:%d", a.cfg.BindAddr, a.cfg.GossipPort)}
	}).start()
	select {
	case <-b.c.Ready():
		t.Fatal("ready without a cluster")
	case <-time.After(300 * time.Millisecond):
	}
	a.start()
	waitReady(t, a, b)
	wantRoles(t, []*testNode{a, b}, 1, 1, 0)
}

func TestLeave(t *testing.T) {
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	leader := leaderOf(t, nodes...)
	apply(t, leader, "x")
	// The leader itself goes: the two others keep what there is.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := leader.c.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	leader.kill()
	var rest []*testNode
	for _, n := range nodes {
		if n != leader {
			rest = append(rest, n)
		}
	}
	wantRoles(t, rest, 1, 1, 0)
	wantLeft(t, rest, leader)
	apply(t, leaderOf(t, rest...), "y")
	// Its id is used up.
	if err := leader.open(); !errors.Is(err, cluster.ErrLeft) {
		t.Errorf("started again: %v", err)
	}
	// The leader of two goes, then the last one cannot.
	leader = leaderOf(t, rest...)
	if err := leader.c.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	leader.kill()
	last := rest[0]
	if last == leader {
		last = rest[1]
	}
	wantRoles(t, []*testNode{last}, 1, 0, 0)
	apply(t, last, "z")
	if err := last.c.Leave(ctx); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("the last node left: %v", err)
	}
}

// wantLeft waits until all nodes count another as one that has left.
func wantLeft(t *testing.T, nodes []*testNode, other *testNode) {
	t.Helper()
	for _, n := range nodes {
		testutil.Eventually(t, 10*time.Second, func() error {
			if m, _ := n.c.Member(other.cfg.NodeID); m.Status != cluster.StatusLeft {
				return fmt.Errorf("%s takes it for %s", n.cfg.Name, m.Status)
			}
			return nil
		})
	}
}

// A node that has failed can be removed by hand: it does not count any more, on any
// node. If it comes back nevertheless, it joins again.
func TestRemove(t *testing.T) {
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	leader := leaderOf(t, nodes...)
	var dead *testNode
	var rest []*testNode
	for _, n := range nodes {
		if n != leader && dead == nil {
			dead = n
		} else {
			rest = append(rest, n)
		}
	}
	if err := leader.c.Remove(t.Context(), dead.cfg.NodeID); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("a node that is alive: %v", err)
	}
	for _, n := range rest {
		if n != leader {
			if err := n.c.Remove(t.Context(), dead.cfg.NodeID); !errors.Is(err, pipeline.ErrNotLeader) {
				t.Errorf("on a follower: %v", err)
			}
		}
	}

	dead.kill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	testutil.Eventually(t, 30*time.Second, func() error { return leader.c.Remove(ctx, dead.cfg.NodeID) })
	wantRoles(t, rest, 1, 1, 0)
	wantLeft(t, rest, dead)
	apply(t, leaderOf(t, rest...), "y")

	dead.start()
	wantRoles(t, nodes, 3, 0, 0)
}

func TestLeave_worker(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	w := newNode(t, "w", join(a), mode(pipeline.ModeWorker)).start()
	waitReady(t, w)
	if err := w.c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if m, _ := a.c.Member(w.cfg.NodeID); m.Status != cluster.StatusLeft {
			return fmt.Errorf("it is %s", m.Status)
		}
		return nil
	})
}

func TestOpen_refuses(t *testing.T) {
	for name, change := range map[string]func(*cluster.Config){
		"no id":            func(c *cluster.Config) { c.NodeID = "" },
		"mode":             func(c *cluster.Config) { c.Mode = "boss" },
		"bind":             func(c *cluster.Config) { c.BindAddr = "localhost" },
		"unspecified":      func(c *cluster.Config) { c.BindAddr = "0.0.0.0" },
		"unspecified IPv6": func(c *cluster.Config) { c.BindAddr = "::" },
		"advertise":        func(c *cluster.Config) { c.AdvertiseAddr = "nowhere" },
		"key":              func(c *cluster.Config) { c.Key = c.Key[:16] },
		"worker alone":     func(c *cluster.Config) { c.Mode = pipeline.ModeWorker },
		"standalone join":  func(c *cluster.Config) { c.Mode, c.Join = pipeline.ModeStandalone, []string{"x"} },
	} {
		if err := newNode(t, "a", change).open(); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// A port in use is told, and nothing stays bound.
	a := newNode(t, "a").start()
	waitReady(t, a)
	b := newNode(t, "b")
	b.cfg.BindAddr = a.cfg.BindAddr
	fmt.Sscanf(strings.TrimPrefix(a.c.Addresses().Peer, a.cfg.BindAddr+":"), "%d", &b.cfg.PeerPort)
	if err := b.open(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

// Two nodes with one name both say so, with both addresses; the one that remains says it
// once for each of the others.
func TestJoin_sameName(t *testing.T) {
	var saidA, saidB logOf
	a := newNode(t, "a", logged(&saidA)).start()
	waitReady(t, a)
	b := newNode(t, "a", join(a), logged(&saidB), func(c *cluster.Config) { c.NodeID = "node-b" }).start()
	waitReady(t, b)
	testutil.Eventually(t, 10*time.Second, func() error {
		const what = "another node has the name of this node"
		return errors.Join(saidA.has(what), saidB.has(what),
			saidB.has("address="+b.c.Addresses().Gossip+" other_node=node-a other_address="+a.c.Addresses().Gossip))
	})
}
