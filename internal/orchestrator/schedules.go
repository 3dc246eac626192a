package orchestrator

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// fireAgain is the pause after a decision about a tick that was not accepted.
const fireAgain = 200 * time.Millisecond

// never is the next tick of a schedule that has none any more.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// schedules decides, by the leader's clock, what becomes of ticks (ticks.go). The
// state machine decides each tick once, whatever is proposed. What is kept here
// follows from the state; only the next tick is waited for.
type schedules struct {
	store     stateReader
	proposals *proposals
	logger    hclog.Logger
	now       func() time.Time

	byName map[string]*schedule
	// alarm is when a tick is to be decided next; never if no schedule has one.
	alarm time.Time
}

// schedule is the model of one schedule.
type schedule struct {
	record fsm.ScheduleRecord
	// calendar is nil if it cannot be parsed.
	calendar *calendar.Calendar
	// inFlight is set while a decision is proposed. After one that failed, the next
	// is not made before notBefore.
	inFlight  bool
	notBefore time.Time
}

// idle reports whether the schedule has nothing to decide.
func (s *schedule) idle() bool { return s.inFlight || s.record.Paused || s.calendar == nil }

// read takes the schedules from the replicated state.
func (s *schedules) read(v *fsm.View) {
	old := s.byName
	s.byName = map[string]*schedule{}

	for _, rec := range v.Schedules() {
		x := old[rec.Name]
		if x == nil || x.record.Revision != rec.Revision {
			// A decision in flight is about the old revision; its end is still noted.
			x = &schedule{inFlight: x != nil && x.inFlight}
			cal, err := calendar.Parse(rec.Schedule.Cron, rec.Schedule.Timezone)
			if err != nil {
				s.logger.Error("parse schedule", "schedule", rec.Name, "error", err)
			} else {
				x.calendar = cal
			}
		}
		x.record = rec
		s.byName[rec.Name] = x
	}

	s.setAlarm()
}

// setAlarm finds when a tick is to be decided next.
func (s *schedules) setAlarm() {
	s.alarm = never
	for _, x := range s.byName {
		if x.idle() {
			continue
		}
		at := x.record.Next // zero: at once
		if x.notBefore.After(at) {
			at = x.notBefore
		}
		if at.Before(s.alarm) {
			s.alarm = at
		}
	}
}

// next returns a channel that fires when a tick is to be decided; nil, which never
// fires, if no schedule has one. A clock that jumps is noticed in the next round of
// the loop.
func (s *schedules) next() <-chan time.Time {
	if s.alarm.Equal(never) {
		return nil
	}
	return time.After(s.alarm.Sub(s.now()))
}

// fireDue decides the ticks that are due, at most one decision per schedule at a
// time.
func (s *schedules) fireDue() {
	now := s.now()
	if now.Before(s.alarm) {
		return
	}

	for _, x := range s.byName {
		if x.idle() || now.Before(x.notBefore) {
			continue
		}
		if f := decideTick(&x.record, x.calendar, now); f != nil {
			s.fire(x, f, now)
		}
	}

	s.setAlarm()
}

// fire proposes a decision.
func (s *schedules) fire(x *schedule, f *fsm.Fire, now time.Time) {
	name := x.record.Name
	err := s.proposals.submit("tick of "+name, &fsm.Command{At: now.UTC(), Fire: f}, func(reply any, err error) {
		s.fired(name, reply, err)
	})
	if err != nil {
		x.notBefore = now.Add(time.Minute)
		return
	}

	x.inFlight = true
}

// fired handles the fate of a decision. If it is unknown, the state tells, now or
// later: a decision that is made twice takes effect once.
func (s *schedules) fired(name string, reply any, err error) {
	x := s.byName[name]
	if x == nil {
		return // removed meanwhile
	}

	x.inFlight = false

	res, _ := reply.(fsm.FireResult)
	if err == nil {
		err = res.Err
	}

	switch {
	case err == nil:
	case pipeline.KindOf(err) == pipeline.Conflict:
		// It was paused, resumed or decided meanwhile. The state, read below, says what
		// is next.
		s.logger.Info("decide tick", "schedule", name, "error", err)
	default:
		s.logger.Warn("decide tick", "schedule", name, "error", err)
		x.notBefore = s.now().Add(fireAgain)
	}

	err = s.store.View(func(v *fsm.View) error {
		s.read(v)
		return nil
	})
	if err != nil {
		s.logger.Error("read schedules", "error", err)
	}
}
