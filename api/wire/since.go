package wire

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// LogTimeLayout is how times stand before lines of output: RFC 3339 in UTC, to
// a tenth of a second, which is how exactly they are known, and of one width.
const LogTimeLayout = "2006-01-02T15:04:05.0Z07:00"

// ParseSpan reads a duration above zero, which may be in days: 90m, 36h, 30d.
func ParseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var days float64
		if days, err = strconv.ParseFloat(n, 64); err == nil && days < 100_000 {
			d = time.Duration(days * 24 * float64(time.Hour))
		}
	}
	if err != nil || d <= 0 {
		return 0, errors.New("expected a time such as 90m, 36h or 30d")
	}
	return d, nil
}

// ParseSince reads a time as RFC 3339, or as a duration before now, which may be in days.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if d, err := ParseSpan(text); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 {
		return time.Time{}, pipeline.Errorf(pipeline.Invalid, "since %.40q: expected a time such as %s, or a duration such as 10m or 2d", text, now.UTC().Format(time.RFC3339))
	}
	return t, nil
}
