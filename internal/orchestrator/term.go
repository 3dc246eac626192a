package orchestrator

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// tickInterval is how often leases and deadlines are checked.
const tickInterval = 250 * time.Millisecond

// term is one period of leadership: it wires the parts and runs the loop that alone
// calls them. It has no state of its own but the inbox and the tasks.
type term struct {
	cfg    *Config
	number uint64
	inbox  *inbox
	tasks  *tasks
	// ended is closed when the loop has ended.
	ended chan struct{}
	// lead is what the cluster is to know of the begin of the term; nil if it knows.
	lead *fsm.Lead

	model      *model
	parking    *parking
	proposals  *proposals
	lifecycle  *lifecycle
	outcomes   *outcomes
	workers    *workers
	reconciler *reconciler
	planner    *planner
	cache      *cacheLookups
	approvals  *approvals
	children   *children
	schedules  *schedules
	backfills  *backfills
	timeouts   *runTimeouts
	explainer  *explainer
}

// rebuild reads the active runs, the facts about workers and the schedules.
func (t *term) rebuild() error {
	return t.cfg.Store.View(func(v *fsm.View) error {
		// One view for all: runs, workers and schedules are of one index.
		for _, head := range v.Active() {
			if head.Live == 0 {
				t.parking.add(&head)
				continue
			}
			r, err := loadRun(v, head)
			if err != nil {
				return err
			}
			t.model.runs[head.ID] = r
		}
		t.workers.readRecords(v)
		t.schedules.read(v)
		t.backfills.read(v)
		return nil
	})
}

// run is the loop. It returns when ctx has ended and all tasks have.
func (t *term) run(ctx context.Context, sub *fsm.Subscription) error {
	defer close(t.ended)

	// Links end at once; the wait for a proposal may outlast the term a little. Only
	// then is the inbox closed: what is posted until then is dropped with it.
	taskCtx, cancel := context.WithCancel(ctx)
	t.tasks.ctx = taskCtx
	defer func() {
		cancel()
		t.tasks.wait()
		t.inbox.close()
	}()

	t.cfg.Logger.Info("leading", "term", t.number, "runs", len(t.model.runs)+len(t.parking.byID))

	t.announce()

	// Links first: resuming a run may stop attempts, which goes through a link.
	t.updateWorkers()
	for _, r := range t.model.runs {
		t.lifecycle.resume(r)
	}

	// A subscription made before the model was read misses nothing; a change that the
	// model already has is harmless.
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	members, stop := t.cfg.Members.Changes()
	defer stop()

	for {
		// Decide before waiting: the model may hold work already.
		t.step()
		select {
		case <-ctx.Done():
			return nil
		case <-t.inbox.wake:
			for _, fn := range t.inbox.take() {
				fn()
			}
		case <-sub.C:
			t.changed(sub.Take())
		case <-members:
			t.updateWorkers()
		case <-ticker.C:
			t.tick(time.Now())
		case <-t.lifecycle.backoffs.next():
			t.planner.replan.raise()
		case <-t.schedules.next():
		}
	}
}

// announce commits that the term has begun. If that fails, another leader commits its
// own.
func (t *term) announce() {
	if t.lead != nil {
		_ = t.proposals.submit("begin of the term", &fsm.Command{At: time.Now().UTC(), Lead: t.lead}, func(any, error) {})
	}
}

// step does what the last event made possible. All decisions of one step share an
// entry, if they fit: flush comes last.
func (t *term) step() {
	t.lifecycle.queues.admit()
	t.parking.admit(time.Now())
	t.schedules.fireDue()
	t.backfills.fire()
	if t.proposals.busy() {
		return
	}

	// Lookups before the plan: a module that is looked up is not ready.
	t.cache.start()
	if t.planner.replan.raised {
		t.planner.plan()
	}

	t.proposals.flush()
	t.children.propose()
}

// changed takes what was committed and is not the planner's: submissions,
// cancellations, decisions about approvals, facts about workers, schedules.
func (t *term) changed(c fsm.Changes) {
	news := make([]runNews, 0, len(c.Runs))
	err := t.cfg.Store.View(func(v *fsm.View) error {
		if c.Workers || c.All {
			t.workers.readRecords(v)
		}
		if c.Schedules || c.All {
			t.schedules.read(v)
			t.backfills.read(v)
		}
		for _, id := range c.Runs {
			news = append(news, t.model.read(v, id))
		}
		return nil
	})
	if err != nil {
		t.cfg.Logger.Error("read changes", "error", err)
	}

	// After the view: what follows from a change reads the state too, and opening a link
	// starts goroutines, which must not depend on it.
	for i := range news {
		t.runChanged(&news[i])
	}
	if c.Workers || c.All {
		t.updateWorkers()
	}

	t.planner.replan.raise()
}

// runChanged follows the change of one run: it is new, cancelled, forced, decided,
// or gone.
func (t *term) runChanged(x *runNews) {
	// What this leader itself proposed comes by here too, and finds the model ahead.
	id, head := x.id, x.head
	r := t.model.runs[id]

	switch {
	case r != nil && r.stale:
		// It is about to be read again, and this change with it.
	case !x.exists:
		t.lifecycle.drop(id)
		t.parking.remove(id)
	case r == nil && head.State.Final():
		t.parking.remove(id)
	case r == nil:
		if !t.parking.hurry(id) {
			t.parking.add(&head)
		}

	// The reason and who cancelled are in the head.
	case head.State == pipeline.RunCancelling && !r.cancelling():
		r.head = head
		t.lifecycle.cancel(r)
	case head.Forced && !r.head.Forced:
		r.head.Forced = true
		t.lifecycle.cancel(r)
	case len(r.approvals) > 0:
		t.approvals.observe(r, x.records)
	}

	// One entry may have cancelled the run, and the next have ended a child.
	if r != nil && len(r.parents) > 0 && !r.stale && t.model.isCurrent(r) {
		t.children.observe(r, x.records)
	}
}

// updateWorkers follows changes of members and registrations.
func (t *term) updateWorkers() {
	t.workers.update()
	t.reconciler.redispatch()
	t.planner.replan.raise()
}

// tick checks what only time changes.
func (t *term) tick(now time.Time) {
	if missed := t.workers.clock.Beat(); missed > 0 {
		t.cfg.Logger.Warn("this process did not run for a while; that counts as silence of no worker", "missed", missed.Round(time.Millisecond))
	}

	// The wait for a slot near the inputs is bounded by time alone.
	if t.planner.localityWaits {
		t.planner.replan.raise()
	}

	// Losses first: what they free is planned in the step that follows.
	t.reconciler.check(now)
	t.lifecycle.backoffs.wake(now)
	t.timeouts.check(now)
	t.approvals.expire(now)
	t.cache.work.expire(now)
	t.lifecycle.queues.recheck(now)
	t.parking.tick(now)
}
