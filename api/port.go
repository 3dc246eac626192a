package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// shutdownTime is how long calls may take to finish when the node stops.
const shutdownTime = 2 * time.Second

// PortConfig says how the HTTP port is bound.
type PortConfig struct {
	// Bind is an IP address, Port a number; 0 takes a free one.
	Bind string
	Port int
	// Plain serves no TLS on an address other than loopback.
	Plain bool
	// TLSCert and TLSKey are files; "" takes a certificate of the cluster's
	// authority.
	TLSCert, TLSKey string
	// Names are those by which clients may address the port; "" is none.
	Names []string
	// Local, if it is not nil, serves the same calls to processes of this machine.
	// A method LocalUser of its connections names the user, who needs no token.
	Local net.Listener
}

// Port is the port of the API: plain on loopback, or if the configuration says so,
// and TLS elsewhere. TLS is accepted everywhere: a client that must know that the
// server has the cluster's key asks for it (wire.ProtoCluster).
type Port struct {
	cfg      PortConfig
	listener net.Listener
	https    bool
}

// BindPort binds the port. Nothing is served before Serve.
func BindPort(cfg PortConfig) (*Port, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(cfg.Bind, strconv.Itoa(cfg.Port)))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, fmt.Errorf("bind the HTTP port: this machine has no address %s: -bind takes one of its own, private or public", cfg.Bind)
	}
	if err != nil {
		return nil, fmt.Errorf("bind the HTTP port: %w (if another agent has it, choose another -bind or -http-port; port 0 takes a free one)", err)
	}
	return &Port{cfg: cfg, listener: l, https: !net.ParseIP(cfg.Bind).IsLoopback() && !cfg.Plain || cfg.TLSCert != ""}, nil
}

// HasLocal reports whether processes of this machine have a listener of their own.
func (p *Port) HasLocal() bool { return p.cfg.Local != nil }

// Addr is host:port.
func (p *Port) Addr() string { return p.listener.Addr().String() }

// TLS reports whether the port serves TLS.
func (p *Port) TLS() bool { return p.https }

// Scheme is http or https.
func (p *Port) Scheme() string {
	if p.https {
		return "https"
	}
	return "http"
}

// AllowedHost reports whether clients may address the port by a name (settled 15);
// IP addresses and localhost they always may.
func (p *Port) AllowedHost(host string) bool {
	return slices.ContainsFunc(p.cfg.Names, func(name string) bool { return name != "" && strings.EqualFold(name, host) })
}

// Serve serves until ctx ends, then lets short calls finish. authority gives the
// TLS configuration of the cluster's authority.
func (p *Port) Serve(ctx context.Context, s *Server, authority func() *tls.Config) error {
	cfg, err := p.tlsConfig(authority)
	if err != nil {
		return err
	}
	server := NewHTTPServer(s.PublicHandler())
	server.ConnContext = withLocalUser
	limited := limitConns(p.listener, s.cfg.MaxConns)
	server.ConnState = limited.state
	if p.https {
		server.Handler = tlsOnly(server.Handler)
	}

	done := make(chan struct{})
	go func() { // ends with ctx, and Serve waits for it
		defer close(done)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		if errors.Join(s.Shutdown(stop), server.Shutdown(stop)) != nil {
			_ = server.Close() // what is still open is cut
		}
	}()

	var local sync.WaitGroup
	if p.cfg.Local != nil {
		local.Go(func() { _ = server.Serve(p.cfg.Local) }) // ends with the server; if the socket breaks, the port serves on
	}
	err = server.Serve(acceptTLS(limited, cfg))
	if errors.Is(err, http.ErrServerClosed) {
		<-done
		local.Wait()
		return nil
	}

	_ = server.Close() // the port broke: nothing is served any more
	local.Wait()
	return err
}

// tlsConfig gives the configured certificate, or else the cluster's. A client that
// asks for the cluster's gets that one in any case.
func (p *Port) tlsConfig(authority func() *tls.Config) (*tls.Config, error) {
	cluster := authority()
	cluster.NextProtos = []string{"http/1.1"}
	if p.cfg.TLSCert == "" {
		return cluster, nil
	}

	cert, err := tls.LoadX509KeyPair(p.cfg.TLSCert, p.cfg.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load -tls-cert and -tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, wire.ProtoCluster) {
				return cluster, nil
			}
			return nil, nil
		}}, nil
}

// Close closes the port. Idempotent.
func (p *Port) Close() {
	_ = p.listener.Close() // Serve closes it too
	if p.cfg.Local != nil {
		_ = p.cfg.Local.Close()
	}
}

type localUserKey struct{}

// withLocalUser notes whose process a connection of PortConfig.Local belongs to.
func withLocalUser(ctx context.Context, c net.Conn) context.Context {
	if local, ok := c.(interface{ LocalUser() string }); ok {
		return context.WithValue(ctx, localUserKey{}, local.LocalUser())
	}
	return ctx
}

// localUser names the user of a process of this machine; false for other callers.
func localUser(ctx context.Context) (string, bool) {
	name, ok := ctx.Value(localUserKey{}).(string)
	return name, ok
}
