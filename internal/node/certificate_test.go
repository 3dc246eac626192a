package node

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// The names by which the HTTP port may be called are those of its certificate, so that a
// browser or curl which trusts what `pipelined ca` prints takes them.
func TestNode_certificateNames(t *testing.T) {
	n, _ := openNode(t, Config{Name: "n1", HTTPHosts: []string{"ci.example", "10.1.2.3"}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.identity.keys.CACertPEM())
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}

	for name, want := range map[string]bool{"ci.example": true, "CI.example": true, "n1": true, "localhost": true, "127.0.0.1": true, host: true, "other.example": false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}
		req, err := http.NewRequest(http.MethodGet, "https://"+n.HTTPAddr()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = name
		res, err := tr.RoundTrip(req)
		if err == nil {
			res.Body.Close()
			if !slices.ContainsFunc(res.TLS.PeerCertificates[0].DNSNames, func(s string) bool { return s == "ci.example" }) || res.StatusCode != http.StatusOK {
				t.Errorf("%s: %s, the certificate names %q", name, res.Status, res.TLS.PeerCertificates[0].DNSNames)
			}
		}
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "valid for") {
			t.Errorf("%s: accepted %t, want %t: %v", name, err == nil, want, err)
		}
		tr.CloseIdleConnections()
	}
}
