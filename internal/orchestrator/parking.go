package orchestrator

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxLoaded is how many modules the model holds before further runs are parked,
	// once for small runs and once for large ones: a module takes some 3 KB. Runs with
	// live attempts are held in any case.
	maxLoaded = 20_000
	// maxSmall is how many modules a small run has: it never waits for a large one.
	maxSmall = 100
	// urgentShare is the part of that, one in so many, by which runs to which something
	// happened may exceed it if nothing can be parked for them.
	urgentShare = 4
	// runWeight is what a run takes besides its modules, in modules.
	runWeight = 4
	// minStay is how long a run of which nothing can start stays in the model while
	// others are parked, and the least time between two exchanges for runs that were in
	// the model before.
	minStay = time.Second
	// exchangeShare bounds the part of its time that the leader spends on exchanges:
	// one in so many.
	exchangeShare = 20
)

// parking bounds the model. An active run that has no live attempt may be parked:
// the model knows no more of it than its head, and it is read from the replicated
// state again, as by a new leader, when its turn comes. Every run begins parked, and
// comes into the model at once if there is room.
//
// Nothing starves: each submitter has a small and a large run in the model, however
// full it is, and a run of which nothing can start makes room for another. A run that
// only waits for a busy slot stays, so that slots go to the oldest.
type parking struct {
	model   *model
	store   stateReader
	logger  hclog.Logger
	limit   int
	workers interface{ anyFree(time.Time) bool }
	// undecided reports whether decisions about a run are not proposed yet.
	undecided func(*run) bool
	drop      func(pipeline.RunID)
	resume    func(*run)

	byID map[pipeline.RunID]*parkedRun
	// queues has the parked runs, the next one first; those that wait in a queue of runs
	// are not in it.
	queues map[queueKey][]*parkedRun
	// since is when the runs of the model came into it.
	since map[pipeline.RunID]time.Time
	// moved is set if a parked run may come back.
	moved bool
	// exchangedAt is by queueKey.large. took is how long the last admission took.
	exchangedAt map[bool]time.Time
	took        time.Duration
}

func newParking(limit int, l *lifecycle, workers *workers) *parking {
	return &parking{model: l.model, store: l.store, logger: l.logger, limit: limit, workers: workers, drop: l.drop, resume: l.resume,
		undecided: func(r *run) bool { _, found := l.proposals.batch.runs[r]; return found },
		byID:      map[pipeline.RunID]*parkedRun{}, queues: map[queueKey][]*parkedRun{}, since: map[pipeline.RunID]time.Time{},
		exchangedAt: map[bool]time.Time{}}
}

// queueKey says which parked runs wait for each other: those of a submitter that are
// small, or large.
type queueKey struct {
	large     bool
	submitter string
}

// parkedRun is what is known of a parked run.
type parkedRun struct {
	id     pipeline.RunID
	number uint64
	queue  queueKey
	weight int
	// again is set if it was in the model before.
	again bool
	// blocked runs wait in a queue of runs.
	blocked bool
	// urgent is set if something happened to it; due is when time changes it, zero for
	// never.
	urgent bool
	due    time.Time
	// pipeline and began, whether it has started, are for the census.
	pipeline string
	began    bool
}

// loads counts what the model holds.
type loads struct {
	total   map[bool]int // by queueKey.large
	byQueue map[queueKey]int
}

func (l *loads) add(queue queueKey, weight int) {
	l.total[queue.large] += weight
	l.byQueue[queue] += weight
}

func (r *run) weight() int { return len(r.list) + runWeight }

func (r *run) queueKey() queueKey {
	return queueKey{large: len(r.list) > maxSmall, submitter: r.head.Submitter}
}

func (p *parking) loads() *loads {
	l := &loads{total: map[bool]int{}, byQueue: map[queueKey]int{}}
	for _, r := range p.model.runs {
		l.add(r.queueKey(), r.weight())
	}
	return l
}

// add parks a run that is not in the model.
func (p *parking) add(head *pipeline.Run) {
	p.push(&parkedRun{id: head.ID, number: head.Number, weight: head.Modules + runWeight,
		queue: queueKey{large: head.Modules > maxSmall, submitter: head.Submitter}, pipeline: head.Pipeline, began: !head.StartedAt.IsZero()})
}

func (p *parking) push(x *parkedRun) {
	if p.byID[x.id] != nil {
		return
	}

	p.byID[x.id] = x
	if x.blocked {
		return
	}
	// Changes do not come in the order of the runs.
	queue := p.queues[x.queue]
	i := len(queue)
	for !x.again && i > 0 && !queue[i-1].again && !queue[i-1].urgent && queue[i-1].number > x.number {
		i--
	}
	p.queues[x.queue] = slices.Insert(queue, i, x)
	p.moved = true
}

// left notes that a run has left the model.
func (p *parking) left(id pipeline.RunID) {
	delete(p.since, id)
	p.moved = true
}

// remove forgets a run that comes into the model, or has ended.
func (p *parking) remove(id pipeline.RunID) {
	x := p.byID[id]
	if x == nil {
		return
	}

	delete(p.byID, id)
	queue := p.queues[x.queue]
	if i := slices.Index(queue, x); i == 0 {
		queue = queue[1:] // the usual case, in constant time
	} else if i > 0 {
		queue = slices.Delete(queue, i, i+1)
	}
	if p.queues[x.queue] = queue; len(queue) == 0 {
		delete(p.queues, x.queue)
	}
}

// hurry lets a parked run come back before others, the first that was to first. It
// reports whether the run is parked.
func (p *parking) hurry(id pipeline.RunID) bool {
	x := p.byID[id]
	if x == nil {
		return false
	}

	p.moved = true
	if x.urgent {
		return true
	}
	p.remove(id)
	x.urgent, x.blocked = true, false
	p.byID[id] = x
	queue := p.queues[x.queue]
	behind := sort.Search(len(queue), func(i int) bool { return !queue[i].urgent }) // they are first
	p.queues[x.queue] = slices.Insert(queue, behind, x)
	return true
}

// next is the parked run, small or large, that comes back first: the first one of a
// submitter, one to which something happened, one of the submitter that has the fewest
// modules in the model, the oldest. nil if none waits for room.
func (p *parking) next(l *loads, large bool) *parkedRun {
	var best *parkedRun
	for key, queue := range p.queues {
		if x := queue[0]; key.large == large && (best == nil || x.before(best, l)) {
			best = x
		}
	}
	return best
}

func (x *parkedRun) before(y *parkedRun, l *loads) bool {
	// What always fits comes first: an urgent run may have to wait for room.
	if first := l.byQueue[x.queue] == 0; first != (l.byQueue[y.queue] == 0) {
		return first
	}
	if x.urgent != y.urgent {
		return x.urgent
	}
	return cmp.Or(cmp.Compare(l.byQueue[x.queue], l.byQueue[y.queue]), cmp.Compare(x.number, y.number)) < 0
}

// admit reads the runs from the state for which there is room.
func (p *parking) admit(now time.Time) {
	if !p.moved || len(p.queues) == 0 {
		return
	}

	p.moved = false
	var list []*parkedRun
	l := p.loads()
	for _, large := range []bool{false, true} {
		for x := p.next(l, large); x != nil && (p.fits(x, l) || x.urgent && p.makeRoom(x, l, now)); x = p.next(l, large) {
			p.remove(x.id)
			l.add(x.queue, x.weight)
			list = append(list, x)
		}
	}
	if len(list) == 0 {
		return
	}

	// The view is closed before anything is resumed: resuming reads the state too.
	var fresh []*run
	err := p.store.View(func(v *fsm.View) error {
		for _, x := range list {
			if r := p.load(v, x.id); r != nil {
				fresh = append(fresh, r)
			}
		}
		return nil
	})
	if err != nil {
		p.logger.Error("read runs", "error", err)
		return
	}

	for _, r := range fresh {
		p.since[r.head.ID] = now
		p.resume(r)
	}
	p.took = time.Since(now)
}

// load reads a run into the model; nil if it is not active any more.
func (p *parking) load(v *fsm.View, id pipeline.RunID) *run {
	head, ok := v.Run(id)
	if !ok || head.State.Final() {
		return nil
	}

	r, err := loadRun(v, head)
	if err != nil {
		p.logger.Error("read run", head.LogFields("error", err)...)
		return nil
	}
	p.model.runs[id] = r
	return r
}

// fits reports whether there is room for a run. There is for the first of a submitter.
func (p *parking) fits(x *parkedRun, l *loads) bool {
	return l.byQueue[x.queue] == 0 || l.total[x.queue.large]+x.weight <= p.limit
}

// makeRoom parks runs of which nothing can start until an urgent one fits.
func (p *parking) makeRoom(x *parkedRun, l *loads, now time.Time) bool {
	for !p.fits(x, l) {
		r := p.idlest(l, x.queue.large, now)
		if r == nil {
			return l.total[x.queue.large] < p.limit+p.limit/urgentShare
		}
		l.add(r.queueKey(), -r.weight())
		p.park(r, now)
	}
	return true
}

// tick lets runs come back that time changes, and exchanges one of which nothing can
// start for one that is parked.
func (p *parking) tick(now time.Time) {
	if len(p.byID) == 0 {
		return
	}

	for _, x := range p.byID {
		if !x.due.IsZero() && !now.Before(x.due) && !x.urgent {
			p.hurry(x.id)
		}
	}

	l := p.loads()
	for _, large := range []bool{false, true} {
		x := p.next(l, large)
		if since := now.Sub(p.exchangedAt[large]); x == nil || x.again && since < minStay || since < exchangeShare*p.took {
			continue
		}
		p.exchangedAt[large] = now
		if r := p.idlest(l, large, now); r != nil {
			p.park(r, now)
		}
	}
}

// unblock lets parked runs come back that may start now, by their queue of runs.
func (p *parking) unblock(v *fsm.View) {
	for id, x := range p.byID {
		if !x.blocked {
			continue
		}
		head, ok := v.Run(id)
		if _, why := v.WaitsFor(&head); !ok || why == "" {
			p.hurry(id)
		}
	}
}

// park takes a run out of the model.
func (p *parking) park(r *run, now time.Time) {
	x := &parkedRun{id: r.head.ID, number: r.head.Number, queue: r.queueKey(), weight: r.weight(), again: true, pipeline: r.head.Pipeline, began: !r.head.StartedAt.IsZero(),
		blocked: r.blockedBy != "", due: r.deadline()}
	sooner := func(t time.Time) {
		// A retry that was due before still waits for its worker.
		if t.After(now) && (x.due.IsZero() || t.Before(x.due)) {
			x.due = t
		}
	}
	for _, m := range r.list {
		if m.state.Final() {
			continue
		}
		sooner(m.tries.notBefore)
		if m.approval != nil {
			sooner(m.approval.deadline)
		}
	}

	p.drop(x.id)
	p.push(x)
}

// idlest is a small or a large run of which nothing can start: of the submitter with
// the most modules in the model the one that has been there longest; nil if there is
// none.
func (p *parking) idlest(l *loads, large bool, now time.Time) *run {
	free := p.workers.anyFree(now)
	var best *run
	for id, r := range p.model.runs {
		if r.queueKey().large != large || now.Sub(p.since[id]) < minStay || !p.canWait(r, free) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(l.byQueue[best.queueKey()], l.byQueue[r.queueKey()]),
			p.since[id].Compare(p.since[best.head.ID]), cmp.Compare(r.head.Number, best.head.Number)) < 0 {
			best = r
		}
	}
	return best
}

// canWait reports whether nothing of a run happens or can start. If no worker has a
// free slot, a run that waits for one could start as soon as there is one.
func (p *parking) canWait(r *run, free bool) bool {
	if r.stale || r.ended || r.expiring || r.inFlight > 0 || len(r.occupying) > 0 || p.undecided(r) {
		return false
	}
	if r.queue.Len() > 0 && !free && !r.explained.fitsNowhere() {
		return false
	}
	for _, m := range r.list {
		if m.active != nil || m.ready.hasLocks || m.deferred.running || m.child.preparing || m.cache.asked {
			return false
		}
	}
	return true
}
