package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// relay stands where an agent may be expected and passes all on to another server. It
// keeps the credentials that it sees.
type relay struct {
	*httptest.Server

	mu sync.Mutex
	// guards following
	loot []string
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	r := &relay{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		if a := req.Header.Get("Authorization"); a != "" {
			r.loot = append(r.loot, a)
		}
		r.mu.Unlock()
		pass.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *relay) address() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *relay) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loot
}

// socketAgent serves the fake cluster on the socket of a data directory as well.
func socketAgent(t *testing.T, f *fakeCluster, dir string) storage.AgentFile {
	t.Helper()
	d, err := storage.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: f}
	var served sync.WaitGroup
	served.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Close()
		served.Wait()
		_ = d.Close()
	})
	a := storage.AgentFile{PID: os.Getpid(), Name: "node-1", ID: "n1", HTTP: f.address(), HTTPScheme: "http", Socket: d.SocketPath()}
	if err := d.WriteAgent(a); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestConnect_relay: whoever listens on the usual address, or on one that was given,
// and passes everything on to a real agent gets neither a token nor a call that needs
// one. The agent itself is reached by its socket.
func TestConnect_relay(t *testing.T) {
	f := newFakeCluster(t)
	plain := newRelay(t, f.URL)
	c := newCommand(t, nil)
	withKey(t, c)
	agent := socketAgent(t, f, t.TempDir())
	c.local, c.agents = plain.address(), func() []storage.AgentFile { return []storage.AgentFile{agent} }

	code, stdout, stderr := c.exec("members")
	if code != 0 || !strings.Contains(stdout, "node-1") || !strings.Contains(stderr, "does not prove that it has the cluster key") || !strings.Contains(stderr, "using the agent node-1") {
		t.Errorf("the agent elsewhere: exit %d\n%s%s", code, stdout, stderr)
	}
	// The agent's own address, at which it is reached by the socket all the same.
	if code, _, stderr = c.exec("members", "-address", f.address()); code != 0 || stderr != "" {
		t.Errorf("its address: exit %d, %s", code, stderr)
	}
	for _, address := range []string{plain.address(), plain.URL} {
		if code, _, stderr = c.exec("members", "-quiet", "-address", address); code != exitUnavailable || !strings.Contains(stderr, "does not prove that it has the cluster key") {
			t.Errorf("-address %s: exit %d, %s", address, code, stderr)
		}
	}
	// The agent is gone.
	c.agents = func() []storage.AgentFile { return nil }
	if code, _, stderr = c.exec("members"); code != exitUnavailable || !strings.Contains(stderr, "no token is sent there") {
		t.Errorf("no agent: exit %d, %s", code, stderr)
	}

	if loot := plain.seen(); len(loot) > 0 {
		t.Errorf("the relay has %q", loot)
	}
	for _, a := range f.auth {
		if a != "" {
			t.Errorf("a token was sent, though nobody needed one: %s", a)
		}
	}
}

// TestConnect_relayGivenToken: a token that was given goes to an address that was
// given, and not to whoever listens on the usual one.
func TestConnect_relayGivenToken(t *testing.T) {
	f := newFakeCluster(t)
	plain := newRelay(t, f.URL)
	c := newCommand(t, nil)
	withKey(t, c)
	c.local, c.env["PIPELINED_TOKEN"] = plain.address(), "given"
	if code, _, stderr := c.exec("members"); code != exitUnavailable || !strings.Contains(stderr, "does not prove") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if loot := plain.seen(); len(loot) > 0 {
		t.Errorf("the relay has %q", loot)
	}
	if code, _, stderr := c.exec("members", "-address", plain.address()); code != 0 {
		t.Errorf("-address: exit %d, %s", code, stderr)
	}
}

// TestConnect_deadSocket: a socket that nobody serves is passed over.
func TestConnect_deadSocket(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, nil)
	k := withKey(t, c)
	srv := proving(t, f, k)
	c.local = srv.Listener.Addr().String()
	c.agents = func() []storage.AgentFile {
		return []storage.AgentFile{{Name: "a", HTTP: c.local, HTTPScheme: "https", Socket: t.TempDir() + "/api.sock"}}
	}
	if code, _, stderr := c.exec("members"); code != 0 || stderr != "" {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestHistory_underWay: a run that is under way is reached by the socket in its
// directory, without key or token.
func TestHistory_underWay(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	c := newCommand(t, nil)
	dir := storage.DefaultRunDir()
	c.open = func(_ context.Context, cfg nodeConfig) (clusterNode, error) {
		d, err := storage.OpenDataDir(cfg.DataDir)
		if err == nil {
			_ = d.Close()
			err = errors.New("the directory is free")
		}
		return nil, err
	}

	agent := socketAgent(t, f, dir)
	if code, stdout, stderr := c.exec("status", "r1", "-address", "run"); code != 0 || !strings.Contains(stdout, "succeeded") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	for _, a := range f.auth {
		if a != "" {
			t.Errorf("a token was sent: %s", a)
		}
	}

	// Before the run has its socket.
	if err := os.Remove(agent.Socket); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := c.exec("status", "r1", "-address", "run"); code != exitUnavailable || !strings.Contains(stderr, "another run is starting") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
