package fsm

import (
	"bytes"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

// Backfill makes runs for the ticks of a schedule that lie in an interval of the past,
// at most Parallel of them at once. The leader decides one tick after the other, each by
// a Fire, so that each is decided once, whichever leaders die. A schedule has one
// backfill at a time; the last one stays to be shown.
type Backfill struct {
	// ID is that of the request: the same again changes nothing.
	ID string `cbor:"1,keyasint"`
	// From and To are the ends of the interval, which are part of it. Total is how many
	// ticks it had at the request.
	From  time.Time `cbor:"2,keyasint"`
	To    time.Time `cbor:"3,keyasint"`
	Total int       `cbor:"4,keyasint"`
	// Parallel bounds the runs that have not finished.
	Parallel int `cbor:"5,keyasint"`
	// Again makes runs for ticks too that have one.
	Again bool      `cbor:"6,keyasint,omitempty"`
	By    string    `cbor:"7,keyasint,omitempty"`
	At    time.Time `cbor:"8,keyasint"`
	// Next is the tick that is decided next; the first one of the interval, until To has
	// passed.
	Next time.Time `cbor:"9,keyasint"`
	// Made counts the runs, Had the ticks that had one before, Succeeded and Failed the
	// runs that have finished. A run that is retried counts again.
	Made      int `cbor:"10,keyasint,omitempty"`
	Had       int `cbor:"11,keyasint,omitempty"`
	Succeeded int `cbor:"12,keyasint,omitempty"`
	Failed    int `cbor:"13,keyasint,omitempty"`
	// EndedAt is when the last run finished, or when it was stopped; Stopped says why.
	EndedAt time.Time `cbor:"14,keyasint,omitempty"`
	Stopped string    `cbor:"15,keyasint,omitempty"`
}

// Active reports whether the backfill makes runs, or waits for some of its runs.
func (b *Backfill) Active() bool { return b != nil && b.EndedAt.IsZero() }

// decided reports whether all ticks are.
func (b *Backfill) decided() bool { return b.Next.After(b.To) }

// backfill begins or stops the backfill of a schedule.
func (s *schedules) backfill(op *ScheduleChange, rec *ScheduleRecord, c *Command) error {
	old := rec.Backfill
	if op.Do == ScheduleBackfillStop {
		if !old.Active() {
			return pipeline.Errorf(pipeline.Conflict, "schedule %s has no backfill under way", op.Name)
		}
		s.stopBackfill(rec, "stopped"+byWhom(c.By), c.At)
		return nil
	}

	b := op.Backfill
	switch {
	case b == nil || b.ID == "" || b.Parallel < 1 || b.To.Before(b.From) || b.Next.Before(b.From):
		return pipeline.Errorf(pipeline.Invalid, "backfill of schedule %s: its interval or its bound is invalid", op.Name)
	case old != nil && old.ID == b.ID:
		return nil // the same request again
	case old.Active():
		return pipeline.Errorf(pipeline.Conflict, "schedule %s has a backfill under way, which has decided the ticks before %s of those up to %s: wait for it, or stop it with: pipelined schedules backfill -cancel %[1]s",
			op.Name, old.Next.UTC().Format(time.RFC3339), old.To.UTC().Format(time.RFC3339))
	}

	made := *b
	made.Made, made.Had, made.Succeeded, made.Failed = 0, 0, 0, 0
	made.By, made.At, made.EndedAt, made.Stopped = c.By, c.At, time.Time{}, ""
	rec.Backfill = &made
	s.happened(pipeline.Event{Type: pipeline.EventBackfillStarted, Subject: rec.Name, Actor: c.By, Count: made.Total,
		Reason: made.From.UTC().Format(time.RFC3339) + " to " + made.To.UTC().Format(time.RFC3339)})
	return nil
}

func byWhom(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

// stopBackfill ends a backfill before its end. Its runs continue.
func (s *schedules) stopBackfill(rec *ScheduleRecord, why string, at time.Time) {
	b := *rec.Backfill
	b.EndedAt, b.Stopped = at, why
	rec.Backfill = &b
	s.backfillEnded(rec)
}

func (s *schedules) backfillEnded(rec *ScheduleRecord) {
	b := rec.Backfill
	s.happened(pipeline.Event{Type: pipeline.EventBackfillEnded, Subject: rec.Name, Reason: b.Stopped, Count: b.Failed})
}

// fill decides a tick of a backfill: Fire.Had ticks before it had a run. It is left out
// too if it has one by now.
func (s *schedules) fill(c *Command, rec *ScheduleRecord, ch *change) FireResult {
	f := c.Fire
	b := rec.Backfill
	if !b.Active() || b.ID != f.Backfill || !f.Due.Equal(b.Next) {
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Conflict, "this tick of the backfill was decided before")}
	}
	if f.Had < 0 || !f.Next.After(b.Next) || !f.Next.After(f.Tick) {
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Invalid, "the next tick of the backfill is not after the last")}
	}

	now := *b
	rec.Backfill = &now
	now.Next, now.Had = f.Next, now.Had+f.Had

	var made pipeline.Run
	switch {
	case f.Run == "":
	case !b.Again && tickRun(s.tx, rec.Name, f.Tick) != "":
		now.Had++
	case s.queues.length(queueOfBackfill, rec.Name) >= b.Parallel:
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Conflict, "%d runs of the backfill have not finished", b.Parallel)}
	default:
		// Its runs wait for each other by Parallel alone, and the schedule's own ticks do
		// not wait for them. They replace no run of their group.
		r := rec.run(f.Run, b.By)
		r.Tick, r.Trigger, r.Backfill, r.Queued, r.Cancels = f.Tick, pipeline.TriggerBackfill, b.ID, false, false
		if err := s.scheduledRun(&r, c, ch); err != nil {
			return FireResult{Schedule: *rec, Err: err}
		}
		made = r
		now.Made++
	}

	s.endBackfill(rec, c.At)
	s.put(bSchedules, []byte(rec.Name), rec)
	ch.Schedules = true
	return FireResult{Schedule: *rec, Run: made}
}

// endBackfill ends a backfill if all its ticks are decided and all its runs over.
func (s *schedules) endBackfill(rec *ScheduleRecord, at time.Time) {
	if b := rec.Backfill; b.Active() && b.decided() && s.queues.length(queueOfBackfill, rec.Name) == 0 {
		b.EndedAt = at
		s.backfillEnded(rec)
	}
}

// filled counts a run of a backfill that has finished and has left its queues. A later
// backfill of the schedule may have waited for it.
func (s *schedules) filled(r *pipeline.Run, at time.Time, ch *change) {
	rec := s.schedule(r.Schedule)
	if rec == nil || rec.Backfill == nil {
		return
	}

	switch {
	case rec.Backfill.ID != r.Backfill:
	case r.State == pipeline.RunSucceeded || r.State == pipeline.RunWarnings:
		rec.Backfill.Succeeded++
	default:
		rec.Backfill.Failed++
	}
	s.endBackfill(rec, at)
	s.put(bSchedules, []byte(rec.Name), rec)
	ch.Schedules = true
}

// BackfillLive counts the runs of a schedule's backfills that have not finished.
func (v *View) BackfillLive(schedule string) int {
	return lengthOf(v.tx.Bucket(bQueues), queueOfBackfill, schedule)
}

// The runs of the ticks of schedules are found by the schedule's name, a zero byte and
// the time of the tick.

func tickKey(schedule string, tick time.Time) []byte {
	return append(append([]byte(schedule), 0), be64(uint64(tick.Unix()))...)
}

// TickRun names the run of a schedule that is for a tick; "" if there is none, or none
// that is kept. Of several it is the last that was made.
func (v *View) TickRun(schedule string, tick time.Time) pipeline.RunID {
	return tickRun(v.tx, schedule, tick)
}

func tickRun(tx *bolt.Tx, schedule string, tick time.Time) pipeline.RunID {
	return pipeline.RunID(tx.Bucket(bTicks).Get(tickKey(schedule, tick)))
}

// noteTick makes a run the one that its tick is known by.
func (t *runTable) noteTick(r *pipeline.Run) {
	if r.Schedule != "" && !r.Tick.IsZero() {
		t.putRaw(bTicks, tickKey(r.Schedule, r.Tick), []byte(r.ID))
	}
}

// forgetTick removes what noteTick noted of a run, unless a later run has the tick.
func (t *runTable) forgetTick(r *pipeline.Run) {
	if r.Schedule == "" || r.Tick.IsZero() {
		return
	}
	key := tickKey(r.Schedule, r.Tick)
	if bytes.Equal(t.tx.Bucket(bTicks).Get(key), []byte(r.ID)) {
		t.del(bTicks, key)
	}
}
