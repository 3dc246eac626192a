package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// maxReported is how many nodes' reported addresses are kept.
const maxReported = 4096

// directory knows where the peer ports of other nodes may be, and connects to
// them. It is safe for concurrent use.
type directory struct {
	identity *keys.Identity
	book     *addressBook
	// gossiped is the address that gossip has for a node, "" for none.
	gossiped func(id string) string
	// named is the name that gossip has for a node, "" for none.
	named func(id string) string

	mu sync.Mutex // guards following
	// reported is where nodes are, by id, as they have said themselves over an
	// authenticated connection.
	reported map[string]string
}

// addrs are where a node's peer port may be, the most reliable first: what the
// node has reported itself, what gossip says, and what is remembered from
// before. Gossip ignores a node that comes back at another port for a while.
func (d *directory) addrs(id string) []string {
	d.mu.Lock()
	reported := d.reported[id]
	d.mu.Unlock()

	var out []string
	for _, a := range []string{reported, d.gossiped(id), d.book.get(id).Addr} {
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// report keeps what a node has said, with its certificate, of where it is.
func (d *directory) report(id pipeline.NodeID, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 || net.ParseIP(host) == nil {
		return
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.reported) >= maxReported {
		clear(d.reported)
	}
	if d.reported == nil {
		d.reported = map[string]string{}
	}
	d.reported[string(id)] = addr
}

// remember writes down where the other servers of raft are, for the next start.
func (d *directory) remember(servers []consensus.Server, self string) error {
	book := map[string]bookEntry{}
	for _, s := range servers {
		if a := d.addrs(s.ID); len(a) > 0 && s.ID != self {
			book[s.ID] = bookEntry{Addr: a[0], Name: cmp.Or(d.named(s.ID), d.book.get(s.ID).Name)}
		}
	}
	if len(book) == 0 {
		return nil
	}
	return d.book.put(book)
}

// dial connects to a node's peer port. The node that answers must prove that it
// has the id.
func (d *directory) dial(ctx context.Context, id pipeline.NodeID, proto string) (net.Conn, error) {
	err := fmt.Errorf("connect to node %s: its address is not known", id)
	for _, addr := range d.addrs(string(id)) {
		var conn net.Conn
		if conn, err = d.dialAt(ctx, addr, id, proto); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// dialAt is dial with the address given.
func (d *directory) dialAt(ctx context.Context, addr string, id pipeline.NodeID, proto string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: d.identity.PeerClient(id, proto)}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to node %s at %s: %w", id, addr, err)
	}
	return conn, nil
}

// dialRaft is how raft reaches the node with an id.
func (d *directory) dialRaft(ctx context.Context, id string) (net.Conn, error) {
	return d.dial(ctx, pipeline.NodeID(id), keys.ProtoRaft)
}

// ended reports that a node's process has surely ended: every host answers on
// which its peer port may be, and refuses the connection. A host that does not
// answer proves nothing.
func (d *directory) ended(ctx context.Context, id string) bool {
	addrs := d.addrs(id)
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
