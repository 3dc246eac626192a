package orchestrator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// noon is when the clock of the tests begins.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// decisions returns all decisions at one time as texts: the time of a run, or how
// many ticks are skipped up to which.
func decisions(tb interface{ Fatal(...any) }, rec *fsm.ScheduleRecord, now time.Time) (out []string) {
	cal, err := calendar.Parse(rec.Schedule.Cron, "")
	if err != nil {
		tb.Fatal(err)
	}
	for range 3000 {
		f := decideTick(rec, cal, now)
		if f == nil {
			return out
		}
		if !f.Due.Equal(rec.Next) || !f.Next.After(f.Tick) || !f.Tick.IsZero() && f.Tick.Before(rec.Next) {
			tb.Fatal("decided", f.Due, f.Tick, f.Next, "where the next was", rec.Next)
		}
		switch {
		case f.Tick.IsZero():
		case f.Run == "":
			out = append(out, fmt.Sprintf("-%d %s", f.Count, f.Tick.Format("15:04")))
		case f.Missed:
			out = append(out, "missed "+f.Tick.Format("15:04"))
		default:
			out = append(out, f.Tick.Format("15:04"))
		}
		rec.Next = f.Next
		if !f.Tick.IsZero() {
			rec.Last = f.Tick
		}
	}
	tb.Fatal("no end of decisions")
	return nil
}

func TestDecideTick(t *testing.T) {
	hour := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	for _, c := range []struct {
		name, cron, catchUp string
		next, now           time.Time
		want, then          string
	}{
		{"not due", "0 * * * *", "all", hour(1), hour(1).Add(-time.Nanosecond), "", "13:00"},
		{"on time", "0 * * * *", "none", hour(1), hour(1), "13:00", "14:00"},
		{"within a change of leaders", "0 * * * *", "none", hour(1), hour(1).Add(time.Minute), "13:00", "14:00"},
		{"none", "0 * * * *", "none", hour(1), hour(1).Add(2 * time.Minute), "-1 13:00", "14:00"},
		{"none of several", "0 * * * *", "none", hour(1), hour(4).Add(2 * time.Minute), "-4 16:00", "17:00"},
		{"none of several, but the one that is due", "0 * * * *", "none", hour(1), hour(4).Add(time.Second), "-3 15:00, 16:00", "17:00"},
		{"last", "0 * * * *", "last", hour(1), hour(1).Add(2 * time.Minute), "13:00", "14:00"},
		{"last of several", "0 * * * *", "last", hour(1), hour(4).Add(30 * time.Minute), "-3 15:00, 16:00", "17:00"},
		{"all", "0 * * * *", "all", hour(1), hour(4).Add(30 * time.Minute), "missed 13:00, missed 14:00, missed 15:00, missed 16:00", "17:00"},
		{"all, the last on time", "0 * * * *", "all", hour(1), hour(2).Add(time.Second), "missed 13:00, 14:00", "15:00"},
		{"the clock went back", "0 * * * *", "all", hour(5), hour(1), "", "17:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := &fsm.ScheduleRecord{Name: "s", Revision: 7, Next: c.next, Schedule: pipeline.Schedule{Cron: []string{c.cron}, CatchUp: c.catchUp}}
			if got := strings.Join(decisions(t, rec, c.now), ", "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := rec.Next.Format("15:04"); got != c.then {
				t.Errorf("the next is %s, want %s", got, c.then)
			}
		})
	}
}

// A bound of runs that are caught up with, however long it was.
func TestDecideTick_bound(t *testing.T) {
	for _, days := range []int{1, 400} {
		rec := &fsm.ScheduleRecord{Name: "s", Next: noon, Schedule: pipeline.Schedule{Cron: []string{"*/5 * * * * *"}, CatchUp: pipeline.CatchUpAll}}
		now := noon.AddDate(0, 0, days)
		got := decisions(t, rec, now)
		if len(got) < 1000 || len(got) > 1001 || !strings.HasPrefix(got[0], "-") || strings.HasPrefix(got[1], "-") {
			t.Errorf("after %d days: %d decisions, %q first", days, len(got), got[0])
		}
		if !rec.Last.Equal(now) {
			t.Errorf("the last is %s, want %s", rec.Last, now)
		}
	}
}

// A schedule that is planned anew begins behind what was decided, unless that
// was decided by a clock that was far ahead.
func TestDecideTick_anew(t *testing.T) {
	cal, err := calendar.Parse([]string{"0 * * * *"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ last, want time.Time }{
		{time.Time{}, noon.Add(time.Hour)},
		{noon.Add(-time.Hour), noon.Add(time.Hour)},
		{noon.Add(59 * time.Minute), noon.Add(time.Hour)},
		{noon.Add(time.Minute), noon.Add(time.Hour)},
		{noon.AddDate(10, 0, 0), noon.Add(time.Hour)},
	} {
		f := decideTick(&fsm.ScheduleRecord{Name: "s", Last: c.last}, cal, noon.Add(time.Second))
		if f == nil || !f.Tick.IsZero() || f.Run != "" || !f.Next.Equal(c.want) {
			t.Errorf("after %s: got %+v, want next %s", c.last, f, c.want)
		}
	}
	f := decideTick(&fsm.ScheduleRecord{Name: "s", Last: noon.Add(time.Hour)}, cal, noon.Add(59*time.Minute))
	if !f.Next.Equal(noon.Add(2 * time.Hour)) {
		t.Errorf("a tick again that was decided by a clock a little ahead: next %s", f.Next)
	}
}

// Whatever the clock does and whenever the leader looks: ticks are decided in
// order, each once, and with catch_up = "all" each has a run.
func TestDecideTick_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		catchUp := rapid.SampledFrom([]string{"none", "last", "all"}).Draw(t, "catch_up")
		rec := &fsm.ScheduleRecord{Name: "s", Revision: 1, Next: noon, Schedule: pipeline.Schedule{Cron: []string{"*/2 * * * * *"}, CatchUp: catchUp}}
		cal, err := calendar.Parse(rec.Schedule.Cron, "")
		if err != nil {
			t.Fatal(err)
		}
		now, ran, skipped := noon, map[pipeline.RunID]time.Time{}, 0
		for range 30 {
			now = now.Add(time.Duration(rapid.IntRange(-20_000, 60_000).Draw(t, "ms")) * time.Millisecond)
			for f := decideTick(rec, cal, now); f != nil; f = decideTick(rec, cal, now) {
				if f.Run != "" {
					if at, twice := ran[f.Run]; twice {
						t.Fatalf("%s and %s have one run", at, f.Tick)
					}
					ran[f.Run] = f.Tick
				}
				skipped += int(f.Count)
				if want := cal.Next(f.Tick); !f.Next.Equal(want) {
					t.Fatalf("after %s comes %s, want %s", f.Tick, f.Next, want)
				}
				rec.Next, rec.Last = f.Next, f.Tick
			}
		}
		due := 0
		if !rec.Last.IsZero() {
			_, due, _ = cal.Due(noon, rec.Last, 1)
		}
		if len(ran)+skipped != due || catchUp == "all" && skipped > 0 {
			t.Fatalf("%d ran and %d were skipped of %d", len(ran), skipped, due)
		}
	})
}
