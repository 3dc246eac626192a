package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/webhook"
)

// outbox is an Outbox in memory, with a receiver that answers as the test says.
type outbox struct {
	mu sync.Mutex
	// guards following
	changed chan struct{}
	hooks   map[string]*state
	names   []string
	refuse  error
	sent    []delivery
	answer  func(hook, id string) int
	counts  map[string]int
	commits int
	under   map[string]int // deliveries under way
}

type state struct {
	queue   []*entry
	off     bool
	dropped uint64
}

type entry struct {
	webhook.Queued
	next   time.Time
	gaveUp bool
}

type delivery struct {
	hook, id string
	after    time.Duration
}

func newOutbox(hooks ...string) *outbox {
	o := &outbox{changed: make(chan struct{}), hooks: map[string]*state{}, names: hooks, counts: map[string]int{}, under: map[string]int{},
		answer: func(string, string) int { return http.StatusOK }}
	for _, h := range hooks {
		o.hooks[h] = &state{}
	}
	return o
}

func (o *outbox) add(hook string, ids ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		o.hooks[hook].queue = append(o.hooks[hook].queue, &entry{Queued: webhook.Queued{Message: webhook.Message{ID: id}, At: time.Now()}})
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *outbox) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

func (o *outbox) Look(now time.Time, n int) ([]webhook.Queue, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var queues []webhook.Queue
	for _, name := range o.names {
		l := o.hooks[name]
		if l.off {
			continue
		}
		out := webhook.Queue{Target: webhook.Target{Hook: name, Plain: name == "plain"}, Dropped: l.dropped}
		for _, e := range l.queue {
			switch {
			case e.gaveUp:
			case e.next.After(now):
				if out.Next.IsZero() || e.next.Before(out.Next) {
					out.Next = e.next
				}
			case len(out.Due) < n:
				out.Due = append(out.Due, e.Queued)
			}
		}
		queues = append(queues, out)
	}
	return queues, nil
}

func (o *outbox) Commit(_ context.Context, hook string, results []webhook.Result) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse != nil {
		return o.refuse
	}
	o.commits++
	l := o.hooks[hook]
	for _, r := range results {
		i := slices.IndexFunc(l.queue, func(e *entry) bool { return e.ID == r.ID })
		if i < 0 {
			return fmt.Errorf("%s is not in the outbox", r.ID)
		}
		e := l.queue[i]
		e.Tries++
		e.next, e.gaveUp = r.Next, r.GaveUp
		if r.Answer.OK() {
			l.queue = slices.Delete(l.queue, i, i+1)
		}
		l.off = l.off || r.Answer.Gone()
	}
	return nil
}

// lead starts a sender; stop ends its term.
func (o *outbox) lead(t *testing.T) (stop func()) {
	began := time.Now()
	s := webhook.NewSender(webhook.Config{Outbox: o, Logger: hclog.NewNullLogger(),
		Send: func(ctx context.Context, to *webhook.Target, m *webhook.Message) webhook.Answer {
			o.mu.Lock()
			o.sent = append(o.sent, delivery{to.Hook, m.ID, time.Since(began)})
			o.under[to.Hook]++
			if o.under[to.Hook] > 1 {
				t.Errorf("%s has two deliveries at a time", to.Hook)
			}
			status := o.answer(to.Hook, m.ID)
			o.mu.Unlock()
			a := webhook.Answer{At: time.Now(), Status: status}
			if status == 0 {
				select {
				case <-ctx.Done():
				case <-time.After(15 * time.Second):
				}
			}
			o.mu.Lock()
			o.under[to.Hook]--
			o.mu.Unlock()
			return a
		},
		Count: func(outcome string, n int) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.counts[outcome] += n
		}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.Lead(ctx)
		close(done)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (o *outbox) times(hook string) (list []time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.sent {
		if d.hook == hook {
			list = append(list, d.after)
		}
	}
	return list
}

func (o *outbox) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// An event is sent at once, and once.
func TestSender_Lead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a", "b")
		defer o.lead(t)()
		synctest.Wait()
		o.add("a", "1", "2")
		o.add("b", "1")
		elapse(time.Hour)
		if got := o.times("a"); len(got) != 2 || got[1] > 100*time.Millisecond {
			t.Errorf("a was sent after %v", got)
		}
		if got := o.times("b"); len(got) != 1 {
			t.Errorf("b was sent after %v", got)
		}
		if o.counts["delivered"] != 3 || len(o.counts) != 1 {
			t.Errorf("counts %v", o.counts)
		}
	})
}

// A message that fails is sent again at the times of the schedule, for a day.
func TestSender_Lead_schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a")
		o.answer = func(string, string) int { return http.StatusInternalServerError }
		o.add("a", "1")
		stop := o.lead(t)
		elapse(6 * time.Hour)
		stop() // another leader continues
		defer o.lead(t)()
		elapse(60 * time.Hour)

		s, m, h := time.Second, time.Minute, time.Hour
		want := []time.Duration{0, 5 * s, 5*m + 5*s, 35*m + 5*s, 2*h + 35*m + 5*s, 7*h + 35*m + 5*s, 17*h + 35*m + 5*s, 24 * h}
		got := o.times("a")
		if len(got) != len(want) {
			t.Fatalf("sent after %v, want %v", got, want)
		}
		for i := range want {
			after := got[i]
			if i >= 5 {
				after += 6 * h // the second leader's clock
			}
			if after < want[i] || after > want[i]+s {
				t.Errorf("try %d after %v, want %v", i+1, after, want[i])
			}
		}
		if o.counts["failed"] != 7 || o.counts["gave_up"] != 1 {
			t.Errorf("counts %v", o.counts)
		}
		if !o.hooks["a"].queue[0].gaveUp {
			t.Error("it is not marked as given up")
		}
	})
}

// Those that wait for a receiver which does not answer are not all tried at once, do
// not hold up other hooks, and arrive when it is back.
func TestSender_Lead_down(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("down", "up")
		o.answer = func(hook, _ string) int {
			if hook == "down" {
				return 0
			}
			return http.StatusOK
		}
		for i := range 500 {
			o.add("down", fmt.Sprint(i))
		}
		defer o.lead(t)()
		synctest.Wait()
		o.add("up", "1")
		elapse(10 * time.Minute)
		if got := o.times("up"); len(got) != 1 || got[0] > time.Second {
			t.Errorf("up was sent after %v", got)
		}
		if n := len(o.times("down")); n > 20 {
			t.Errorf("%d tries in ten minutes", n)
		}

		o.set(func() { o.answer = func(string, string) int { return http.StatusOK } })
		elapse(24 * time.Hour)
		if n := len(o.hooks["down"].queue); n != 0 || o.counts["delivered"] != 501 {
			t.Errorf("%d still wait; counts %v", n, o.counts)
		}
	})
}

// One message that its receiver never takes holds the others up by a moment only.
func TestSender_Lead_poison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a")
		o.answer = func(_, id string) int {
			if id == "bad" {
				return http.StatusBadRequest
			}
			return http.StatusOK
		}
		o.add("a", "bad", "1", "2", "3")
		defer o.lead(t)()
		elapse(3 * time.Second)
		if o.counts["delivered"] != 3 || o.counts["failed"] != 1 {
			t.Errorf("counts %v", o.counts)
		}
	})
}

// What was acknowledged is not sent again while its commit fails, and a hook whose
// receiver is gone is left alone.
func TestSender_Lead_commit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a", "gone")
		o.refuse = errors.New("no leader")
		o.answer = func(hook, _ string) int {
			if hook == "gone" {
				return http.StatusGone
			}
			return http.StatusOK
		}
		o.add("a", "1", "2")
		o.add("gone", "1", "2")
		defer o.lead(t)()
		elapse(10 * time.Second)
		o.set(func() { o.refuse = nil })
		elapse(48 * time.Hour)
		if got := o.times("a"); len(got) != 2 {
			t.Errorf("sent after %v", got)
		}
		if got := o.times("gone"); len(got) != 1 || !o.hooks["gone"].off {
			t.Errorf("sent after %v", got)
		}
		if o.commits != 2 {
			t.Errorf("%d commits", o.commits)
		}
	})
}

// A plain receiver cannot tell repetitions: what it has acknowledged is recorded before
// the next message is sent.
func TestSender_Lead_plain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("plain")
		o.refuse = errors.New("no leader")
		o.add("plain", "1", "2", "3")
		defer o.lead(t)()
		elapse(10 * time.Second)
		if got := o.times("plain"); len(got) != 1 {
			t.Errorf("sent after %v although nothing was recorded", got)
		}
		o.set(func() { o.refuse = nil })
		elapse(time.Hour)
		if got := o.times("plain"); len(got) != 3 || o.commits != 3 {
			t.Errorf("sent after %v, %d commits", got, o.commits)
		}
	})
}

// What is dropped while this node leads is counted.
func TestSender_Lead_dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a")
		o.hooks["a"].dropped = 7
		defer o.lead(t)()
		synctest.Wait()
		o.set(func() { o.hooks["a"].dropped = 10 })
		o.add("a", "1")
		elapse(time.Second)
		if o.counts["dropped"] != 3 {
			t.Errorf("counts %v", o.counts)
		}
	})
}

// When a term ends, a delivery that is under way says nothing about its receiver.
func TestSender_Lead_termEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox("a")
		o.answer = func(string, string) int { return 0 }
		o.add("a", "1")
		stop := o.lead(t)
		elapse(time.Second)
		stop()
		if e := o.hooks["a"].queue[0]; e.Tries != 0 || len(o.sent) != 1 {
			t.Errorf("%d tries", e.Tries)
		}
	})
}
