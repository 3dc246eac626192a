package orchestrator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Orchestrator does the leader's duty whenever its node leads. All its methods may
// be called from any goroutine. Between terms they return ErrNotLeader.
type Orchestrator struct {
	cfg Config
	// measured is the last term whose begin was counted. Only Lead uses it.
	measured uint64

	mu sync.Mutex // guards following
	// term is nil unless this node leads and its model is rebuilt.
	term *term
}

// New makes an orchestrator. It starts nothing: Lead does.
func New(cfg Config) *Orchestrator {
	d := DefaultTiming()
	t := &cfg.Timing
	t.Lease = cmp.Or(max(0, t.Lease), d.Lease)
	t.Silence = cmp.Or(max(0, t.Silence), d.Silence)
	t.Sync = cmp.Or(max(0, t.Sync), d.Sync)
	t.Call = cmp.Or(max(0, t.Call), d.Call)
	t.Heartbeat = cmp.Or(max(0, t.Heartbeat), d.Heartbeat)

	cfg.MaxLoaded = cmp.Or(max(0, cfg.MaxLoaded), maxLoaded)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Orchestrator{cfg: cfg}
}

// Lead does the duty of one term. It returns when ctx has ended and everything that
// it started has ended. The order matters: the barrier, so that the state has all
// that was committed before; the subscription, so that no change is missed; the
// model; and only then is the term visible to calls.
func (o *Orchestrator) Lead(ctx context.Context, number uint64) error {
	if err := o.cfg.Log.Barrier(ctx); err != nil {
		return err
	}

	t := newTerm(&o.cfg, number)
	sub := o.cfg.Store.Subscribe()
	defer sub.Close()
	if err := t.rebuild(); err != nil {
		return err
	}

	o.set(t)
	defer o.set(nil)
	t.lead = o.measure(t)
	return t.run(ctx, sub)
}

// measure counts the begin of a term, once: Lead may be called again in it. It returns
// what the cluster is to know of it; nil if it was begun before.
func (o *Orchestrator) measure(t *term) *fsm.Lead {
	if o.measured == t.number {
		return nil
	}
	o.measured = t.number

	silent := time.Duration(0)
	if o.cfg.LastContact != nil {
		if at := o.cfg.LastContact(); !at.IsZero() && time.Since(at) < maxSilence {
			silent = time.Since(at)
		}
	}
	adopted, awaited := t.model.activeAttempts(), 0
	o.cfg.Metrics.Led(adopted, silent)
	if last := o.lastLead(); last.Node != o.cfg.Self {
		awaited = len(t.model.attemptsOn(last.Node))
	}
	return &fsm.Lead{Term: t.number, Node: o.cfg.Self, Name: t.workers.nodeName(o.cfg.Self), Gap: silent, Adopted: adopted - awaited, Awaited: awaited}
}

// lastLead is who led before. An error leaves it open: it is for what people read only.
func (o *Orchestrator) lastLead() (last fsm.Lead) {
	_ = o.cfg.Store.View(func(v *fsm.View) error {
		last = v.LastLead()
		return nil
	})
	return last
}

// maxSilence is the longest gap between two leaders that counts as one. A node that
// leads again knows only when it last followed.
const maxSilence = 10 * time.Minute

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

// Term is the term whose model is rebuilt, 0 if there is none.
func (o *Orchestrator) Term() uint64 {
	if t := o.current(); t != nil {
		return t.number
	}
	return 0
}

// Propose commits an encoded command that is not the planner's: a submission, a
// cancellation, a fact about a worker, a token. Errors are ErrNotLeader if it was
// rejected, or ErrUnknownOutcome; a refusal is in the reply.
func (o *Orchestrator) Propose(ctx context.Context, command []byte) (any, error) {
	type answer struct {
		reply any
		err   error
	}

	ch := make(chan answer, 1) // one answer; the goroutine ends with the wait, which is bounded
	pending := o.cfg.Log.Propose(command)
	go func() {
		_, reply, err := pending.Wait()
		ch <- answer{reply, err}
	}()

	select {
	case a := <-ch:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, pipeline.ErrUnknownOutcome
	}
}

// Report takes reports of a worker and returns when their fate is committed. After
// an error the worker repeats all of them.
func (o *Orchestrator) Report(ctx context.Context, in peer.ReportRequest) (peer.ReportResponse, error) {
	t := o.current()
	if t == nil {
		return peer.ReportResponse{}, pipeline.ErrNotLeader
	}

	if len(in.Reports) == 0 {
		return peer.ReportResponse{}, nil
	}

	// The loop answers each report by itself, some of them only after a commit.
	q := newReportRequest(len(in.Reports))
	if !t.inbox.post(func() { t.outcomes.report(in, q) }) {
		return peer.ReportResponse{}, pipeline.ErrNotLeader
	}

	// After the end of the term the fate of what was proposed is unknown to this node.
	select {
	case <-q.done:
		if q.err != nil {
			return peer.ReportResponse{}, q.err
		}
		return peer.ReportResponse{Acks: q.acks}, nil
	case <-ctx.Done():
		return peer.ReportResponse{}, pipeline.ErrUnknownOutcome
	case <-t.ended:
		return peer.ReportResponse{}, pipeline.ErrUnknownOutcome
	}
}

// Heartbeat takes a sign of life of an external worker. One that is not known has
// to register again; one that drains gets nothing new.
func (o *Orchestrator) Heartbeat(ctx context.Context, id pipeline.NodeID, load int) (known, drain bool, err error) {
	err = o.ask(ctx, func(t *term) {
		known, drain = t.workers.heartbeat(id, load)
		t.planner.replan.raise()
	})
	return known, drain, err
}

// Workers lists the workers, sorted by name.
func (o *Orchestrator) Workers(ctx context.Context) (out []pipeline.Worker, err error) {
	err = o.ask(ctx, func(t *term) { out = t.workers.list(time.Now()) })
	return out, err
}

// Waiting returns why the waiting modules of a run wait, by module. What it has for ""
// holds for those that it does not name.
func (o *Orchestrator) Waiting(ctx context.Context, id pipeline.RunID) (out map[string]string, err error) {
	err = o.ask(ctx, func(t *term) { out = t.explainer.waiting(id) })
	return out, err
}

// WaitingEverywhere is what waits in all runs, by run, the oldest first, at most so many
// entries, and how many modules wait, by kind of reason.
func (o *Orchestrator) WaitingEverywhere(ctx context.Context, limit int) (list map[pipeline.RunID][]pipeline.Waiting, kinds map[string]int, err error) {
	err = o.ask(ctx, func(t *term) {
		c := &census{explainer: t.explainer, now: time.Now()}
		list, kinds = c.waitingEverywhere(limit)
	})
	return list, kinds, err
}

// Locks lists the keys of not_in_parallel that are held or waited for, sorted.
func (o *Orchestrator) Locks(ctx context.Context) (out []pipeline.Lock, err error) {
	err = o.ask(ctx, func(t *term) { out = t.planner.locks.list() })
	return out, err
}

// Able returns the names of the workers that have what a module requires, whatever
// their load, and the number of all workers.
func (o *Orchestrator) Able(ctx context.Context, def *pipeline.Module) (names []string, of int, err error) {
	err = o.ask(ctx, func(t *term) {
		of = len(t.workers.known())
		for _, l := range t.workers.fitting(scheduler.ClassOf(def.Requires, def.Resources, "")) {
			names = append(names, l.name)
		}
	})
	slices.Sort(names)
	return names, of, err
}

// ask runs fn on the loop and waits for it.
func (o *Orchestrator) ask(ctx context.Context, fn func(*term)) error {
	t := o.current()
	if t == nil {
		return pipeline.ErrNotLeader
	}

	// fn may run after this call has returned: it must only write what the caller then
	// ignores.
	done := make(chan struct{})
	if !t.inbox.post(func() { fn(t); close(done) }) {
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
