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
	"syscall"
	"time"

	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxConns bounds the connections to the peer port, maxPeerConns those of
	// one peer.
	maxConns     = 4096
	maxPeerConns = 64
	// handshakeTimeout bounds what happens before a peer is known.
	handshakeTimeout = 5 * time.Second
	// peerIdle closes HTTP connections that nobody uses.
	peerIdle = 5 * time.Minute
	// askTimeout bounds the cluster's own questions to a peer.
	askTimeout = 2 * time.Second
	// addrHeader tells a peer where we are.
	addrHeader = "Pipelined-Peer-Addr"
	// maxTold is how many nodes' addresses are kept that they told us.
	maxTold = 4096
)

// peerPort is the one listener that nodes reach each other by: mutual TLS,
// HTTP/2 and raft told apart by ALPN.
type peerPort struct {
	c      *Cluster
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
}

// peerConn counts against its peer's limit once the peer is known.
type peerConn struct {
	net.Conn
	port *peerPort

	// The port's mutex guards the following.
	peer   pipeline.NodeID // "" until the handshake
	closed bool
}

// Close gives the place back.
func (p *peerConn) Close() error {
	p.port.release(p)
	return p.Conn.Close()
}

// countingListener refuses what is beyond all bounds.
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
		l.port.mu.Lock()
		full := l.port.conns >= maxConns
		if !full {
			l.port.conns++
		}
		l.port.mu.Unlock()
		if full {
			conn.Close()
			continue
		}
		return &peerConn{Conn: conn, port: l.port}, nil
	}
}

// take counts a connection whose peer is known now.
func (p *peerPort) take(conn *peerConn, id pipeline.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn.closed || conn.peer != "" || p.peers[id] >= maxPeerConns {
		return false
	}
	conn.peer = id
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
	p.conns--
	if conn.peer == "" {
		return
	}
	if p.peers[conn.peer]--; p.peers[conn.peer] <= 0 {
		delete(p.peers, conn.peer)
	}
}

func listenPeers(c *Cluster) (*peerPort, error) {
	addr := net.JoinHostPort(c.cfg.BindAddr, strconv.Itoa(c.cfg.PeerPort))
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for peers on %s: %w", addr, err)
	}
	p := &peerPort{c: c, peers: map[pipeline.NodeID]int{}}
	p.ln = countingListener{ln, p}
	var protos http.Protocols
	protos.SetHTTP2(true)
	p.srv = &http.Server{
		Handler: p.handler(), Protocols: &protos,
		// It bounds the handshake as well.
		ReadHeaderTimeout: handshakeTimeout, IdleTimeout: peerIdle, MaxHeaderBytes: 64 << 10,
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{keys.ProtoHTTP, keys.ProtoRaft}, GetConfigForClient: p.config},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			keys.ProtoRaft: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { p.serveRaft(conn) },
		},
		ErrorLog: log.New(p, "", 0),
	}
	p.trans = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			id, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return c.dial(ctx, pipeline.NodeID(id), keys.ProtoHTTP)
		},
		Protocols: &protos, ForceAttemptHTTP2: true, IdleConnTimeout: peerIdle, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.client = &http.Client{Transport: p.trans, CheckRedirect: noRedirect}
	p.bulkTrans = p.trans.Clone()
	p.bulk = &http.Client{Transport: p.bulkTrans, CheckRedirect: noRedirect}
	return p, nil
}

func (p *peerPort) port() int { return p.ln.Addr().(*net.TCPAddr).Port }

// Write takes what http.Server has to say: refused handshakes mostly.
func (p *peerPort) Write(line []byte) (int, error) {
	p.c.log.Debug("peer port", "says", string(line[:max(0, len(line)-1)]))
	return len(line), nil
}

// config makes the TLS configuration of one connection, which knows it: the
// peer is checked and counted before its first byte is read.
func (p *peerPort) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*peerConn)
	if !ok {
		return nil, errors.New("not a connection of the peer port")
	}
	return p.c.identity.PeerServer(func(proto string, s keys.Subject) error {
		if proto == keys.ProtoRaft {
			if err := p.c.admitRaft(s); err != nil {
				p.c.log.Debug("refused a raft connection", "from", conn.RemoteAddr(), "node", s.Node, "reason", err)
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
	if node, _ := p.c.current(); node != nil {
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

func (p *peerPort) close() error {
	p.trans.CloseIdleConnections()
	p.bulkTrans.CloseIdleConnections()
	err := p.srv.Close()
	// Close closes the listener only where Serve has begun.
	if e := p.ln.Close(); e != nil && !errors.Is(e, net.ErrClosed) && err == nil {
		err = e
	}
	return err
}

type peerKey struct{}

// PeerFrom tells who sent a request to the peer port. ok is false for requests
// that came in elsewhere.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// handler puts the peer into the request's context and answers the cluster's
// own questions.
func (p *peerPort) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cluster/leader", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.c.leaderAnswer()) })
	mux.HandleFunc("GET /cluster/status", func(w http.ResponseWriter, _ *http.Request) {
		if node, _ := p.c.current(); node != nil {
			answer(w, node.Status())
			return
		}
		http.Error(w, "no raft here", http.StatusNotFound)
	})
	if p.c.cfg.PeerHandler != nil {
		mux.Handle("/", p.c.cfg.PeerHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", http.StatusForbidden)
			return
		}
		s, err := keys.SubjectOf(r.TLS.PeerCertificates[0])
		if err != nil {
			http.Error(w, "no node's certificate", http.StatusForbidden)
			return
		}
		if a := r.Header.Get(addrHeader); a != "" {
			p.c.noteAddr(s.Node, a)
		}
		ctx := context.WithValue(r.Context(), peerKey{}, Peer{ID: s.Node, Mode: s.Mode, Name: s.Name})
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // the peer has gone if this fails
}

// Client reaches another node over the peer port: requests go to the returned
// base URL, over one connection that stays, to no other node than this one. It
// is an error if nobody knows where the node is. The client is shared and has
// no timeout of its own: bound each request by its context.
func (c *Cluster) Client(id pipeline.NodeID) (client *http.Client, baseURL string, err error) {
	if len(c.peerAddrs(string(id))) == 0 {
		return nil, "", pipeline.Errorf(pipeline.NotFound, "node %s: nobody knows where it is", id)
	}
	return c.peers.client, "https://" + string(id), nil
}

// BulkClient is Client for what takes long: files. Its connections carry
// nothing else, so that heartbeats and assignments do not queue behind them.
func (c *Cluster) BulkClient(id pipeline.NodeID) (client *http.Client, baseURL string, err error) {
	_, baseURL, err = c.Client(id)
	return c.peers.bulk, baseURL, err
}

// ask puts one of the cluster's own questions to a node.
func (c *Cluster) ask(ctx context.Context, id, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", id, err)
	}
	req.Header.Set(addrHeader, c.Addresses().Peer)
	resp, err := c.peers.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", id, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s", id, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(out); err != nil {
		return fmt.Errorf("ask %s: %w", id, err)
	}
	return nil
}

// peerAddrs are where a node's peer port may be: what the node has told us
// itself, what gossip says, and what we remember from before. A node that comes
// back at another port is not believed by gossip for a while.
func (c *Cluster) peerAddrs(id string) []string {
	var out []string
	add := func(a string) {
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	c.mu.Lock()
	add(c.told[id])
	c.mu.Unlock()
	if m, ok := c.gossip.Member(id); ok {
		add(m.PeerAddr())
	}
	add(c.book.get(id))
	return out
}

// noteAddr keeps what a node has said, with its certificate, of where it is.
func (c *Cluster) noteAddr(id pipeline.NodeID, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 || net.ParseIP(host) == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) >= maxTold {
		clear(c.told)
	}
	c.told[string(id)] = addr
}

// dial connects to a node's peer port; whoever answers must be that node.
func (c *Cluster) dial(ctx context.Context, id pipeline.NodeID, proto string) (net.Conn, error) {
	err := fmt.Errorf("connect to %s: nobody knows where it is", id)
	for _, addr := range c.peerAddrs(string(id)) {
		var conn net.Conn
		if conn, err = c.dialAt(ctx, addr, id, proto); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (c *Cluster) dialAt(ctx context.Context, addr string, id pipeline.NodeID, proto string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: c.identity.PeerClient(id, proto)}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s at %s: %w", id, addr, err)
	}
	return conn, nil
}

// dialRaft is how raft reaches the node with an id.
func (c *Cluster) dialRaft(ctx context.Context, id string) (net.Conn, error) {
	return c.dial(ctx, pipeline.NodeID(id), keys.ProtoRaft)
}

// gone reports that nobody listens any more wherever a node's peer port was.
func (c *Cluster) gone(ctx context.Context, id string) bool {
	addrs := c.peerAddrs(id)
	for _, addr := range addrs {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
	}
	return len(addrs) > 0
}

// admitRaft decides who may speak raft to us (settled.md, 11): a server of our
// configuration, or the leader that a member has named. Standbys count: one may
// have been made a voter since we last heard.
func (c *Cluster) admitRaft(s keys.Subject) error {
	node, _ := c.current()
	if node == nil {
		return errors.New("this node takes no part in raft")
	}
	if s.Mode != pipeline.ModeAuto && s.Mode != pipeline.ModeOrchestrator {
		return fmt.Errorf("a node of mode %s takes no part in raft", s.Mode)
	}
	if m, ok := c.gossip.Member(string(s.Node)); ok && m.Status == gossipLeft {
		return errors.New("it has left the cluster")
	}
	if inServers(node.Servers(), string(s.Node)) {
		return nil
	}
	c.mu.Lock()
	named := c.named.Leader
	c.mu.Unlock()
	if named == s.Node && named != "" {
		return nil
	}
	// Perhaps it has become the leader since we asked.
	c.askSoon()
	return errors.New("it is neither in raft's configuration nor the leader we were told")
}
