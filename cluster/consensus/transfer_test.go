package consensus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/testutil"
)

// bulkPair is a transport whose snapshots go through f on their way, to a peer
// that raft would serve.
func bulkPair(t *testing.T, tm Timings, f func(net.Conn) net.Conn) (from, to *transport) {
	t.Helper()
	tm = tm.withDefaults()
	to = newTransport(newStreams("b", tm, nil), tm.RPC, &roundTrips{timings: tm}, hclog.NewNullLogger())
	from = newTransport(newStreams("a", tm, func(context.Context, string) (net.Conn, error) {
		a, b := net.Pipe()
		go to.streams.serve(b, "a")
		return f(a), nil
	}), tm.RPC, &roundTrips{timings: tm}, hclog.NewNullLogger())
	t.Cleanup(func() { from.Close(); to.Close() })
	return from, to
}

func snapshotOf(n int) (*raft.InstallSnapshotRequest, io.Reader) {
	return &raft.InstallSnapshotRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")},
		SnapshotVersion: 1, Term: 1, Size: int64(n), Configuration: raft.EncodeConfiguration(raft.Configuration{})}, bytes.NewReader(make([]byte, n))
}

// slowly limits the bytes of each write.
type slowly struct {
	net.Conn
	pause time.Duration
}

func (s slowly) Write(p []byte) (int, error) {
	<-time.After(s.pause)
	return s.Conn.Write(p)
}

// consume reads a snapshot as raft does and answers.
func consume(to *transport) <-chan error {
	done := make(chan error, 1)
	go func() {
		rpc := <-to.Consumer()
		_, err := io.Copy(io.Discard, rpc.Reader)
		rpc.Respond(&raft.InstallSnapshotResponse{Success: err == nil}, err)
		done <- err
	}()
	return done
}

// TestTransfer_slow: a transfer may last far longer than one exchange, as long
// as it makes progress (H12).
func TestTransfer_slow(t *testing.T) {
	const pause = 40 * time.Millisecond
	from, to := bulkPair(t, Timings{RPC: 100 * time.Millisecond, Progress: 2 * time.Second}, func(c net.Conn) net.Conn { return slowly{c, pause} })
	done := consume(to)
	req, data := snapshotOf(20 * bulkPiece)
	began := time.Now()
	var resp raft.InstallSnapshotResponse
	if err := from.InstallSnapshot("b", "b", req, &resp, data); err != nil || !resp.Success {
		t.Errorf("%v, %+v, after %v", err, resp, time.Since(began))
	}

	if err := <-done; err != nil {
		t.Error(err)
	}

	if took := time.Since(began); took < 15*pause {
		t.Errorf("it took %v: nothing was slow", took)
	}
}

// TestTransfer_receiverHangs: the sender fails if nothing is received.
func TestTransfer_receiverHangs(t *testing.T) {
	from, to := bulkPair(t, Timings{Progress: 200 * time.Millisecond}, func(c net.Conn) net.Conn { return c })
	req, data := snapshotOf(100 * bulkPiece)
	err := from.InstallSnapshot("b", "b", req, &raft.InstallSnapshotResponse{}, data)
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("got %v", err)
	}
	<-to.Consumer() // it arrived, and was not read
}

// stuckAfter blocks after some bytes.
type stuckAfter struct {
	net.Conn
	left int
	stop <-chan struct{}
}

func (s *stuckAfter) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		<-s.stop
		return 0, errors.New("stopped")
	}
	return s.Conn.Write(p)
}

// TestTransfer_senderHangs: a leader that blocks in the middle of a transfer
// does not delay raft's main loop.
func TestTransfer_senderHangs(t *testing.T) {
	stop := make(chan struct{})
	from, to := bulkPair(t, Timings{Progress: 200 * time.Millisecond}, func(c net.Conn) net.Conn {
		return &stuckAfter{Conn: c, left: 3 * bulkPiece, stop: stop}
	})

	sent := make(chan error, 1)
	go func() {
		req, data := snapshotOf(100 * bulkPiece)
		sent <- from.InstallSnapshot("b", "b", req, &raft.InstallSnapshotResponse{}, data)
	}()

	select {
	case err := <-consume(to):
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("the receiver got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the receiver waits")
	}

	close(stop)
	if err := <-sent; err == nil {
		t.Error("the sender knows nothing of it")
	}

	testutil.Eventually(t, 5*time.Second, func() error {
		if to.streams.idleLimit("a") != maxIdle {
			return errors.New("the receiver is still in a hurry")
		}
		return nil
	})
}

// TestTransfer_close: a node stops at once in the middle of a transfer, on
// either side.
func TestTransfer_close(t *testing.T) {
	for _, side := range []string{"sender", "receiver"} {
		from, to := bulkPair(t, Timings{}, func(c net.Conn) net.Conn { return c })
		sent := make(chan error, 1)
		go func() {
			req, data := snapshotOf(100 * bulkPiece)
			sent <- from.InstallSnapshot("b", "b", req, &raft.InstallSnapshotResponse{}, data)
		}()

		rpc := <-to.Consumer()
		if _, err := io.CopyN(io.Discard, rpc.Reader, bulkPiece); err != nil {
			t.Fatal(err)
		}

		began := time.Now()
		if side == "sender" {
			from.Close()
		} else {
			to.Close()
		}

		if err := <-sent; err == nil {
			t.Errorf("%s closed: sent all the same", side)
		}

		if _, err := io.Copy(io.Discard, rpc.Reader); side == "receiver" && err == nil {
			t.Error("the receiver read to the end")
		}

		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s closed: it took %v", side, took)
		}
	}
}

func TestProgress_stuck(t *testing.T) {
	const limit = 10 * time.Second
	heartbeat := &raft.AppendEntriesRequest{}
	ok := &raft.AppendEntriesResponse{Success: true}
	upTo := func(i uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{PrevLogEntry: i - 1, PrevLogTerm: 1, Entries: []*raft.Log{{Index: i}}}
	}

	for name, c := range map[string]struct {
		do   func(p *progress)
		want int
	}{
		"up to date":       {func(p *progress) { p.note("b", upTo(9), ok) }, 0},
		"wedged":           {func(p *progress) { p.note("b", upTo(5), ok) }, 1},
		"being sent much":  {func(p *progress) { p.note("b", upTo(5), ok); p.transfer("b", 1) }, 0},
		"sent all of it":   {func(p *progress) { p.transfer("b", 1); p.transfer("b", -1) }, 1},
		"forgotten":        {func(p *progress) { p.note("b", upTo(5), ok); p.reset() }, 0},
		"removed":          {func(p *progress) { p.note("b", upTo(5), ok); p.keep([]Server{{ID: "a"}}) }, 0},
		"kept":             {func(p *progress) { p.note("b", upTo(5), ok); p.keep([]Server{{ID: "a"}, {ID: "b"}}) }, 1},
		"compared by then": {func(p *progress) { p.note("b", upTo(5), &raft.AppendEntriesResponse{}) }, 1},
	} {
		var p progress
		c.do(&p)
		soon, late := time.Now().Add(limit/2), time.Now().Add(limit+time.Second)
		if got := p.stuck(soon, 9, limit); len(got) > 0 {
			t.Errorf("%s: %v at once", name, got)
		}

		if p.peers["b"] != nil {
			p.note("b", heartbeat, ok)
			p.peers["b"].heartbeat = late
		}

		if got := p.stuck(late, 9, limit); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}

		if got := p.stuck(late, 9, limit); len(got) > 0 {
			t.Errorf("%s: %v again at once", name, got)
		}

		// One that does not answer heartbeats is simply away.
		if got := p.stuck(late.Add(2*limit), 9, limit); len(got) > 0 {
			t.Errorf("%s: %v without heartbeats", name, got)
		}
	}
}

// TestWatchdog_stuckFollower: connections that swallow entries but not
// heartbeats are made anew.
func TestWatchdog_stuckFollower(t *testing.T) {
	nodes, _ := three(t, newNetwork(t))
	a := nodes[0]
	out := func() (n int) {
		a.trans.streams.mu.Lock()
		defer a.trans.streams.mu.Unlock()
		for s := range a.trans.streams.open {
			if s.peer == "b" && !s.incoming {
				n++
			}
		}
		return n
	}

	testutil.Eventually(t, 10*time.Second, func() error {
		if out() == 0 {
			return errors.New("not connected yet")
		}
		return nil
	})

	a.trans.streams.hangUp("b")
	if _, _, err := a.Apply(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 10*time.Second, func() error {
		if s := nodes[1].Status(); s.Commit < a.Status().Commit {
			return errors.New("b does not follow any more")
		}
		return nil
	})
}
