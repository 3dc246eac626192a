package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api"
)

// maxConns bounds the connections of the HTTP port.
const maxConns = 1024

// openHTTP binds the HTTP port; openAPI decides what it serves: plain on loopback or where asked for, TLS
// elsewhere.
func (n *Node) openHTTP() error {
	addr := net.JoinHostPort(n.cfg.Bind, strconv.Itoa(n.cfg.HTTPPort))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("bind the HTTP port: %w (if another agent has it, choose another -bind or -http-port; port 0 takes a free one)", err)
	}
	n.listener = l
	n.https = !net.ParseIP(n.cfg.Bind).IsLoopback() && !n.cfg.HTTPPlain || n.cfg.TLSCert != ""
	return nil
}

// allowedHost says whether the port may be called by a name (settled 15); IP
// addresses and localhost always are.
func (n *Node) allowedHost(host string) bool {
	names := append([]string{n.cfg.Name, n.cfg.Advertise}, n.cfg.HTTPHosts...)
	if h, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(h, ".")
		names = append(names, h, short)
	}
	for _, name := range names {
		if name != "" && strings.EqualFold(name, host) {
			return true
		}
	}
	return false
}

// serve serves the HTTP port until ctx ends, then lets short calls finish.
func (n *Node) serve(ctx context.Context) error {
	l := api.LimitConns(n.listener, maxConns)
	if n.https {
		cfg, err := n.httpTLS()
		if err != nil {
			return err
		}
		l = newSniffer(l, cfg)
		n.server.Handler = tlsOnly(n.server.Handler)
	}
	done := make(chan struct{})
	go func() { // ends with ctx, and serve waits for it
		defer close(done)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if errors.Join(n.api.Shutdown(stop), n.server.Shutdown(stop)) != nil {
			_ = n.server.Close() // what is still open is cut
		}
	}()
	err := n.server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-done
		return nil
	}
	return err
}

func (n *Node) httpTLS() (*tls.Config, error) {
	if n.cfg.TLSCert == "" {
		cfg := n.cluster.Identity().HTTPServer()
		cfg.NextProtos = []string{"http/1.1"}
		return cfg, nil
	}
	cert, err := tls.LoadX509KeyPair(n.cfg.TLSCert, n.cfg.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load -tls-cert and -tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}, nil
}

// tlsOnly answers health in plain text, for load balancers, and sends
// everything else that came without TLS away.
func tlsOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil && r.URL.Path != "/api/health" {
			w.Header().Set("Connection", "close")
			http.Error(w, "this port speaks TLS: use https://", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// sniffer looks at the first byte of each connection: a TLS handshake begins
// with 22, and no HTTP request does.
type sniffer struct {
	net.Listener
	cfg   *tls.Config
	conns chan net.Conn
	errs  chan error
	done  chan struct{}
	once  sync.Once
}

func newSniffer(l net.Listener, cfg *tls.Config) *sniffer {
	s := &sniffer{Listener: l, cfg: cfg, conns: make(chan net.Conn), errs: make(chan error, 1), done: make(chan struct{})}
	go s.accept() // ends when the listener is closed
	return s
}

func (s *sniffer) accept() {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			s.errs <- err
			return
		}
		go s.sniff(c) // bounded by its deadline
	}
}

func (s *sniffer) sniff(c net.Conn) {
	p := &peeked{Conn: c, r: bufio.NewReaderSize(c, 4096)}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := p.r.Peek(1)
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	var out net.Conn = p
	if b[0] == 22 {
		out = tls.Server(p, s.cfg)
	}
	select {
	case s.conns <- out:
	case <-s.done:
		c.Close()
	}
}

// Accept gives a connection whose first byte has come.
func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case err := <-s.errs:
		return nil, err
	}
}

// Close closes the listener.
func (s *sniffer) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}

type peeked struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was peeked at first.
func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }
