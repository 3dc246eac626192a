package orchestrator

import (
	"cmp"
	"maps"
	"slices"
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
	// runWeight is what a run takes besides its modules, in modules.
	runWeight = 4
	// turn is how long a run of which nothing can start stays in the model while others
	// are parked, and the least time between two exchanges for such that had their turn
	// before.
	turn = time.Second
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
// full it is, and a run of which nothing can start makes room for another in turn. A run that only
// waits for a busy slot keeps its place, so that slots go to the oldest.
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
	// lines has the parked runs, the next one first; those that wait in a queue of runs
	// are not in it.
	lines map[lineKey][]*parkedRun
	// since is when the runs of the model came into it.
	since map[pipeline.RunID]time.Time
	// moved is set if a parked run may come back.
	moved bool
	// exchangedAt is by lineKey.large. took is how long the last admission took.
	exchangedAt map[bool]time.Time
	took        time.Duration
}

func newParking(limit int, l *lifecycle, workers *workers) *parking {
	return &parking{model: l.model, store: l.store, logger: l.logger, limit: limit, workers: workers, drop: l.drop, resume: l.resume,
		undecided: func(r *run) bool { _, found := l.proposals.batch.runs[r]; return found },
		byID:      map[pipeline.RunID]*parkedRun{}, lines: map[lineKey][]*parkedRun{}, since: map[pipeline.RunID]time.Time{},
		exchangedAt: map[bool]time.Time{}}
}

// lineKey says which runs take turns: those of a submitter that are small, or large.
type lineKey struct {
	large     bool
	submitter string
}

// parkedRun is what is known of a parked run.
type parkedRun struct {
	id     pipeline.RunID
	number uint64
	line   lineKey
	weight int
	// again is set if it was in the model before.
	again bool
	// blocked runs wait in a queue of runs.
	blocked bool
	// urgent is set if something happened to it; due is when time changes it, zero for
	// never.
	urgent bool
	due    time.Time
}

// loads counts what the model holds.
type loads struct {
	total  map[bool]int // by lineKey.large
	byLine map[lineKey]int
}

func (l *loads) add(line lineKey, weight int) {
	l.total[line.large] += weight
	l.byLine[line] += weight
}

func (r *run) weight() int { return len(r.list) + runWeight }

func (r *run) line() lineKey {
	return lineKey{large: len(r.list) > maxSmall, submitter: r.head.Submitter}
}

func (p *parking) loads() *loads {
	l := &loads{total: map[bool]int{}, byLine: map[lineKey]int{}}
	for _, r := range p.model.runs {
		l.add(r.line(), r.weight())
	}
	return l
}

// add parks a run that is not in the model.
func (p *parking) add(head *pipeline.Run) {
	p.push(&parkedRun{id: head.ID, number: head.Number, weight: head.Modules + runWeight,
		line: lineKey{large: head.Modules > maxSmall, submitter: head.Submitter}})
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
	line := p.lines[x.line]
	i := len(line)
	for !x.again && i > 0 && !line[i-1].again && line[i-1].number > x.number {
		i--
	}
	p.lines[x.line] = slices.Insert(line, i, x)
	p.moved = true
}

// left notes that a run has left the model.
func (p *parking) left() { p.moved = true }

// remove forgets a run that comes into the model, or has ended.
func (p *parking) remove(id pipeline.RunID) {
	x := p.byID[id]
	if x == nil {
		return
	}

	delete(p.byID, id)
	line := p.lines[x.line]
	if i := slices.Index(line, x); i == 0 {
		line = line[1:] // the usual case, in constant time
	} else if i > 0 {
		line = slices.Delete(line, i, i+1)
	}
	if p.lines[x.line] = line; len(line) == 0 {
		delete(p.lines, x.line)
	}
}

// hurry lets a parked run come back before others. It reports whether the run is
// parked.
func (p *parking) hurry(id pipeline.RunID) bool {
	x := p.byID[id]
	if x == nil {
		return false
	}

	p.remove(id)
	x.urgent, x.blocked = true, false
	p.byID[id] = x
	p.lines[x.line] = slices.Insert(p.lines[x.line], 0, x)
	p.moved = true
	return true
}

// next is the parked run, small or large, that comes back first: one to which something
// happened, one of the submitter that has the fewest modules in the model, the oldest.
// nil if none waits for room.
func (p *parking) next(l *loads, large bool) *parkedRun {
	var best *parkedRun
	for key, line := range p.lines {
		if x := line[0]; key.large == large && (best == nil || x.before(best, l)) {
			best = x
		}
	}
	return best
}

func (x *parkedRun) before(y *parkedRun, l *loads) bool {
	if x.urgent != y.urgent {
		return x.urgent
	}
	return cmp.Or(cmp.Compare(l.byLine[x.line], l.byLine[y.line]), cmp.Compare(x.number, y.number)) < 0
}

// admit reads the runs from the state for which there is room.
func (p *parking) admit(now time.Time) {
	if !p.moved {
		return
	}

	p.moved = false
	maps.DeleteFunc(p.since, func(id pipeline.RunID, _ time.Time) bool { return p.model.runs[id] == nil })
	var list []*parkedRun
	l := p.loads()
	for _, large := range []bool{false, true} {
		for x := p.next(l, large); x != nil && (p.fits(x, l) || x.urgent && p.makeRoom(x, l, now)); x = p.next(l, large) {
			p.remove(x.id)
			l.add(x.line, x.weight)
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
		p.logger.Error("read run", "run", id, "error", err)
		return nil
	}
	p.model.runs[id] = r
	return r
}

// fits reports whether there is room for a run. There is for the first of a submitter.
func (p *parking) fits(x *parkedRun, l *loads) bool {
	return l.byLine[x.line] == 0 || l.total[x.line.large]+x.weight <= p.limit
}

// makeRoom parks runs of which nothing can start until another fits.
func (p *parking) makeRoom(x *parkedRun, l *loads, now time.Time) bool {
	for !p.fits(x, l) {
		r := p.idlest(l, x.line.large, now)
		if r == nil {
			return false
		}
		l.add(r.line(), -r.weight())
		p.park(r)
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
		if since := now.Sub(p.exchangedAt[large]); x == nil || x.again && since < turn || since < exchangeShare*p.took {
			continue
		}
		p.exchangedAt[large] = now
		if r := p.idlest(l, large, now); r != nil {
			p.park(r)
		}
	}
}

// unblock lets parked runs come back whose turn in their queue of runs has come.
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
func (p *parking) park(r *run) {
	x := &parkedRun{id: r.head.ID, number: r.head.Number, line: r.line(), weight: r.weight(), again: true,
		blocked: r.blockedBy != "", due: r.deadline()}
	sooner := func(t time.Time) {
		if !t.IsZero() && (x.due.IsZero() || t.Before(x.due)) {
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

	delete(p.since, x.id)
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
		if r.line().large != large || now.Sub(p.since[id]) < turn || !p.canWait(r, free) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(l.byLine[best.line()], l.byLine[r.line()]),
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
		if m.active != nil || m.ready.hasLocks || m.deferred.running {
			return false
		}
	}
	return true
}
