package terminal

import "time"

// storyStart is when the runs of the tests were submitted.
var storyStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// second gives a time that many seconds after storyStart.
func second(seconds float64) *time.Time {
	t := storyStart.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}
