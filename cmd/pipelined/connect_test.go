package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// withKey gives the command line a cluster key and no token.
func withKey(t *testing.T, c *command) *keys.Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.key")
	key, _, err := keys.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	delete(c.env, "PIPELINED_TOKEN")
	c.env["PIPELINED_KEY_FILE"] = path
	k, err := keys.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// proving serves the fake cluster over TLS, as a holder of the key.
func proving(t *testing.T, f *fakeCluster, k *keys.Keys) *httptest.Server {
	t.Helper()
	id := k.Identity(keys.Subject{Cluster: "c1", Node: "n1", Mode: "auto", Name: "node-1"}, []net.IP{net.ParseIP("127.0.0.1")}, nil)
	srv := httptest.NewUnstartedServer(f)
	srv.TLS = id.HTTPServer()
	srv.TLS.Certificates = []tls.Certificate{must(t, id)}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f.members[0].HTTP = srv.Listener.Addr().String()
	return srv
}

// TestConnect_ownToken wants a token that is good for the node that proved to have
// the key, whichever way its address is written.
func TestConnect_ownToken(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	c := newCommand(t, nil)
	k := withKey(t, c)
	srv := proving(t, f, k)
	hostPort := srv.Listener.Addr().String()
	for _, address := range []string{srv.URL, hostPort, "http://" + hostPort} {
		if code, _, stderr := c.exec("status", "r1", "-address", address); code != 0 {
			t.Fatalf("%s: exit %d: %s", address, code, stderr)
		}
		token := strings.TrimPrefix(f.auth[len(f.auth)-1], "Bearer ")
		// The clock that counts is the server's.
		claims, err := k.VerifyToken(token, "n1", start)
		if err != nil || claims.Role != "admin" || claims.Nonce != "nonce" || claims.Subject == "" {
			t.Errorf("%s: %v: %+v", address, err, claims)
		}
		if _, err := k.VerifyToken(token, "n2", start); err == nil {
			t.Errorf("%s: the token is good for another node", address)
		}
	}
}

func TestConnect_givenToken(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	file := write(t, t.TempDir(), "token", "from-file\n")
	for _, tc := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{map[string]string{"PIPELINED_TOKEN": "from-env"}, nil, "Bearer from-env"},
		{map[string]string{"PIPELINED_TOKEN": "from-env"}, []string{"-token", "from-flag"}, "Bearer from-flag"},
		{map[string]string{"PIPELINED_TOKEN": ""}, []string{"-token-file", file}, "Bearer from-file"},
		{map[string]string{"PIPELINED_TOKEN": "", "PIPELINED_TOKEN_FILE": file}, nil, "Bearer from-file"},
	} {
		c := newCommand(t, f)
		for k, v := range tc.env {
			c.env[k] = v
		}
		code, _, stderr := c.exec(append([]string{"status", "r1"}, tc.args...)...)
		if got := f.auth[len(f.auth)-1]; code != 0 || got != tc.want {
			t.Errorf("%v %q: exit %d, %q, want %q; %s", tc.env, tc.args, code, got, tc.want, stderr)
		}
	}
	c := newCommand(t, f)
	c.env["PIPELINED_TOKEN"] = ""
	for file, want := range map[string]string{"/nowhere": "no such file", write(t, t.TempDir(), "two", "a b"): "one token and nothing else"} {
		if code, _, stderr := c.exec("status", "-token-file", file); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q", file, code, stderr)
		}
	}
}

func TestConnect_noKey(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	delete(c.env, "PIPELINED_TOKEN")
	code, _, stderr := c.exec("status")
	if code != exitForbidden || !strings.Contains(stderr, "no token, and no cluster key to create one from") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// TestConnect_plainElsewhere wants no proof of the key sent over the network in
// the open.
func TestConnect_plainElsewhere(t *testing.T) {
	c := newCommand(t, nil)
	withKey(t, c)
	code, _, stderr := c.exec("members", "-address", "http://192.0.2.1:8080")
	if code != exitForbidden || !strings.Contains(stderr, "is not sent there") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// TestConnect_tls wants the token sent to a holder of the key only.
func TestConnect_tls(t *testing.T) {
	c := newCommand(t, nil)
	own := withKey(t, c)
	foreignKey, err := keys.New(keys.Generate())
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*keys.Keys{"ours": own, "foreign": foreignKey} {
		f := newFakeCluster(t)
		srv := proving(t, f, k)
		code, _, stderr := c.exec("members", "-address", srv.URL)
		if want := map[string]int{"ours": 0, "foreign": exitUnavailable}[name]; code != want {
			t.Errorf("%s: exit %d, want %d: %s", name, code, want, stderr)
		}
		for _, a := range f.auth {
			if name == "foreign" && a != "" {
				t.Errorf("a token was sent to a foreign server: %s", a)
			}
		}
	}
}

// A server behind whose certificate an authority of -ca-file stands is sent the token;
// no other is.
func TestConnect_caFile(t *testing.T) {
	c := newCommand(t, nil)
	withKey(t, c)
	f := newFakeCluster(t)
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f.members[0].HTTP = srv.Listener.Addr().String()

	dir := t.TempDir()
	theirs := write(t, dir, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	others, err := keys.New(keys.Generate())
	if err != nil {
		t.Fatal(err)
	}
	another := write(t, dir, "another.pem", string(others.CACertPEM()))
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUnavailable, "name its authority with -ca-file"},
		{[]string{"-ca-file", another}, exitUnavailable, "another.pem nor cluster key"},
		{[]string{"-ca-file", theirs}, 0, ""},
		{[]string{"-ca-file", theirs, "-token", "given"}, 0, ""},
		{[]string{"-token", "given"}, exitUnavailable, "unknown authority: name the authority of its certificate with -ca-file"},
		{[]string{"-ca-file", filepath.Join(dir, "none")}, exitUsage, "no such file"},
		{[]string{"-ca-file", write(t, dir, "text", "no PEM")}, exitUsage, "expected certificates as PEM"},
	} {
		f.auth = nil
		code, _, stderr := c.exec(append([]string{"members", "-address", srv.URL}, tc.args...)...)
		if code != tc.code || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, want %d with %q: %s", tc.args, code, tc.code, tc.want, stderr)
		}
		if sent := strings.Join(f.auth, ""); (sent != "") != (tc.code == 0) {
			t.Errorf("%q: sent %q", tc.args, sent)
		}
	}
}

func must(t *testing.T, id *keys.Identity) tls.Certificate {
	t.Helper()
	cert, err := id.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return *cert
}

func TestConnect_discovery(t *testing.T) {
	f := newFakeCluster(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	agent := func(name string) storage.AgentFile {
		return storage.AgentFile{Name: name, HTTP: f.address(), HTTPScheme: "http", PID: 1}
	}
	for _, tc := range []struct {
		name   string
		local  string
		agents []storage.AgentFile
		code   int
		want   []string
	}{
		{"the usual address", f.address(), nil, 0, nil},
		{"the only agent", "127.0.0.1:1", []storage.AgentFile{agent("a")}, 0, nil},
		{"several agents", "127.0.0.1:1", []storage.AgentFile{agent("a"), agent("b")}, exitUnavailable, []string{"no answer at 127.0.0.1:1", "-address", "(a), ", "(b)"}},
		{"none", "127.0.0.1:1", nil, exitUnavailable, []string{"no answer at 127.0.0.1:1", "agent.json", "pipelined agent", "-address"}},
		{"somebody else there", strings.TrimPrefix(other.URL, "http://"), nil, exitUnavailable, []string{"does not answer like an agent"}},
	} {
		c := newCommand(t, f)
		delete(c.env, "PIPELINED_ADDR")
		c.local, c.agents = tc.local, func() []storage.AgentFile { return tc.agents }
		code, _, stderr := c.exec("members", "-timeout", "30s")
		if code != tc.code || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%s: exit %d, want %d: %s", tc.name, code, tc.code, stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q is not in %q", tc.name, want, stderr)
			}
		}
	}
}

// TestConnect_list tries one address after the other.
func TestConnect_list(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	if code, _, stderr := c.exec("members", "-address", "127.0.0.1:1, "+f.URL); code != 0 || stderr != "" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if code, _, stderr := c.exec("members", "-address", " , "); code != exitUsage {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if code, _, stderr := c.exec("members", "-quiet", "-address", "127.0.0.1:1"); code != exitUnavailable || !strings.Contains(stderr, "127.0.0.1:1") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestConnect_noLeader(t *testing.T) {
	f := newFakeCluster(t)
	f.refuse["GET /api/v1/members"] = wire.Problem{Status: 503, Kind: "unavailable", Detail: pipeline.ErrNoLeader.Message}
	c := newCommand(t, f)
	code, _, stderr := c.exec("members", "-timeout", "2s")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if code != exitTimeout || len(lines) != 2 || !strings.HasSuffix(lines[0], "; retrying") || lines[1] != "pipelined: timed out (-timeout)" {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestWithPort(t *testing.T) {
	for in, want := range map[string]string{"h": "h:8080", "h:1": "h:1", "::1": "[::1]:8080", "[::1]": "[::1]:8080", "[::1]:2": "[::1]:2", "http://h": "http://h", "10.0.0.1": "10.0.0.1:8080"} {
		if got := withPort(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
