package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// poolSize is how many idle connections to a peer are kept.
	poolSize = 3
	// idleLimit closes a connection from a peer on which nothing has come.
	idleLimit = 10 * time.Minute
	// maxTermJump is by how much a message may be ahead of our term. More can
	// only be a fault: elections do not come by the million.
	maxTermJump = 1_000_000
)

var (
	errMuted      = errors.New("this node's log has stalled")
	errVotesHeld  = errors.New("this node's log takes no writes")
	errTransport  = errors.New("raft's transport is closed")
	errBadMessage = errors.New("refused a message that makes no sense")
)

// nodeAddr is a node id in the place of an address: raft's addresses are node
// ids throughout, so that a node may move; the dialer knows where it is now.
type nodeAddr string

func (a nodeAddr) Network() string { return "raft" }
func (a nodeAddr) String() string  { return string(a) }

// streams is raft's StreamLayer: it dials by node id and is handed what comes.
type streams struct {
	self     nodeAddr
	timings  Timings
	dial     func(ctx context.Context, id string) (net.Conn, error)
	incoming chan *stream
	// ended tells of connections from peers that have ended. It has room for
	// those of several peers at once; one that does not fit is no loss, as the
	// leader has more than one and raft has its timers.
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

// stream is one connection. Closing it tells who waits for its end.
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
		if err := s.SetReadDeadline(time.Now().Add(s.layer.patience(s.peer))); err != nil {
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

// transport stands between raft and the network: it refuses what would crash
// raft or carry its term away, holds messages back where the log has failed,
// and repeats votes that a dead pooled connection swallowed.
type transport struct {
	*raft.NetworkTransport
	// bulk carries snapshots, see transfer.go.
	bulk    *raft.NetworkTransport
	streams *streams
	// peers is what the followers acknowledge.
	peers     progress
	receivers sync.WaitGroup
	log       hclog.Logger
	rpcs      chan raft.RPC
	stop      chan struct{}
	stopped   chan struct{}
	once      sync.Once

	// own is what raft knows of itself; nil until it runs.
	own atomic.Pointer[ownState]
	// muted holds back everything a leader sends, votesHeld what a candidate
	// sends.
	muted, votesHeld atomic.Bool
}

// ownState is what the checks ask of raft.
type ownState struct {
	term func() uint64
	// voter gives the id of some voter of our configuration, "" without one.
	voter func() raft.ServerID
}

func newTransport(s *streams, timeout time.Duration, log hclog.Logger) *transport {
	t := &transport{streams: s, log: log, rpcs: make(chan raft.RPC),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: poolSize, Timeout: timeout, Logger: log,
		// One exchange at a time: pipelining can wedge a follower for ever
		// while heartbeats look healthy (H5).
		MaxRPCsInFlight: 1, MsgpackUseNewTimeFormat: true,
	})
	t.bulk = newBulk(s, log)
	go t.pump()
	return t
}

// Consumer gives raft the messages that have passed the checks.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// pump checks what has come and passes it on.
func (t *transport) pump() {
	defer close(t.stopped)
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if err := t.check(rpc.Command); err != nil {
				t.log.Error("refused a message from a peer", "error", err)
				rpc.Respond(nil, err)
				continue
			}
			if m, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok {
				rpc = t.receiving(rpc, m)
			}
			select {
			case t.rpcs <- rpc:
			case <-t.stop:
				rpc.Respond(nil, errTransport)
				return
			}
		case <-t.stop:
			return
		}
	}
}

// inject gives raft a message of our own and waits for the answer.
func (t *transport) inject(ctx context.Context, cmd any) error {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.rpcs <- raft.RPC{Command: cmd, RespChan: answer}:
	case <-t.stop:
		return errTransport
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case a := <-answer:
		return a.Error
	case <-t.stop:
		return errTransport
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetHeartbeatHandler puts the checks before raft's fast path.
func (t *transport) SetHeartbeatHandler(cb func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if err := t.check(rpc.Command); err != nil {
			rpc.Respond(nil, err)
			return
		}
		cb(rpc)
	})
}

// Close ends the transport and its connections.
func (t *transport) Close() error {
	t.once.Do(func() {
		close(t.stop)
		t.NetworkTransport.Close()
		t.bulk.Close()
		t.CloseStreams()
		t.streams.Close()
		<-t.stopped
		t.receivers.Wait()
	})
	return nil
}

// check refuses what raft would panic on (D2) and terms from nowhere, and
// opens the way for candidates.
//
// raft refuses its vote to a candidate that is no voter in *our* configuration.
// That is not in the paper, and it can stop a cluster for ever: where a leader
// dies right after it has made c a voter, and b has not heard of that, b
// refuses c, and can win no election itself. A candidate's right to a vote
// follows from its log alone, and that it may speak to us at all was decided
// when it connected. So the id, on which raft decides, is taken away.
func (t *transport) check(cmd any) error {
	var term uint64
	switch m := cmd.(type) {
	case *raft.AppendEntriesRequest:
		term = m.Term
		for _, e := range m.Entries {
			if e == nil {
				return errBadMessage
			}
			switch e.Type {
			case raft.LogConfiguration:
				if err := decodable(e.Data); err != nil {
					return err
				}
			case raft.LogCommand, raft.LogNoop, raft.LogBarrier:
			default:
				return fmt.Errorf("%w: entry %d is of kind %d", errBadMessage, e.Index, e.Type)
			}
		}
	case *raft.InstallSnapshotRequest:
		term = m.Term
		if m.SnapshotVersion != raft.SnapshotVersionMax || m.Size < 0 || m.Size > maxSnapshot {
			return fmt.Errorf("%w: snapshot of version %d and %d bytes", errBadMessage, m.SnapshotVersion, m.Size)
		}
		if err := decodable(m.Configuration); err != nil {
			return err
		}
	case *raft.RequestVoteRequest:
		term, m.ID = m.Term, nil
	case *raft.RequestPreVoteRequest:
		term = m.Term
		if own := t.own.Load(); own != nil {
			if v := own.voter(); v != "" {
				m.ID = []byte(v)
			}
		}
	}
	if own := t.own.Load(); own != nil {
		if have := own.term(); term > have && term-have > maxTermJump {
			return fmt.Errorf("%w: term %d when ours is %d", errBadMessage, term, have)
		}
	}
	return nil
}

// decodable reports whether raft can read a configuration; raft itself panics.
func decodable(b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBadMessage, p)
		}
	}()
	raft.DecodeConfiguration(b)
	return nil
}

// AppendEntries sends entries or a heartbeat.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.muted.Load() {
		return errMuted
	}
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil {
		t.peers.note(id, args, resp)
	}
	return err
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.vote(func() error { return t.NetworkTransport.RequestVote(id, target, args, resp) })
}

// RequestPreVote asks whether a vote would be given.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.vote(func() error { return t.NetworkTransport.RequestPreVote(id, target, args, resp) })
}

// vote repeats a request, which may be repeated at will, where it fails at
// once: pooled connections to a peer that was restarted are dead, and a vote
// lost that way costs a whole round of election.
func (t *transport) vote(ask func() error) error {
	if t.votesHeld.Load() || t.muted.Load() {
		return errVotesHeld
	}
	began := time.Now()
	var err error
	for range poolSize + 1 {
		if err = ask(); err == nil {
			return nil
		}
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() || time.Since(began) > 100*time.Millisecond {
			return err
		}
	}
	return err
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
	_ raft.StreamLayer = (*streams)(nil)
)
