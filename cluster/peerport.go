package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxConns bounds the connections to the peer port, maxPeerConns those of
	// one peer, and maxUnknown those whose peer is not known yet: any caller may open
	// these, and each has a descriptor that raft or a module may need.
	maxConns     = 4096
	maxPeerConns = 64
	maxUnknown   = 256
	// handshakeTimeout bounds what happens before a peer is known.
	handshakeTimeout = 5 * time.Second
	// peerIdle closes HTTP connections that are idle.
	peerIdle = 5 * time.Minute
	// askTimeout bounds the cluster's own questions to a peer.
	askTimeout = 2 * time.Second
	// addrHeader carries the address of the sender's peer port.
	addrHeader = "Pipelined-Peer-Addr"
)

// The paths of the cluster's own questions.
const (
	pathLeader = "/cluster/leader"
	pathStatus = "/cluster/status"
)

// peerConfig is what the peer port needs of its neighbours. Its functions must
// not block.
type peerConfig struct {
	// bindAddr is the IP to listen on, advertise the one that others use.
	bindAddr, advertise string
	port                int
	identity            *keys.Identity
	log                 hclog.Logger
	// dial connects to a node.
	dial func(ctx context.Context, id pipeline.NodeID, proto string) (net.Conn, error)
	// admitRaft refuses peers that must not speak raft with this node.
	admitRaft func(keys.Subject) error
	// raft is the node that raft's connections are handed to, nil for none.
	raft func() *consensus.Node
	// leader answers who leads; reported keeps the address that a peer gives.
	leader   func() leaderAnswer
	reported func(id pipeline.NodeID, addr string)
	// forget notes that a node was removed.
	forget func(id string)
	// handler serves all that is not the cluster's own; it may be nil.
	handler http.Handler
}

// peerPort is the one listener that nodes reach each other by: mutual TLS,
// HTTP/2 and raft separated by ALPN.
type peerPort struct {
	cfg    peerConfig
	ln     net.Listener
	srv    *http.Server
	client *http.Client
	trans  *http.Transport
	// bulk has connections of its own, so that no message waits behind a file.
	bulk      *http.Client
	bulkTrans *http.Transport

	mu    sync.Mutex // guards following
	conns int
	peers map[pipeline.NodeID]int
	// unknown are the connections before their handshake, the oldest first.
	unknown []*peerConn
}

// peerConn counts against its peer's limit once the peer is known.
type peerConn struct {
	net.Conn
	port *peerPort

	// The port's mutex guards the following.
	peer   pipeline.NodeID // "" until the handshake
	closed bool
}

// Close ends the connection and its count.
func (p *peerConn) Close() error {
	p.port.release(p)
	return p.Conn.Close()
}

// countingListener closes connections beyond maxConns, and of those without a
// handshake the oldest beyond maxUnknown.
type countingListener struct {
	net.Listener
	port *peerPort
}

// Accept waits for the next connection within the bounds.
func (l countingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &peerConn{Conn: conn, port: l.port}
		victim := l.port.admit(c)
		if victim != nil {
			victim.Close()
		}
		if victim != c {
			return c, nil
		}
	}
}

// admit counts a new connection, and gives the one that has to go for it: itself, if
// there are too many.
func (p *peerPort) admit(conn *peerConn) (victim *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns++
	if p.conns > maxConns {
		return conn
	}
	if p.unknown = append(p.unknown, conn); len(p.unknown) > maxUnknown {
		return p.unknown[0]
	}
	return nil
}

// known takes a connection out of those without a handshake. mu is held.
func (p *peerPort) known(conn *peerConn) {
	if i := slices.Index(p.unknown, conn); i >= 0 {
		p.unknown = slices.Delete(p.unknown, i, i+1)
	}
}

// take counts a connection once its peer is known. It reports false if the peer
// has too many.
func (p *peerPort) take(conn *peerConn, id pipeline.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn.closed || conn.peer != "" || p.peers[id] >= maxPeerConns {
		return false
	}
	conn.peer = id
	p.known(conn)
	p.peers[id]++
	return true
}

func (p *peerPort) release(conn *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn.closed {
		return
	}
	conn.closed = true
	p.known(conn)
	p.conns--
	if conn.peer == "" {
		return
	}
	if p.peers[conn.peer]--; p.peers[conn.peer] <= 0 {
		delete(p.peers, conn.peer)
	}
}

// listenPeers binds the peer port. Nothing is answered before serve.
func listenPeers(cfg peerConfig) (*peerPort, error) {
	addr := net.JoinHostPort(cfg.bindAddr, strconv.Itoa(cfg.port))
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bind the peer port: %w (if another agent has it, choose another -bind or -peer-port; port 0 takes a free one)", err)
	}

	p := &peerPort{cfg: cfg, peers: map[pipeline.NodeID]int{}}
	p.ln = countingListener{ln, p}
	var protos http.Protocols
	protos.SetHTTP2(true)
	p.srv = p.server(&protos)

	p.trans = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			id, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return cfg.dial(ctx, pipeline.NodeID(id), keys.ProtoHTTP)
		},
		Protocols: &protos, ForceAttemptHTTP2: true, IdleConnTimeout: peerIdle, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
	p.bulkTrans = p.trans.Clone()
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.client = &http.Client{Transport: p.trans, CheckRedirect: noRedirect}
	p.bulk = &http.Client{Transport: p.bulkTrans, CheckRedirect: noRedirect}
	return p, nil
}

// server separates raft from HTTP/2 by ALPN.
func (p *peerPort) server(protos *http.Protocols) *http.Server {
	return &http.Server{
		Handler: p.handler(), Protocols: protos,
		// It bounds the handshake as well.
		ReadHeaderTimeout: handshakeTimeout, IdleTimeout: peerIdle, MaxHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{keys.ProtoHTTP, keys.ProtoRaft}, GetConfigForClient: p.config,
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			keys.ProtoRaft: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { p.serveRaft(conn) },
		},
		ErrorLog: log.New(p, "", 0),
	}
}

func (p *peerPort) port() int { return p.ln.Addr().(*net.TCPAddr).Port }

// Write logs the lines of http.Server: refused handshakes mostly.
func (p *peerPort) Write(line []byte) (int, error) {
	p.cfg.log.Debug("peer port", "message", string(line[:max(0, len(line)-1)]))
	return len(line), nil
}

// config makes the TLS configuration of one connection: the
// peer is checked and counted before its first byte is read.
func (p *peerPort) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*peerConn)
	if !ok {
		return nil, errors.New("not a connection of the peer port")
	}
	return p.cfg.identity.PeerServer(func(proto string, s keys.Subject) error {
		if proto == keys.ProtoRaft {
			if err := p.cfg.admitRaft(s); err != nil {
				p.cfg.log.Debug("refused a raft connection", "from", conn.RemoteAddr(), "node", s.Node, "reason", err)
				return err
			}
		}
		if !p.take(conn, s.Node) {
			return fmt.Errorf("node %s has %d connections already", s.Node, maxPeerConns)
		}
		return nil
	}), nil
}

// serveRaft gives raft a connection that admitRaft has let in.
func (p *peerPort) serveRaft(conn *tls.Conn) {
	if node := p.cfg.raft(); node != nil {
		// http.Server has set deadlines for the handshake.
		if conn.SetDeadline(time.Time{}) == nil {
			if s, err := keys.SubjectOf(conn.ConnectionState().PeerCertificates[0]); err == nil {
				node.Serve(conn, string(s.Node))
			}
		}
	}
}

// serve answers until ctx is done.
func (p *peerPort) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.srv.Close() })
	defer stop()
	if err := p.srv.ServeTLS(p.ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve peers: %w", err)
	}
	return nil
}

// reconnect drops the idle connections, which were made with an earlier
// certificate.
func (p *peerPort) reconnect() {
	p.trans.CloseIdleConnections()
	p.bulkTrans.CloseIdleConnections()
}

func (p *peerPort) close() error {
	p.reconnect()
	err := p.srv.Close()
	// Close closes the listener only if Serve has begun.
	if e := p.ln.Close(); e != nil && !errors.Is(e, net.ErrClosed) && err == nil {
		err = e
	}
	return err
}

type peerKey struct{}

// PeerFrom returns the sender of a request to the peer port. ok is false for
// requests that came in elsewhere.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// handler puts the peer into the request's context and answers the cluster's
// own questions.
func (p *peerPort) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathLeader, func(w http.ResponseWriter, _ *http.Request) { answer(w, p.cfg.leader()) })
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) {
		if node := p.cfg.raft(); node != nil {
			answer(w, node.Status())
			return
		}
		http.Error(w, "no raft here", http.StatusNotFound)
	})
	mux.HandleFunc("POST "+pathForget+"{id}", func(w http.ResponseWriter, r *http.Request) {
		p.cfg.forget(r.PathValue("id"))
		answer(w, nil)
	})
	if p.cfg.handler != nil {
		mux.Handle("/", p.cfg.handler)
	}

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", http.StatusForbidden)
			return
		}
		s, err := keys.SubjectOf(r.TLS.PeerCertificates[0])
		if err != nil {
			http.Error(w, "not a certificate of a node", http.StatusForbidden)
			return
		}
		if a := r.Header.Get(addrHeader); a != "" {
			p.cfg.reported(s.Node, a)
		}
		ctx := context.WithValue(r.Context(), peerKey{}, Peer{ID: s.Node, Mode: s.Mode, Name: s.Name})
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // the peer has gone if this fails
}

// ask puts one of the cluster's own questions to a node, within askTimeout.
func (p *peerPort) ask(ctx context.Context, id, path string, out any) error {
	return p.call(ctx, http.MethodGet, id, path, out)
}

// call is ask with a method; out is nil if no answer is wanted.
func (p *peerPort) call(ctx context.Context, method, id, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+id+path, nil)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	req.Header.Set(addrHeader, p.advertised())

	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask node %s: %s", id, resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(out); err != nil {
		return fmt.Errorf("ask node %s: %w", id, err)
	}
	return nil
}

// advertised is host:port that other nodes reach this port at.
func (p *peerPort) advertised() string {
	return net.JoinHostPort(p.cfg.advertise, strconv.Itoa(p.port()))
}
