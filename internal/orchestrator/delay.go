package orchestrator

import "time"

// delay lets a module wait for its backoff.
func (t *term) delay(m *mod) {
	for _, d := range t.delayed {
		if d == m {
			return
		}
	}
	t.delayed = append(t.delayed, m)
}

// nextDelayed gives a channel that fires when the next backoff ends; nil, which
// never does, where there is none.
func (t *term) nextDelayed() <-chan time.Time {
	var first time.Time
	for _, m := range t.delayed {
		if first.IsZero() || m.notBefore.Before(first) {
			first = m.notBefore
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first))
}

// wakeDelayed makes modules ready whose backoff is over.
func (t *term) wakeDelayed() {
	if len(t.delayed) == 0 {
		return
	}
	now := time.Now()
	was := t.delayed
	t.delayed = nil
	for _, m := range was {
		if t.runs[m.run.head.ID] != m.run {
			continue // the run ended or was read anew
		}
		if m.notBefore.After(now) {
			t.delayed = append(t.delayed, m)
			continue
		}
		t.advance(m)
	}
}
