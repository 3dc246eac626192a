package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestCluster_single(t *testing.T) {
	began := time.Now()
	n := newNode(t, "a").start()
	waitReady(t, n)
	if d := time.Since(began); d > time.Second {
		t.Errorf("ready after %v, want less than 1s", d)
	}
	t.Logf("ready after %v", time.Since(began))
	apply(t, n, "x")
	if got := n.fsm.all(); !slices.Equal(got, []string{"x"}) {
		t.Errorf("applied %q", got)
	}
	// A second life has the same cluster and state.
	id := n.c.ID()
	n.kill()
	n.start()
	waitReady(t, n)
	if n.c.ID() != id || id == "" {
		t.Errorf("cluster %q, want %q", n.c.ID(), id)
	}
	testutil.Eventually(t, 5*time.Second, func() error {
		if got := n.fsm.all(); !slices.Equal(got, []string{"x"}) {
			return fmt.Errorf("restored %q", got)
		}
		return nil
	})
}

// three starts three nodes at the same moment: one alone, two that join it.
func three(t *testing.T) []*testNode {
	t.Helper()
	a := newNode(t, "a")
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	b, c := newNode(t, "b", join(a)), newNode(t, "c", join(a))
	for _, n := range []*testNode{b, c} {
		if err := n.open(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*testNode{c, b, a} {
		n.run()
	}
	return []*testNode{a, b, c}
}

func TestCluster_threeAtOnce(t *testing.T) {
	began := time.Now()
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	t.Logf("three voters after %v", time.Since(began))
	leader := leaderOf(t, nodes...)
	apply(t, leader, "x")
	for _, n := range nodes {
		testutil.Eventually(t, 5*time.Second, func() error {
			if got := n.fsm.all(); !slices.Equal(got, []string{"x"}) {
				return fmt.Errorf("%s has %q", n.cfg.Name, got)
			}
			return nil
		})
		if n != leader {
			if _, _, err := n.c.Apply(t.Context(), []byte("y")); !errors.Is(err, pipeline.ErrNotLeader) {
				t.Errorf("apply on a follower: %v", err)
			}
		}
	}
	// Node to node, each knows whom it talks to.
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			client, base, err := from.c.Client(to.cfg.NodeID)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			req, _ := http.NewRequestWithContext(ctx, "GET", base+"/hello", nil)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			cancel()
			if want := fmt.Sprintf("%s auto true", from.cfg.NodeID); string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
			if resp.ProtoMajor != 2 {
				t.Errorf("HTTP/%d, want 2", resp.ProtoMajor)
			}
		}
	}
}

func TestCluster_leaderStops(t *testing.T) {
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	leader := leaderOf(t, nodes...)
	apply(t, leader, "before")
	_, term, _ := leader.c.Leader()
	leader.freeze()
	began := time.Now()
	leader.kill()
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n *testNode) bool { return n == leader })
	next := leaderOf(t, rest...)
	t.Logf("new leader after %v", time.Since(began))
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("new leader after %v", d)
	}
	if _, now, _ := next.c.Leader(); now <= term {
		t.Errorf("term %d after %d", now, term)
	}
	apply(t, next, "after")
	leader.start()
	waitReady(t, leader)
	wantRoles(t, nodes, 3, 0, 0)
	testutil.Eventually(t, 5*time.Second, func() error {
		if got := leader.fsm.all(); !slices.Equal(got, []string{"before", "after"}) {
			return fmt.Errorf("the old leader has %q", got)
		}
		return nil
	})
}

func TestCluster_grows(t *testing.T) {
	nodes := []*testNode{newNode(t, "a").start()}
	waitReady(t, nodes[0])
	want := []struct{ voters, standbys int }{{1, 1}, {3, 0}, {3, 1}, {5, 0}, {5, 1}}
	for i, w := range want {
		n := newNode(t, string(rune('b'+i)), join(nodes[i/2])).start()
		waitReady(t, n)
		nodes = append(nodes, n)
		wantRoles(t, nodes, w.voters, w.standbys, 0)
	}
	// A worker never takes part in raft, and knows the leader all the same.
	worker := newNode(t, "w", join(nodes[1]), mode(pipeline.ModeWorker)).start()
	waitReady(t, worker)
	wantRoles(t, append(nodes, worker), 5, 1, 1)
	leaderOf(t, append(nodes, worker)...)
}

func TestCluster_members(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	b := newNode(t, "b", join(a))
	b.meta = cluster.Meta{Slots: 4, Load: 1, Incarnation: "life", HTTPAddr: "127.0.0.1:8080"}
	b.start()
	waitReady(t, b)
	see := func(want func(cluster.Member) bool) {
		t.Helper()
		testutil.Eventually(t, 5*time.Second, func() error {
			m, ok := a.c.Member(b.cfg.NodeID)
			if !ok || !want(m) {
				return fmt.Errorf("%+v", m)
			}
			return nil
		})
	}
	see(func(m cluster.Member) bool {
		return m.Slots == 4 && m.Load == 1 && m.Incarnation == "life" && m.HTTPAddr == "127.0.0.1:8080" &&
			m.PeerAddr == b.c.Addresses().Peer && m.Addr == b.c.Addresses().Gossip && m.Version == "test" && m.Status == cluster.StatusAlive
	})
	b.mu.Lock()
	b.meta.Load, b.meta.Draining = 3, true
	b.mu.Unlock()
	b.c.Refresh()
	see(func(m cluster.Member) bool { return m.Load == 3 && m.Draining })
	b.kill()
	see(func(m cluster.Member) bool { return m.Status == cluster.StatusFailed })
}

func TestCluster_workerFollowsElection(t *testing.T) {
	nodes := three(t)
	worker := newNode(t, "w", join(nodes[0]), mode(pipeline.ModeWorker)).start()
	wantRoles(t, append(slices.Clone(nodes), worker), 3, 0, 1)
	leader := leaderOf(t, append(slices.Clone(nodes), worker)...)
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n *testNode) bool { return n == leader })
	changed, stop := worker.c.Changes()
	defer stop()
	began := time.Now()
	leader.kill()
	leaderOf(t, rest...)
	voters := time.Since(began)
	leaderOf(t, append(rest, worker)...)
	t.Logf("voters knew after %v, the worker after %v", voters, time.Since(began))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("nobody told the listener")
	}
}

// TestCluster_copiedDataDirectory: two processes with one id are found out.
func TestCluster_copiedDataDirectory(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	b := newNode(t, "b", join(a)).start()
	waitReady(t, b)
	clone := newNode(t, "b", join(a))
	clone.id, clone.peers = b.c.ID(), []string{a.c.Addresses().Gossip}
	if err := clone.open(); err != nil {
		t.Fatal(err)
	}
	clone.run()
	var err error
	select {
	case err = <-clone.done:
	case err = <-b.done:
		b.stop()
		b.stop = nil
	case <-time.After(30 * time.Second):
		t.Fatal("nobody noticed")
	}
	if err == nil || !strings.Contains(err.Error(), "same id") && !strings.Contains(err.Error(), "lost raft's log") {
		t.Errorf("got %v", err)
	}
	if clone.stop != nil && err != nil {
		clone.stop()
		clone.stop = nil
	}
}

func TestCluster_lostLogOfVoter(t *testing.T) {
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	leader := leaderOf(t, nodes...)
	victim := nodes[0]
	if victim == leader {
		victim = nodes[1]
	}
	victim.freeze()
	victim.kill()
	if err := os.RemoveAll(victim.cfg.RaftDir); err != nil {
		t.Fatal(err)
	}
	victim.start()
	select {
	case err := <-victim.done:
		if err == nil || !strings.Contains(err.Error(), "lost raft's log") {
			t.Errorf("got %v", err)
		}
		victim.stop()
		victim.stop = nil
	case <-time.After(30 * time.Second):
		t.Fatal("a voter without memory was taken back")
	}
}

// A voter that was replaced while it was down, in a cluster that has enough standbys
// without it, continues without a part in raft, and takes its part again when one is free.
func TestCluster_removedWhileAway(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	nodes := []*testNode{a}
	for _, name := range []string{"b", "c", "d", "e", "f", "g", "h"} {
		nodes = append(nodes, newNode(t, name, join(a)).start())
	}
	waitReady(t, nodes...)
	wantRoles(t, nodes, 5, 2, 1)

	leader := leaderOf(t, nodes...)
	role := func(id pipeline.NodeID) string { m, _ := leader.c.Member(id); return m.RaftRole }
	with := func(role string) *testNode {
		for _, n := range nodes {
			if n != leader && n.c.Self().RaftRole == role {
				return n
			}
		}
		t.Fatalf("no %s", role)
		return nil
	}
	away := with(cluster.RoleVoter)
	away.freeze().kill()
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n *testNode) bool { return n == away })
	wantRoles(t, rest, 5, 2, 0)
	testutil.Eventually(t, 20*time.Second, func() error {
		if r := role(away.cfg.NodeID); r != cluster.RoleNone {
			return fmt.Errorf("the voter that is down is %s", r)
		}
		return nil
	})

	away.start()
	waitReady(t, away)
	leader = leaderOf(t, nodes...)
	testutil.Eventually(t, 60*time.Second, func() error { // raft may continue with heartbeats to it for a while
		if r := away.c.Self().RaftRole; r != cluster.RoleNone || len(away.c.RaftInfo().Servers) > 0 {
			return fmt.Errorf("it takes itself for %s in %v", r, away.c.RaftInfo().Servers)
		}
		return nil
	})
	wantRoles(t, nodes, 5, 2, 1)

	apply(t, leader, "while it had no part")
	nodes = rest
	with(cluster.RoleStandby).kill()
	testutil.Eventually(t, 30*time.Second, func() error {
		if r := away.c.Self().RaftRole; r != cluster.RoleStandby || !slices.Contains(away.fsm.all(), "while it had no part") {
			return fmt.Errorf("it is %s and has %q", r, away.fsm.all())
		}
		return nil
	})
}

// A voter that failed before a node was started again is listed there all the same, by
// the name that it had.
func TestCluster_Members_deadVoter(t *testing.T) {
	a := newNode(t, "a").start()
	b, c := newNode(t, "b", join(a)).start(), newNode(t, "c", join(a)).start()
	waitReady(t, a, b, c)
	wantRoles(t, []*testNode{a, b, c}, 3, 0, 0)

	testutil.Eventually(t, 20*time.Second, func() error {
		text, err := os.ReadFile(cluster.PeersFile(c.cfg.RaftDir))
		if err != nil || !strings.Contains(string(text), `"name":"b"`) {
			return fmt.Errorf("remembered %s, %v", text, err)
		}
		return nil
	})
	c.freeze().kill()
	b.kill()
	testutil.Eventually(t, 20*time.Second, func() error {
		// Else c would hear of it as one that is alive.
		if m, ok := a.c.Member("node-b"); !ok || m.Status != cluster.StatusFailed {
			return fmt.Errorf("a sees %+v, %v", m, ok)
		}
		return nil
	})
	c.start()
	testutil.Eventually(t, 20*time.Second, func() error {
		m, ok := c.c.Member("node-b")
		if !ok || m.Name != "b" || m.Status != cluster.StatusFailed || m.RaftRole != cluster.RoleVoter {
			return fmt.Errorf("got %+v, %v", m, ok)
		}
		if n := len(c.c.Members()); n != 3 {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})
}
