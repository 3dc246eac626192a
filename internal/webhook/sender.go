package webhook

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// atOnce is how many messages of a hook are sent before what came of them is
	// committed, and flush after what time it is committed if they are slow.
	atOnce, flush = 32, time.Second
	// gather is how long changes of the outbox are collected before it is looked at.
	gather = 50 * time.Millisecond
	// lookEvery is how often it is looked at without a change: times in it are of
	// clocks, which may be set.
	lookEvery = time.Minute
	// commitAgain is the pause between tries to commit.
	commitAgain = time.Second
)

// Queued is a message in the outbox.
type Queued struct {
	Message
	// At is when it was put there.
	At time.Time
	// Tries is how often it was sent.
	Tries int
}

// Queue is what waits for one hook.
type Queue struct {
	Target
	// Due are its oldest messages that are due.
	Due []Queued
	// Next is when a further one becomes due; zero if none does.
	Next time.Time
	// Dropped is how many messages the outbox has dropped, since the hook was added,
	// because too many waited.
	Dropped uint64
}

// Result is what came of one message.
type Result struct {
	ID     string
	Answer Answer
	// Next is when it is to be sent again. Zero if it was acknowledged or given up.
	Next time.Time
	// GaveUp is set if it is not sent again by itself.
	GaveUp bool
}

// Outbox is what waits to be sent. The Sender calls it from several goroutines.
type Outbox interface {
	// Changed gives a channel that is closed when there may be more to send. It is
	// called before Look.
	Changed() <-chan struct{}
	// Look lists the hooks that are switched on, each with at most n messages.
	Look(now time.Time, n int) ([]Queue, error)
	// Commit records what came of messages of a hook, in the order in which they were
	// sent. It returns no error if the hook is no longer there.
	Commit(ctx context.Context, hook string, results []Result) error
}

// Config says what a Sender is made of. All fields are needed.
type Config struct {
	Outbox Outbox
	// Send sends a message once (Client.Send).
	Send func(ctx context.Context, to *Target, m *Message) Answer
	// Count counts deliveries by outcome: delivered, failed (it is sent again), gave_up,
	// dropped.
	Count  func(outcome string, n int)
	Logger hclog.Logger
}

// Sender sends what is in an outbox. It is the leader's.
type Sender struct{ cfg Config }

// NewSender makes a Sender.
func NewSender(cfg Config) *Sender { return &Sender{cfg: cfg} }

// hook is what the sender knows of a hook within its term.
type hook struct {
	busy bool
	// failures counts those in a row; the hook rests until then.
	failures int
	rest     time.Time
	// dropped is Queue.Dropped when it was last seen, if seen is set.
	dropped uint64
	seen    bool
}

// sent is what a batch of a hook came to.
type sent struct {
	hook   string
	failed bool
	any    bool
}

// Lead sends until ctx ends, for one term. When it returns, nothing is under way.
func (s *Sender) Lead(ctx context.Context) {
	hooks := map[string]*hook{}
	done := make(chan sent)
	busy := 0
	defer func() {
		for ; busy > 0; busy-- {
			<-done
		}
	}()

	for {
		changed := s.cfg.Outbox.Changed()
		now := time.Now()
		queues, err := s.cfg.Outbox.Look(now, atOnce)
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("webhooks: cannot read the outbox", "error", err)
		}

		wake := now.Add(lookEvery)
		for i := range queues {
			q := &queues[i]
			h := hooks[q.Hook]
			if h == nil {
				h = &hook{}
				hooks[q.Hook] = h
			}
			s.countDropped(h, q)
			switch {
			case h.busy: // its end wakes this loop
			case len(q.Due) == 0:
				wake = earlier(wake, q.Next)
			case now.Before(h.rest):
				wake = earlier(wake, h.rest)
			default:
				h.busy = true
				busy++
				go func() { done <- s.sendQueue(ctx, q, h.failures) }()
			}
		}

		ended, ok := s.wait(ctx, changed, done, wake)
		if !ok {
			return
		}
		for _, e := range ended {
			busy--
			hooks[e.hook].end(e, time.Now())
		}
	}
}

// end takes what a batch came to.
func (h *hook) end(e sent, now time.Time) {
	h.busy = false
	switch {
	case e.failed:
		h.failures++
		h.rest = now.Add(pause(h.failures))
	case e.any:
		h.failures, h.rest = 0, time.Time{}
	}
}

// wait waits until the outbox is to be looked at; false if ctx ended. It gives the
// batches that have ended meanwhile.
func (s *Sender) wait(ctx context.Context, changed <-chan struct{}, done <-chan sent, wake time.Time) ([]sent, bool) {
	timer := time.NewTimer(max(time.Until(wake), 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, false
	case e := <-done:
		return []sent{e}, true
	case <-timer.C:
		return nil, true
	case <-changed:
	}

	// More is about to come: a change is seldom alone.
	timer.Reset(gather)
	var ended []sent
	for {
		select {
		case <-ctx.Done():
			return ended, len(ended) > 0
		case e := <-done:
			ended = append(ended, e)
		case <-timer.C:
			return ended, true
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// countDropped counts what the outbox has dropped since it was last looked at.
func (s *Sender) countDropped(h *hook, q *Queue) {
	if n := q.Dropped - h.dropped; h.seen && q.Dropped > h.dropped {
		s.cfg.Count("dropped", int(n))
		s.cfg.Logger.Error("a webhook's outbox is full: the oldest events were dropped", "webhook", q.Hook, "events", n)
	}
	h.dropped, h.seen = q.Dropped, true
}

// sendQueue sends the messages of a queue that are due, one after the other, until one
// fails: what waits for a receiver that is down waits together. failures is how many
// failed before.
func (s *Sender) sendQueue(ctx context.Context, q *Queue, failures int) (out sent) {
	out.hook = q.Hook
	var results []Result
	began := time.Now()
	for i := range q.Due {
		if ctx.Err() != nil {
			break
		}
		m := &q.Due[i]
		r := Result{ID: m.ID, Answer: s.cfg.Send(ctx, &q.Target, &m.Message)}
		ok := r.Answer.OK()
		if !ok && ctx.Err() != nil {
			break // it was cut off here: that says nothing about the receiver
		}
		if !ok {
			var again bool
			r.Next, again = nextTry(m.Tries+1, m.At, time.Now())
			r.GaveUp = !again
		}
		results, out.any = append(results, r), true

		// A plain receiver cannot tell that a message comes again: each is recorded at once.
		if !ok || q.Plain || len(results) == atOnce || time.Since(began) >= flush {
			s.commit(ctx, q.Hook, results)
			results, began = nil, time.Now()
		}
		if !ok {
			out.failed = true
			s.logFailure(q.Hook, &r, failures)
			return out
		}
	}

	s.commit(ctx, q.Hook, results)
	return out
}

// logFailure logs the first of failures in a row, and every message that is given up.
func (s *Sender) logFailure(name string, r *Result, before int) {
	log := s.cfg.Logger
	switch {
	case r.Answer.Gone():
		log.Warn("webhook switched off: its receiver answers that it is gone", "webhook", name)
	case r.GaveUp:
		log.Error("a webhook's event was given up", "webhook", name, "event", r.ID, "answer", r.Answer.String())
	case before == 0:
		log.Warn("a webhook's delivery failed", "webhook", name, "event", r.ID, "answer", r.Answer.String(), "again", r.Next.UTC().Format(time.RFC3339))
	}
}

// commit records results until that has worked or ctx ends, and counts them. What was
// acknowledged must not be sent again while this node leads.
func (s *Sender) commit(ctx context.Context, name string, results []Result) {
	if len(results) == 0 {
		return
	}
	for {
		err := s.cfg.Outbox.Commit(ctx, name, results)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		s.cfg.Logger.Warn("webhooks: cannot record deliveries; trying again", "webhook", name, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(commitAgain):
		}
	}

	for i := range results {
		switch r := &results[i]; {
		case r.Answer.OK():
			s.cfg.Count("delivered", 1)
		case r.GaveUp:
			s.cfg.Count("gave_up", 1)
		default:
			s.cfg.Count("failed", 1)
		}
	}
}
