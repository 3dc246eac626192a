// Package calendar computes when a schedule is due: cron expressions in a time
// zone. It is pure: no clock, no goroutine. The result follows from the
// arguments and the built-in database of time zones.
//
// A library parses the expressions and answers in UTC only. Two rules of this
// package decide what its answers mean when clocks are set forward or back.
//
//   - An expression whose hour field names every hour (*, ?, */1, 0-23) follows
//     elapsed time: it is due whenever the local clock shows a time that it names.
//   - Any other names times of day, and is due at each once a day. A time that the
//     clock skips is due that much later, one that it shows twice the first time.
package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/pipelined/pipelined/pipeline/calendar/zones"
)

const (
	// MaxExpressions bounds the expressions of one schedule.
	MaxExpressions = 32
	// maxEvery bounds @every.
	maxEvery = 366 * 24 * time.Hour
	// searchYears is how far ahead a tick is looked for: February 29 may be eight
	// years away.
	searchYears = 9
)

// parser reads expressions of 5 fields, or 6 with the seconds first. If both
// day fields are given, one of them is enough, as in every cron since Vixie's.
var parser = cron.MustNewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow |
	cron.Descriptor | cron.Extended | cron.DowOrDom).WithMaxSearchYears(searchYears)

// Calendar is a schedule's expressions in its zone. It never changes.
type Calendar struct {
	zone  *time.Location
	rules []rule
}

// rule is one expression.
type rule struct {
	spec cron.Schedule // in UTC
	// every is set instead of spec for @every.
	every time.Duration
	// hourly marks one that follows the time that passes.
	hourly bool
}

// Zone finds a time zone by its name in the IANA database; "" is UTC.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}

	if strings.EqualFold(name, "local") {
		return nil, errors.New("every node has a local time of its own")
	}

	zone, err := zones.Load(name)
	if err != nil {
		return nil, fmt.Errorf("no time zone is called %.80q", name)
	}

	return zone, nil
}

// Text is a tick as expressions and modules see it: RFC 3339, as the clock of a zone
// shows it; "" if it is zero. A zone that is unknown here counts as UTC.
func Text(tick time.Time, zone string) string {
	if tick.IsZero() {
		return ""
	}
	return In(tick, zone).Format(time.RFC3339)
}

// In is a time as the clock of a zone shows it, or in UTC if the zone is unknown here.
func In(t time.Time, zone string) time.Time {
	loc, err := Zone(zone)
	if err != nil {
		loc = time.UTC
	}
	return t.In(loc)
}

// timeForms are how users write a time, besides RFC 3339.
var timeForms = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}

// Time reads a time that a user wrote: RFC 3339, or a date or a date with a time of day
// as the clock of a zone shows it, the first time if it does so twice. It is cut to whole
// seconds.
func Time(text, zone string) (time.Time, error) {
	loc, err := Zone(zone)
	if err != nil {
		return time.Time{}, err
	}

	at, err := time.Parse(time.RFC3339, text)
	for _, form := range timeForms {
		if err == nil {
			break
		}
		if at, err = time.Parse(form, text); err == nil {
			at, _ = instant(at, loc)
		}
	}
	if err != nil || at.Year() < 1970 {
		return time.Time{}, fmt.Errorf("%.40q is no time: expected 2026-11-30T03:00:00Z, or 2026-11-30T03:00 or 2026-11-30 by the clock of %s", text, loc)
	}
	return at.Truncate(time.Second).UTC(), nil
}

// EndOf reads a time as Time does; a date alone is the end of that day.
func EndOf(text, zone string) (time.Time, error) {
	at, err := Time(text, zone)
	if err != nil || len(text) != len(time.DateOnly) {
		return at, err
	}
	return In(at, zone).AddDate(0, 0, 1).Add(-time.Second).UTC(), nil
}

// Check reports what is wrong with an expression, before or after Spread; nil if it is
// valid.
func Check(expression string) error {
	expression, err := Spread(expression, "")
	if err == nil {
		_, err = parse(expression)
	}
	return err
}

// Parse reads a schedule: it is due when one of its expressions is. They come from Spread.
func Parse(expressions []string, zone string) (*Calendar, error) {
	loc, err := Zone(zone)
	if err != nil {
		return nil, err
	}

	if n := len(expressions); n == 0 || n > MaxExpressions {
		return nil, fmt.Errorf("%d expressions: expected 1 to %d", n, MaxExpressions)
	}

	c := &Calendar{zone: loc}
	for _, text := range expressions {
		r, err := parse(text)
		if err != nil {
			return nil, err
		}
		c.rules = append(c.rules, r)
	}

	return c, nil
}

func parse(text string) (rule, error) {
	text = strings.TrimSpace(text)
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return rule{}, errors.New("the expression is empty")
	case strings.HasPrefix(fields[0], "TZ=") || strings.HasPrefix(fields[0], "CRON_TZ="):
		return rule{}, errors.New("the time zone stands in timezone, not in the expression")
	case strings.HasPrefix(text, "@every"):
		return parseEvery(strings.TrimSpace(strings.TrimPrefix(text, "@every")))
	case fields[0][0] != '@' && len(fields) != 5 && len(fields) != 6:
		return rule{}, fmt.Errorf("%d fields: expected 5 (minute, hour, day of month, month, day of week), or 6 with the seconds first", len(fields))
	case len(text) > cron.MaxSpecLength:
		return rule{}, fmt.Errorf("%d characters: expected at most %d", len(text), cron.MaxSpecLength)
	}

	check := checkFields
	if fields[0][0] == '@' {
		check = checkName
	}
	if err := check(fields); err != nil {
		return rule{}, err
	}

	spec, err := parser.Parse(text)
	if err != nil {
		return rule{}, err
	}

	if spec.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return rule{}, errors.New("there is no such day: it would never be due")
	}

	hourly := text == "@hourly"
	if fields[0][0] != '@' {
		hourly = everyHour(fields[len(fields)-4])
	}

	return rule{spec: spec, hourly: hourly}, nil
}

// everyHour reports whether a field of hours, however it is written, names all of
// them. The parser has accepted it.
func everyHour(field string) bool {
	spec, err := parser.Parse("0 " + field + " * * *")
	if err != nil {
		return false
	}

	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 24 {
		next := spec.Next(at)
		if next.Sub(at) != time.Hour {
			return false
		}
		at = next
	}

	return true
}

func parseEvery(text string) (rule, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return rule{}, fmt.Errorf("@every %.40q: expected a duration such as @every 90s or @every 1h30m", text)
	case d < time.Second || d%time.Second != 0 || d > maxEvery:
		return rule{}, fmt.Errorf("@every %s: expected whole seconds, from 1s to a year", text)
	}
	return rule{every: d}, nil
}

// Next is the first tick after a time, in whole seconds, in UTC; zero if there
// is none within searchYears.
func (c *Calendar) Next(after time.Time) time.Time {
	var first time.Time
	for _, r := range c.rules {
		if at := r.next(after, c.zone); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

func (r rule) next(after time.Time, zone *time.Location) time.Time {
	after = time.Unix(after.Unix(), 0).In(zone)
	switch {
	case r.every > 0:
		return after.Truncate(r.every).Add(r.every).UTC()
	case r.hourly:
		return r.passing(after)
	}
	return r.daily(after)
}

// wall is what the clock shows at t, as if it were UTC.
func wall(t time.Time, offset int) time.Time { return time.Unix(t.Unix()+int64(offset), 0).UTC() }

func offsetAt(t time.Time) int {
	_, offset := t.Zone()
	return offset
}

// maxTransitions bounds how many changes of the clock are passed in a search.
const maxTransitions = 64

// passing finds the next tick of an expression that follows the time that
// passes: between two changes of the clock that is the next one in its offset.
func (r rule) passing(after time.Time) time.Time {
	shown := wall(after, offsetAt(after))
	for range maxTransitions {
		offset := offsetAt(after)
		n := r.spec.Next(shown)
		if n.IsZero() {
			return n
		}

		at := time.Unix(n.Unix()-int64(offset), 0)
		_, end := after.ZoneBounds()
		if end.IsZero() || at.Before(end) {
			return at.UTC()
		}

		after = end
		shown = wall(end, offsetAt(end)).Add(-time.Second) // end itself may be a tick
	}

	return time.Time{}
}

// daily finds the next tick of an expression that names times of day.
func (r rule) daily(after time.Time) time.Time {
	zone := after.Location()
	shown := wall(after, offsetAt(after))

	// What was skipped in the last hours is due later than the clock shows.
	if skipped := offsetAt(after) - offsetAt(after.Add(-26*time.Hour)); skipped > 0 {
		shown = shown.Add(-2 * time.Duration(skipped) * time.Second)
	}

	var first time.Time
	for {
		n := r.spec.Next(shown)
		if n.IsZero() {
			return first
		}

		at, skipped := instant(n, zone)
		if at.After(after) && (first.IsZero() || at.Before(first)) {
			first = at
		}

		// One that was moved may come after one behind it that was not.
		if !first.IsZero() && !skipped {
			return first
		}

		shown = n
	}
}

// instant is the first time at which the clock shows n. skipped is true if it
// never does: at is then later by as much as the clock was set forward.
func instant(n time.Time, zone *time.Location) (at time.Time, skipped bool) {
	before := offsetAt(n.Add(-24 * time.Hour).In(zone))
	behind := offsetAt(n.Add(24 * time.Hour).In(zone))
	var found time.Time
	for _, offset := range [...]int{before, behind} {
		t := time.Unix(n.Unix()-int64(offset), 0)
		if offsetAt(t.In(zone)) == offset && (found.IsZero() || t.Before(found)) {
			found = t
		}
	}

	if found.IsZero() {
		return time.Unix(n.Unix()-int64(before), 0).UTC(), true
	}

	return found.UTC(), false
}

// maxWalk bounds how many ticks are walked over to count them.
const maxWalk = 100_000

// Due returns the newest ticks from one on, which is the first of them, up to
// now: at most keep, in order, and how many there are in all. If there are more
// than maxWalk, exact is false and count is a lower bound.
func (c *Calendar) Due(from, now time.Time, keep int) (newest []time.Time, count int, exact bool) {
	newest, count, exact = c.walk(from, now, keep)
	if exact {
		return newest, count, true
	}

	// The span is too long to walk, so only its end is looked at. Search for a
	// beginning that leaves some ticks, but not too many.
	low, high := from, now.Add(time.Second)
	for window := time.Minute; ; window *= 4 {
		start := now.Add(-window)
		if !start.After(low) {
			break
		}

		newest, n, whole := c.walk(c.Next(start), now, keep)
		switch {
		case !whole:
			low = start
		case n >= keep:
			return newest, count, false
		case n == 0:
			high = start
			continue
		default:
			continue
		}

		break
	}

	for {
		middle := low.Add(high.Sub(low) / 2)
		newest, n, whole := c.walk(c.Next(middle), now, keep)
		switch {
		case !whole:
			low = middle
		case n == 0:
			high = middle
		default:
			return newest, count, false
		}
	}
}

// walk counts the ticks from one on up to now, as far as maxWalk.
func (c *Calendar) walk(from, now time.Time, keep int) (newest []time.Time, count int, whole bool) {
	for at := from; !at.IsZero() && !at.After(now); at = c.Next(at) {
		if count == maxWalk {
			return newest, count, false
		}
		count++
		if newest = append(newest, at); len(newest) > 2*keep {
			newest = append(newest[:0], newest[len(newest)-keep:]...)
		}
	}

	if len(newest) > keep {
		newest = newest[len(newest)-keep:]
	}

	return newest, count, true
}
