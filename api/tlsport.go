package api

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// tlsOnly answers health in plain text, for load balancers, and refuses everything
// else that came without TLS.
func tlsOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, local := localUser(r.Context()); r.TLS == nil && !local && r.URL.Path != pathHealth {
			w.Header().Set("Connection", "close")
			http.Error(w, "this port speaks TLS: use https://"+r.Host, http.StatusMisdirectedRequest)
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

// acceptTLS gives a listener that accepts TLS and plain connections on one port.
func acceptTLS(l net.Listener, cfg *tls.Config) net.Listener {
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
