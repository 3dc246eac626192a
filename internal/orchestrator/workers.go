package orchestrator

import (
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// updateMembers opens links to workers that came, and closes those to workers
// that went and have nothing left.
func (t *term) updateMembers() {
	seen := map[pipeline.NodeID]bool{}
	for _, m := range t.cfg.Members.Workers() {
		seen[m.ID] = true
		alive := m.Status == pipeline.MemberAlive
		l := t.links[m.ID]
		if l == nil {
			if !alive {
				continue
			}
			l = t.openLink(m.ID, m.Name, false)
		}
		if l.alive != alive {
			l.alive = alive
			poke(l.hurry)
		}
	}
	for id, rec := range t.records {
		if !rec.Outside {
			continue
		}
		seen[id] = true
		l := t.links[id]
		if l == nil {
			l = t.openLink(id, rec.Name, true)
			l.alive = true
		}
		l.incarnation = rec.Incarnation
		l.setCaps(rec.Capabilities)
		l.sched.Plain = !strings.HasPrefix(rec.Endpoint, "https://")
		t.redispatch(l)
	}
	for id, l := range t.links {
		if !seen[id] {
			l.alive = false
			if l.used == 0 {
				l.cancel()
				delete(t.links, id)
			}
		}
	}
	t.orphans()
	t.dirty = true
}

// orphans opens links for workers that have attempts and are not members, so
// that the lease decides about them too.
func (t *term) orphans() {
	for _, r := range t.runs {
		if r.queue.Running == 0 {
			continue
		}
		for _, m := range r.list {
			if m.live != nil && t.links[m.live.worker] == nil {
				t.openLink(m.live.worker, t.cfg.NodeName(m.live.worker), false)
			}
		}
	}
}

// redispatch sends an outside worker what it may not have got: it is not
// compared with, but answers a repeated execution without starting it again.
func (t *term) redispatch(l *link) {
	if l.used == 0 {
		return
	}
	for _, r := range t.runs {
		for _, m := range r.list {
			a := m.live
			if a == nil || a.worker != l.id || a.fence == 0 || a.ending {
				continue
			}
			if a.incarnation != l.incarnation {
				t.lost(a, "worker "+l.name+" registered anew")
			} else if a.sent.IsZero() {
				t.dispatch(a)
			}
		}
	}
}

// timeouts asks for the end of runs whose time is over.
func (t *term) timeouts(now time.Time) {
	for _, r := range t.runs {
		end := r.deadline()
		if end.IsZero() || now.Before(end) || r.cancelling() || r.ended || r.expiring {
			continue
		}
		r.expiring = true
		b, err := fsm.Encode(&fsm.Command{At: now.UTC(), Cancel: &fsm.Cancel{Run: r.head.ID, TimedOut: true, Tries: r.head.Tries,
			Reason: "the run's timeout of " + r.def.Timeout.String() + " is over"}})
		if err != nil {
			t.log.Error("encode a run's timeout", "run", r.head.ID, "error", err)
			continue
		}
		p := t.cfg.Log.Propose(b)
		t.group.Go(func() error {
			if _, _, err := p.Wait(); err != nil {
				t.log.Warn("end a run whose time is over", "run", r.head.ID, "error", err)
				t.post(func() { r.expiring = false })
			}
			return nil
		})
	}
}

func (t *term) leaseOf(l *link) time.Duration {
	if l.outside {
		return 3 * t.cfg.Timing.Heartbeat
	}
	return t.cfg.Timing.Lease
}

// tick looks at leases and deadlines.
func (t *term) tick(now time.Time) {
	t.dirty = t.dirty || t.nearby
	for _, l := range t.links {
		t.checkLease(l, now)
		t.checkDrain(l, now)
		if l.outside {
			t.redispatch(l)
		}
	}
	t.wakeDelayed()
	t.timeouts(now)
	t.gatesDue(now)
	t.impatient(now)
	if now.Sub(t.swept) > 10*time.Second {
		t.swept, t.moved = now, true
	}
}

// checkLease gives up the attempts of a worker that is lost: its lease has
// expired and gossip does not see it, or its port refuses, or it was silent
// for long enough (settled 3).
func (t *term) checkLease(l *link, now time.Time) {
	expired := now.Sub(l.lastHeard) - t.leaseOf(l)
	if away := t.records[l.id].AwayUntil; away.After(now) {
		return
	}
	if expired <= 0 || !(l.outside || !l.alive || l.refused || expired > t.cfg.Timing.Silence) {
		return
	}
	if l.used == 0 {
		return
	}
	t.log.Warn("worker is lost", "worker", l.name, "silent", now.Sub(l.lastHeard).Round(time.Millisecond), "attempts", l.used)
	for _, a := range t.liveOn(l.id) {
		if a.mod.def.OnDisconnect == pipeline.DisconnectKill && expired < killTime {
			continue // may still be there: it is being stopped
		}
		t.lost(a, "worker "+l.name+" was lost: no word from it for "+now.Sub(l.lastHeard).Round(100*time.Millisecond).String())
	}
}

func (t *term) liveOn(id pipeline.NodeID) []*live {
	var out []*live
	for _, r := range t.runs {
		if r.queue.Running == 0 || r.stale {
			continue
		}
		for _, m := range r.list {
			if m.live != nil && m.live.worker == id && !m.live.ending {
				out = append(out, m.live)
			}
		}
	}
	return out
}

// checkDrain stops what still runs on a worker whose drain has a deadline that
// passed.
func (t *term) checkDrain(l *link, now time.Time) {
	rec := t.records[l.id]
	if !rec.Draining || rec.DrainDeadline.IsZero() || now.Before(rec.DrainDeadline) || l.used == 0 {
		return
	}
	for _, a := range t.liveOn(l.id) {
		if a.stop == "" {
			t.stopAttempt(a, "the worker is being drained")
		}
	}
}

// heartbeat notes a word from an outside worker.
func (t *term) heartbeat(id pipeline.NodeID, load int) (known, drain bool) {
	rec, ok := t.records[id]
	l := t.links[id]
	if !ok || l == nil {
		return false, false
	}
	l.heard(time.Now())
	l.load = load
	t.dirty = true
	return true, rec.Draining
}

// listWorkers describes everybody who can work.
func (t *term) listWorkers() []pipeline.Worker {
	now := time.Now()
	var out []pipeline.Worker
	for _, l := range t.links {
		if l.caps == nil {
			continue
		}
		rec := t.records[l.id]
		w := pipeline.Worker{ID: l.id, Name: l.name, Capabilities: *l.caps, Outside: l.outside, CurrentLoad: l.used,
			Reserved: pipeline.Resources{CPU: float64(l.cpu) / 1000, Memory: l.memory},
			Endpoint: rec.Endpoint, Since: rec.Since, Status: pipeline.WorkerOnline}
		switch {
		case now.Sub(l.lastHeard) > t.leaseOf(l) || !l.alive:
			w.Status = pipeline.WorkerOffline
		case rec.Draining || l.closed || rec.AwayUntil.After(now):
			w.Status = pipeline.WorkerDraining
		}
		out = append(out, w)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
