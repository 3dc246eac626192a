package service_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state/statetest"
	"github.com/pipelined/pipelined/pipeline"
)

// busyNode is a node of a cluster of two on which a module runs until a time.
type busyNode struct {
	*statetest.State
	until       time.Time
	closed      atomic.Bool
	transferred error
	leave       func(ctx context.Context) error
	evacuate    func(ctx context.Context) error
}

func (n *busyNode) Load() int {
	if time.Now().Before(n.until) {
		return 1
	}
	return 0
}

func (n *busyNode) Close() { n.closed.Store(true) }

func (n *busyNode) Members() []cluster.Member { return []cluster.Member{n.Member, {ID: "n2"}} }

func (n *busyNode) IsLeader() bool { return true }

func (n *busyNode) TransferLeadership(ctx context.Context) error {
	n.transferred = ctx.Err()
	return n.transferred
}

func (n *busyNode) Leave(ctx context.Context) error { return n.leave(ctx) }

// departing gives a busy node that is about to stop or leave.
func departing(tb testing.TB, drain bool) (*busyNode, *service.Departure) {
	tb.Helper()
	n := &busyNode{State: statetest.New(tb), until: time.Now().Add(time.Minute), transferred: errors.New("not transferred"),
		leave: func(context.Context) error { return nil }, evacuate: func(context.Context) error { return nil }}
	return n, service.NewDeparture(service.DepartureConfig{Self: statetest.Self, Name: "one", Drain: drain, State: n.State.State, Worker: n, Cluster: n,
		Evacuate: func(ctx context.Context) error { return n.evacuate(ctx) }, Logger: hclog.NewNullLogger()})
}

func (n *busyNode) record(tb testing.TB) (w fsm.WorkerRecord) {
	tb.Helper()
	if err := n.View(func(v *fsm.View) error { w, _ = v.Worker(statetest.Self); return nil }); err != nil {
		tb.Fatal(err)
	}
	return w
}

// A node that waits for its modules before it stops has all its time for the rest
// after that, however long they ran.
func TestDeparture_MarkAway_drain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := departing(t, true)
		stopped := make(chan struct{})
		go func() { defer close(stopped); d.MarkAway() }()
		elapse(30 * time.Second)
		if w := n.record(t); !w.Draining || n.closed.Load() {
			t.Errorf("while a module runs: %+v, closed %t", w, n.closed.Load())
		}
		<-stopped
		w := n.record(t)
		if w.Draining || !w.AwayUntil.After(time.Now().Add(50*time.Second)) || !n.closed.Load() || n.transferred != nil {
			t.Errorf("got %+v, closed %t, leadership: %v", w, n.closed.Load(), n.transferred)
		}
	})
}

// A node that is killed while it waits for its modules gets work again when it is back; a
// drain that an operator asked for, before or meanwhile, stays.
func TestDeparture_MarkBack_killed(t *testing.T) {
	for operator, want := range map[string]bool{"no": false, "before": true, "meanwhile": true} {
		t.Run(operator, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, d := departing(t, true)
				drain := func() {
					_, err := n.Propose(t.Context(), &fsm.Command{At: time.Now(), Worker: &fsm.Worker{Only: "drain",
						Record: fsm.WorkerRecord{ID: statetest.Self, Draining: true, DrainDeadline: time.Now().Add(time.Hour)}}})
					if err != nil {
						t.Fatal(err)
					}
				}
				if operator == "before" {
					drain()
				}
				ended := make(chan struct{})
				go func() { defer close(ended); d.MarkAway() }() // not before the node is back
				elapse(30 * time.Second)
				if w := n.record(t); !w.Draining || w.DrainDeadline.IsZero() != (operator != "before") {
					t.Errorf("while a module runs: %+v", w)
				}
				if operator == "meanwhile" {
					drain()
				}
				d.MarkBack(t.Context())
				if w := n.record(t); w.Draining != want || w.UntilBack || w.DrainDeadline.IsZero() == want {
					t.Errorf("back again: %+v", w)
				}
				<-ended
			})
		})
	}
}

// A node whose departure is refused gets work again, also if that took all its time.
func TestDeparture_Leave_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := departing(t, false)
		n.leave = func(ctx context.Context) error {
			if w := n.record(t); !w.Draining || w.DrainDeadline.IsZero() {
				t.Errorf("before it leaves: %+v", w)
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		if leaving, _ := d.Leaving(); !d.Begin() || leaving {
			t.Error("it leaves before it was asked to")
		}
		if leaving, _ := d.Leaving(); !leaving || d.Begin() {
			t.Error("it was asked to leave, and does not say so")
		}
		if err := d.Leave(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if w := n.record(t); w.Draining || n.closed.Load() {
			t.Errorf("after it was refused: %+v, closed %t", w, n.closed.Load())
		}
		if leaving, refused := d.Leaving(); leaving || !strings.Contains(refused, "deadline") {
			t.Errorf("after it was refused: leaving %t, %q", leaving, refused)
		}
		// The next request is a new one: what refused the last one is not its answer.
		begun := d.Begin()
		if leaving, refused := d.Leaving(); !begun || !leaving || refused != "" {
			t.Errorf("asked again: begun %t, leaving %t, %q", begun, leaving, refused)
		}
	})
}

// A node that could not leave because there is no leader gets work again when there is
// one, and says at once that it stays.
func TestDeparture_Leave_noLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := departing(t, false)
		n.leave = func(ctx context.Context) error {
			n.Refuse(pipeline.ErrNoLeader)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		d.Begin()
		ended := make(chan struct{})
		go func() { defer close(ended); _ = d.Leave(t.Context()) }()
		elapse(10 * time.Minute)
		if leaving, refused := d.Leaving(); leaving || refused == "" || !n.record(t).Draining {
			t.Errorf("without a leader: leaving %t, %q, %+v", leaving, refused, n.record(t))
		}
		n.Refuse(nil)
		elapse(10 * time.Second)
		if w := n.record(t); w.Draining || w.Evacuated {
			t.Errorf("a leader is there: %+v", w)
		}
		<-ended
	})
}

// A node that an operator drained stays so if its departure is refused.
func TestDeparture_Leave_refusedDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := departing(t, false)
		if _, err := n.Propose(t.Context(), &fsm.Command{At: time.Now(), Worker: &fsm.Worker{Only: "drain",
			Record: fsm.WorkerRecord{ID: statetest.Self, Draining: true}}}); err != nil {
			t.Fatal(err)
		}
		n.evacuate = func(context.Context) error { return pipeline.Errorf(pipeline.Conflict, "no node stays") }
		if err := d.Leave(t.Context()); pipeline.KindOf(err) != pipeline.Conflict || !n.record(t).Draining {
			t.Errorf("got %v, %+v", err, n.record(t))
		}
	})
}

// A node that was killed while it left gets work again when it is back.
func TestDeparture_Leave_killed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := departing(t, false)
		n.evacuate = func(context.Context) error {
			if _, err := n.Propose(t.Context(), &fsm.Command{At: time.Now(), Worker: &fsm.Worker{Only: "evacuated",
				Record: fsm.WorkerRecord{ID: statetest.Self}}}); err != nil {
				t.Error(err)
			}
			return nil
		}
		n.leave = func(context.Context) error {
			if w := n.record(t); !w.Draining || !w.Evacuated {
				t.Errorf("while it leaves: %+v", w)
			}
			d.MarkBack(t.Context()) // it starts again
			if w := n.record(t); w.Draining || w.Evacuated || !w.DrainDeadline.IsZero() {
				t.Errorf("back again: %+v", w)
			}
			return nil
		}
		if err := d.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A node leaves only when what it has is on others; a call that fails is repeated.
func TestDeparture_Leave_evacuates(t *testing.T) {
	conflict := pipeline.Errorf(pipeline.Conflict, "no space on n2")
	for name, tc := range map[string]struct {
		failures, left, calls int
		err                   error
		slow                  time.Duration
	}{
		"at the third call":      {2, 1, 3, errors.New("no space on n2"), 0},
		"at the third slow call": {2, 1, 3, errors.New("no space on n2"), time.Hour},
		"never":                  {1000, 0, 10, errors.New("no space on n2"), 0},
		"no node stays":          {1000, 0, 1, conflict, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, d := departing(t, false)
				calls, left := 0, 0
				n.leave = func(context.Context) error { left++; return nil }
				n.evacuate = func(context.Context) error {
					if calls++; n.Load() > 0 {
						t.Error("files are copied while a module still writes some")
					}
					if time.Sleep(tc.slow); calls <= tc.failures {
						return tc.err
					}
					return nil
				}
				err := d.Leave(t.Context())
				if left != tc.left || (err == nil) != (left == 1) || calls != tc.calls {
					t.Errorf("left %d times after %d calls, want %d: %v", left, calls, tc.left, err)
				}
				if _, refused := d.Leaving(); err != nil && (!strings.Contains(refused, "no space on n2") || n.record(t).Draining) {
					t.Errorf("got %q, %+v", refused, n.record(t))
				}
			})
		})
	}
}

// A node that is stopped while it leaves ends at once, and stays a member.
func TestDeparture_Leave_stopped(t *testing.T) {
	for name, during := range map[string]func(n *busyNode, wait func(context.Context) error){
		"while it copies":               func(n *busyNode, wait func(context.Context) error) { n.evacuate = wait },
		"while it waits for the leader": func(n *busyNode, wait func(context.Context) error) { n.leave = wait },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, d := departing(t, false)
				n.until = time.Now()
				ctx, stop := context.WithCancel(t.Context())
				during(n, func(ctx context.Context) error { stop(); <-ctx.Done(); return context.Cause(ctx) })
				began := time.Now()
				if err := d.Leave(ctx); !errors.Is(err, context.Canceled) || time.Since(began) > time.Second || n.record(t).Draining {
					t.Errorf("got %v after %s, %+v", err, time.Since(began), n.record(t))
				}
			})
		})
	}
}
