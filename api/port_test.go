package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
)

// certificate makes a certificate that the cluster's authority has not signed, as
// files.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func newKeys(t *testing.T) *keys.Keys {
	t.Helper()
	k, err := keys.New(keys.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// servePort serves a node's API on a port.
func servePort(t *testing.T, cfg api.PortConfig, k *keys.Keys) *api.Port {
	t.Helper()
	return serveNode(t, newNode(t, listing()), cfg, k)
}

// serveNode serves the API of a node on a port.
func serveNode(t *testing.T, n *node, cfg api.PortConfig, k *keys.Keys) *api.Port {
	t.Helper()
	cfg.Bind = "127.0.0.1"
	p, err := api.BindPort(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id := k.Identity(keys.Subject{Cluster: "c1", Node: "n1", Mode: "auto", Name: "node-1"}, []net.IP{net.ParseIP("127.0.0.1")}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, n.Server, id.HTTPServer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return p
}

// get makes a GET over TLS with a configuration, or without if that is nil.
func get(t *testing.T, url string, cfg *tls.Config, token string) (*http.Response, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	r, err := tr.RoundTrip(req)
	if err == nil {
		r.Body.Close()
	}
	return r, err
}

// TestPort_proof: every port proves on request that it has the cluster key, with a
// foreign certificate and if it serves plain HTTP too. Browsers and other clients
// get the certificate of -tls-cert.
func TestPort_proof(t *testing.T) {
	k, other := newKeys(t), newKeys(t)
	cert, key := certificate(t, "ci.example")
	own := servePort(t, api.PortConfig{}, k)
	foreign := servePort(t, api.PortConfig{TLSCert: cert, TLSKey: key}, k)

	proof := func(k *keys.Keys) *tls.Config {
		cfg := k.HTTPClient()
		cfg.NextProtos = []string{wire.ProtoCluster}
		return cfg
	}
	for name, p := range map[string]*api.Port{"plain": own, "foreign certificate": foreign} {
		if r, err := get(t, "https://"+p.Addr()+"/api/v1/runs", proof(k), "read"); err != nil || r.StatusCode != 200 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if r, err := get(t, "https://"+p.Addr()+"/api/v1/runs", proof(other), "read"); err == nil {
			t.Errorf("%s: a client with another key got %s", name, r.Status)
		}
	}

	pool := x509.NewCertPool()
	text, err := os.ReadFile(cert)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	if r, err := get(t, "https://"+foreign.Addr()+"/api/health", &tls.Config{RootCAs: pool, ServerName: "ci.example"}, ""); err != nil || r.TLS.PeerCertificates[0].Subject.CommonName != "ci.example" {
		t.Errorf("a client that does not know the key: %v", err)
	}
	if r, err := get(t, "http://"+own.Addr()+"/api/v1/runs", nil, "read"); err != nil || r.StatusCode != 200 {
		t.Errorf("plain HTTP on loopback: %v, %v", r, err)
	}
	if r, err := get(t, "http://"+foreign.Addr()+"/api/v1/runs", nil, "read"); err != nil || r.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("plain HTTP on a port of TLS: %v, %v", r, err)
	}
}

// localListener is a listener of connections of a known user.
type localListener struct{ net.Listener }

type localConn struct{ net.Conn }

func (localConn) LocalUser() string { return "ann" }

func (l localListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return localConn{c}, err
}

func listenLocal(t *testing.T) localListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return localListener{l}
}

// TestPort_local: a process of the agent's user needs no token on the local way; on
// the port itself it needs one, and a token that is wrong is refused everywhere.
func TestPort_local(t *testing.T) {
	k, l := newKeys(t), listenLocal(t)
	cert, key := certificate(t, "ci.example")
	for _, cfg := range []api.PortConfig{{Local: l}, {}, {TLSCert: cert, TLSKey: key}} {
		p := servePort(t, cfg, k)
		address := p.Addr()
		want := map[string]int{"": 401, "wrong": 401, "read": 200}
		if p.TLS() {
			want = map[string]int{"": 421, "wrong": 421, "read": 421}
		}
		if p.HasLocal() {
			address, want[""] = l.Addr().String(), 200
		}
		for token, want := range want {
			r, err := get(t, "http://"+address+"/api/v1/runs", nil, token)
			if err != nil || r.StatusCode != want {
				t.Errorf("local %v, token %q: %v, %v, want %d", p.HasLocal(), token, r, err, want)
			}
		}
	}
}

// TestPort_broken: if the port's own listener breaks, Serve says so and does not wait
// for the local way.
func TestPort_broken(t *testing.T) {
	k, l := newKeys(t), listenLocal(t)
	p, err := api.BindPort(api.PortConfig{Bind: "127.0.0.1", Local: l})
	if err != nil {
		t.Fatal(err)
	}
	id := k.Identity(keys.Subject{Cluster: "c1", Node: "n1", Mode: "auto", Name: "node-1"}, nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var once sync.WaitGroup
	once.Go(func() {
		if err := p.Serve(ctx, newNode(t, listing()).Server, id.HTTPServer); err == nil {
			t.Error("no error")
		}
	})
	p.Close()
	once.Wait()
	cancel()
}

// An address that another machine has is not taken for one that another agent has.
func TestBindPort_foreign(t *testing.T) {
	_, err := api.BindPort(api.PortConfig{Bind: "2001:db8::1"})
	if err == nil || !strings.Contains(err.Error(), "this machine has no address 2001:db8::1: -bind takes one of its own") {
		t.Errorf("got %v", err)
	}
}
