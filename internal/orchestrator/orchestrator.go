package orchestrator

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// Pending is a proposal on its way.
type Pending interface {
	// Wait blocks until the entry is applied here or its fate is decided;
	// bounded by the implementation.
	Wait() (index uint64, reply any, err error)
}

// Log is the consensus the orchestrator proposes to.
type Log interface {
	Propose(command []byte) Pending
	// Barrier returns when everything committed before is applied here.
	Barrier(ctx context.Context) error
}

// Transport reaches workers. Calls end with ctx; repeating one is harmless.
type Transport interface {
	Dispatch(ctx context.Context, worker pipeline.NodeID, in peer.DispatchRequest) (peer.DispatchResponse, error)
	Stop(ctx context.Context, worker pipeline.NodeID, in peer.StopRequest) error
	Sync(ctx context.Context, worker pipeline.NodeID, in peer.SyncRequest) (peer.SyncResponse, error)
}

// Members tells who is here.
type Members interface {
	Workers() []pipeline.Member
	// Changes gives a channel that has an element after the list may have
	// changed, until stop is called.
	Changes() (changes <-chan struct{}, stop func())
}

// Evaluate evaluates the late expressions of a module (language.Evaluate).
type Evaluate func(ctx context.Context, p *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error)

// Timing is how long the orchestrator waits for what. Zero fields mean
// DefaultTiming's.
type Timing struct {
	// Lease is how long a worker is trusted without a word (settled 3).
	Lease time.Duration
	// Silence after the lease is enough to give a worker up even where gossip
	// sees it.
	Silence time.Duration
	// Sync is the time between two comparisons with a worker.
	Sync time.Duration
	// Call bounds one call to a worker.
	Call time.Duration
	// Heartbeat is the interval asked of outside workers; three missed ones
	// make them Offline.
	Heartbeat time.Duration
}

// DefaultTiming is settled.md's.
func DefaultTiming() Timing {
	return Timing{Lease: 5 * time.Second, Silence: 30 * time.Second, Sync: time.Second,
		Call: 3 * time.Second, Heartbeat: 2 * time.Second}
}

// Config is what an orchestrator needs.
type Config struct {
	Self      pipeline.NodeID
	Log       Log
	Store     *fsm.Store
	Transport Transport
	Members   Members
	Evaluate  Evaluate
	// Vault opens what is sealed; nil where nothing is.
	Vault Vault
	// Results lets modules take recorded results; nil runs everything.
	Results Results
	Logger  hclog.Logger
	Timing  Timing
	// Now is the clock that schedules go by; nil means time.Now.
	Now func() time.Time
	// NodeName names a node for people.
	NodeName func(pipeline.NodeID) string
}

// Orchestrator does the leader's duty whenever its node leads.
type Orchestrator struct {
	cfg Config

	mu   sync.Mutex // guards following
	term *term      // nil unless leading and rebuilt
}

// New makes an orchestrator; Lead starts its work.
func New(cfg Config) *Orchestrator {
	d := DefaultTiming()
	for _, f := range []struct{ got, def *time.Duration }{{&cfg.Timing.Lease, &d.Lease}, {&cfg.Timing.Silence, &d.Silence},
		{&cfg.Timing.Sync, &d.Sync}, {&cfg.Timing.Call, &d.Call}, {&cfg.Timing.Heartbeat, &d.Heartbeat}} {
		if *f.got <= 0 {
			*f.got = *f.def
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Orchestrator{cfg: cfg}
}

// Lead does the duty of one term and returns when ctx ends, after everything
// it started has ended.
func (o *Orchestrator) Lead(ctx context.Context, number uint64) error {
	if err := o.cfg.Log.Barrier(ctx); err != nil {
		return err
	}
	t := newTerm(o, number)
	sub := o.cfg.Store.Subscribe()
	defer sub.Close()
	if err := t.rebuild(); err != nil {
		return err
	}
	o.set(t)
	defer o.set(nil)
	return t.run(ctx, sub)
}

func (o *Orchestrator) set(t *term) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.term = t
}

func (o *Orchestrator) current() *term {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.term
}

// Leading reports whether the model is rebuilt and calls are answered.
func (o *Orchestrator) Leading() bool { return o.current() != nil }

// Propose commits an encoded command that is not the planner's: a submission, a
// cancellation, a fact about a worker, a token. Errors of the consensus are
// ErrNotLeader (rejected) or ErrUnknownOutcome.
func (o *Orchestrator) Propose(ctx context.Context, command []byte) (any, error) {
	type answer struct {
		reply any
		err   error
	}
	ch := make(chan answer, 1) // one answer; the goroutine ends with the proposal, whose wait is bounded
	p := o.cfg.Log.Propose(command)
	go func() {
		_, r, err := p.Wait()
		ch <- answer{r, err}
	}()
	select {
	case a := <-ch:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, pipeline.ErrUnknownOutcome
	}
}

// Report takes reports of a worker and answers when their fate is committed.
func (o *Orchestrator) Report(ctx context.Context, in peer.ReportRequest) (peer.ReportResponse, error) {
	t := o.current()
	if t == nil {
		return peer.ReportResponse{}, pipeline.ErrNotLeader
	}
	w := &waiter{acks: make([]peer.Ack, len(in.Reports)), left: len(in.Reports), done: make(chan struct{})}
	if w.left == 0 {
		return peer.ReportResponse{}, nil
	}
	if !t.post(func() { t.reports(in, w) }) {
		return peer.ReportResponse{}, pipeline.ErrNotLeader
	}
	select {
	case <-w.done:
		if w.err != nil {
			return peer.ReportResponse{}, w.err
		}
		return peer.ReportResponse{Acks: w.acks}, nil
	case <-ctx.Done():
		return peer.ReportResponse{}, pipeline.ErrUnknownOutcome
	case <-t.ended:
		return peer.ReportResponse{}, pipeline.ErrUnknownOutcome
	}
}

// waiter collects the answers to one ReportRequest. Only the loop touches it
// until done is closed.
type waiter struct {
	acks []peer.Ack
	left int
	err  error
	done chan struct{}
}

func (w *waiter) ack(i int, a peer.Ack) {
	if w == nil {
		return
	}
	w.acks[i] = a
	w.finish()
}

func (w *waiter) fail(err error) {
	if w == nil {
		return
	}
	w.err = err
	w.finish()
}

func (w *waiter) finish() {
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// Heartbeat notes that an outside worker is alive. Unknown ones must register
// again.
func (o *Orchestrator) Heartbeat(ctx context.Context, id pipeline.NodeID, load int) (known, drain bool, err error) {
	err = o.ask(ctx, func(t *term) { known, drain = t.heartbeat(id, load) })
	return known, drain, err
}

// Workers lists who can work, by name.
func (o *Orchestrator) Workers(ctx context.Context) (out []pipeline.Worker, err error) {
	err = o.ask(ctx, func(t *term) { out = t.listWorkers() })
	return out, err
}

// Waiting says, for the modules of a run that are ready and not placed, why.
func (o *Orchestrator) Waiting(ctx context.Context, id pipeline.RunID) (out map[string]string, err error) {
	err = o.ask(ctx, func(t *term) { out = t.waiting(id) })
	return out, err
}

// ask runs fn on the loop and waits for it.
func (o *Orchestrator) ask(ctx context.Context, fn func(*term)) error {
	t := o.current()
	if t == nil {
		return pipeline.ErrNotLeader
	}
	done := make(chan struct{})
	if !t.post(func() { fn(t); close(done) }) {
		return pipeline.ErrNotLeader
	}
	select {
	case <-done:
		return nil
	case <-t.ended:
		return pipeline.ErrNotLeader
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
