package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/scheduler"
)

// shares is what the planner needs to divide slots between submitters: how many
// modules of each submitter run, and since when those wait that have none running.
type shares struct {
	// waitingSince is when a submitter of whom nothing runs had a ready module first.
	// A submitter with running modules does not age: otherwise one with many runs would
	// be ahead of a newcomer whenever no slot was free for long.
	waitingSince map[string]time.Time
	// present are the submitters of the plan in the making.
	present map[string]*scheduler.Submitter
	running map[string]int
}

// begin counts what runs, for a new plan.
func (s *shares) begin(m *model) {
	s.present, s.running = map[string]*scheduler.Submitter{}, map[string]int{}
	for _, r := range m.runs {
		s.running[r.head.Submitter] += r.queue.Running
	}
}

// of is the submitter of a run that has ready modules.
func (s *shares) of(name string, now time.Time) *scheduler.Submitter {
	if x := s.present[name]; x != nil {
		return x
	}

	x := &scheduler.Submitter{Running: s.running[name]}
	s.present[name] = x
	if x.Running > 0 {
		delete(s.waitingSince, name)
		return x
	}

	if s.waitingSince == nil {
		s.waitingSince = map[string]time.Time{}
	}
	if s.waitingSince[name].IsZero() {
		s.waitingSince[name] = now
	}
	x.Aging = int(now.Sub(s.waitingSince[name]) / agingInterval)
	return x
}

// end forgets the submitters that wait for nothing any more.
func (s *shares) end() {
	for name := range s.waitingSince {
		if s.present[name] == nil {
			delete(s.waitingSince, name)
		}
	}
}

// placed begins the wait again of those of whom something was placed.
func (s *shares) placed(m *model, list []scheduler.Placement) {
	for _, x := range list {
		delete(s.waitingSince, m.runs[x.Run].head.Submitter)
	}
}
