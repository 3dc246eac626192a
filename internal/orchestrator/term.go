package orchestrator

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// maxInflight is how many proposals may be on their way at once. More than one
// hides the latency of a commit; a bound lets entries fill under load.
const maxInflight = 8

// tick is how often leases, deadlines and retention are looked at.
const tick = 250 * time.Millisecond

// term is one time of leading. All fields below the inbox belong to the loop.
type term struct {
	o      *Orchestrator
	cfg    *Config
	log    hclog.Logger
	number uint64
	ended  chan struct{} // closed when the loop has ended

	mu    sync.Mutex // guards following
	inbox []func()
	shut  bool
	wake  chan struct{}

	runs    map[pipeline.RunID]*run
	links   map[pipeline.NodeID]*link
	group   *errgroup.Group // links and waits for proposals
	ctx     context.Context // of the term
	batch   *batch
	flights int
	// dirty says that something happened that may allow a placement.
	dirty   bool
	delayed []*mod // waiting for their backoff
	// kept is what the last plan kept a worker free for; nil where it did not.
	kept *scheduler.Reservation
	// nearby says that something waits for a slot where its inputs are, and may
	// have waited long enough.
	nearby  bool
	records map[pipeline.NodeID]fsm.WorkerRecord
	// swept is when everything was last looked at, changed or not.
	swept time.Time
	// schedules by name, and when a tick of one is to be decided next.
	schedules map[string]*schedule
	alarm     time.Time
	// moved says that a run has left a line, so that another's turn may have come.
	moved   bool
	results results
}

func newTerm(o *Orchestrator, number uint64) *term {
	return &term{o: o, cfg: &o.cfg, log: o.cfg.Logger, number: number, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		runs: map[pipeline.RunID]*run{}, links: map[pipeline.NodeID]*link{}, batch: &batch{}, dirty: true, results: newResults(),
		records: map[pipeline.NodeID]fsm.WorkerRecord{}}
}

// post gives the loop something to do; false once the term has ended.
func (t *term) post(fn func()) bool {
	t.mu.Lock()
	if t.shut {
		t.mu.Unlock()
		return false
	}
	t.inbox = append(t.inbox, fn)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return true
}

func (t *term) take() []func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.inbox
	t.inbox = nil
	return in
}

// rebuild reads the live runs and the kept facts about workers.
func (t *term) rebuild() error {
	return t.cfg.Store.View(func(v *fsm.View) error {
		for _, head := range v.Active() {
			r, err := loadRun(v, head)
			if err != nil {
				return err
			}
			t.runs[head.ID] = r
		}
		t.readRecords(v)
		t.readSchedules(v)
		return nil
	})
}

func (t *term) readRecords(v *fsm.View) {
	t.records = map[pipeline.NodeID]fsm.WorkerRecord{}
	for _, w := range v.Workers() {
		t.records[w.ID] = w
	}
}

// run is the loop. It returns when ctx has ended and everything it started has.
func (t *term) run(ctx context.Context, sub *fsm.Subscription) error {
	defer close(t.ended)
	// A proposal's wait may outlast the term a little; links end at once.
	linkCtx, cancel := context.WithCancel(ctx)
	t.group, t.ctx = &errgroup.Group{}, linkCtx
	defer func() {
		cancel()
		_ = t.group.Wait() // their functions return nil
		t.close()
	}()
	t.log.Info("leading", "term", t.number, "runs", len(t.runs))
	t.updateMembers()
	for _, r := range t.runs {
		t.resume(r)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	members, stop := t.cfg.Members.Changes()
	defer stop()
	for {
		t.step()
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
			for _, fn := range t.take() {
				fn()
			}
		case <-sub.C:
			t.changed(sub.Take())
		case <-members:
			t.updateMembers()
		case <-ticker.C:
			t.tick(time.Now())
		case <-t.nextDelayed():
			t.dirty = true
		case <-t.nextTick():
		}
	}
}

// close answers everybody who still waits: the fate of what is in flight is
// not known to this node.
func (t *term) close() {
	t.mu.Lock()
	t.shut = true
	t.inbox = nil
	t.mu.Unlock()
}

// step plans and proposes what the last events made possible.
func (t *term) step() {
	if t.moved {
		t.admit()
	}
	t.fireDue()
	if t.flights >= maxInflight {
		return
	}
	t.lookUp()
	if t.dirty {
		t.plan()
	}
	t.flush()
}

// changed takes what others than the planner did: submissions, cancellations,
// facts about workers.
func (t *term) changed(c fsm.Changes) {
	err := t.cfg.Store.View(func(v *fsm.View) error {
		if c.Workers || c.All {
			t.readRecords(v)
		}
		if c.Schedules || c.All {
			t.readSchedules(v)
		}
		for _, id := range c.Runs {
			head, ok := v.Run(id)
			r := t.runs[id]
			switch {
			case r != nil && r.stale:
				// Is about to be read anew, and then sees this too.
			case !ok:
				t.drop(id)
			case r == nil && !head.State.Final():
				n, err := loadRun(v, head)
				if err != nil {
					t.log.Error("read run", "run", id, "error", err)
					continue
				}
				t.runs[id] = n
				t.resume(n)
			case r != nil && head.State == pipeline.RunCancelling && !r.cancelling():
				r.head = head
				t.cancel(r)
			case r != nil && head.Forced && !r.head.Forced:
				r.head.Forced = true
				t.cancel(r)
			case r != nil && len(r.gates) > 0:
				t.decided(r, v)
			}
		}
		return nil
	})
	if err != nil {
		t.log.Error("read changes", "error", err)
	}
	if c.Workers || c.All {
		t.updateMembers()
	}
	t.dirty = true
}

// resume brings a run that was read from the state to where it can go on.
func (t *term) resume(r *run) {
	for _, m := range r.list {
		if m.live != nil {
			t.own(m)
		}
	}
	if r.cancelling() {
		t.cancel(r)
		return
	}
	for _, m := range r.list {
		if m.live == nil && !m.state.Final() {
			t.advance(m)
		}
	}
	if r.stopping != "" {
		t.stopRun(r)
	}
	t.maybeEnd(r)
	t.dirty = true
}

// reload reads a run anew after something about it was refused.
func (t *term) reload(r *run) {
	err := t.cfg.Store.View(func(v *fsm.View) error {
		head, ok := v.Run(r.head.ID)
		if !ok || head.State.Final() {
			t.drop(r.head.ID)
			return nil
		}
		n, err := loadRun(v, head)
		if err != nil {
			return err
		}
		for name, m := range n.mods {
			if old := r.mods[name]; m.live != nil && old != nil && old.live != nil && old.live.id == m.live.id {
				m.live.sent, m.live.queued, m.live.stop = old.live.sent, old.live.queued, old.live.stop
			}
		}
		t.runs[r.head.ID] = n
		t.disownAll(r)
		t.resume(n)
		return nil
	})
	if err != nil {
		t.log.Error("read run anew", "run", r.head.ID, "error", err)
	}
	t.recount()
}

// recount counts the live attempts of each worker from the model.
func (t *term) recount() {
	for _, l := range t.links {
		l.used, l.cpu, l.memory = 0, 0, 0
	}
	for _, r := range t.runs {
		if r.queue.Running == 0 {
			continue
		}
		for _, m := range r.list {
			if m.live != nil && m.live.counted && t.links[m.live.worker] != nil {
				t.links[m.live.worker].take(m)
			}
		}
	}
}

// advance makes a waiting module ready, or ends it, if its dependencies allow.
func (t *term) advance(m *mod) {
	r := m.run
	if m.state.Final() || m.live != nil || m.queued || m.wants || m.looking || m.behind != nil || r.stale {
		return
	}
	if r.cancelling() && !m.spared() {
		t.end(m, pipeline.ModuleCancelled, r.cancelReason())
		return
	}
	if r.held != "" {
		return // until its turn comes
	}
	if m.def.Skip != "" {
		t.end(m, pipeline.ModuleSkipped, m.def.Skip)
		return
	}
	if reason := m.blocked(); reason != "" {
		t.end(m, pipeline.ModuleSkipped, reason)
		return
	}
	if r.stopping != "" && !m.def.AlwaysRun || m.waits > 0 || m.gate != nil {
		return
	}
	if reason := m.unfit(); reason != "" {
		t.end(m, pipeline.ModuleSkipped, reason)
		return
	}
	if len(m.def.Late) > 0 {
		switch {
		case m.evaluated == nil:
			t.evaluate(m)
			return
		case m.evaluated.Skip != "":
			t.end(m, pipeline.ModuleSkipped, m.evaluated.Skip)
			return
		case m.def.Dynamic:
			t.expand(m)
			return
		}
	}
	if m.def.Approval != nil {
		t.await(m)
		return
	}
	if wait := time.Until(m.notBefore); wait > 0 {
		t.delay(m)
		return
	}
	if m.note == nil && t.cacheable(m) {
		t.lookFor(m)
		return
	}
	t.dirty = true
	if len(m.def.Locks) > 0 {
		m.wants = true
		return
	}
	m.enqueue()
}

// enqueue makes a module ready for the planner.
func (m *mod) enqueue() {
	m.queued, m.wants = true, false
	m.inputs = inputsOf(m)
	m.run.large = m.run.large || m.inputs != nil
	m.run.queue.Add(&scheduler.Module{Name: m.def.Name, Priority: m.def.Priority, Rank: m.rank, Order: m.order, Class: m.class(), Inputs: m.inputs})
}

// unready takes back that a module is ready.
func (m *mod) unready() {
	m.queued, m.wants = false, false
	if m.live == nil {
		m.granted = false
	}
}

// expand turns a module into its instances.
func (t *term) expand(m *mod) {
	list := m.evaluated.Instances
	m.evaluated = nil
	m.state, m.endedAt = pipeline.ModuleSucceeded, time.Now().UTC()
	t.batch.expand(m, list)
	added := m.expand(list)
	if t.batch.full() {
		defer t.flush()
	}
	for _, one := range added {
		t.advance(one)
	}
	t.finish(m)
}

// finish notes a final state in the model and lets dependents go on.
func (t *term) finish(m *mod) {
	m.unready()
	m.countFinal()
	if m.state != pipeline.ModuleSucceeded {
		t.disown(m) // else once it is recorded
	}
	for _, d := range m.dependents {
		if d.waits == 0 || !m.state.Success() {
			t.advance(d)
		}
	}
	if m.state == pipeline.ModuleFailed && m.run.stopping != "" {
		t.stopRun(m.run)
	}
	t.maybeEnd(m.run)
}
