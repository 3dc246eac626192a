package keys_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// TestMain lets the test binary be a second process, see startLoader.
func TestMain(m *testing.M) {
	if path := os.Getenv(loaderEnv); path != "" {
		load(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func newKeys(tb testing.TB, b byte) *keys.Keys {
	tb.Helper()
	k, err := keys.New(bytes.Repeat([]byte{b}, keys.Size))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestNew_deterministic(t *testing.T) {
	a, b, other := newKeys(t, 1), newKeys(t, 1), newKeys(t, 2)
	for name, get := range map[string]func(*keys.Keys) string{
		"gossip": func(k *keys.Keys) string { return string(k.GossipKey()) },
		"label":  (*keys.Keys).GossipLabel, "fingerprint": (*keys.Keys).Fingerprint,
		"seal":    func(k *keys.Keys) string { return string(k.SealKey()) },
		"results": func(k *keys.Keys) string { return string(k.ResultsKey()) },
		"ca":      func(k *keys.Keys) string { return string(k.CACertPEM()) },
	} {
		if get(a) != get(b) {
			t.Errorf("%s: two nodes differ", name)
		}
		if get(a) == get(other) {
			t.Errorf("%s: two keys agree", name)
		}
	}
	if len(a.GossipKey()) != 32 || len(a.GossipLabel()) > 255 {
		t.Errorf("gossip key of %d bytes, label of %d", len(a.GossipKey()), len(a.GossipLabel()))
	}
	if _, err := keys.New(make([]byte, 31)); err == nil {
		t.Error("took a short key")
	}
	// What nodes derived once they must derive forever.
	got := fmt.Sprintf("%s %s %x %x", a.Fingerprint(), a.GossipLabel(), a.GossipKey()[:8], a.SealKey()[:8])
	if want := "e1e8f22665da1a36 pipelined-4f0eb4bea67f1e8c e5c7c2a4705a0c2c 0f7e448fe2a40da6"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if x, y := keys.Generate(), keys.Generate(); len(x) != keys.Size || bytes.Equal(x, y) {
		t.Errorf("generated %d bytes, twice the same: %v", len(x), bytes.Equal(x, y))
	}
}

func subject(cluster, node string, m pipeline.Mode) keys.Subject {
	return keys.Subject{Cluster: cluster, Node: pipeline.NodeID(node), Mode: m, Name: "name of " + node}
}

func identity(k *keys.Keys, s keys.Subject) *keys.Identity {
	return k.Identity(s, []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"host", "not a name", "..", "\xff"})
}

// shake makes a TLS connection over a pipe.
func shake(client, server *tls.Config) (cerr, serr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(b, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- err
		b.Close()
	}()
	conn := tls.Client(a, client)
	cerr = conn.Handshake()
	if cerr == nil {
		_, cerr = conn.Read(make([]byte, 1))
	}
	a.Close()
	return cerr, <-done
}

func TestPeer_table(t *testing.T) {
	ours, theirs := newKeys(t, 1), newKeys(t, 2)
	server := identity(ours, subject("c1", "server", pipeline.ModeAuto))
	for _, c := range []struct {
		name   string
		client *tls.Config
		admit  error
		ok     bool
	}{
		{"ours", identity(ours, subject("c1", "x", pipeline.ModeAuto)).PeerClient("server", keys.ProtoHTTP), nil, true},
		{"ours, any node", identity(ours, subject("c1", "x", pipeline.ModeWorker)).PeerClient("", keys.ProtoRaft), nil, true},
		{"another node than wanted", identity(ours, subject("c1", "x", pipeline.ModeAuto)).PeerClient("other", keys.ProtoHTTP), nil, false},
		{"other cluster", identity(ours, subject("c2", "x", pipeline.ModeAuto)).PeerClient("server", keys.ProtoHTTP), nil, false},
		{"no cluster", identity(ours, subject("", "x", pipeline.ModeAuto)).PeerClient("server", keys.ProtoHTTP), nil, false},
		{"other key", identity(theirs, subject("c1", "x", pipeline.ModeAuto)).PeerClient("server", keys.ProtoHTTP), nil, false},
		{"no protocol", identity(ours, subject("c1", "x", pipeline.ModeAuto)).PeerClient("server", "spdy"), nil, false},
		{"not admitted", identity(ours, subject("c1", "x", pipeline.ModeAuto)).PeerClient("server", keys.ProtoHTTP), errors.New("no"), false},
		{"no certificate", &tls.Config{InsecureSkipVerify: true, NextProtos: []string{keys.ProtoHTTP}}, nil, false},
		{"no ALPN", func() *tls.Config {
			c := identity(ours, subject("c1", "x", pipeline.ModeAuto)).PeerClient("server", "")
			c.NextProtos = nil
			return c
		}(), nil, false},
	} {
		var asked keys.Subject
		cerr, serr := shake(c.client, server.PeerServer(func(_ string, s keys.Subject) error { asked = s; return c.admit }))
		if ok := cerr == nil && serr == nil; ok != c.ok {
			t.Errorf("%s: client %v, server %v", c.name, cerr, serr)
		}
		if c.ok && (asked.Node != "x" || asked.Name != "name of x" || asked.Cluster != "c1") {
			t.Errorf("%s: asked about %+v", c.name, asked)
		}
	}
}

func TestIdentity_renews(t *testing.T) {
	k := newKeys(t, 1)
	id := identity(k, subject("c1", "x", pipeline.ModeAuto))
	now := time.Date(2030, 5, 1, 0, 0, 0, 0, time.UTC)
	keys.SetClock(id, func() time.Time { return now })
	serial := func() string {
		c, err := id.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Leaf.IPAddresses) != 1 || len(c.Leaf.DNSNames) != 1 {
			t.Errorf("names %v, %v", c.Leaf.IPAddresses, c.Leaf.DNSNames)
		}
		if c.Leaf.NotAfter.Sub(now) < 12*time.Hour {
			t.Errorf("good for %v only", c.Leaf.NotAfter.Sub(now))
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	now = now.Add(11 * time.Hour)
	if serial() != first {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Hour)
	second := serial()
	if second == first {
		t.Error("not renewed at half its life")
	}
	now = now.AddDate(-3, 0, 0)
	if serial() == second {
		t.Error("kept a certificate of the future")
	}
	id.SetCluster("c2")
	c, _ := id.Certificate()
	if s, err := keys.SubjectOf(c.Leaf); err != nil || s.Cluster != "c2" || s.Node != "x" || s.Mode != pipeline.ModeAuto {
		t.Errorf("%+v, %v", s, err)
	}
}

// A node keeps its peers whatever its clock says.
func TestIdentity_clocks(t *testing.T) {
	k := newKeys(t, 1)
	server := identity(k, subject("c", "s", pipeline.ModeAuto))
	for _, years := range []int{0, 1, -1, 10, -10, 200} {
		client := identity(k, subject("c", "x", pipeline.ModeAuto))
		keys.SetClock(client, func() time.Time { return time.Now().AddDate(years, 0, 0).Add(25 * time.Hour) })
		if cerr, serr := shake(client.PeerClient("s", keys.ProtoHTTP), server.PeerServer(nil)); cerr != nil || serr != nil {
			t.Errorf("%d years and 25 hours apart, as a client: %v, %v", years, cerr, serr)
		}
		if cerr, serr := shake(server.PeerClient("x", keys.ProtoHTTP), client.PeerServer(nil)); cerr != nil || serr != nil {
			t.Errorf("%d years and 25 hours apart, as a server: %v, %v", years, cerr, serr)
		}
	}

	stranger := identity(newKeys(t, 2), subject("c", "x", pipeline.ModeAuto))
	if _, serr := shake(stranger.PeerClient("s", keys.ProtoHTTP), server.PeerServer(nil)); serr == nil {
		t.Error("accepted a certificate of another authority")
	}
}

func TestHTTPS(t *testing.T) {
	k := newKeys(t, 1)
	server := identity(k, subject("c", "s", pipeline.ModeAuto)).HTTPServer()
	client := k.HTTPClient()
	client.ServerName = "127.0.0.1"
	if cerr, serr := shake(client, server); cerr != nil || serr != nil {
		t.Errorf("%v, %v", cerr, serr)
	}
	stranger := newKeys(t, 2).HTTPClient()
	stranger.ServerName = "127.0.0.1"
	if cerr, _ := shake(stranger, server); cerr == nil {
		t.Error("trusted another authority")
	}
}

func TestToken(t *testing.T) {
	k, now := newKeys(t, 1), time.Unix(2e9, 0)
	good := keys.Claims{Subject: "me", Role: "admin", Expires: now.Add(time.Minute).Unix(), Node: "n", Nonce: k.Nonce("n", now)}
	mint := func(k *keys.Keys, change func(*keys.Claims)) string {
		c := good
		change(&c)
		s, err := k.MintToken(c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := func(*keys.Claims) {}
	got, err := k.VerifyToken(mint(k, same), "n", now)
	if err != nil || got != good {
		t.Errorf("got %+v, %v", got, err)
	}
	tok := mint(k, same)
	for name, bad := range map[string]string{
		"other key":  mint(newKeys(t, 2), same),
		"other node": mint(k, func(c *keys.Claims) { c.Node = "m" }),
		"expired":    mint(k, func(c *keys.Claims) { c.Expires = now.Unix() }),
		"too long":   mint(k, func(c *keys.Claims) { c.Expires = now.Add(time.Hour).Unix() }),
		"no role":    mint(k, func(c *keys.Claims) { c.Role = "" }),
		"cut":        tok[:len(tok)-1],
		"changed":    tok[:10] + "A" + tok[11:],
		"no prefix":  tok[3:],
		"empty":      "", "dot": keys.TokenPrefix + ".", "long": tok + strings.Repeat("A", 3000),
	} {
		if _, err := k.VerifyToken(bad, "n", now); !errors.Is(err, keys.ErrBadToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNonce(t *testing.T) {
	k, now := newKeys(t, 1), time.Unix(2e9, 0)
	n := k.Nonce("n", now)
	if !k.CheckNonce(n, "n", now.Add(50*time.Second)) {
		t.Error("refused a good one")
	}
	for name, ok := range map[string]bool{
		"late":       k.CheckNonce(n, "n", now.Add(2*time.Minute)),
		"early":      k.CheckNonce(n, "n", now.Add(-time.Minute)),
		"other node": k.CheckNonce(n, "m", now),
		"other key":  newKeys(t, 2).CheckNonce(n, "n", now),
		"empty":      k.CheckNonce("", "n", now),
		"changed":    k.CheckNonce("0"+n, "n", now),
	} {
		if ok {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzVerifyToken(f *testing.F) {
	k := newKeys(f, 1)
	f.Add("pk_e30.AAAA")
	f.Add("pk_..")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := k.VerifyToken(s, "n", time.Unix(2e9, 0)); err == nil {
			t.Errorf("took %q", s)
		}
	})
}
