package orchestrator

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// Ticks of schedules are decided here, by the leader's clock, and take effect in
// the state machine, which decides each once. What is kept of a schedule here
// follows from the state; only the next tick is waited for.

const (
	// onTime is how late a tick may be decided without being missed, where no later
	// one is due: long enough for a change of leaders.
	onTime = time.Minute
	// maxCatchUp bounds the runs that catch_up = "all" makes for missed ticks; the
	// older ones are skipped.
	maxCatchUp = 1000
	// farAhead is how far in the future the newest decided tick may lie: one beyond
	// it was decided by a clock that was wrong.
	farAhead = time.Hour
	// fireAgain is the pause after a proposal that came to nothing.
	fireAgain = 200 * time.Millisecond
)

// never is the next tick of a schedule that has none any more.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// schedule is a schedule in the model.
type schedule struct {
	rec fsm.ScheduleRecord
	cal *calendar.Calendar // nil where it cannot be read
	// inflight is set while a decision is on its way; after one that failed, the
	// next is not made before notBefore.
	inflight  bool
	notBefore time.Time
}

// readSchedules takes the schedules from the state.
func (t *term) readSchedules(v *fsm.View) {
	was := t.schedules
	t.schedules = map[string]*schedule{}
	for _, rec := range v.Schedules() {
		s := was[rec.Name]
		if s == nil || s.rec.Revision != rec.Revision {
			s = &schedule{inflight: s != nil && s.inflight}
			cal, err := calendar.Parse(rec.Schedule.Cron, rec.Schedule.Timezone)
			if err != nil {
				t.log.Error("read schedule", "schedule", rec.Name, "error", err)
			} else {
				s.cal = cal
			}
		}
		s.rec = rec
		t.schedules[rec.Name] = s
	}
	t.setAlarm()
}

// setAlarm finds out when a tick is to be decided next.
func (t *term) setAlarm() {
	t.alarm = never
	for _, s := range t.schedules {
		if s.idle() {
			continue
		}
		at := s.rec.Next // zero: at once
		if s.notBefore.After(at) {
			at = s.notBefore
		}
		if at.Before(t.alarm) {
			t.alarm = at
		}
	}
}

func (s *schedule) idle() bool { return s.inflight || s.rec.Paused || s.cal == nil }

// nextTick gives a channel that fires when a tick is to be decided; nil, which
// never does, where no schedule has one. A clock that jumps is noticed with the
// loop's next round.
func (t *term) nextTick() <-chan time.Time {
	if t.alarm.Equal(never) {
		return nil
	}
	return time.After(t.alarm.Sub(t.cfg.Now()))
}

// fireDue decides the ticks that are due.
func (t *term) fireDue() {
	now := t.cfg.Now()
	if now.Before(t.alarm) {
		return
	}
	for _, s := range t.schedules {
		if s.idle() || now.Before(s.notBefore) {
			continue
		}
		if f := decide(&s.rec, s.cal, now); f != nil {
			t.fire(s, f, now)
		}
	}
	t.setAlarm()
}

// fire proposes a decision.
func (t *term) fire(s *schedule, f *fsm.Fire, now time.Time) {
	name := s.rec.Name
	b, err := fsm.Encode(&fsm.Command{At: now.UTC(), Fire: f})
	if err != nil {
		t.log.Error("encode tick", "schedule", name, "error", err)
		s.notBefore = now.Add(time.Minute)
		return
	}
	s.inflight = true
	p := t.cfg.Log.Propose(b)
	t.group.Go(func() error {
		_, reply, err := p.Wait()
		t.post(func() { t.fired(name, reply, err) })
		return nil
	})
}

// fired deals with the fate of a decision. Where that is not known the state
// tells, then or later: a decision that is made twice takes effect once.
func (t *term) fired(name string, reply any, err error) {
	s := t.schedules[name]
	if s == nil {
		return
	}
	s.inflight = false
	res, _ := reply.(fsm.FireResult)
	if err == nil {
		err = res.Err
	}
	switch {
	case err == nil:
	case pipeline.KindOf(err) == pipeline.Conflict:
		// It was paused, resumed or decided meanwhile: the state is read below, and
		// says what is next.
		t.log.Info("decide tick", "schedule", name, "error", err)
	default:
		t.log.Warn("decide tick", "schedule", name, "error", err)
		s.notBefore = t.cfg.Now().Add(fireAgain)
	}
	err = t.cfg.Store.View(func(v *fsm.View) error {
		t.readSchedules(v)
		return nil
	})
	if err != nil {
		t.log.Error("read schedules", "error", err)
	}
}

// decide says what becomes of the ticks of a schedule that are due; nil where
// none is. It decides for one run or for ticks that are skipped together, and is
// asked again for what is left.
func decide(rec *fsm.ScheduleRecord, cal *calendar.Calendar, now time.Time) *fsm.Fire {
	f := &fsm.Fire{Schedule: rec.Name, Revision: rec.Revision, Due: rec.Next}
	if rec.Next.IsZero() {
		// Registered or resumed: from here on, but no tick twice.
		from := now
		if rec.Last.After(now) && rec.Last.Sub(now) < farAhead {
			from = rec.Last
		}
		f.Next = following(cal, from)
		return f
	}
	if now.Before(rec.Next) {
		return nil
	}
	ticks, count, exact := cal.Due(rec.Next, now, maxCatchUp)
	newest := ticks[len(ticks)-1]
	late := count > 1 || now.Sub(newest) > onTime
	skip := func(last time.Time, n int, why string) *fsm.Fire {
		f.Tick, f.Skip, f.Count, f.Next = last, why, uint64(n), following(cal, last)
		if !exact {
			f.Skip = fmt.Sprintf("%s (%d or more of them)", why, n)
		}
		return f
	}
	run := func(tick time.Time) *fsm.Fire {
		f.Tick, f.Run, f.Next = tick, tickRun(rec, tick), following(cal, tick)
		return f
	}
	const missed = "nobody led the cluster when it was due"
	switch {
	case !late:
		return run(newest)
	case rec.Schedule.CatchUp == pipeline.CatchUpAll:
		if count > len(ticks) {
			return skip(ticks[0].Add(-time.Second), count-len(ticks), fmt.Sprintf("%s, and only the last %d are caught up with", missed, maxCatchUp))
		}
		f.Missed = true
		return run(ticks[0])
	case count > 1 && rec.Schedule.CatchUp == pipeline.CatchUpLast:
		return skip(before(ticks), count-1, missed+", and a later one stands for it")
	case count > 1 && now.Sub(newest) <= onTime:
		return skip(before(ticks), count-1, missed)
	case rec.Schedule.CatchUp == pipeline.CatchUpLast:
		return run(newest)
	}
	return skip(newest, count, missed)
}

// before is the tick before the newest of more than one.
func before(ticks []time.Time) time.Time { return ticks[len(ticks)-2] }

func following(cal *calendar.Calendar, at time.Time) time.Time {
	if next := cal.Next(at); !next.IsZero() {
		return next
	}
	return never
}

// tickRun is the id of the run for a tick. It follows from the tick, so that
// whoever proposes it proposes the same run, and sorts by time as other ids do.
func tickRun(rec *fsm.ScheduleRecord, tick time.Time) pipeline.RunID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", rec.Name, rec.Revision, tick.Unix()))
	id := sum[:16]
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(tick.UnixMilli()))
	copy(id, ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80 // a UUID of version 7
	return pipeline.RunID(hex.EncodeToString(id))
}
