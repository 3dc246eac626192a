package scheduler

// Submitter is who submitted runs. Slots are shared between submitters first, and
// between the runs of one after that: many runs are worth no more than one.
type Submitter struct {
	// Running is how many modules of its runs are assigned or running, also of runs
	// without a ready module. Plan counts it up.
	Running int
	// Aging is added to the priority of its runs, since nothing of it was placed for
	// long. It keeps submitters whose priority is low from waiting forever.
	Aging int
}

// group is the runs of one submitter that have ready modules, the next one first.
type group struct {
	submitter *Submitter
	runs      minHeap[*Run]
	// priority is that of the next run, without what it gained by waiting: its
	// submitter does not gain by having many runs that wait.
	priority int
}

// groups returns the runs of the view by submitter, in the order of the plan.
func (p *planner) groups() minHeap[*group] {
	by := make(map[*Submitter]*group)
	var h minHeap[*group]

	for _, r := range p.view.Runs {
		if r.Len() == 0 {
			continue
		}

		r.stamp(p.view.Now)
		g := by[r.Submitter]
		if g == nil {
			g = &group{submitter: r.Submitter}
			if g.submitter == nil {
				g.submitter = &Submitter{}
			}
			by[r.Submitter] = g
			h = append(h, g)
		}
		g.runs = append(g.runs, r)
	}

	for _, g := range h {
		g.runs.build()
		g.rank()
	}

	h.build()
	return h
}

// rank takes the priority from the next run.
func (g *group) rank() { g.priority = g.runs[0].Top() + g.submitter.Aging }

// before orders submitters by priority, fewest running, and the age of their next
// run.
func (g *group) before(o *group) bool {
	if g.priority != o.priority {
		return g.priority > o.priority
	}

	if g.submitter.Running != o.submitter.Running {
		return g.submitter.Running < o.submitter.Running
	}

	return g.runs[0].older(o.runs[0])
}

// before orders the runs of a submitter by priority, fewest running, age.
func (r *Run) before(o *Run) bool {
	if r.Priority != o.Priority {
		return r.Priority > o.Priority
	}

	if r.Running != o.Running {
		return r.Running < o.Running
	}

	return r.older(o)
}

func (r *Run) older(o *Run) bool {
	if r.Number != o.Number {
		return r.Number < o.Number
	}
	return r.ID < o.ID
}
