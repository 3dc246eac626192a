package scheduler

import "slices"

// pool is the workers that can take a class and had a free slot when the plan
// began.
type pool struct{ free minHeap[candidate] }

// candidate is a worker with the load that its place in the heap is for.
type candidate struct {
	worker *Worker
	used   int
}

// before orders by the share of slots in use; ties go to the worker with more
// free slots, then to the near one, then to the smaller id.
func (c candidate) before(o candidate) bool {
	slots, others := c.worker.Slots, o.worker.Slots
	if a, b := c.used*others, o.used*slots; a != b {
		return a < b
	}
	if a, b := slots-c.used, others-o.used; a != b {
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
	best := pl.top()
	if best == nil || best.ID != c.Avoid {
		return best
	}
	aside := pl.free.pop()
	if other := pl.top(); other != nil {
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
	pl := p.shared[string(members)]
	if pl == nil {
		pl = &pool{free: make(minHeap[candidate], 0, n)}
		for i, w := range p.open {
			if members[i/8]&(1<<(i%8)) != 0 {
				pl.free = append(pl.free, candidate{w, w.Used})
			}
		}
		pl.free.build()
		p.shared[string(members)] = pl
	}
	p.pools[c] = pl
	return pl
}

// top gives the least loaded worker, nil where all are full. Placements by way
// of other pools make keys of this one stale; but a load only grows during a
// plan, so a stale key only flatters, and once the first is up to date nobody
// can be better.
func (pl *pool) top() *Worker {
	for len(pl.free) > 0 {
		first := &pl.free[0]
		switch w := first.worker; {
		case w.Used >= w.Slots:
			pl.free.pop() // full for the rest of this plan
		case first.used != w.Used:
			first.used = w.Used
			pl.free.down(0)
		default:
			return w
		}
	}
	return nil
}

// nobody reports whether no worker can take the class, whatever the load.
func (p *planner) nobody(c Class) bool {
	c.Avoid, c.Alone = "", false
	if no, ok := p.none[c]; ok {
		return no
	}
	no := !slices.ContainsFunc(p.view.Workers, func(w *Worker) bool { return Fits(w, c) })
	p.none[c] = no
	return no
}
