package consensus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// exchange is one heartbeat under way.
type exchange struct {
	id     string
	term   uint64
	answer chan exchangeAnswer
}

type exchangeAnswer struct {
	newest uint64
	err    error
}

// verifierOf is a verifier of node a among three voters, in term 5. What it
// sends arrives at the channel.
func verifierOf(tb testing.TB) (*verifier, chan exchange) {
	tb.Helper()
	sent := make(chan exchange)
	lead := &epochs{}
	lead.init()
	lead.set(true)
	stop := make(chan struct{})
	v := &verifier{self: "a", lead: lead, stop: stop, peers: map[string]*confirmation{}, changed: make(chan struct{}),
		servers: func() []Server { return []Server{{"a", Voter}, {"b", Voter}, {"c", Voter}, {"d", Standby}} },
		term:    func() (uint64, bool) { return 5, true }}
	v.confirm = func(id string, term uint64) (uint64, error) {
		x := exchange{id, term, make(chan exchangeAnswer)}
		select {
		case sent <- x:
		case <-stop:
			return 0, errTransport
		}
		select {
		case a := <-x.answer:
			return a.newest, a.err
		case <-stop:
			return 0, errTransport
		}
	}
	tb.Cleanup(func() {
		v.close()
		close(stop)
		v.wg.Wait()
	})
	return v, sent
}

// result is what a call of verify returned.
type result struct {
	term uint64
	err  error
}

func (v *verifier) start(ctx context.Context) <-chan result {
	out := make(chan result, 1)
	go func() {
		term, err := v.verify(ctx)
		out <- result{term, err}
	}()
	return out
}

// An answer to a heartbeat that was sent before the question does not count: it
// may be older than the election of another leader.
func TestVerifier_answerUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, sent := verifierOf(t)
		first := v.start(t.Context())
		b, c := <-sent, <-sent
		if b.id == "d" || c.id == "d" || b.term != 5 {
			t.Errorf("asked %s and %s in term %d", b.id, c.id, b.term)
		}

		second := v.start(t.Context())
		synctest.Wait()
		b.answer <- exchangeAnswer{newest: 5}
		if r := <-first; r.err != nil || r.term != 5 {
			t.Errorf("the first question: %+v", r)
		}
		c.answer <- exchangeAnswer{newest: 5}
		synctest.Wait()
		select {
		case r := <-second:
			t.Fatalf("answers to the first question confirmed the second: %+v", r)
		default:
		}

		again := <-sent
		again.answer <- exchangeAnswer{newest: 5}
		if r := <-second; r.err != nil {
			t.Errorf("the second question: %v", r.err)
		}
		last := <-sent
		last.answer <- exchangeAnswer{newest: 5}
	})
}

// Any number of callers share one exchange with each voter.
func TestVerifier_shared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, sent := verifierOf(t)
		first := v.start(t.Context())
		b, c := <-sent, <-sent
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := v.verify(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		b.answer <- exchangeAnswer{newest: 5}
		<-first
		(<-sent).answer <- exchangeAnswer{newest: 5}
		wg.Wait()
		c.answer <- exchangeAnswer{newest: 5}
		synctest.Wait()
		select {
		case <-sent:
			t.Error("asked although no caller waits")
		default:
		}
	})
}

func TestVerifier_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, sent := verifierOf(t)
		// A voter that is in a newer term ends it at once.
		r := v.start(t.Context())
		b, c := <-sent, <-sent
		b.answer <- exchangeAnswer{newest: 6}
		if r := <-r; !errors.Is(r.err, pipeline.ErrNotLeader) {
			t.Errorf("a newer term: %+v", r)
		}
		c.answer <- exchangeAnswer{newest: 5}
	})

	synctest.Test(t, func(t *testing.T) {
		v, sent := verifierOf(t)
		// One that fails is asked again.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := v.start(ctx)
		b, _ := <-sent, <-sent
		b.answer <- exchangeAnswer{err: errTransport}
		(<-sent).answer <- exchangeAnswer{newest: 5}
		if r := <-r; r.err != nil {
			t.Errorf("after a failure: %v", r.err)
		}
	})

	synctest.Test(t, func(t *testing.T) {
		v, sent := verifierOf(t)
		// Without answers it ends with its context, or with leadership.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := v.start(ctx)
		<-sent
		<-sent
		if r := <-r; pipeline.KindOf(r.err) != pipeline.Unavailable {
			t.Errorf("no answer: %v", r.err)
		}
		r = v.start(t.Context())
		synctest.Wait()
		v.term = func() (uint64, bool) { return 5, false }
		v.lead.set(false)
		if r := <-r; !errors.Is(r.err, pipeline.ErrNotLeader) {
			t.Errorf("leadership lost: %v", r.err)
		}
	})
}

// A leader that is cut off cannot verify that it leads; the next one can.
func TestNode_VerifyLeader(t *testing.T) {
	net := newNetwork(t)
	nodes, _ := three(t, net)
	testutil.Eventually(t, 10*time.Second, func() error {
		_, err := nodes[0].VerifyLeader(t.Context())
		return err
	})

	net.isolate("a", true)
	if _, err := nodes[0].VerifyLeader(t.Context()); err == nil {
		t.Error("verified without a majority")
	}
	testutil.Eventually(t, 20*time.Second, func() error {
		for _, n := range nodes[1:] {
			if _, err := n.VerifyLeader(t.Context()); err == nil {
				return nil
			}
		}
		return errors.New("no other node leads")
	})
}
