package orchestrator

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// backfills makes the runs of backfills, one proposal at a time for each schedule. The
// state machine has how far a backfill is; here is only what is proposed next, so that
// the next leader continues where this one stopped.
type backfills struct {
	store     stateReader
	schedules *schedules
	proposals *proposals
	logger    hclog.Logger

	byName map[string]*backfill
}

// backfill is the model of a backfill that is under way.
type backfill struct {
	// next is the decision to propose; nil if there is none until the state changes.
	next     *fsm.Fire
	inFlight bool
	// notBefore is when the next proposal is made after one that failed.
	notBefore time.Time
}

// read takes the backfills from the replicated state. The schedules were read before.
func (b *backfills) read(v *fsm.View) {
	old := b.byName
	b.byName = map[string]*backfill{}

	for name, s := range b.schedules.byName {
		x := old[name]
		if !s.record.Backfill.Active() && (x == nil || !x.inFlight) {
			continue
		}
		if x == nil {
			x = &backfill{}
		}
		x.next = nil
		if s.record.Backfill.Active() && s.calendar != nil {
			x.next = decideBackfill(v, &s.record, s.calendar)
		}
		b.byName[name] = x
	}
}

// decideBackfill decides the next tick of a backfill; nil if as many of its runs are
// under way as may be, if the schedule has not decided the tick itself yet, or if none
// is left to be decided.
func decideBackfill(v *fsm.View, rec *fsm.ScheduleRecord, cal *calendar.Calendar) *fsm.Fire {
	b := rec.Backfill
	if b.Next.After(b.To) || v.BackfillLive(rec.Name) >= b.Parallel {
		return nil
	}

	f := &fsm.Fire{Schedule: rec.Name, Backfill: b.ID, Due: b.Next}
	tick := b.Next
	for !b.Again && !tick.After(b.To) && v.TickRun(rec.Name, tick) != "" {
		f.Had++
		tick = following(cal, tick)
	}

	f.Next = tick
	if !tick.After(b.To) {
		if own := rec.Next; !own.IsZero() && !tick.Before(own) {
			return nil // else the tick might get two runs
		}
		f.Tick, f.Next = tick, following(cal, tick)
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", rec.Name, b.ID, tick.Unix()))
		// It sorts among the runs that are made when the backfill was asked for.
		f.Run = runID(sum, b.At)
	}
	return f
}

// fire proposes what is to be decided.
func (b *backfills) fire() {
	now := time.Now()
	for name, x := range b.byName {
		if x.next == nil || x.inFlight || now.Before(x.notBefore) {
			continue
		}

		err := b.proposals.submit("backfill of "+name, &fsm.Command{At: now.UTC(), Fire: x.next}, func(reply any, err error) {
			b.fired(name, reply, err)
		})
		if err != nil {
			x.notBefore = now.Add(time.Minute)
			continue
		}
		x.inFlight = true
	}
}

// fired handles the fate of a decision. One that is made twice takes effect once.
func (b *backfills) fired(name string, reply any, err error) {
	x := b.byName[name]
	if x == nil {
		return // removed meanwhile
	}

	x.inFlight = false
	res, _ := reply.(fsm.FireResult)
	if err == nil {
		err = res.Err
	}
	if err != nil && pipeline.KindOf(err) != pipeline.Conflict {
		b.logger.Warn("fill in tick", "schedule", name, "error", err)
		x.notBefore = time.Now().Add(fireAgain)
	}

	err = b.store.View(func(v *fsm.View) error {
		b.schedules.read(v)
		b.read(v)
		return nil
	})
	if err != nil {
		b.logger.Error("read backfills", "error", err)
	}
}
