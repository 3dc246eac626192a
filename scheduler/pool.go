package scheduler

import "slices"

// pool is the workers that can take a class and had a free slot when the plan
// began. needs is what the classes that share it reserve.
type pool struct {
	free  minHeap[candidate]
	needs Class
}

// poolKey tells pools apart: the workers in it, as bits, and what is reserved,
// since a worker that is too full for one class may have room for another.
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

// share is how much is in use of what is used most: slots, processors or
// memory. Quotients that are equal are equal as floating-point numbers too, and
// no two that differ come as close as those can tell, with slots below 10,000.
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
// slots, then to the near one, then to the smaller id.
func (c candidate) before(o candidate) bool {
	if c.share != o.share {
		return c.share < o.share
	}
	if a, b := c.worker.Slots-c.used, o.worker.Slots-o.used; a != b {
		return a > b
	}
	if c.worker.Near != o.worker.Near {
		return c.worker.Near
	}
	return c.worker.ID < o.worker.ID
}

// free gives the least loaded worker for a class, nil where there is none. The
// avoided worker comes last.
func (p *planner) free(c Class) *Worker {
	pl := p.pool(c)
	best := pl.top(p.view.Kept)
	if best == nil || best.ID != c.Avoid {
		return best
	}
	aside := pl.free.pop()
	if other := pl.top(p.view.Kept); other != nil {
		best = other
	}
	pl.free.push(aside)
	return best
}

// pool finds the pool of a class. It looks only at workers that had a free
// slot when the plan began: where there is much to do most of them have none.
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

// top gives the least loaded worker, nil where none has room. Placements by way
// of other pools make keys of this one stale; but a load only grows during a
// plan, so a stale key only flatters, and once the first is up to date nobody
// can be better. Once a worker is kept free it stays so for the rest of the plan.
func (pl *pool) top(kept *Kept) *Worker {
	for len(pl.free) > 0 {
		first := &pl.free[0]
		switch w := first.worker; {
		case !w.room(pl.needs) || !kept.Allows(w, pl.needs):
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

// overdue looks at what has waited too long for processors or memory in the
// run. What has room now comes first, whatever its path: else shorter waits would
// take the room again and again. Otherwise a worker is kept free for it.
// Between runs the order of the plan decides, so that priority and fairness hold
// here too.
func (p *planner) overdue(r *Run) (*queue, *Worker) {
	if p.view.Patience <= 0 {
		return nil, nil
	}
	var best *queue
	for _, q := range r.queues {
		switch {
		case q.class.CPU == 0 && q.class.Memory == 0:
		case q.since.IsZero() || p.view.Now.Sub(q.since) < p.view.Patience || !p.hope(q.class):
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
	if p.view.Kept == nil {
		p.keep(r, best.class)
	}
	return nil, nil
}

// hope reports whether a worker that takes modules is large enough.
func (p *planner) hope(c Class) bool {
	c.Avoid, c.Alone = "", false
	ok, known := p.hopes[c]
	if !known {
		ok = slices.ContainsFunc(p.view.Workers, func(w *Worker) bool { return !w.Closed && Fits(w, c) })
		p.hopes[c] = ok
	}
	return ok
}

// keep keeps the worker free on which the least must end first.
func (p *planner) keep(r *Run, c Class) {
	var worker *Worker
	var least float64
	for _, w := range p.view.Workers {
		if w.Closed || !Fits(w, c) {
			continue
		}
		lack := w.lack(c)
		if worker == nil || lack < least || lack == least && w.ID < worker.ID {
			worker, least = w, lack
		}
	}
	if worker != nil {
		p.view.Kept = &Kept{Run: r.ID, Class: c, Worker: worker}
	}
}

// lack is the largest part of a worker that must become free before a class has
// room there. Nothing that Kept.Allows lets in makes it larger, so whichever
// worker is chosen from plan to plan, the least lack never grows.
func (w *Worker) lack(c Class) float64 {
	part := func(used, want, total int64) float64 {
		if want == 0 || total == 0 {
			return 0
		}
		return max(0, float64(used+want-total)/float64(total))
	}
	return max(part(int64(w.Used), 1, int64(w.Slots)), part(w.UsedCPU, c.CPU, w.CPU), part(w.UsedMemory, c.Memory, w.Memory))
}
