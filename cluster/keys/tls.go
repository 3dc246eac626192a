package keys

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// The protocols that the peer port speaks, chosen by ALPN.
const (
	ProtoHTTP = "h2"
	ProtoRaft = "pipelined-raft"
)

// ErrStranger is returned for a peer that shows no certificate of our
// authority, or one of another node or cluster.
var ErrStranger = errors.New("the peer is not who it must be")

// verify checks a connection's peer against our authority and reads who it is.
// It runs for resumed connections as well, which VerifyPeerCertificate does not.
//
// The authority's signature decides, not the dates: a node whose clock is wrong
// must keep its peers, and a member is shut out by its removal, not by time.
func (id *Identity) verify(cs tls.ConnectionState) (Subject, error) {
	if len(cs.PeerCertificates) == 0 {
		return Subject{}, fmt.Errorf("%w: it shows no certificate", ErrStranger)
	}
	leaf := cs.PeerCertificates[0]
	if err := leaf.CheckSignatureFrom(id.keys.ca.cert); err != nil {
		return Subject{}, fmt.Errorf("%w: it does not have our cluster key: %w", ErrStranger, err)
	}
	s, err := SubjectOf(leaf)
	if err != nil {
		return Subject{}, fmt.Errorf("%w: %w", ErrStranger, err)
	}
	if own := id.Subject().Cluster; s.Cluster != own || own == "" {
		return Subject{}, fmt.Errorf("%w: node %s is of cluster %q, this node of %q", ErrStranger, s.Node, s.Cluster, own)
	}
	return s, nil
}

// PeerServer is the TLS configuration of the peer port. Every client must show
// a certificate of our authority for our cluster. admit, which may be nil, may
// refuse a peer for a protocol; it is asked before the peer's first byte is
// read.
func (id *Identity) PeerServer(admit func(proto string, s Subject) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ProtoHTTP, ProtoRaft},
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Certificate() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			s, err := id.verify(cs)
			if err != nil {
				return err
			}
			if cs.NegotiatedProtocol != ProtoHTTP && cs.NegotiatedProtocol != ProtoRaft {
				return errors.New("the peer asks for no protocol of ours")
			}
			if admit != nil {
				return admit(cs.NegotiatedProtocol, s)
			}
			return nil
		},
	}
}

// PeerClient is the TLS configuration for a connection to the peer port of the
// given node; "" takes any node of our cluster.
func (id *Identity) PeerClient(node pipeline.NodeID, proto string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{proto},
		// The name in the certificate is the node's id, not its host:
		// VerifyConnection does all of the checking.
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.Certificate()
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			s, err := id.verify(cs)
			if err != nil {
				return err
			}
			if node != "" && s.Node != node {
				return fmt.Errorf("%w: it is node %s, not %s", ErrStranger, s.Node, node)
			}
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("the peer does not speak %s", proto)
			}
			return nil
		},
	}
}

// HTTPServer is the TLS configuration of the HTTP port with a certificate of
// our authority, for clients without one.
func (id *Identity) HTTPServer() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Certificate() },
	}
}

// HTTPClient is the TLS configuration of a client of the HTTP port that trusts
// holders of our key alone, under whichever name it reached them. The clock does
// not count: the client's may be wrong, and a certificate's key never leaves the
// process that made it.
func (k *Keys) HTTPClient() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// VerifyConnection does all of the checking.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return fmt.Errorf("%w: it shows no certificate", ErrStranger)
			}
			leaf := cs.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{Roots: k.ca.pool, CurrentTime: leaf.NotAfter,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if err != nil {
				return fmt.Errorf("%w: its certificate is not of our cluster key: %w", ErrStranger, err)
			}
			return nil
		},
	}
}
