package webhook

import "time"

const (
	// tryFor is how long after its event a message is tried again.
	tryFor = 24 * time.Hour
	// minPause and maxPause bound how long a hook rests after a delivery has failed, so
	// that the messages which wait for a receiver that is down are not all tried at once.
	minPause, maxPause = time.Second, time.Minute
)

// waits are the times from one try of a message to the next.
var waits = [...]time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour}

// nextTry is when a message is tried again after a try that failed: its tries so far,
// that one among them, when its event was, and now. The last try is a day after the event;
// false if that has passed.
func nextTry(tries int, event, now time.Time) (time.Time, bool) {
	end := event.Add(tryFor)
	if !now.Before(end) {
		return time.Time{}, false
	}
	next := now.Add(waits[min(max(tries, 1), len(waits))-1])
	if next.After(end) {
		next = end
	}
	return next, true
}

// pause is how long a hook rests after so many failures in a row.
func pause(failures int) time.Duration {
	return min(maxPause, minPause<<min(max(failures-1, 0), 10))
}
