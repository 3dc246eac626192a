package worker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// In every order of arrival and end, one that is queued behind an attempt begins
// if that one succeeds, and fails if it does not.
func TestPredecessors_orders(t *testing.T) {
	for _, succeeded := range []bool{true, false} {
		for _, first := range []string{"join", "ended"} {
			t.Run(fmt.Sprintf("%s first, success %v", first, succeeded), func(t *testing.T) {
				p := newPredecessors(newHistory(10))
				failed := ""
				join := func() <-chan struct{} {
					return p.join(id("b"), id("a"), func(reason string) { failed += reason })
				}

				var begin <-chan struct{}
				var released bool
				if first == "join" {
					begin = join()
					if !p.isWaiting(id("b")) || isClosed(begin) || failed != "" {
						t.Fatal("it does not wait")
					}
					released = p.ended(id("a"), succeeded)
				} else {
					released = p.ended(id("a"), succeeded)
					begin = join()
				}

				if isClosed(begin) != succeeded || (failed != "") == succeeded || p.isWaiting(id("b")) {
					t.Errorf("begins %v, failed %q, waits %v", isClosed(begin), failed, p.isWaiting(id("b")))
				}
				if released != (succeeded && first == "join") {
					t.Errorf("released %v", released)
				}
				if !succeeded && failed != "not started: r1/a/1, behind which it was queued, did not succeed" {
					t.Errorf("reason %q", failed)
				}
				if len(p.waiting)+len(p.behind) > 0 {
					t.Errorf("left: %v, %v", p.waiting, p.behind)
				}
			})
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Several may wait for one; each is released on its own by the leader, once.
func TestPredecessors_release(t *testing.T) {
	p := newPredecessors(newHistory(10))
	begin := map[string]<-chan struct{}{}
	for _, m := range []string{"b", "c", "d"} {
		begin[m] = p.join(id(m), id("a"), func(reason string) { t.Errorf("%s failed: %s", m, reason) })
	}

	p.release(id("c"))
	p.release(id("c"))
	p.release(id("never"))
	if isClosed(begin["b"]) || !isClosed(begin["c"]) || isClosed(begin["d"]) {
		t.Error("released another one than asked")
	}

	p.ended(id("d"), false) // stopped while it waited
	if !p.ended(id("a"), true) || !isClosed(begin["b"]) || isClosed(begin["d"]) {
		t.Errorf("after the end: b %v, d %v", isClosed(begin["b"]), isClosed(begin["d"]))
	}
	if len(p.waiting)+len(p.behind) > 0 {
		t.Errorf("left: %v, %v", p.waiting, p.behind)
	}
}

// A chain fails as a whole, and its files were laid out meanwhile for nothing.
func TestWorker_queuedChain(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("c", behind("b")), r.spec("b", behind("a")), r.spec("a", nil), r.spec("x", behind("a")))
		if n := r.w.Load(); n != 1 {
			t.Errorf("load %d, want the one that runs", n)
		}
		for _, m := range []string{"b", "c", "x"} {
			r.wantEvents(m, "put")
		}

		r.end("a", 1)
		for _, m := range []string{"b", "c", "x"} {
			o := r.wants(m, pipeline.AttemptCancelled, "not started: r1/")
			if !o.StartedAt.IsZero() {
				t.Errorf("%s started %s", m, o.StartedAt)
			}
		}
		r.wantEvents("b", "put outcome commit delete")
	})
}

// The next one starts before the outcome of its predecessor is committed, even if
// there is no leader.
func TestWorker_queuedWithoutLeader(t *testing.T) {
	inRig(t, func(r *rig) { r.leader.away = true }, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil), r.spec("b", behind("a")))
		r.end("a", 0)
		r.wantEvents("b", "put start")
		// One that comes now finds how its predecessor ended, though no leader knows.
		r.take(r.spec("c", behind("a")))
		r.wantEvents("c", "put start")
		r.end("b", 0)
		r.end("c", 0)
		r.leader.set(false)
		elapse(reportTimeout)
		r.wants("b", pipeline.AttemptSucceeded, "")
	})
}

func TestWorker_queuedStopped(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", nil), r.spec("b", behind("a")), r.spec("c", behind("b")))
		if err := r.w.Stop(t.Context(), peer.StopRequest{Term: 1, IDs: []pipeline.AttemptID{id("b")}, Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.wants("b", pipeline.AttemptCancelled, "enough")
		r.wants("c", pipeline.AttemptCancelled, "r1/b/1, behind which it was queued")
		r.end("a", 0)
		r.wants("a", pipeline.AttemptSucceeded, "")
	})
}

// The leader knows that a predecessor has succeeded which this daemon never saw.
func TestWorker_queuedReleased(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("b", behind("elsewhere")))
		r.wantEvents("b", "put")
		r.take(r.spec("b", behind("elsewhere")))
		r.wantEvents("b", "put")
		r.take(r.spec("b", nil))
		r.wantEvents("b", "put start")
		r.end("b", 0)
	})
}

// At least the younger half of what a history may hold is there, and it never
// holds more than its size.
func TestHistory(t *testing.T) {
	const size = 20
	h := newHistory(size)
	one := func(i int) pipeline.AttemptID { return id(fmt.Sprint("m", i)) }
	for i := range 100 {
		h.add(one(i), i%2 == 0)
		h.add(one(i), i%2 == 0) // once ended, once committed
		for back := range min(i+1, size/2) {
			succeeded, known := h.find(one(i - back))
			if !known || succeeded != ((i-back)%2 == 0) {
				t.Fatalf("after %d: %d is known %v, succeeded %v", i, i-back, known, succeeded)
			}
		}
		if n := len(h.young) + len(h.old); n > size {
			t.Fatalf("%d entries", n)
		}
	}
	if _, known := h.find(one(0)); known {
		t.Error("the oldest is still known")
	}
}

func TestAdmission(t *testing.T) {
	d := &admission{name: "n1"}
	taken := 0
	take := func(term uint64) error { return d.take(term, func() error { taken++; return nil }) }
	if err := take(3); err != nil || taken != 1 {
		t.Errorf("%v, taken %d", err, taken)
	}
	if err := take(2); pipeline.KindOf(err) != pipeline.Conflict || taken != 1 || !strings.Contains(err.Error(), "follows term 3") {
		t.Errorf("an old term: %v", err)
	}
	if err := d.follow(4); err != nil {
		t.Error(err)
	}
	if err := take(3); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("a term that was followed before: %v", err)
	}
	d.close()
	if err := take(4); pipeline.KindOf(err) != pipeline.Unavailable || taken != 1 {
		t.Errorf("closed: %v", err)
	}
	if err := d.follow(4); err != nil {
		t.Errorf("a closed worker still takes stops: %v", err)
	}
}
