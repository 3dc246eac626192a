package pipeline

import (
	"slices"
	"time"
)

// MaxPast is how many of the newest outcomes of a module are kept.
const MaxPast = 8

// ModuleHistory is the record of a module over all runs of its pipeline.
type ModuleHistory struct {
	// Succeeded, Failed and Other count outcomes; Other has the cancelled ones.
	Succeeded, Failed, Other int
	// At is when the newest one came.
	At time.Time
	// Past has the newest outcomes, newest first, at most MaxPast.
	Past []PastOutcome
}

// PastOutcome is how an attempt decided its module, and how long it took, in
// whole milliseconds.
type PastOutcome struct {
	State ModuleState
	Took  time.Duration
}

// Expected estimates the module's duration: the median of its newest successes.
// ok is false if there is none.
func (h *ModuleHistory) Expected() (d time.Duration, ok bool) {
	var took []time.Duration
	for _, p := range h.Past {
		if p.State == ModuleSucceeded {
			took = append(took, p.Took)
		}
	}

	return Median(took)
}

// Percentile returns the smallest duration that p percent of the list do not exceed;
// ok is false if list is empty.
func Percentile(list []time.Duration, p int) (d time.Duration, ok bool) {
	if len(list) == 0 {
		return 0, false
	}
	list = slices.Sorted(slices.Values(list))
	return list[max(0, (len(list)*p+99)/100-1)], true
}

// Median returns the median of the durations, the lower of two in the middle;
// ok is false if list is empty.
func Median(list []time.Duration) (d time.Duration, ok bool) { return Percentile(list, 50) }
