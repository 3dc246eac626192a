package orchestrator

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/awake"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// workers owns the links to all workers, and the facts about them from the
// replicated state: drains, absences, registrations of external workers.
type workers struct {
	model    *model
	members  Members
	timing   Timing
	self     pipeline.NodeID
	nodeName func(pipeline.NodeID) string
	courier  *courier
	// clock measures how long workers are silent; the loop's tick beats it.
	clock *awake.Clock

	links   map[pipeline.NodeID]*link
	records map[pipeline.NodeID]fsm.WorkerRecord
}

// link returns the link to a worker; nil if there is none.
func (w *workers) link(id pipeline.NodeID) *link { return w.links[id] }

// readRecords takes the facts about workers from the replicated state.
func (w *workers) readRecords(v *fsm.View) {
	w.records = map[pipeline.NodeID]fsm.WorkerRecord{}
	for _, rec := range v.Workers() {
		w.records[rec.ID] = rec
	}
}

// update opens links to new workers, and closes those to workers that left and
// have no attempts.
func (w *workers) update() {
	seen := map[pipeline.NodeID]bool{}
	w.updateMembers(seen)
	w.updateExternal(seen)

	for id, l := range w.links {
		if seen[id] {
			continue
		}
		l.alive = false

		// With attempts the link stays until the lease has decided about them.
		if l.load.slots == 0 {
			l.cancel()
			delete(w.links, id)
		}
	}

	w.openForOrphans()
}

// updateMembers follows the members of the cluster, by gossip.
func (w *workers) updateMembers(seen map[pipeline.NodeID]bool) {
	for _, m := range w.members.Workers() {
		seen[m.ID] = true
		alive := m.Status == pipeline.MemberAlive

		l := w.links[m.ID]

		// A dead member without a link has no attempts that this term knows of.
		if l == nil {
			if !alive {
				continue
			}
			l = w.open(m.ID, m.Name, false)
		}

		// Gossip is a hint. Ask the worker itself now instead of in an interval.
		if l.alive != alive {
			l.alive = alive
			poke(l.outbox.hurry)
		}
	}
}

// updateExternal follows the registrations of external workers.
func (w *workers) updateExternal(seen map[pipeline.NodeID]bool) {
	for id, rec := range w.records {
		if !rec.External {
			continue
		}
		seen[id] = true

		l := w.links[id]
		if l == nil {
			l = w.open(id, rec.Name, true)
		}

		// It may have been removed, and have registered again.
		l.alive = true

		// The registration is all that is known of it: it is not compared with.
		l.incarnation = rec.Incarnation
		l.setCapabilities(rec.Capabilities)
		l.planned.NoSecrets = rec.NoSecrets || !strings.HasPrefix(rec.Endpoint, "https://")
		l.planned.Pipelines = rec.Pipelines
	}
}

// openForOrphans opens links to workers that have attempts and are no members, so
// that the lease decides about them too.
func (w *workers) openForOrphans() {
	for _, r := range w.model.runs {
		if r.queue.Running == 0 {
			continue
		}
		for _, m := range r.list {
			if m.active != nil && w.links[m.active.worker] == nil {
				w.open(m.active.worker, w.nodeName(m.active.worker), false)
			}
		}
	}
}

// open starts a link. A new leader grants every worker a fresh lease.
func (w *workers) open(id pipeline.NodeID, name string, external bool) *link {
	l := &link{id: id, name: name, external: external, heardAt: time.Now(), outbox: newOutbox()}
	l.planned = scheduler.Worker{ID: id, Name: name, External: external, Local: id == w.self}

	// The load follows from the model, so that no count survives a lost link.
	for _, r := range w.model.runs {
		for _, m := range r.list {
			if m.occupiesSlotOf(id) {
				l.load.take(m)
			}
		}
	}

	w.links[id] = l
	w.courier.start(l)
	return l
}

// recount counts the attempts of each worker from the model.
func (w *workers) recount() {
	for _, l := range w.links {
		l.load = load{}
	}

	w.model.occupyingSlots(func(m *moduleState) {
		if l := w.links[m.active.worker]; l != nil {
			l.load.take(m)
		}
	})
}

// reported takes what a report says about its worker.
func (w *workers) reported(in peer.ReportRequest) {
	l := w.links[in.Worker]
	if l == nil {
		return
	}

	l.heard(time.Now())

	if in.Incarnation != "" {
		l.incarnation = in.Incarnation
	}

	// What is placed because of this report must not go there.
	if in.Full != "" {
		l.closed, l.fullReason = true, in.Full // until its next answer to a comparison
	}
}

// heartbeat takes a sign of life of an external worker. One that is not known has
// to register again.
func (w *workers) heartbeat(id pipeline.NodeID, load int) (known, drain bool) {
	rec, ok := w.records[id]
	l := w.links[id]
	if !ok || l == nil {
		return false, false
	}

	l.heard(time.Now())
	l.reportedLoad = load
	return true, rec.Draining
}

// leaseOf is how long a worker is trusted after its last answer.
func (w *workers) leaseOf(l *link) time.Duration {
	if l.external {
		return 3 * w.timing.Heartbeat
	}
	return w.timing.Lease
}

// availability says whether a worker takes something new, and if not, why.
func (w *workers) availability(l *link, now time.Time) availability {
	return l.availability(w.records[l.id], w.leaseOf(l), w.silence(l), now)
}

// silence is how long a worker has not answered while this process ran.
func (w *workers) silence(l *link) time.Duration { return w.clock.Since(l.heardAt) }

// isAway reports whether a worker has announced an absence: its lease does not
// expire until then.
func (w *workers) isAway(l *link, now time.Time) bool { return w.records[l.id].AwayUntil.After(now) }

// plannable is the planner's view of the workers, sorted by id. A worker that has
// not answered in this term is left out: what it has is not known.
func (w *workers) plannable(now time.Time) []*scheduler.Worker {
	out := make([]*scheduler.Worker, 0, len(w.links))
	for _, l := range w.links {
		if l.capabilities == nil {
			continue
		}
		p := &l.planned
		p.Used, p.UsedCPU, p.UsedMemory = l.load.slots, l.load.cpu, l.load.memory

		// Set again by expectFreeSlots, if the plan needs it.
		p.FreeIn = 0
		p.Closed = !w.availability(l, now).open()
		out = append(out, p)
	}

	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// anyFree reports whether a worker that takes modules has a free slot.
func (w *workers) anyFree(now time.Time) bool {
	return slices.ContainsFunc(w.plannable(now), func(x *scheduler.Worker) bool { return !x.Closed && x.Used < x.Slots })
}

// idle returns copies of the workers that take modules, as if they had none, sorted
// by id. If there is no such worker (a node that only shows what `run` has kept),
// it returns those that could take modules, with a slot per processor.
func (w *workers) idle(now time.Time) []*scheduler.Worker {
	var out []*scheduler.Worker
	for _, onlyOpen := range []bool{true, false} {
		for _, l := range w.links {
			if l.capabilities == nil || onlyOpen && (l.capabilities.MaxParallelModules < 1 || !w.availability(l, now).open()) {
				continue
			}

			// A copy: the simulation changes it.
			p := l.planned
			p.Used, p.UsedCPU, p.UsedMemory, p.Closed = 0, 0, 0, false
			if !onlyOpen {
				p.Slots = max(1, p.Slots, int(l.capabilities.CPU))
			}
			out = append(out, &p)
		}
		if len(out) > 0 {
			break
		}
	}

	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// known returns the planner's view of all workers with known capabilities.
func (w *workers) known() []*scheduler.Worker {
	var out []*scheduler.Worker
	for _, l := range w.links {
		if l.capabilities != nil {
			out = append(out, &l.planned)
		}
	}
	return out
}

// fitting returns the links to the workers that have what a class requires, sorted
// by name.
func (w *workers) fitting(c scheduler.Class) []*link {
	var out []*link
	for _, l := range w.links {
		if l.fits(c) {
			out = append(out, l)
		}
	}

	slices.SortFunc(out, func(a, b *link) int { return strings.Compare(a.name, b.name) })
	return out
}

// platforms lists the platforms of the workers that a class may run on.
func (w *workers) platforms(c scheduler.Class) []platform {
	var list []platform
	for _, l := range w.fitting(c) {
		if p := (platform{l.capabilities.OS, l.capabilities.Arch}); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}

	slices.SortFunc(list, func(a, b platform) int { return strings.Compare(a.os+"/"+a.arch, b.os+"/"+b.arch) })
	return list
}

// platformsIfOpen is platforms; if no worker takes modules, it lists a platform of
// a worker that could.
func (w *workers) platformsIfOpen(c scheduler.Class) []platform {
	list := w.platforms(c)
	for _, l := range w.links {
		if len(list) > 0 || l.capabilities == nil {
			continue
		}
		p := l.planned
		p.Slots = 1
		if scheduler.Fits(&p, c) {
			list = append(list, platform{l.capabilities.OS, l.capabilities.Arch})
		}
	}
	return list
}

// list describes all workers, sorted by name.
func (w *workers) list(now time.Time) []pipeline.Worker {
	var out []pipeline.Worker
	for _, l := range w.links {
		if l.capabilities == nil {
			continue
		}
		rec := w.records[l.id]
		x := pipeline.Worker{ID: l.id, Name: l.name, Capabilities: *l.capabilities, External: l.external, CurrentLoad: l.load.slots,
			Reserved: pipeline.Resources{CPU: float64(l.load.cpu) / 1000, Memory: l.load.memory},
			Endpoint: rec.Endpoint, Since: rec.Since, Status: w.availability(l, now).status()}
		out = append(out, x)
	}

	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
