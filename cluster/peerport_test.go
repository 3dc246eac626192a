package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// knock opens a TLS connection to a node's peer port and reports whether it
// stays open.
func knock(t *testing.T, to *testNode, cfg *tls.Config) (open bool, err error) {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: cfg}
	conn, err := d.DialContext(t.Context(), "tcp", to.c.Addresses().Peer)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	// A refusal comes at once; silence means that the other side waits for us.
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = io.ReadFull(conn, make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded), err
}

func TestPeerPort_raftRoles(t *testing.T) {
	nodes := three(t)
	wantRoles(t, nodes, 3, 0, 0)
	leader := leaderOf(t, nodes...)
	id := leader.c.ID()
	as := func(key byte, clusterID string, node pipeline.NodeID, m pipeline.Mode) *tls.Config {
		k, err := keys.New(bytes.Repeat([]byte{key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return k.Identity(keys.Subject{Cluster: clusterID, Node: node, Mode: m}, nil, nil).PeerClient("", keys.ProtoRaft)
	}
	voter := nodes[0].cfg.NodeID
	if leader == nodes[0] {
		voter = nodes[1].cfg.NodeID
	}
	for _, c := range []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"a voter", as(7, id, voter, pipeline.ModeAuto), true},
		{"an orchestrator that is a voter", as(7, id, voter, pipeline.ModeOrchestrator), true},
		{"a worker", as(7, id, voter, pipeline.ModeWorker), false},
		{"a standalone node", as(7, id, voter, pipeline.ModeStandalone), false},
		{"not in the configuration", as(7, id, "stranger", pipeline.ModeAuto), false},
		{"another cluster", as(7, "other", voter, pipeline.ModeAuto), false},
		{"no cluster", as(7, "", voter, pipeline.ModeAuto), false},
		{"another key", as(8, id, voter, pipeline.ModeAuto), false},
		{"no certificate", &tls.Config{InsecureSkipVerify: true, NextProtos: []string{keys.ProtoRaft}}, false},
	} {
		if open, err := knock(t, leader, c.cfg); open != c.ok {
			t.Errorf("%s: open %v, %v", c.name, open, err)
		}
	}
	// Without TLS nothing is answered.
	conn, err := net.Dial("tcp", leader.c.Addresses().Peer)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "\x00GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || bytes.Contains(b, []byte("200")) {
		t.Errorf("plain: %q, %v", b, err)
	}
	// None of this has disturbed anybody.
	apply(t, leaderOf(t, nodes...), "still here")
}

func TestPeerPort_connectionsPerPeer(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	k, err := keys.New(testKey)
	if err != nil {
		t.Fatal(err)
	}
	as := func(node pipeline.NodeID) *tls.Config {
		return k.Identity(keys.Subject{Cluster: a.c.ID(), Node: node, Mode: pipeline.ModeAuto}, nil, nil).PeerClient("", keys.ProtoHTTP)
	}
	greedy := as("greedy")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 64 {
		conn, err := tls.Dial("tcp", a.c.Addresses().Peer, greedy)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		// The server's first frame shows that it has let us in.
		if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := tls.Dial("tcp", a.c.Addresses().Peer, greedy)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 9))
		conn.Close()
	}
	if err == nil {
		t.Error("the 65th connection was let in")
	}
	// Others are not in its way, and it may come back when it has let go.
	for _, who := range []*tls.Config{as("modest"), greedy} {
		open[0].Close()
		testutil.Eventually(t, 10*time.Second, func() error {
			conn, err := tls.Dial("tcp", a.c.Addresses().Peer, who)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.ReadFull(conn, make([]byte, 9))
			return err
		})
	}
}

// Connections that say nothing leave descriptors for others: the oldest go.
func TestPeerPort_silent(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	k, err := keys.New(testKey)
	if err != nil {
		t.Fatal(err)
	}
	enter := func() net.Conn {
		conn, err := tls.Dial("tcp", a.c.Addresses().Peer, k.Identity(keys.Subject{Cluster: a.c.ID(), Node: "b", Mode: pipeline.ModeAuto}, nil, nil).PeerClient("", keys.ProtoHTTP))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		// The server's first frame shows that it has let us in.
		if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		return conn
	}

	member := enter()
	var silent []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", a.c.Addresses().Peer)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	enter()
	_ = silent[0].SetReadDeadline(time.Now().Add(2 * time.Second)) // before the handshake's own limit
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest silent connection: %v", err)
	}
	_ = member.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := io.Copy(io.Discard, member); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection of a member: %v", err)
	}
}

func TestClient_rightNodeOnly(t *testing.T) {
	a := newNode(t, "a").start()
	waitReady(t, a)
	b := newNode(t, "b", join(a)).start()
	wantRoles(t, []*testNode{a, b}, 1, 1, 0)
	if _, _, err := a.c.Client("nobody"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("got %v", err)
	}
	client, base, err := a.c.Client(b.cfg.NodeID)
	if err != nil {
		t.Fatal(err)
	}
	get := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", base+"/", nil)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	testutil.Eventually(t, 10*time.Second, get)
	// The node comes back elsewhere: the same client finds it.
	b.kill()
	b.start()
	waitReady(t, b)
	testutil.Eventually(t, 60*time.Second, get)
	if _, ok := cluster.PeerFrom(t.Context()); ok {
		t.Error("a peer from nowhere")
	}
}
