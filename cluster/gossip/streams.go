package gossip

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
)

// memberlist reads a whole message of a stream into memory before it can tell
// whether its sender has the key, up to 20 MiB of it, and any number at a time. So
// both are bounded below it.
const (
	// maxStreamBytes bounds what one stream carries: the list of some 8,000 members.
	maxStreamBytes = 2 << 20
	// maxStreams bounds the streams that others have opened, maxStreamsOf those from
	// one address. A stream lasts three seconds at most.
	maxStreams, maxStreamsOf = 32, 8
)

// streams is the transport of gossip with bounds on what others send by TCP.
type streams struct {
	*memberlist.NetTransport
	log hclog.Logger
	// admitted hands streams to memberlist; the buffer is empty so that one that
	// is not taken yet counts as open.
	admitted chan net.Conn
	// packets hands on what the transport reads, unbuffered as its own channel.
	packets chan *memberlist.Packet
	// heard notes the sender of a packet.
	heard func(net.Addr)
	stop  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once

	mu sync.Mutex // guards following
	n  int
	of map[string]int
	// refusedAt is when a refusal was last logged.
	refusedAt time.Time
}

// newStreams bounds a transport. Shutdown ends it, also if nothing was read.
func newStreams(t *memberlist.NetTransport, heard func(net.Addr), log hclog.Logger) *streams {
	s := &streams{NetTransport: t, log: log, admitted: make(chan net.Conn), packets: make(chan *memberlist.Packet), heard: heard,
		stop: make(chan struct{}), of: map[string]int{}}
	s.wg.Go(s.admit)
	s.wg.Go(s.relay)
	return s
}

// PacketCh gives the packets that others have sent.
func (s *streams) PacketCh() <-chan *memberlist.Packet { return s.packets }

// relay notes the senders of packets.
func (s *streams) relay() {
	for {
		select {
		case <-s.stop:
			return
		case p := <-s.NetTransport.PacketCh():
			s.heard(p.From)
			select {
			case s.packets <- p:
			case <-s.stop:
				return
			}
		}
	}
}

// StreamCh gives the streams that others have opened.
func (s *streams) StreamCh() <-chan net.Conn { return s.admitted }

// DialAddressTimeout opens a stream. Its answer is bounded as well: the other end may
// be no member.
func (s *streams) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	c, err := s.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: c, left: maxStreamBytes, closed: func() {}}, nil
}

// DialTimeout is DialAddressTimeout for a plain address.
func (s *streams) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return s.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// Shutdown closes the ports and ends what takes their streams. Idempotent.
func (s *streams) Shutdown() error {
	// The transport's listeners wait until what they accepted is taken, so the taker
	// ends after them.
	err := s.NetTransport.Shutdown()
	s.once.Do(func() { close(s.stop) })
	s.wg.Wait()
	return err
}

// admit takes streams from the transport and hands on what is within bounds.
func (s *streams) admit() {
	for {
		select {
		case <-s.stop:
			return
		case c := <-s.NetTransport.StreamCh():
			in := s.open(c)
			if in == nil {
				c.Close()
				continue
			}
			go s.hand(in)
		}
	}
}

// hand waits until memberlist takes a stream.
func (s *streams) hand(c *stream) {
	select {
	case s.admitted <- c:
	case <-s.stop:
		c.Close()
	}
}

// open counts a stream; nil if there are too many.
func (s *streams) open(c net.Conn) *stream {
	ip, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= maxStreams || s.of[ip] >= maxStreamsOf {
		if now := time.Now(); now.Sub(s.refusedAt) > time.Minute {
			s.refusedAt = now
			s.log.Warn("refused a gossip stream: too many are open", "from", ip, "open", s.n, "from_this_address", s.of[ip])
		}
		return nil
	}

	s.n++
	s.of[ip]++
	return &stream{Conn: c, left: maxStreamBytes, closed: sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.n--
		if s.of[ip]--; s.of[ip] == 0 {
			delete(s.of, ip)
		}
	})}
}

// stream is a connection that gives no more than a number of bytes. One goroutine
// reads it.
type stream struct {
	net.Conn
	left   int64
	closed func()
}

// Read reads on, up to the bound.
func (c *stream) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("gossip: more than %d bytes in one stream: %w", maxStreamBytes, io.ErrShortBuffer)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Close closes the connection.
func (c *stream) Close() error {
	c.closed()
	return c.Conn.Close()
}
