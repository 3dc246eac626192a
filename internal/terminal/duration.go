package terminal

import (
	"fmt"
	"time"
)

func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// took gives " in 1.2s" where both times are known.
func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return " in " + ShortDuration(to.Sub(*from))
}

// ShortDuration gives a duration with as many digits as people read: 0.03s,
// 1.2s, 42s, 3m05s, 2h04m, 3d2h.
func ShortDuration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second-5*time.Millisecond:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 10*time.Second-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}

	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}

	return fmt.Sprintf("%dd%dh", s/(24*3600), s/3600%24)
}

// Ago tells how long ago a time was.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}

	d := now.Sub(t)
	if d < time.Second {
		return "now"
	}

	return ShortDuration(d.Truncate(time.Second)) + " ago"
}

func Elapsed(t, now time.Time) string { return ShortDuration(now.Sub(t)) }
