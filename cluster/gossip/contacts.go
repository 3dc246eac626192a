package gossip

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxContacts bounds the nodes, and the addresses, of which something is kept.
const maxContacts = 4096

// keep sets an element of a map that has no more than maxContacts. One that is full
// begins again: those that are here are noted again soon.
func keep[K comparable, V any](m map[K]V, k K, v V) {
	if _, known := m[k]; !known && len(m) >= maxContacts {
		clear(m)
	}
	m[k] = v
}

// Contact is what this node has of another one directly, without a third between them.
type Contact struct {
	// RoundTrip is that of the last probe that was answered, Answered when that was;
	// zero if none was.
	RoundTrip time.Duration
	Answered  time.Time
	// Heard is when the last packet came from its address; zero if none did. A node
	// that is heard and does not answer is behind a link that loses packets one way.
	Heard time.Time
}

// contacts are the last contacts with other nodes. It is safe for concurrent use.
type contacts struct {
	now func() time.Time

	mu sync.Mutex // guards following
	// answered is by node, heard by address: packets are noted before it is known who
	// sent them.
	answered map[string]Contact
	heard    map[netip.AddrPort]time.Time
}

func newContacts() *contacts {
	return &contacts{now: time.Now, answered: map[string]Contact{}, heard: map[netip.AddrPort]time.Time{}}
}

// answer notes that a node answered a probe.
func (c *contacts) answer(id string, rtt time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep(c.answered, id, Contact{RoundTrip: rtt, Answered: c.now()})
}

// hear notes a packet. Who sent it is not verified: an address is a hint.
func (c *contacts) hear(from net.Addr) {
	udp, ok := from.(*net.UDPAddr)
	if !ok {
		return
	}
	at := netip.AddrPortFrom(udp.AddrPort().Addr().Unmap().WithZone(""), uint16(udp.Port))

	c.mu.Lock()
	defer c.mu.Unlock()
	keep(c.heard, at, c.now())
}

// with is the contact with a node that gossips at an address, host:port.
func (c *contacts) with(id, addr string) Contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.answered[id]
	if at, err := netip.ParseAddrPort(addr); err == nil {
		out.Heard = c.heard[netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())]
	}
	return out
}

// Contact is this node's last contact with another one.
func (g *Gossip) Contact(m Member) Contact { return g.contacts.with(m.ID, m.Addr) }

// ProbeRound is how long it takes to probe every one of n nodes.
func ProbeRound(n int) time.Duration { return time.Duration(n) * probeInterval }
