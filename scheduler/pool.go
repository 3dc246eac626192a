package scheduler

import "slices"

// pool is the workers that can take a class and had a free slot when the plan
// began. needs is what the classes that share it reserve.
type pool struct {
	free  minHeap[candidate]
	needs Class
}

// poolKey identifies a pool: the workers in it, as bits, and the reservation,
// since a worker that is too full for one class may have capacity for another.
type poolKey struct {
	members     string
	cpu, memory int64
}

// candidate is a worker with the load that its place in the heap is for.
type candidate struct {
	worker *Worker
	used   int
	share  float64
}

func candidateOf(w *Worker) candidate { return candidate{w, w.Used, w.share()} }

// share is the used share of the scarcest of slots, processors and memory.
// Quotients that are equal are equal as floating-point numbers too, and no two
// that differ are too close to distinguish, with slots below 10,000.
func (w *Worker) share() float64 {
	s := float64(w.Used) / float64(w.Slots)
	if w.UsedCPU > 0 && w.CPU > 0 {
		s = max(s, float64(w.UsedCPU)/float64(w.CPU))
	}

	if w.UsedMemory > 0 && w.Memory > 0 {
		s = max(s, float64(w.UsedMemory)/float64(w.Memory))
	}
	return s
}

// before orders by the share in use; ties go to the worker with more free
// slots, then to the local one, then to the smaller id.
func (c candidate) before(o candidate) bool {
	if c.share != o.share {
		return c.share < o.share
	}

	if a, b := c.worker.Slots-c.used, o.worker.Slots-o.used; a != b {
		return a > b
	}

	if c.worker.Local != o.worker.Local {
		return c.worker.Local
	}

	return c.worker.ID < o.worker.ID
}

// free returns the least loaded worker for a class, nil if there is none. The
// worker to avoid comes last.
func (p *planner) free(c Class) *Worker {
	pl := p.pool(c)
	best := pl.top(p.view.Reservation)
	if best == nil || best.ID != c.Avoid {
		return best
	}

	avoided := pl.free.pop()
	if other := pl.top(p.view.Reservation); other != nil {
		best = other
	}

	pl.free.push(avoided)

	return best
}

// pool finds the pool of a class. It looks only at workers that had a free
// slot when the plan began: in a busy cluster most of them have none.
// Classes that the same workers can take share a pool, whatever they ask for
// and avoid, so that a placement outdates one heap and not many.
func (p *planner) pool(c Class) *pool {
	c.Avoid, c.Alone = "", false
	if pl, ok := p.pools[c]; ok {
		return pl
	}

	members := make([]byte, (len(p.open)+7)/8)
	n := 0

	for i, w := range p.open {
		if Fits(w, c) {
			members[i/8] |= 1 << (i % 8)
			n++
		}
	}

	key := poolKey{string(members), c.CPU, c.Memory}
	pl := p.shared[key]
	if pl == nil {
		pl = &pool{free: make(minHeap[candidate], 0, n), needs: Class{CPU: c.CPU, Memory: c.Memory}}
		for i, w := range p.open {
			if members[i/8]&(1<<(i%8)) != 0 {
				pl.free = append(pl.free, candidateOf(w))
			}
		}
		pl.free.build()
		p.shared[key] = pl
	}

	p.pools[c] = pl

	return pl
}

// top returns the least loaded worker, nil if none has capacity. Placements
// through other pools make keys of this heap stale. A load only grows during a
// plan, so a stale key is too low, never too high: once the first key is up to
// date, no other worker can be less loaded. A reservation stays for the rest of
// the plan.
func (pl *pool) top(reserved *Reservation) *Worker {
	for len(pl.free) > 0 {
		first := &pl.free[0]
		switch w := first.worker; {
		case !w.hasCapacity(pl.needs) || !reserved.Allows(w, pl.needs):
			pl.free.pop() // full for the rest of this plan
		case first.used != w.Used:
			first.used, first.share = w.Used, w.share()
			pl.free.down(0)
		default:
			return w
		}
	}

	return nil
}

// overdue handles the classes of the run that have waited longer than the aging
// interval for processors or memory. If one fits now, it goes first, whatever its
// rank: otherwise modules with shorter waits would use up the capacity again and
// again. If none fits, a worker is reserved. Between runs the order of the plan
// decides, so that priority and fairness hold here too.
func (p *planner) overdue(r *Run) (*queue, *Worker) {
	if p.view.AgingInterval <= 0 {
		return nil, nil
	}

	var best *queue

	for _, q := range r.queues {
		switch {
		case q.class.CPU == 0 && q.class.Memory == 0 || q.limit.full():
		case q.since.IsZero() || p.view.Now.Sub(q.since) < p.view.AgingInterval || !p.isPossible(q.class):
		case best == nil || q.since.Before(best.since) || q.since.Equal(best.since) && q.modules[0].before(best.modules[0]):
			best = q
		}
	}

	if best == nil {
		return nil, nil
	}

	if w := p.free(best.class); w != nil {
		return best, w
	}

	if p.view.Reservation == nil {
		p.reserve(r, best.class)
	}

	return nil, nil
}

// isPossible reports whether an open worker is large enough for the class.
func (p *planner) isPossible(c Class) bool {
	c.Avoid, c.Alone = "", false
	ok, known := p.possible[c]
	if !known {
		ok = slices.ContainsFunc(p.view.Workers, func(w *Worker) bool { return !w.Closed && Fits(w, c) })
		p.possible[c] = ok
	}
	return ok
}

// reserve reserves the worker on which the smallest part must become free.
func (p *planner) reserve(r *Run, c Class) {
	var worker *Worker
	var least float64

	for _, w := range p.view.Workers {
		if w.Closed || !Fits(w, c) {
			continue
		}
		short := w.shortage(c)
		if worker == nil || short < least || short == least && w.ID < worker.ID {
			worker, least = w, short
		}
	}

	if worker != nil {
		p.view.Reservation = &Reservation{Run: r.ID, Class: c, Worker: worker}
	}
}

// shortage is the largest part of a worker that must become free before a class
// fits there. Nothing that Reservation.Allows admits makes it larger. So the
// smallest shortage never grows from plan to plan, whichever worker is chosen.
func (w *Worker) shortage(c Class) float64 {
	part := func(used, want, total int64) float64 {
		if want == 0 || total == 0 {
			return 0
		}
		return max(0, float64(used+want-total)/float64(total))
	}
	return max(part(int64(w.Used), 1, int64(w.Slots)), part(w.UsedCPU, c.CPU, w.CPU), part(w.UsedMemory, c.Memory, w.Memory))
}
