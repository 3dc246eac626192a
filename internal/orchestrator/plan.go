package orchestrator

import (
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// plan places what is ready.
func (t *term) plan() {
	t.dirty, t.kept, t.nearby = false, nil, false
	t.wakeDelayed()
	now := time.Now()
	v := scheduler.View{Workers: t.planWorkers(), Now: now, AgingInterval: agingInterval}
	t.grantLocks(v.Workers)
	large := false
	for _, r := range t.runs {
		if r.queue.Len() > 0 && !r.stale {
			r.queue.Priority = r.priority(now)
			v.Runs = append(v.Runs, &r.queue)
			r.why, r.near = nil, nil
			large = large || r.large
		}
	}
	if len(v.Runs) == 0 {
		return
	}
	// The order of a map is not the planner's business, but its input is: the
	// same view gives the same plan.
	sort.Slice(v.Runs, func(i, j int) bool { return v.Runs[i].Number < v.Runs[j].Number })
	if large {
		t.freeIn(now)
	}
	placed, why := scheduler.Plan(&v)
	t.kept, t.nearby = v.Reservation, len(v.LocalityWaits) > 0
	for _, n := range v.LocalityWaits {
		r := t.runs[n.Run]
		if r.near == nil {
			r.near = map[string]scheduler.LocalityWait{}
		}
		r.near[n.Module] = n
	}
	for _, e := range why {
		r := t.runs[e.Run]
		if r.why == nil {
			r.why = map[scheduler.Class]scheduler.Why{}
		}
		r.why[e.Class] = e.Why
	}
	denied := map[*mod]string{}
	for _, p := range placed {
		m := t.runs[p.Run].mods[p.Module.Name]
		if why := t.deny(m); why != "" {
			m.run.queue.Running--
			m.unready()
			denied[m] = why
			continue
		}
		t.assign(p)
		if t.batch.full() {
			t.flush()
		}
	}
	for m, why := range denied { // after the others: their run may stop for it
		if !m.state.Final() {
			t.dirty = true
			t.end(m, pipeline.ModuleFailed, why)
		}
	}
	if len(v.Runs) == 1 {
		t.queueBehind(t.runs[v.Runs[0].ID])
	}
}

// agingInterval is how long a run waits for a priority to count for one more.
const agingInterval = 15 * time.Second

// priority is that of the first ready module of the run. It grows while nothing
// of the run is placed, so that nothing waits for ever.
func (r *run) priority(now time.Time) int {
	if r.waitingSince.IsZero() {
		r.waitingSince = now
	}
	return r.queue.Top() + int(now.Sub(r.waitingSince)/agingInterval)
}

func (t *term) assign(p scheduler.Placement) {
	m := t.runs[p.Run].mods[p.Module.Name]
	link := t.links[p.Worker]
	if t.waitBehind(m, true) {
		m.run.queue.Running--
		t.dirty = true // the slot is free still
		return
	}
	m.queued = false
	m.attempts++
	m.state = pipeline.ModuleRunning
	l := &live{mod: m, id: pipeline.AttemptID{Run: p.Run, Module: m.def.Name, Attempt: m.attempts}, worker: p.Worker,
		incarnation: link.incarnation, evaluated: m.evaluated, assignedAt: time.Now()}
	l.note, l.localBytes = t.noteFor(m, link), p.LocalBytes
	m.live = l
	t.own(m)
	m.run.waitingSince = time.Time{}
	if m.run.head.StartedAt.IsZero() {
		m.run.head.StartedAt = l.assignedAt
	}
	m.run.occupy(l)
	link.take(m)
	t.batch.assign(l, p.WorkerName)
}

const (
	// queueAhead is how much work is queued behind a running attempt: enough to
	// hide a commit and a call, too little for another run to wait for.
	queueAhead = 20 * time.Millisecond
	// maxQueued bounds the attempts behind one.
	maxQueued = 8
)

// queueBehind assigns modules of a run whose attempts are short to workers that
// are busy with it, each behind an attempt that runs there: they start when
// that one has succeeded, without waiting for a commit. Only where no other
// run waits for a slot, since what is queued cannot be taken back.
func (t *term) queueBehind(r *run) {
	if r.queue.Len() == 0 || r.paced < 2 || r.pace >= queueAhead {
		return
	}
	depth := min(maxQueued, int(queueAhead/max(r.pace, time.Millisecond)))
	now := time.Now()
	for _, head := range r.heads {
		if head.stop != "" || head.ending {
			continue
		}
		link := t.links[head.worker]
		if link == nil || link.caps == nil || link.outside || !t.open(link, now) || t.kept != nil && t.kept.Worker == &link.sched {
			continue
		}
		tail, queued := head, 0
		for tail.next != nil {
			tail, queued = tail.next, queued+1
		}
		if queued > depth/2 {
			continue // refilled in one go later: fewer, fuller entries
		}
		for ; queued < depth; queued++ {
			next := r.queue.Next(func(c scheduler.Class) bool {
				// What it leaves free may go to others as soon as it has ended.
				return !c.Alone && !c.Private && c.Avoid != head.worker && scheduler.Fits(&link.sched, c) && c.Within(tail.mod.class())
			})
			if next == nil {
				break
			}
			if m := r.mods[next.Name]; !t.waitBehind(m, true) {
				tail = t.assignBehind(m, tail, link)
			}
			if t.batch.full() {
				t.flush()
			}
		}
	}
}

func (t *term) assignBehind(m *mod, before *live, link *link) *live {
	m.queued = false
	m.attempts++
	m.state = pipeline.ModuleRunning
	l := &live{mod: m, id: pipeline.AttemptID{Run: m.run.head.ID, Module: m.def.Name, Attempt: m.attempts}, worker: link.id,
		incarnation: link.incarnation, evaluated: m.evaluated, assignedAt: time.Now(), after: before}
	l.note = t.noteFor(m, link)
	before.next, m.live = l, l
	t.own(m)
	t.batch.assign(l, link.name)
	return l
}

// planWorkers gives the planner's view of the workers.
func (t *term) planWorkers() []*scheduler.Worker {
	out := make([]*scheduler.Worker, 0, len(t.links))
	now := time.Now()
	for _, l := range t.links {
		if l.caps == nil {
			continue // not heard of in this term: what it has is not known yet
		}
		l.sched.Slots, l.sched.Used = l.caps.MaxParallelModules, l.used
		l.sched.FreeIn = 0
		l.sched.UsedCPU, l.sched.UsedMemory = l.cpu, l.memory
		l.sched.Closed = !t.open(l, now)
		out = append(out, &l.sched)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// open reports whether a worker may be given something new.
func (t *term) open(l *link, now time.Time) bool {
	rec := t.records[l.id]
	return !l.closed && !l.refused && !rec.Draining && rec.AwayUntil.Before(now) && now.Sub(l.lastHeard) < t.leaseOf(l)/2 && (l.alive || l.outside)
}

// waiting says why ready modules of a run are not placed.
func (t *term) waiting(id pipeline.RunID) map[string]string {
	r := t.runs[id]
	if r == nil {
		return nil
	}
	out := map[string]string{}
	for _, m := range r.list {
		if m.state != pipeline.ModuleWaiting {
			continue
		}
		switch {
		case r.held != "":
			out[m.def.Name] = "the run " + r.held
		case m.waits > 0:
			out[m.def.Name] = "waits for " + m.waitsFor()
		case m.gate != nil:
			out[m.def.Name] = pipeline.WaitsForApproval(m.gate.message)
		case t.waitsForResult(m) != "":
			out[m.def.Name] = t.waitsForResult(m)
		case m.wants:
			out[m.def.Name] = t.waitsForLock(m)
		case m.evaluating:
			out[m.def.Name] = "its expressions are being evaluated"
		case m.notBefore.After(time.Now()):
			out[m.def.Name] = m.nextAttempt(time.Now())
		case r.near[m.def.Name].Worker != nil:
			out[m.def.Name] = waitsForSlotOf(r.near[m.def.Name])
		case r.why[scheduler.Class{}] == scheduler.AtLimit:
			out[m.def.Name] = "the run has as many modules running as max_parallel allows"
		case r.why[m.class()] == scheduler.NoWorker:
			out[m.def.Name] = t.noWorker(m)
		case r.why[m.class()] == scheduler.NoSlot:
			out[m.def.Name] = t.noSlot(m)
		case r.why[m.class()] == scheduler.NoCapacity:
			out[m.def.Name] = t.noRoom(m)
		case r.why[m.class()] == scheduler.Reserved:
			out[m.def.Name] = t.holding()
		}
	}
	return out
}

// noWorker says why a module fits no worker that there is.
func (t *term) noWorker(m *mod) string {
	c := m.class()
	if c.Private {
		c.Private = false
		for _, l := range t.links {
			if l.caps != nil && scheduler.Fits(&l.sched, c) {
				return "its secrets are not sent over plain http, and worker " + l.name + " has no https endpoint"
			}
		}
	}
	if s := t.tooSmall(m); s != "" {
		return s
	}
	return t.lacking(m.def.Requires)
}

// noSlot says why none of the workers that could take a module does.
func (t *term) noSlot(m *mod) string {
	now := time.Now()
	var shut []string
	for _, l := range t.links {
		if l.caps == nil || !scheduler.Fits(&l.sched, m.class()) {
			continue
		}
		rec := t.records[l.id]
		switch {
		case rec.AwayUntil.After(now):
			shut = append(shut, l.name+" is away until "+rec.AwayUntil.UTC().Format(time.RFC3339))
		case l.closed && l.why != "":
			shut = append(shut, l.name+": "+l.why)
		case rec.Draining || l.closed:
			shut = append(shut, l.name+" is draining")
		case !t.open(l, now):
			shut = append(shut, l.name+" does not answer")
		default:
			return t.busy(m)
		}
	}
	sort.Strings(shut)
	return "no worker takes work: " + strings.Join(shut, ", ")
}

func (m *mod) waitsFor() string {
	var names []string
	for _, d := range m.deps {
		if !d.state.Final() {
			names = append(names, d.def.Name)
		}
		if len(names) == 4 {
			names[3] = "…"
			break
		}
	}
	return strings.Join(names, ", ")
}

func needs(r pipeline.Requires) string {
	var s []string
	if r.OS != "" {
		s = append(s, "os "+r.OS)
	}
	if r.Arch != "" {
		s = append(s, "arch "+r.Arch)
	}
	for _, x := range r.Tools {
		s = append(s, "tool "+x)
	}
	for _, x := range r.Tags {
		s = append(s, "tag "+x)
	}
	if len(s) == 0 {
		return "a slot"
	}
	return strings.Join(s, ", ")
}
