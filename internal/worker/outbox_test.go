package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// An outcome is reported until it is committed, whatever the leader answers, and
// is dealt with once.
func TestOutbox_repeatsUntilCommitted(t *testing.T) {
	inRig(t, func(r *rig) { r.leader.away = true }, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil), r.spec("b", nil))
		r.end("a", 0)
		r.end("b", 0)
		elapse(time.Hour)
		r.wantEvents("a", "put start outcome")
		calls, _ := r.leader.callCount()
		if calls < 1000 || calls > 30000 {
			t.Errorf("%d calls in an hour", calls)
		}

		// It commits the outcome of b and does not acknowledge that of a.
		r.leader.mu.Lock()
		r.leader.away = false
		r.leader.answer = func(rep *peer.Report) peer.Ack { return peer.Ack{Done: rep.ID == id("b")} }
		r.leader.mu.Unlock()
		elapse(time.Minute) // each is repeated by itself, with jitter
		r.wantEvents("b", "put start outcome commit delete forget")
		r.wantEvents("a", "put start outcome")
		if _, last := r.leader.callCount(); len(last) != 1 || last[0].ID != id("a") {
			t.Errorf("the last call had %+v", last)
		}

		r.leader.mu.Lock()
		r.leader.answer = func(*peer.Report) peer.Ack { return peer.Ack{Done: true, Refused: "the run was cancelled"} }
		r.leader.mu.Unlock()
		elapse(time.Second)
		r.wantEvents("a", "put start outcome commit delete forget")
		calls, _ = r.leader.callCount()
		elapse(time.Minute)
		if n, _ := r.leader.callCount(); n != calls {
			t.Error("reported after it was committed")
		}
	})
}

// An answer that does not fit the question counts as none.
func TestOutbox_oddAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		done := map[pipeline.AttemptID]int{}
		b := &outbox{wake: make(chan struct{}, 1), log: hclog.NewNullLogger(),
			send: func(_ context.Context, reports []peer.Report) ([]peer.Ack, error) {
				calls++
				acks := make([]peer.Ack, len(reports))
				acks[0].Done = true // one in each call
				if calls == 1 {
					acks = append(acks, peer.Ack{})
				}
				return acks, nil
			},
			acknowledged: func(r *peer.Report, _ peer.Ack) { done[r.ID]++ }}
		for _, m := range []string{"a", "b", "c"} {
			b.add(peer.Report{ID: id(m)}, false)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); b.run(ctx) }()
		elapse(10 * time.Second)
		cancel()
		<-ended

		if len(done) != 3 || done[id("a")] != 1 || done[id("b")] != 1 || done[id("c")] != 1 || calls != 4 {
			t.Errorf("%d calls, done %v", calls, done)
		}
	})
}

// Reports of outcomes that nothing waits for are gathered; others are sent at
// once, and take along what is gathered.
func TestOutbox_lazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		begin := time.Now()
		var times []time.Duration
		b := &outbox{wake: make(chan struct{}, 1), log: hclog.NewNullLogger(), acknowledged: func(*peer.Report, peer.Ack) {},
			send: func(_ context.Context, reports []peer.Report) ([]peer.Ack, error) {
				sizes, times = append(sizes, len(reports)), append(times, time.Since(begin))
				acks := make([]peer.Ack, len(reports))
				for i := range acks {
					acks[i].Done = true
				}
				return acks, nil
			}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); b.run(ctx) }()

		b.add(peer.Report{ID: id("a")}, true)
		elapse(gatherTime / 2)
		b.add(peer.Report{ID: id("b")}, true)
		elapse(gatherTime)
		b.add(peer.Report{ID: id("c")}, true)
		b.add(peer.Report{ID: id("d")}, false)
		synctest.Wait()
		if len(sizes) != 2 || sizes[0] != 2 || sizes[1] != 2 || times[0] != gatherTime || times[1] != gatherTime*3/2 {
			t.Errorf("calls of %v reports at %v", sizes, times)
		}
		cancel()
		<-ended
	})
}

// A call holds a bounded number of bytes, but at least one report.
func TestOutbox_take(t *testing.T) {
	b := &outbox{wake: make(chan struct{}, 1)}
	for range 3 {
		b.add(peer.Report{Blobs: [][]byte{make([]byte, maxReportBytes/2), make([]byte, 1)}}, false)
	}
	b.add(peer.Report{Blobs: [][]byte{make([]byte, 2*maxReportBytes)}}, false)
	b.add(peer.Report{}, false)
	var got []int
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		got = append(got, len(batch))
	}
	if len(got) != 5 || got[0] != 1 || got[4] != 1 {
		t.Errorf("batches of %v", got)
	}
}

// While calls wait for their commit others are sent, but not without bound.
func TestOutbox_callsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := &outbox{wake: make(chan struct{}, 1), log: hclog.NewNullLogger(), acknowledged: func(*peer.Report, peer.Ack) {},
			send: func(ctx context.Context, _ []peer.Report) ([]peer.Ack, error) {
				calls++
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); b.run(ctx) }()
		for range 3 * maxCalls {
			b.add(peer.Report{}, false)
			synctest.Wait()
		}
		if calls != maxCalls {
			t.Errorf("%d calls at once", calls)
		}
		cancel()
		<-ended
	})
}
