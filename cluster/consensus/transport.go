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
	// poolSize is how many idle connections to a peer are kept. Over a slow link
	// entries, heartbeats and confirmations of leadership are under way at once,
	// and a new connection takes two round trips.
	poolSize = 6
	// maxIdle closes a connection from a peer on which nothing has come.
	maxIdle = 10 * time.Minute
	// maxTermJump is by how much a message may be ahead of our term. More can
	// only be a fault: elections do not come by the million.
	maxTermJump = 1_000_000
)

var (
	errMuted      = errors.New("this node's log has stalled")
	errTransport  = errors.New("raft's transport is closed")
	errBadMessage = errors.New("refused a malformed message")
)

// transport wraps raft's network transport: it refuses messages that would
// crash raft or raise its term, holds messages back if the log has failed, and
// repeats votes that were lost on a dead pooled connection.
type transport struct {
	*raft.NetworkTransport
	// bulk carries snapshots, see transfer.go.
	bulk    *raft.NetworkTransport
	streams *streams
	beats   *heartbeats
	trips   *roundTrips
	// peers is what the followers acknowledge.
	peers     progress
	receivers sync.WaitGroup
	log       hclog.Logger
	rpcs      chan raft.RPC
	stop      chan struct{}
	stopped   chan struct{}
	once      sync.Once

	// own reads raft's own state; nil until it runs.
	own atomic.Pointer[ownState]
	// muted holds back everything that a leader or a candidate sends.
	muted atomic.Bool
}

// ownState is what the checks ask of raft.
type ownState struct {
	term func() uint64
	// voter returns the id of a voter of our configuration, "" if there is
	// none.
	voter func() raft.ServerID
}

func newTransport(s *streams, timeout time.Duration, trips *roundTrips, log hclog.Logger) *transport {
	t := &transport{streams: s, log: log, rpcs: make(chan raft.RPC),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: poolSize, Timeout: timeout, Logger: log,
		// One exchange at a time: pipelining can block a follower forever while
		// heartbeats look healthy (H5).
		MaxRPCsInFlight: 1, MsgpackUseNewTimeFormat: true,
	})
	t.trips = trips
	trips.ask = t.ask
	t.beats = &heartbeats{own: s.timings.raftLease(), lease: trips.lease, send: t.exchange, peers: map[raft.ServerID]*pulse{}}
	t.bulk = newBulk(s, log)
	go t.pump()
	return t
}

// Consumer returns the channel of messages that have passed the checks.
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

// inject passes raft a message of our own and waits for the response.
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
		t.beats.wg.Wait()
		t.trips.wg.Wait()
	})
	return nil
}

// check refuses what raft would panic on (D2) and terms from nowhere, and
// opens the way for candidates.
//
// raft refuses its vote to a candidate that is no voter in *our* configuration.
// That is not in the paper, and it can stop a cluster forever: if a leader dies
// right after it has made c a voter, and b does not have that entry, b refuses
// c, and can win no election itself. A candidate's right to a vote
// follows from its log alone, and that it may speak to us at all was decided
// when it connected. So the id, on which raft decides, is removed.
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
	switch {
	case t.muted.Load():
		return errMuted
	case isHeartbeat(args):
		return t.beats.beat(id, target, args, resp)
	}
	sent := time.Now()
	err := t.exchange(id, target, args, resp)
	// A follower that refuses entries does not wait anew for another leader.
	if err == nil && resp.Success {
		t.beats.confirm(id, args.Term, sent)
	}
	return err
}

// exchange sends entries or a heartbeat, and waits for the answer.
func (t *transport) exchange(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	began := time.Now()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil {
		t.peers.note(id, args, resp)
		if isHeartbeat(args) {
			t.trips.note(string(id), time.Since(began))
		}
	}
	return err
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	sent := time.Now()
	err := t.vote(func() error { return t.NetworkTransport.RequestVote(id, target, args, resp) })
	if err == nil && resp.Granted {
		t.beats.confirm(id, args.Term, sent)
	}
	return err
}

// RequestPreVote asks whether a vote would be given.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.vote(func() error { return t.NetworkTransport.RequestPreVote(id, target, args, resp) })
}

// ask asks a node for a vote in a term long past, which it refuses.
func (t *transport) ask(id string) error {
	self := t.EncodePeer(raft.ServerID(t.streams.self), raft.ServerAddress(t.streams.self))
	req := &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.streams.self), Addr: self}}
	return again(func() error {
		return t.NetworkTransport.RequestPreVote(raft.ServerID(id), raft.ServerAddress(id), req, &raft.RequestPreVoteResponse{})
	})
}

// vote repeats a request, which may be repeated safely, if it fails at
// once: pooled connections to a peer that was restarted are dead, and a vote
// lost that way costs a whole round of election.
func (t *transport) vote(ask func() error) error {
	if t.muted.Load() {
		return errMuted
	}

	return again(ask)
}

// again repeats a request that fails at once on a dead pooled connection.
func again(ask func() error) error {
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
