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

const (
	// onTime is how late a tick may be decided without counting as missed, if no
	// later one is due: long enough for a change of leaders.
	onTime = time.Minute
	// maxCatchUp bounds the runs that catch_up = "all" makes for missed ticks. Older
	// ticks are skipped.
	maxCatchUp = 1000
	// farAhead is how far in the future the newest decided tick may be: one beyond it
	// was decided by a clock that was wrong.
	farAhead = time.Hour
	// missed is why a tick that was not decided in time is skipped.
	missed = "the cluster had no leader when it was due"
)

// decideTick decides what becomes of the ticks of a schedule that are due; nil if
// none is. It decides for one run, or for ticks that are skipped together, and is
// called again for the rest.
func decideTick(rec *fsm.ScheduleRecord, cal *calendar.Calendar, now time.Time) *fsm.Fire {
	f := &fsm.Fire{Schedule: rec.Name, Revision: rec.Revision, Due: rec.Next}

	if rec.Next.IsZero() {
		// Registered or resumed: from now on, but no tick twice.
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
	d := tickDecision{record: rec, calendar: cal, fire: f, exact: exact}
	d.decide(ticks, count, now)
	return f
}

// tickDecision is a decision in the making.
type tickDecision struct {
	record   *fsm.ScheduleRecord
	calendar *calendar.Calendar
	fire     *fsm.Fire
	// exact reports whether the ticks that are due were counted to the end.
	exact bool
}

// decide chooses between a run and a skip. ticks are the newest that are due, of
// count in all.
func (d *tickDecision) decide(ticks []time.Time, count int, now time.Time) {
	newest := ticks[len(ticks)-1]
	newestOnTime := now.Sub(newest) <= onTime
	catchUp := d.record.Schedule.CatchUp

	switch {
	case count == 1 && newestOnTime:
		d.run(newest)

	case catchUp == pipeline.CatchUpAll:
		if count > len(ticks) {
			d.skip(ticks[0].Add(-time.Second), count-len(ticks),
				fmt.Sprintf("%s, and only the last %d are caught up on", missed, maxCatchUp))
			return
		}
		d.fire.Missed = true
		d.run(ticks[0])

	case catchUp == pipeline.CatchUpLast:
		if count > 1 {
			d.skip(ticks[len(ticks)-2], count-1, missed+", and a later tick replaces it")
			return
		}
		d.run(newest)

	case newestOnTime:
		d.skip(ticks[len(ticks)-2], count-1, missed)

	default:
		d.skip(newest, count, missed)
	}
}

// skip decides that ticks make no run: n of them, up to last.
func (d *tickDecision) skip(last time.Time, n int, why string) {
	f := d.fire
	f.Tick, f.Skip, f.Count, f.Next = last, why, uint64(n), following(d.calendar, last)
	if !d.exact {
		f.Skip = fmt.Sprintf("%s (%d or more of them)", why, n)
	}
}

// run decides that a tick makes a run.
func (d *tickDecision) run(tick time.Time) {
	d.fire.Tick, d.fire.Run, d.fire.Next = tick, tickRun(d.record, tick), following(d.calendar, tick)
}

// following is the tick after a time; never if there is none.
func following(cal *calendar.Calendar, at time.Time) time.Time {
	if next := cal.Next(at); !next.IsZero() {
		return next
	}
	return never
}

// tickRun is the id of the run for a tick. It follows from the tick, so that every
// leader proposes the same run, and sorts by time as other ids do.
func tickRun(rec *fsm.ScheduleRecord, tick time.Time) pipeline.RunID {
	return runID(sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", rec.Name, rec.Revision, tick.Unix())), tick)
}

// runID makes an id of a digest that sorts as those of runs made at a time.
func runID(sum [sha256.Size]byte, at time.Time) pipeline.RunID {
	id := sum[:16]

	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id, ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80 // a UUID of version 7
	return pipeline.RunID(hex.EncodeToString(id))
}
