package consensus

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// maxSnapshot bounds what a leader may announce.
	maxSnapshot = 64 << 30
	// bulkPiece is how much of a snapshot must get through within the time for
	// progress: 16 KiB in 30 s is less than any network that raft works on.
	bulkPiece = 16 << 10
)

// A snapshot is sent over a connection of its own, without raft's deadline for
// the whole: that is too short for a large state on a slow network, so that the
// transfer would start over forever, and hours too long if the other end hangs
// (reliability H12). Progress decides: the sender fails if no piece is sent for
// Timings.Progress, the receiver if none arrives. The response waits until the
// receiver has restored the state.
type bulkStreams struct{ *streams }

// Accept never returns a connection: those arrive at the other transport.
func (b *bulkStreams) Accept() (net.Conn, error) {
	<-b.closed
	return nil, errTransport
}

// Dial connects for one transfer.
func (b *bulkStreams) Dial(address raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	conn, err := b.streams.Dial(address, b.timings.RPC)
	if err != nil {
		return nil, err
	}
	return &bulkConn{Conn: conn, progress: b.timings.Progress}, nil
}

// Close leaves the connections to the layer below.
func (b *bulkStreams) Close() error { return nil }

// bulkConn bounds each piece of a transfer instead of the whole.
type bulkConn struct {
	net.Conn
	progress time.Duration
}

// Write sends in pieces, each with its own deadline.
func (c *bulkConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.progress)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[:min(len(p), bulkPiece)])
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}

// Read waits for the answer. The receiver's process ends if its disk hangs
// for longer (see watchdog.checkDisk), and the connection with it.
func (c *bulkConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(restoreProgress * c.progress)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// restoreProgress is the factor by which a sender waits longer for the restore
// at the receiver than for a piece.
const restoreProgress = 20

func newBulk(s *streams, log hclog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &bulkStreams{s}, Logger: log, MaxRPCsInFlight: 1, MsgpackUseNewTimeFormat: true})
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.muted.Load() {
		return errMuted
	}
	t.peers.transfer(id, 1)
	defer t.peers.transfer(id, -1)
	began := time.Now()
	err := t.bulk.InstallSnapshot(id, target, args, resp, data)
	if err != nil {
		return fmt.Errorf("send a snapshot of %d bytes, after %v: %w", args.Size, time.Since(began).Round(time.Millisecond), err)
	}
	return nil
}

// receiving makes the connections of a leader that sends a snapshot end soon
// if nothing comes: raft reads it in its main loop, which does nothing else
// meanwhile, not even vote.
func (t *transport) receiving(rpc raft.RPC, m *raft.InstallSnapshotRequest) raft.RPC {
	id := string(m.ID)
	t.streams.hasten(id, 1)
	answer, to := make(chan raft.RPCResponse, 1), rpc.RespChan
	rpc.RespChan = answer
	t.receivers.Go(func() {
		defer t.streams.hasten(id, -1)
		select {
		case a := <-answer:
			to <- a // has a buffer of one
		case <-t.stop:
		}
	})

	return rpc
}

// hasten counts the transfers from a peer.
func (l *streams) hasten(peer string, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hasty[peer] += by; l.hasty[peer] <= 0 {
		delete(l.hasty, peer)
	}
}

// idleLimit is how long a connection from a peer may stay silent.
func (l *streams) idleLimit(peer string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hasty[peer] > 0 {
		return l.timings.Progress
	}
	return maxIdle
}

// hangUp closes the connections that this node has opened to another.
func (l *streams) hangUp(peer string) {
	l.mu.Lock()
	var out []*stream
	for s := range l.open {
		if s.peer == peer && !s.incoming {
			out = append(out, s)
		}
	}
	l.mu.Unlock()
	for _, s := range out {
		s.Close()
	}
}
