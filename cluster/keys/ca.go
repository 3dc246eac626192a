package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// leafLife is how long a node's certificate is valid from its making; it is
// renewed at half. It is valid for as long before, so that clocks may differ.
const leafLife = 24 * time.Hour

// authority is the certificate authority that all holders of the key share.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
	pool *x509.CertPool
}

// deterministic signs without randomness.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(noRand, digest, opts)
}

func newAuthority(key *ecdsa.PrivateKey) (*authority, error) {
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode the authority's key: %w", err)
	}
	id := sha256.Sum256(pub)
	serial := new(big.Int).SetBytes(id[:16])
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"pipelined"}, CommonName: "pipelined cluster authority"},
		SubjectKeyId:          id[:20],
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, deterministic{key})
	if err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	a := &authority{key: key, cert: cert, pool: x509.NewCertPool(),
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	a.pool.AddCert(cert)
	return a, nil
}

// CACertPEM is the authority's certificate, for browsers and scripts.
func (k *Keys) CACertPEM() []byte { return bytes.Clone(k.ca.pem) }

// CAPool holds the authority alone.
func (k *Keys) CAPool() *x509.CertPool { return k.ca.pool }

// Subject is who a node's certificate speaks for.
type Subject struct {
	// Cluster is "" as long as the node has none.
	Cluster string
	Node    pipeline.NodeID
	Mode    pipeline.Mode
	Name    string
}

// uri is the subject's form in a certificate.
func (s Subject) uri() *url.URL {
	q := url.Values{"mode": {string(s.Mode)}}
	return &url.URL{Scheme: "pipelined", Host: s.Cluster, Path: "/node/" + string(s.Node), RawQuery: q.Encode()}
}

// SubjectOf reads who a verified certificate speaks for.
func SubjectOf(cert *x509.Certificate) (Subject, error) {
	if len(cert.URIs) != 1 {
		return Subject{}, errors.New("certificate names no node")
	}
	u := cert.URIs[0]
	node, ok := strings.CutPrefix(u.Path, "/node/")
	mode := pipeline.Mode(u.Query().Get("mode"))
	if u.Scheme != "pipelined" || !ok || node == "" || strings.Contains(node, "/") || !mode.Valid() {
		return Subject{}, fmt.Errorf("certificate names no node: %.200q", u)
	}
	return Subject{Cluster: u.Host, Node: pipeline.NodeID(node), Mode: mode, Name: cert.Subject.CommonName}, nil
}

// Identity makes and renews the certificates of one node. It is safe for
// concurrent use.
type Identity struct {
	keys *Keys
	now  func() time.Time

	mu      sync.Mutex // guards following
	subject Subject
	ips     []net.IP
	names   []string
	cert    *tls.Certificate
	renew   time.Time
}

// Identity speaks for a node that is reached under the given addresses and
// names.
func (k *Keys) Identity(s Subject, ips []net.IP, names []string) *Identity {
	return &Identity{keys: k, now: time.Now, subject: s, ips: ips, names: names}
}

// Subject is who the identity speaks for.
func (id *Identity) Subject() Subject {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.subject
}

// SetCluster changes the cluster; certificates made from now on name it.
func (id *Identity) SetCluster(cluster string) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.subject.Cluster != cluster {
		id.subject.Cluster, id.cert = cluster, nil
	}
}

// Certificate is the current certificate, made anew when half its life is over.
func (id *Identity) Certificate() (*tls.Certificate, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	now := id.now()
	// A clock that was set back makes a new one as well.
	if id.cert != nil && now.Before(id.renew) && now.After(id.renew.Add(-leafLife)) {
		return id.cert, nil
	}
	cert, err := id.keys.ca.issue(id.subject, id.ips, id.names, now)
	if err != nil {
		return nil, err
	}
	id.cert, id.renew = cert, now.Add(leafLife/2)
	return cert, nil
}

// issue makes a certificate for a node.
func (a *authority) issue(s Subject, ips []net.IP, names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate's key: %w", err)
	}
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		return nil, fmt.Errorf("make a certificate's number: %w", err)
	}
	serial[0] = serial[0]&0x7f | 1
	tmpl := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{Organization: []string{"pipelined"}, CommonName: cut(s.Name, 64)},
		NotBefore:    now.Add(-leafLife), NotAfter: now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{s.uri()}, IPAddresses: ips, DNSNames: validNames(names),
		BasicConstraintsValid: true, AuthorityKeyId: a.cert.SubjectKeyId,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", s.Node, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", s.Node, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > n {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	return s
}

// validNames leaves out what cannot stand in a certificate as a DNS name; one
// such would make the whole certificate unreadable.
func validNames(names []string) []string {
	var out []string
	for _, n := range names {
		ok := n != "" && len(n) <= 253 && n[0] != '.' && n[len(n)-1] != '.'
		for _, c := range n {
			ok = ok && (c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
		}
		if ok && !strings.Contains(n, "..") {
			out = append(out, n)
		}
	}
	return out
}
