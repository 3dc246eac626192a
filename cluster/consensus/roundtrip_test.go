package consensus

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/testutil"
)

// Timeouts follow the round trip, and stay as they are in one building. A leader
// always stops before another may be elected, and within a second of it if the
// voters do not know yet that the links are slow.
func TestRoundTrips_timeouts(t *testing.T) {
	const ms = time.Millisecond
	r := &roundTrips{timings: DefaultTimings()}
	for _, tc := range []struct{ trip, election, lease time.Duration }{
		{0, 500 * ms, 250 * ms},
		{40 * ms, 500 * ms, 250 * ms},
		{80 * ms, 500 * ms, 250 * ms},
		{100 * ms, 600 * ms, 550 * ms},
		{200 * ms, 1200 * ms, 850 * ms},
		{400 * ms, 2400 * ms, 1450 * ms},
		{2 * time.Second, 5 * time.Second, 1500 * ms},
	} {
		r.trip.Store(int64(tc.trip))
		if e, l := r.election(), r.lease(); e != tc.election || l != tc.lease {
			t.Errorf("a round trip of %v: election %v, lease %v; want %v, %v", tc.trip, e, l, tc.election, tc.lease)
		}
	}
	for trip := time.Duration(0); trip < 2*time.Second; trip += ms {
		r.trip.Store(int64(trip))
		if e, l := r.election(), r.lease(); l > e || l > r.timings.Heartbeat+time.Second {
			t.Fatalf("a round trip of %v: election %v, lease %v", trip, e, l)
		}
	}
}

// The shortest of the latest exchanges counts: neither a busy machine nor a new
// connection makes a link slow, and one that is fast again counts at once.
func TestRoundTrips_note(t *testing.T) {
	const ms = time.Millisecond
	r := &roundTrips{timings: DefaultTimings()}
	for i, tc := range []struct{ took, trip time.Duration }{
		{1200 * ms, 1200 * ms}, {3 * ms, 3 * ms}, {400 * ms, 3 * ms}, {410 * ms, 3 * ms}, {420 * ms, 3 * ms}, {400 * ms, 3 * ms},
		{405 * ms, 400 * ms}, {900 * ms, 400 * ms}, {2 * ms, 2 * ms},
	} {
		r.note("b", tc.took)
		if got := r.peers["b"].trip(); got != tc.trip {
			t.Errorf("%d: %v, want %v", i, got, tc.trip)
		}
	}
}

// An exchange that a cut link delayed makes no link slow; one that is late twice does.
func TestRoundTrips_exchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		errCut := errors.New("cut")
		for what, tc := range map[string]struct {
			takes []time.Duration // of each message; below 0 it fails
			want  time.Duration
		}{
			"fast":               {[]time.Duration{3 * ms}, 3 * ms},
			"cut for 2 s":        {[]time.Duration{2000 * ms, 3 * ms}, 3 * ms},
			"slow":               {[]time.Duration{400 * ms, 410 * ms}, 400 * ms},
			"cut":                {[]time.Duration{-1}, 0},
			"cut while asked on": {[]time.Duration{2000 * ms, -1}, 0},
		} {
			asked := 0
			r := &roundTrips{timings: DefaultTimings()}
			r.ask = func(string) error {
				took := tc.takes[asked]
				asked++
				if took < 0 {
					return errCut
				}
				time.Sleep(took)
				return nil
			}
			r.exchange("b")
			if got := r.peers["b"].trip(); got != tc.want || asked != len(tc.takes) {
				t.Errorf("%s: %v after %d messages, want %v after %d", what, got, asked, tc.want, len(tc.takes))
			}
		}
	})
}

// Followers and candidates wait longer over slow links; a leader's heartbeats come
// as often as before. All of it goes back if the links are fast again.
func TestNode_followsRoundTrips(t *testing.T) {
	network := newNetwork(t)
	nodes, _ := three(t, network)
	own := nodes[0].timings.Heartbeat
	for _, delay := range []time.Duration{150 * time.Millisecond, 0} {
		network.delay.Store(int64(delay))
		testutil.Eventually(t, 60*time.Second, func() error {
			for _, n := range nodes {
				c, slow := n.instance.raft.ReloadableConfig(), delay > 0
				if c.ElectionTimeout > own != slow || c.HeartbeatTimeout > own != (slow && !n.IsLeader()) {
					return fmt.Errorf("%s, %v: election %v, heartbeat %v", n.instance.id, n.instance.raft.State(), c.ElectionTimeout, c.HeartbeatTimeout)
				}
			}
			return nil
		})
		apply(t, nodes, delay.String())
	}
}

// far is a follower behind a slow link.
type far struct {
	trip time.Duration
	// silent is closed when it answers no more, newer when it follows another.
	silent, newer chan struct{}

	mu sync.Mutex // guards following
	// sent is when the latest heartbeat was sent that it has answered.
	sent time.Time
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (f *far) send(_ raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	began := time.Now()
	<-time.After(f.trip)
	if isClosed(f.silent) {
		<-time.After(5 * time.Second)
		return errors.New("no answer")
	}
	resp.Term, resp.Success = args.Term, !isClosed(f.newer)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = began
	return nil
}

// raft gets answers within its own lease as long as a follower answers over a slow
// link, and none after the longer lease.
func TestHeartbeats_slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{trip: 400 * time.Millisecond, silent: make(chan struct{}), newer: make(chan struct{})}
		trips := &roundTrips{timings: DefaultTimings()}
		trips.trip.Store(int64(f.trip))
		h := &heartbeats{own: 250 * time.Millisecond, lease: trips.lease, send: f.send, peers: map[raft.ServerID]*pulse{}}
		defer h.wg.Wait()

		// It has given its vote, which took a round trip.
		h.confirm("b", 7, time.Now().Add(-f.trip))
		h.confirm("b", 6, time.Now()) // that of an earlier term counts no more
		beat := func() error {
			<-time.After(75 * time.Millisecond)
			return h.beat("b", "b", &raft.AppendEntriesRequest{Term: 7}, &raft.AppendEntriesResponse{})
		}
		last := time.Now()
		for range 200 {
			if err := beat(); err != nil {
				t.Fatal(err)
			}
			if gap := time.Since(last); gap > h.own {
				t.Fatalf("no answer for %v", gap)
			}
			last = time.Now()
		}

		close(f.silent)
		for beat() == nil {
			last = time.Now()
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if stops := last.Add(h.own).Sub(f.sent); stops > trips.lease() || stops < trips.lease()/2 {
			t.Errorf("raft's lease ends %v after the last message that was answered was sent; want %v", stops, trips.lease())
		}
	})
}

// A follower of another leader confirms nothing.
func TestHeartbeats_newerTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{trip: 200 * time.Millisecond, silent: make(chan struct{}), newer: make(chan struct{})}
		h := &heartbeats{own: 250 * time.Millisecond, lease: func() time.Duration { return time.Second }, send: f.send, peers: map[raft.ServerID]*pulse{}}
		defer h.wg.Wait()
		close(f.newer)
		if err := h.beat("b", "b", &raft.AppendEntriesRequest{Term: 7}, &raft.AppendEntriesResponse{}); !errors.Is(err, errDeposed) {
			t.Error(err)
		}
	})
}

// A follower whose answers take longer than the lease does not hold raft up: a leader
// that has stopped meanwhile must send no further heartbeats.
func TestHeartbeats_late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{trip: 2 * time.Second, silent: make(chan struct{}), newer: make(chan struct{})}
		h := &heartbeats{own: 250 * time.Millisecond, lease: func() time.Duration { return time.Second }, send: f.send, peers: map[raft.ServerID]*pulse{}}
		defer h.wg.Wait()
		began := time.Now()
		if err := h.beat("b", "b", &raft.AppendEntriesRequest{Term: 7}, &raft.AppendEntriesResponse{}); !errors.Is(err, errLate) || time.Since(began) > f.trip {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}
