package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// AddressError says in plain words that what is at an address does not answer, or not as
// a node does.
type AddressError struct {
	// Host is HOST:PORT.
	Host string
	// Answered is set if a server answered over HTTP, without a document of a node.
	Answered bool
	text     string
	err      error
}

// Error names the address and what happened there.
func (e *AddressError) Error() string { return e.Host + " " + e.text }

// Unwrap is the error of the connection; nil if there was an answer.
func (e *AddressError) Unwrap() error { return e.err }

// unreachable words an error of a connection to a node.
func unreachable(node *url.URL, err error) error {
	var name *net.DNSError
	var op *net.OpError
	text := ""
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		text = "cannot be reached: no host has this name"
	case errors.Is(err, syscall.ECONNREFUSED):
		text = "cannot be reached: no process listens there (connection refused)"
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		text = "cannot be reached: no answer within " + dialLimit.String()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		text = "closed the connection without an answer"
	default:
		text = "cannot be called: " + err.Error()
	}
	return &AddressError{Host: hostPort(node), text: text, err: err}
}

// foreign words an answer that is not a node's: of a proxy, or of another program.
func foreign(resp *http.Response, text string) error {
	e := &AddressError{Answered: true, text: fmt.Sprintf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	if resp.Request != nil {
		e.Host = hostPort(resp.Request.URL)
	}
	if text != "" {
		e.text += ": " + text
	}
	return e
}

// hostPort is the address that a URL leads to, with its port.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
}

// defaultPorts are the ports of URLs without one.
var defaultPorts = map[string]string{"http": "80", "https": "443"}
