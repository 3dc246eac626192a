package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func newJoiner(p *parts, join ...string) *joiner {
	return &joiner{cfg: p.founder.cfg, log: hclog.NewNullLogger(), view: p.view, targets: newTargets(join, "10.0.0.1", "10.0.0.1", 1),
		remembered: newTargets(nil, "10.0.0.1", "10.0.0.1", 1), changes: &subscribers{}, clusterID: p.founder.clusterID, ownAddr: "10.0.0.1:1"}
}

func TestJoiner_candidates(t *testing.T) {
	p := newParts(t, "c", member("10.0.0.2:1"), member("10.0.0.3:1", status(gossip.Failed)))
	p.founder.cfg.RememberedPeers = []string{"10.0.0.9:1", "10.0.0.2:1"}
	j := newJoiner(p, "10.0.0.9:1", "10.0.0.4:1", "10.0.0.1:1")
	want := []string{"10.0.0.9:1", "10.0.0.4:1", "10.0.0.3:1"}
	if got := j.candidates(t.Context(), true); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := j.candidates(t.Context(), false); len(got) != 1 || !slices.Contains(want, got[0]) {
		t.Errorf("with company: got %v, want one of %v", got, want)
	}
}

// Where a member says that it is now comes first, as long as gossip has it elsewhere.
func TestJoiner_candidates_moved(t *testing.T) {
	p := newParts(t, "c", member("10.0.0.2:1", status(gossip.Failed)))
	p.gossip.members[0].Elsewhere = []string{"10.0.0.7:1", "10.0.0.6:1"}
	p.founder.cfg.RememberedPeers = []string{"10.0.0.2:1", "10.0.0.6:1"}
	want := []string{"10.0.0.7:1", "10.0.0.6:1", "10.0.0.2:1"}
	if got := newJoiner(p).candidates(t.Context(), true); !slices.Equal(got, want) {
		t.Errorf("candidates %v, want %v", got, want)
	}
	if got := p.view.gossipAddrs(); !slices.Equal(got, want) {
		t.Errorf("remembered for the next start: %v, want %v", got, want)
	}
}

// Names of an earlier start are looked up by a node that has a cluster and finds no
// member of it.
func TestJoiner_candidates_remembered(t *testing.T) {
	for cluster, want := range map[string]bool{"c": true, "": false} {
		p := newParts(t, cluster)
		j := newJoiner(p)
		j.remembered = newTargets([]string{"localhost:9"}, "10.0.0.1", "10.0.0.1", 1)
		if got := slices.Contains(j.candidates(t.Context(), true), "127.0.0.1:9"); got != want {
			t.Errorf("cluster %q: looked up: %v, want %v", cluster, got, want)
		}
		if got := j.candidates(t.Context(), false); len(got) > 0 {
			t.Errorf("cluster %q, with company: %v", cluster, got)
		}
	}
}

// The pauses grow from minRetry to maxRetry; once another member is there they
// are those of reconnecting, and after it is lost the joiner starts over.
func TestJoiner_run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "", member("a"))
		j := newJoiner(p, "10.0.0.2:1")
		began, ctx := time.Now(), t.Context()
		var tries []time.Duration
		ctx, cancel := context.WithCancel(ctx)
		j.connect = func(context.Context, string) error {
			tries = append(tries, time.Since(began))
			return errors.New("connection refused")
		}
		done := make(chan error, 1)
		go func() { done <- j.run(ctx) }()

		time.Sleep(30 * time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
		if len(tries) < 8 || len(tries) > 14 {
			t.Fatalf("tried at %v", tries)
		}
		for i := 1; i < len(tries); i++ {
			if pause := tries[i] - tries[i-1]; pause < minRetry*8/10 || pause > maxRetry*12/10 {
				t.Errorf("pause %v between tries", pause)
			}
		}
		if last := tries[len(tries)-1] - tries[len(tries)-2]; last < maxRetry*8/10 {
			t.Errorf("the last pause is %v, want about %v", last, maxRetry)
		}
	})
}

func TestJoiner_wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "c", member("a"), member("b"))
		j := newJoiner(p)
		changed := make(chan struct{})
		began := time.Now()
		done := make(chan bool, 1)
		go func() { done <- j.wait(t.Context(), time.Minute, changed) }()

		changed <- struct{}{} // nothing was lost
		synctest.Wait()
		p.gossip.members = p.gossip.members[:1]
		changed <- struct{}{}
		if !<-done || time.Since(began) != 0 {
			t.Errorf("waited %v after the last other member was lost", time.Since(began))
		}
	})
}

func TestJoiner_warnRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		j := newJoiner(newParts(t, "c"))
		j.log = hclog.New(&hclog.LoggerOptions{Output: &out})
		lines := func(want int) {
			t.Helper()
			if got := strings.Count(out.String(), "cannot join"); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, out.String())
			}
		}
		wrong := &gossip.WrongKeyError{Addr: "10.0.0.2:1", KeyName: "/etc/key"}
		j.warnRefused(errors.New("10.0.0.3:1: connection refused"))
		j.warnRefused(errors.New("refused x: it" + givesUp))
		lines(0)
		j.warnRefused(wrong)
		j.warnRefused(wrong)
		lines(1)
		if !j.warnRefused(errors.New("refused x: it belongs to another cluster")) {
			t.Error("an operator's matter is not one")
		}
		lines(2)
		time.Sleep(warnInterval)
		j.warnRefused(wrong)
		lines(2)
		time.Sleep(repeatInterval)
		j.warnRefused(wrong)
		lines(3)
		if !strings.Contains(out.String(), "still cannot join: 10.0.0.2:1 uses a different cluster key") || !strings.Contains(out.String(), "tries=3") {
			t.Errorf("got %s", out.String())
		}
	})
}

// A node that waits says the same once a minute, and what it said of a refusal not again.
func TestJoiner_run_seldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "")
		failure := fmt.Errorf("10.0.0.2:8080 %w", gossip.ErrOtherPort)
		var mu sync.Mutex // of failure and out
		var out bytes.Buffer
		j := newJoiner(p, "10.0.0.2:8080")
		j.connect = func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			return failure
		}
		j.log = hclog.New(&hclog.LoggerOptions{Output: &out, Mutex: &mu})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		lines := func(within time.Duration, want int) {
			t.Helper()
			time.Sleep(within)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Count(out.String(), "\n"); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, out.String())
			}
			out.Reset()
		}
		go func() { done <- j.run(ctx) }()
		lines(50*time.Second, 1)
		lines(time.Minute, 1)
		mu.Lock()
		failure = errors.New("10.0.0.2:8080: connection refused")
		mu.Unlock()
		lines(30*time.Second, 1)
		lines(2*time.Minute, 2)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A node that waits for a cluster says at once which name of -join has no address.
func TestJoiner_run_unknownName(t *testing.T) {
	for cluster, want := range map[string]int{"": 1, "c": 0} {
		var out bytes.Buffer
		j := newJoiner(newParts(t, cluster), "no..host:1")
		j.log = hclog.New(&hclog.LoggerOptions{Output: &out})
		ctx, cancel := context.WithTimeout(t.Context(), 4*minRetry)
		if err := j.run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if got := strings.Count(out.String(), "cannot join: lookup no..host"); got != want {
			t.Errorf("cluster %q: %d lines, want %d:\n%s", cluster, got, want, out.String())
		}
	}
}

func TestVoterManager_planInput(t *testing.T) {
	now := time.Now()
	since := func(d time.Duration) func(*gossip.Member) {
		return func(m *gossip.Member) { m.Status, m.Since = gossip.Failed, now.Add(-d) }
	}
	p := newParts(t, "c", member("a"), member("b", since(deadAfter)), member("d", since(deadAfter-1)), member("e", inCluster("")),
		member("f", status(gossip.Left)), member("g", func(m *gossip.Member) { m.Meta.Mode = pipeline.ModeWorker }),
		member("h", func(m *gossip.Member) { m.Meta.Mode, m.Meta.Leaving = pipeline.ModeOrchestrator, true }))
	v := &voterManager{view: p.view, clusterID: func() string { return "c" }, unseen: map[string]time.Time{}}

	show := func(at time.Time) string {
		var out []string
		in := v.planInput([]consensus.Server{{ID: "a"}, {ID: "z"}}, at)
		for _, id := range slices.Sorted(slices.Values([]string{"a", "b", "d", "e", "f", "g", "h", "z"})) {
			c, ok := in.nodes[id]
			if !ok {
				continue
			}
			for _, f := range []struct {
				sign string
				on   bool
			}{{"#", !c.eligible}, {"-", !c.alive && !c.dead}, {"!", c.dead}, {".", c.gone}, {"*", c.preferred}} {
				if f.on {
					id += f.sign
				}
			}
			out = append(out, id)
		}
		return strings.Join(out, " ")
	}
	if got, want := show(now), "a b! d- f-. g# h.* z-"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := show(now.Add(deadAfter)), "a b! d! f-. g# h.* z!"; got != want {
		t.Errorf("a server that gossip never knew: got %s, want %s", got, want)
	}
}

func TestLeaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "c", member("a"), member("b", leads(2)))
		inRaft := true
		p.seeker.ask = func(_ context.Context, id, _ string, out any) error {
			a := leaderAnswer{Cluster: "c", Leader: pipeline.NodeID(id), Term: 2}
			if inRaft {
				a.Servers = []consensus.Server{{ID: "a"}}
			}
			*out.(*leaderAnswer) = a
			return nil
		}
		p.founder.cfg.RaftDir = t.TempDir()
		announced := &announcer{cfg: p.founder.cfg, gossip: p.gossip, replica: p.view.replica, wake: make(chan struct{}, 1)}
		left := false
		l := &leaver{cfg: p.founder.cfg, announcer: announced, view: p.view, seeker: p.seeker, leaveGossip: func(time.Duration) error {
			if _, err := os.Stat(filepath.Join(p.founder.cfg.RaftDir, leftMark)); err != nil {
				t.Errorf("gossip spreads it before the mark is there: %v", err)
			}
			left = true
			return nil
		}}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.leave(ctx); err == nil || left || announced.leaving.Load() {
			t.Errorf("still in raft: %v, left %v, leaving %v", err, left, announced.leaving.Load())
		}

		inRaft = false
		save := l.cfg.SaveIdentity
		l.cfg.SaveIdentity = func(string, []string) error { return errors.New("no space") }
		if err := l.leave(t.Context()); err == nil || left || announced.leaving.Load() || HasLeft(l.cfg.RaftDir) {
			t.Errorf("its disk is full: %v, left %v, leaving %v, marked %v", err, left, announced.leaving.Load(), HasLeft(l.cfg.RaftDir))
		}

		l.cfg.SaveIdentity = save
		if err := l.leave(t.Context()); err != nil || !left || !slices.Equal(p.saved, []string{""}) {
			t.Errorf("out of raft: %v, left %v, saved %q", err, left, p.saved)
		}

		p.gossip.members = p.gossip.members[:1]
		if err := l.leave(t.Context()); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("the only node: %v", err)
		}
	})
}

func TestDirectory_addrs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	book, err := openAddressBook(path)
	if err != nil {
		t.Fatal(err)
	}
	gossiped := "10.0.0.2:2"
	name := "beta"
	d := &directory{book: book, gossiped: func(string) string { return gossiped }, named: func(string) string { return name }}
	if err := book.put(map[string]bookEntry{"b": {Addr: "10.0.0.2:3"}}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "10.0.0.2", "host:1", "10.0.0.2:0", "10.0.0.2:70000", "10.0.0.2:x"} {
		d.report("b", bad)
	}
	if got := d.addrs("b"); !slices.Equal(got, []string{"10.0.0.2:2", "10.0.0.2:3"}) {
		t.Errorf("got %v: gossip comes before what is remembered", got)
	}
	d.report("b", "10.0.0.2:1")
	if got := d.addrs("b"); !slices.Equal(got, []string{"10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"}) {
		t.Errorf("got %v: what the node reported comes first", got)
	}

	if err := d.remember([]consensus.Server{{ID: "a"}, {ID: "b"}}, "a"); err != nil {
		t.Fatal(err)
	}
	again, err := openAddressBook(path)
	if err != nil || again.get("b") != (bookEntry{"10.0.0.2:1", "beta"}) || again.get("a") != (bookEntry{}) {
		t.Errorf("remembered %q and %q, %v", again.get("b"), again.get("a"), err)
	}
	if err := os.WriteFile(path, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = openAddressBook(path); err != nil || again.get("b") != (bookEntry{}) {
		t.Errorf("a broken book: %q, %v", again.get("b"), err)
	}
}

func TestDirectory_ended(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	d := &directory{book: &addressBook{}, gossiped: func(string) string { return addr }}
	if d.ended(t.Context(), "b") {
		t.Error("ended although its port is open")
	}
	ln.Close()
	addr = testutil.Refusing(t)
	if !d.ended(t.Context(), "b") {
		t.Error("not ended although its port refuses connections")
	}
	addr = ""
	if d.ended(t.Context(), "b") {
		t.Error("ended although its address is not known")
	}
}

func TestSubscribers(t *testing.T) {
	var s subscribers
	a, stop := s.add()
	b, _ := s.add()
	s.notify()
	s.notify() // must not block although nothing was received
	<-a
	<-b
	stop()
	s.notify()
	<-b
	select {
	case <-a:
		t.Error("poked after its end")
	default:
	}
}
