package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// LogTimeLayout is how times stand before lines of output: RFC 3339 in UTC, to
// a tenth of a second, which is how exactly they are known, and of one width.
const LogTimeLayout = "2006-01-02T15:04:05.0Z07:00"

// ParseSince reads a time as RFC 3339, or as a duration before now.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 {
		return time.Time{}, pipeline.Errorf(pipeline.Invalid, "since %.40q: expected a time such as %s, or a duration such as 10m", text, now.UTC().Format(time.RFC3339))
	}
	return t, nil
}
