package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/pipelined/pipelined/api/client"
)

// hint adds to an error of a connection what a person can do about it.
func hint(err error) error {
	var at *client.AddressError
	var certificate *tls.CertificateVerificationError
	text := ""
	switch {
	case errors.As(err, &certificate):
		text = certificateHint(certificate.Err)
	case errors.As(err, &at):
		text = addressHint(at)
	}
	if text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, text)
}

// certificateHint says what helps if a server's certificate is not accepted.
func certificateHint(why error) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(why, &invalid) && invalid.Reason == x509.Expired:
		return "renew it there (the file of tls_cert), or correct the clock of this machine"
	case errors.As(why, &name):
		return "use one of the names in the certificate; http_host of the node adds one to a certificate of the cluster"
	}
	return "name the authority of its certificate with -ca-file (pipelined ca on a node prints that of the cluster)"
}

// The ports of a node by default that are not for clients.
var nodePorts = map[string]string{"7946": "gossip", "7947": "peer"}

// addressHint says what helps if a server at an address does not answer, or not as a node.
func addressHint(at *client.AddressError) string {
	host, port, err := net.SplitHostPort(at.Host)
	if err != nil {
		return ""
	}

	var unknown *net.DNSError
	usual, text := net.JoinHostPort(host, defaultPort), at.Error()
	switch {
	case nodePorts[port] != "":
		return fmt.Sprintf("%s is the %s port of a node; -address takes its HTTP port: try %s", port, nodePorts[port], usual)
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return "try -address https://" + at.Host
	case strings.Contains(text, "HTTP response to HTTPS client"), strings.Contains(text, "does not look like a TLS handshake"):
		return "it speaks HTTP without TLS: try -address http://" + at.Host + ", if you trust it and the network"
	case at.Answered:
		return "" // of a proxy, perhaps: it says what is wrong
	case port == "80" || port == "443":
		return fmt.Sprintf("a URL without a port means port %s, and a node listens on %s: try -address %s", port, defaultPort, usual)
	case errors.Is(at, syscall.ECONNREFUSED):
		return "start an agent there, or name another node with -address"
	case errors.As(at, &unknown) && unknown.IsNotFound:
		return "correct the name in -address, or use an IP address"
	}
	return "is it the HTTP port of a node? (" + defaultPort + " by default; 7946 is for gossip, 7947 for peers)"
}
