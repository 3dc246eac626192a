package consensus

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// nodeAddr is a node id used as an address: raft's addresses are node ids
// throughout, so that a node may move; the dialer looks up its address.
type nodeAddr string

func (a nodeAddr) Network() string { return "raft" }
func (a nodeAddr) String() string  { return string(a) }

// streams is raft's StreamLayer: it dials by node id and is handed what comes.
type streams struct {
	self     nodeAddr
	timings  Timings
	dial     func(ctx context.Context, id string) (net.Conn, error)
	incoming chan *stream
	// ended receives the peers of incoming connections that have ended. Its
	// buffer holds those of several peers at once; it is safe to drop one, as
	// the leader has more than one connection and raft has its timers.
	ended  chan string
	closed chan struct{}
	// life ends with Close; dialling goes no further then.
	life context.Context
	end  context.CancelFunc

	mu   sync.Mutex // guards following
	open map[*stream]struct{}
	done bool
	// hasty counts the transfers that come from each peer.
	hasty map[string]int
}

// stream is one connection. Closing it wakes what waits for its end.
type stream struct {
	net.Conn
	layer *streams
	// peer is the node at the other end; incoming says who called.
	peer     string
	incoming bool
	once     sync.Once
	closed   chan struct{}
}

func newStreams(self string, timings Timings, dial func(context.Context, string) (net.Conn, error)) *streams {
	life, end := context.WithCancel(context.Background())
	return &streams{self: nodeAddr(self), timings: timings, dial: dial, hasty: map[string]int{}, incoming: make(chan *stream), ended: make(chan string, 16),
		closed: make(chan struct{}), life: life, end: end, open: map[*stream]struct{}{}}
}

// Read bounds how long a peer may stay silent.
func (s *stream) Read(p []byte) (int, error) {
	if s.incoming {
		if err := s.SetReadDeadline(time.Now().Add(s.layer.idleLimit(s.peer))); err != nil {
			return 0, err
		}
	}
	return s.Conn.Read(p)
}

// Close closes the connection once.
func (s *stream) Close() error {
	err := net.ErrClosed
	s.once.Do(func() {
		err = s.Conn.Close()
		close(s.closed)
		s.layer.mu.Lock()
		delete(s.layer.open, s)
		s.layer.mu.Unlock()
	})
	return err
}

func (l *streams) track(conn net.Conn, peer string, incoming bool) (*stream, error) {
	s := &stream{Conn: conn, layer: l, peer: peer, incoming: incoming, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		conn.Close()
		return nil, errTransport
	}
	l.open[s] = struct{}{}
	return s, nil
}

// Accept waits for the next connection from a peer.
func (l *streams) Accept() (net.Conn, error) {
	select {
	case s := <-l.incoming:
		return s, nil
	case <-l.closed:
		return nil, errTransport
	}
}

// serve hands an authenticated connection to raft and returns at its end.
func (l *streams) serve(conn net.Conn, id string) {
	s, err := l.track(conn, id, true)
	if err != nil {
		return
	}
	defer s.Close()

	select {
	case l.incoming <- s:
	case <-l.closed:
		return
	}

	select {
	case <-s.closed:
		select {
		case l.ended <- id:
		default:
		}
	case <-l.closed:
	}
}

// Dial connects to the node that the address names.
func (l *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.life, timeout)
	defer cancel()
	conn, err := l.dial(ctx, string(address))
	if err != nil {
		return nil, err
	}
	return l.track(conn, string(address), false)
}

// Addr is the node's id.
func (l *streams) Addr() net.Addr { return l.self }

// Close ends every connection.
func (l *streams) Close() error {
	l.mu.Lock()
	if l.done {
		l.mu.Unlock()
		return nil
	}

	l.done = true
	l.end()
	close(l.closed)

	open := make([]*stream, 0, len(l.open))
	for s := range l.open {
		open = append(open, s)
	}

	l.mu.Unlock()

	for _, s := range open {
		s.Close()
	}

	return nil
}
