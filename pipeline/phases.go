package pipeline

import "time"

// ShortPhase is the time from which on a phase of an attempt is recorded: shorter ones
// are not worth their place in the state.
const ShortPhase = 10 * time.Millisecond

// Phases are the parts of an attempt before and after its process; those that were short
// are 0.
type Phases struct {
	// Fetch is how long files were downloaded to the worker, FetchedAt when that ended,
	// FetchedBytes how much came.
	Fetch        time.Duration `json:"fetch,omitempty"`
	FetchedAt    time.Time     `json:"fetchedAt,omitzero"`
	FetchedBytes int64         `json:"fetchedBytes,omitempty"`
	// Capture is from the end of the process until log and outputs were stored, with a
	// second copy of large ones. Report is from then until the leader proposed the
	// outcome, by the clocks of both.
	Capture time.Duration `json:"capture,omitempty"`
	Report  time.Duration `json:"report,omitempty"`
}

// After is the time between the end of the process and the proposal of the outcome.
func (p *Phases) After() time.Duration {
	if p == nil {
		return 0
	}
	return p.Capture + p.Report
}

// Reported adds when the leader proposed the outcome of an attempt whose process ended at
// a time; p may be nil, and so is the result if there is nothing to record.
func (p *Phases) Reported(ended, at time.Time) *Phases {
	var out Phases
	if p != nil {
		out = *p
	}
	out.Report = at.Sub(ended.Add(out.Capture))
	if out.Report < ShortPhase || ended.IsZero() {
		out.Report = 0
	}
	if out == (Phases{}) {
		return nil
	}
	return &out
}
