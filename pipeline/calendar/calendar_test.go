package calendar_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline/calendar"
)

func parse(tb testing.TB, zone string, expressions ...string) *calendar.Calendar {
	tb.Helper()
	c, err := calendar.Parse(expressions, zone)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// ticks returns n ticks after a time, as the zone's clock shows them.
func ticks(c *calendar.Calendar, zone string, after string, n int) []string {
	loc, _ := calendar.Zone(zone)
	at, err := time.Parse(time.RFC3339, after)
	if err != nil {
		panic(err)
	}

	var out []string
	for range n {
		at = c.Next(at)
		out = append(out, at.In(loc).Format("2006-01-02T15:04:05-07:00"))
	}

	return out
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, cron, zone, after string
		want                    []string
	}{
		{"plain", "0 3 * * *", "", "2026-01-01T03:00:00Z", []string{"2026-01-02T03:00:00+00:00"}},
		{"just before", "0 3 * * *", "", "2026-01-01T02:59:59.999Z", []string{"2026-01-01T03:00:00+00:00"}},
		{"within the second", "*/2 * * * * *", "", "2026-01-01T00:00:00.5Z", []string{"2026-01-01T00:00:02+00:00", "2026-01-01T00:00:04+00:00"}},
		{"every", "@every 90s", "", "2026-01-01T00:00:01Z", []string{"2026-01-01T00:01:30+00:00", "2026-01-01T00:03:00+00:00"}},
		{"daily", "@daily", "Asia/Kolkata", "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00+05:30"}},
		{"sunday is 7", "0 0 * * 7", "", "2026-01-01T00:00:00Z", []string{"2026-01-04T00:00:00+00:00"}},
		{"either day", "0 0 13 * FRI", "", "2026-02-10T00:00:00Z", []string{"2026-02-13T00:00:00+00:00", "2026-02-20T00:00:00+00:00"}},
		{"either day, not a Friday", "0 0 14 * FRI", "", "2026-02-12T00:00:00Z", []string{"2026-02-13T00:00:00+00:00", "2026-02-14T00:00:00+00:00"}},
		{"a day of the month alone", "0 0 1 * *", "", "2026-02-10T00:00:00Z", []string{"2026-03-01T00:00:00+00:00", "2026-04-01T00:00:00+00:00"}},
		{"leap day", "0 0 29 2 *", "", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00+00:00"}},
		{"last day", "0 0 L * *", "", "2026-02-01T00:00:00Z", []string{"2026-02-28T00:00:00+00:00"}},

		// Clocks are set forward in London on 2026-03-29 at 01:00, back on 2026-10-25 at 02:00.
		{"skipped", "30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:30:00+01:00", "2026-03-30T01:30:00+01:00"}},
		{"skipped, asked within", "30 1 * * *", "Europe/London", "2026-03-29T01:10:00Z", []string{"2026-03-29T02:30:00+01:00", "2026-03-30T01:30:00+01:00"}},
		{"skipped meets its neighbour", "30 1,2 * * *", "Europe/London", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:30:00+01:00", "2026-03-30T01:30:00+01:00"}},
		{"shown twice", "30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", []string{"2026-10-25T01:30:00+01:00", "2026-10-26T01:30:00+00:00"}},
		{"shown twice, asked between", "30 1 * * *", "Europe/London", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00+00:00"}},
		{"every hour, forward", "0 * * * *", "Europe/London", "2026-03-28T23:30:00Z", []string{"2026-03-29T00:00:00+00:00", "2026-03-29T02:00:00+01:00", "2026-03-29T03:00:00+01:00"}},
		{"every hour, back", "0 * * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"all hours but one, back", "0 0-22 * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T02:00:00+00:00"}},
		{"every hour, back, written */1", "0 */1 * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"every hour, back, written 0-23", "0 0-23 * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"every hour, back, written ?", "0 ? * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"every hour, back, written 0-12,13-23", "0 0-12,13-23 * * *", "Europe/London", "2026-10-24T23:30:00Z", []string{"2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"every half hour, back", "*/30 * * * *", "Europe/London", "2026-10-25T00:10:00Z", []string{"2026-10-25T01:30:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T01:30:00+00:00", "2026-10-25T02:00:00+00:00"}},
		{"every two hours", "0 */2 * * *", "America/New_York", "2026-03-08T04:30:00Z", []string{"2026-03-08T00:00:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"}},
		// Half an hour, on 2026-10-04 at 02:00.
		{"half an hour", "15,35 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{"2026-10-04T02:35:00+11:00", "2026-10-04T02:45:00+11:00", "2026-10-05T02:15:00+11:00"}},
		// There is no midnight in Beirut on 2026-03-29.
		{"no midnight", "0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"}},
		// Samoa had no 2011-12-30 at all.
		{"no such day", "0 9 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", []string{"2011-12-31T09:00:00+14:00", "2012-01-01T09:00:00+14:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ticks(parse(t, c.zone, c.cron), c.zone, c.after, len(c.want))
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestNext_several(t *testing.T) {
	c := parse(t, "", "0 0 1 * *", "0 0 * * MON", "0 12 * * *")
	got := ticks(c, "", "2026-05-31T12:00:00Z", 3)
	want := "2026-06-01T00:00:00+00:00 2026-06-01T12:00:00+00:00 2026-06-02T12:00:00+00:00"
	if strings.Join(got, " ") != want { // June 1 is a Monday: one tick
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestParse_mistakes(t *testing.T) {
	for _, c := range []struct{ cron, zone, want string }{
		{"", "", "empty"},
		{"* * * *", "", "4 fields: expected 5"},
		{"* * * * * * *", "", "7 fields"},
		{"61 * * * *", "", "61"},
		{"0 25 * * *", "", "25"},
		{"0 0 31 2 *", "", "never be due"},
		{"0 0 * * FUNDAY", "", "FUNDAY"},
		{"TZ=", "", "stands in timezone"},
		{"TZ=Europe/London 0 3 * * *", "", "stands in timezone"},
		{"@reboot", "", "@reboot"},
		{"@every", "", "expected a duration"},
		{"@every 0s", "", "whole seconds"},
		{"@every 1.5s", "", "whole seconds"},
		{"@every -5s", "", "whole seconds"},
		{"H * * * *", "", ""},
		{"0 3 * * *", "Europe/Lodnon", "no time zone is called"},
		{"0 3 * * *", "Local", "local time of its own"},
		{"0 3 * * *", "../../etc/passwd", "no time zone"},
		{strings.Repeat("1,", 5000) + "1 * * * *", "", "10009 characters: expected at most"},
		{"x 3 * * *", "", `minute "x": expected 0 to 59, *, a range such as 0-9, a step such as */10, or H`},
		{"0 0 3,x * * *", "", `hour "x": expected 0 to 23, *`},
		{"0 3 * Jannuary *", "", `month "Jannuary": expected 1 to 12, JAN to DEC`},
		{"0 3 * * montag", "", `day of week "montag": expected 0 to 7, SUN to SAT`},
		{"0 3 L-x * *", "", `day of month "L-x": expected 1 to 31`},
		{"-1 3 * * *", "", `minute "-1": expected 0 to 59`},
		{"99999999999999999999 * * * *", "", `minute "99999999999999999999": expected 0 to 59`},
		{"0 3 * * MON-FRIDAY", "", `day of week "MON-FRIDAY": expected`},
		{"*-x 3 * * *", "", `minute "*-x": expected 0 to 59`},
		{"0 25 * * *", "", `hour "25": expected 0 to 23, *`},
		{"0 9-25 * * *", "", `hour: end of range (25)`},
		{"5,,6 * * * *", "", `minute "5,,6": nothing before or after a comma`},
		{", * * * *", "", `minute ",": nothing before or after a comma`},
		{"@dayly", "", `unknown name "@dayly": did you mean @daily?`},
		{"@reboot", "", `unknown name "@reboot": expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, or @every`},
		{"@daily x", "", `unknown name "@daily x"`},
	} {
		_, err := calendar.Parse([]string{c.cron}, c.zone)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q in %q: got %v, want %q", c.cron, c.zone, err, c.want)
		} else if strings.Contains(err.Error(), "strconv") {
			t.Errorf("%.40q: the text of a library: %v", c.cron, err)
		}
	}
}

var zones = []string{"UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Sao_Paulo",
	"Africa/Casablanca", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia"}

var (
	minutesOf = []string{"*", "0", "30", "*/15", "15,35", "59", "7-50/9"}
	hoursOf   = []string{"*", "0", "1", "2", "3", "1,2", "0-5", "*/2", "23"}
	daysOf    = []string{"* * *", "* * SUN", "* */2 *", "1-15 * *"}
)

// Each tick is the first second of its minute at which the expression is due by
// the rules, read off a clock that is looked at minute by minute.
func TestNext_isTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		minute, hour := rapid.SampledFrom(minutesOf).Draw(t, "minute"), rapid.SampledFrom(hoursOf).Draw(t, "hour")
		days := rapid.SampledFrom(daysOf).Draw(t, "days")
		expr := minute + " " + hour + " " + days
		c, err := calendar.Parse([]string{expr}, zone)
		if err != nil {
			t.Fatal(err)
		}

		utc, _ := calendar.Parse([]string{expr}, "")
		loc, _ := calendar.Zone(zone)

		// Close to a change of the clock, if there is one.
		start := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 28).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		if _, end := start.In(loc).ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "near") {
			start = end.Add(time.Duration(rapid.IntRange(-36*60, 36*60).Draw(t, "minutes")) * time.Minute)
		}

		start = start.Truncate(time.Minute)
		want := slow(utc, loc, hour == "*", start)
		got := c.Next(start)
		if want.IsZero() { // further away than the slow way looks
			if got.Before(start.Add(slowLimit)) {
				t.Fatalf("%s in %s after %s: got %s, want none so soon", expr, zone, start, got)
			}
			return
		}

		if !got.Equal(want) {
			t.Fatalf("%s in %s after %s: got %s, want %s", expr, zone, start.In(loc), got.In(loc), want.In(loc))
		}
	})
}

const slowLimit = 72 * time.Hour

// shows reports whether an expression names a time that a clock shows.
func shows(utc *calendar.Calendar, shown time.Time) bool {
	return utc.Next(shown.Add(-time.Second)).Equal(shown)
}

func clock(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

// slow finds the next tick by looking at every minute.
func slow(utc *calendar.Calendar, loc *time.Location, hourly bool, after time.Time) time.Time {
	// A clock that is looked at for two days before knows what it has shown.
	from := after.Add(-48 * time.Hour)
	seen := map[int64]bool{}
	due := map[int64]bool{}
	last := clock(from, loc).Add(-time.Minute)
	for at := from; at.Before(after.Add(slowLimit)); at = at.Add(time.Minute) {
		shown := clock(at, loc)
		if !hourly {
			// What was skipped is due as much later as the clock was set forward.
			for x, gap := last.Add(time.Minute), shown.Sub(last)-time.Minute; gap > 0 && x.Before(shown); x = x.Add(time.Minute) {
				seen[x.Unix()] = true
				if shows(utc, x) {
					due[at.Add(x.Sub(last)-time.Minute).Unix()] = true
				}
			}

			if shows(utc, shown) && !seen[shown.Unix()] {
				due[at.Unix()] = true
			}

			seen[shown.Unix()] = true
		} else if shows(utc, shown) {
			due[at.Unix()] = true
		}

		last = shown
		if at.After(after) && due[at.Unix()] {
			return at
		}
	}

	return time.Time{}
}

func TestNext_ascends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		expr := rapid.SampledFrom([]string{"*/20", "5", "*"}).Draw(t, "s") + " " + rapid.SampledFrom(minutesOf).Draw(t, "m") + " " +
			rapid.SampledFrom(hoursOf).Draw(t, "h") + " " + rapid.SampledFrom(daysOf).Draw(t, "d")
		c, err := calendar.Parse([]string{expr}, zone)
		if err != nil {
			t.Fatal(err)
		}

		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0)
		for range 50 {
			next := c.Next(at)
			if !next.After(at) {
				t.Fatalf("%s in %s: %s after %s", expr, zone, next, at)
			}

			// Nothing between: asking from anywhere in the middle gives the same.
			middle := at.Add(next.Sub(at) / 2)
			if again := c.Next(middle); middle.After(at) && middle.Before(next) && !again.Equal(next) {
				t.Fatalf("%s in %s: after %s comes %s, but after %s comes %s", expr, zone, at, next, middle, again)
			}

			at = next
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"* * * * *", "@every 1s", "*/2 * * * * *", "0 0 L * *", "0 0 * * FRI#3", "TZ=", "@", "0 0 15W * *"} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, s string) {
		c, err := calendar.Parse([]string{s}, "Europe/London")
		if err != nil {
			return
		}

		at := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
		for range 5 {
			next := c.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q: %s after %s", s, next, at)
			}
			at = next
		}
	})
}

func TestDue(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		cron  string
		now   time.Time
		count int
		exact bool
		last  time.Time
		n     int
	}{
		{"* * * * *", from, 1, true, from, 1},
		{"* * * * *", from.Add(10*time.Minute + time.Second), 11, true, from.Add(10 * time.Minute), 11},
		{"* * * * *", from.Add(24 * time.Hour), 1441, true, from.Add(24 * time.Hour), 100},
		{"*/2 * * * * *", from.Add(300 * 24 * time.Hour), 100_000, false, from.Add(300 * 24 * time.Hour), 100},
		// Every second of a month that ended ten days ago.
		{"* * * * 1 *", time.Date(2026, 2, 10, 0, 0, 0, 0, time.UTC), 100_000, false, time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC), 100},
	} {
		t.Run(c.cron+" "+c.now.Format(time.DateOnly), func(t *testing.T) {
			newest, count, exact := parse(t, "", c.cron).Due(from, c.now, 100)
			if count != c.count || exact != c.exact || len(newest) == 0 || len(newest) > 100 || c.exact && len(newest) != c.n {
				t.Fatalf("got %d of %d, %v; want %d of %d, %v", len(newest), count, exact, c.n, c.count, c.exact)
			}

			if last := newest[len(newest)-1]; !last.Equal(c.last) {
				t.Errorf("the last is %s, want %s", last, c.last)
			}

			for i := 1; i < len(newest); i++ {
				if !newest[i].After(newest[i-1]) {
					t.Errorf("%s after %s", newest[i], newest[i-1])
				}
			}
		})
	}
}

func TestTime(t *testing.T) {
	for given, want := range map[string]string{
		"2026-11-30T02:00:00Z":          "2026-11-30T03:00:00+01:00",
		"2026-11-30T03:00:00.9+01:00":   "2026-11-30T03:00:00+01:00",
		"2026-07-01":                    "2026-07-01T00:00:00+02:00",
		"2026-07-01T03:04":              "2026-07-01T03:04:00+02:00",
		"2026-07-01 03:04:05":           "2026-07-01T03:04:05+02:00",
		"":                              "",
		"1969-01-01":                    "",
		"2026-02-30":                    "",
		"tomorrow":                      "",
		"2026-07-01T03:04 Europe/Paris": "",
		"2026-10-25T02:30":              "2026-10-25T02:30:00+02:00", // as a tick, the first of two
		"2026-03-29T02:30":              "2026-03-29T03:30:00+02:00", // as a tick, an hour later
	} {
		at, err := calendar.Time(given, "Europe/Berlin")
		if got := calendar.Text(at, "Europe/Berlin"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %s, %v; want %q", given, got, err, want)
		}
	}
	if _, err := calendar.Time("2026-07-01", "Mars/Olympus"); err == nil {
		t.Error("a zone that does not exist is accepted")
	}
}

// A date alone is the end of that day, also of one that is an hour shorter.
func TestEndOf(t *testing.T) {
	for given, want := range map[string]string{
		"2026-11-30":       "2026-11-30T23:59:59+01:00",
		"2026-03-29":       "2026-03-29T23:59:59+02:00",
		"2026-11-30T00:00": "2026-11-30T00:00:00+01:00",
	} {
		at, err := calendar.EndOf(given, "Europe/Berlin")
		if got := calendar.Text(at, "Europe/Berlin"); got != want || err != nil {
			t.Errorf("%q: got %s, %v; want %q", given, got, err, want)
		}
	}
	if _, err := calendar.EndOf("2026-13-30", ""); err == nil {
		t.Error("a month that does not exist is accepted")
	}
}
