package bounded

import (
	"context"
	"slices"
	"sync"
)

// slots divides helpers among parties. One more helper may run than a single party
// may have, so that there is one at once for a party that has none. If several wait,
// the next one is for the party that has the fewest.
type slots struct {
	perParty, total int

	mu      sync.Mutex // guards following
	used    int
	running map[string]int
	// waiting is in the order of arrival.
	waiting []*waiter
}

// waiter is a request that waits; ready is closed once it has a slot.
type waiter struct {
	party string
	ready chan struct{}
}

func newSlots(perParty int) *slots {
	return &slots{perParty: perParty, total: perParty + 1, running: map[string]int{}}
}

// acquire returns when the party has a slot, or ctx has ended.
func (s *slots) acquire(ctx context.Context, party string) error {
	w := &waiter{party: party, ready: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.grantLocked()
	s.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.releaseLocked(party) // it got its slot meanwhile
	}
	return ctx.Err()
}

// release returns a slot of the party.
func (s *slots) release(party string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(party)
}

func (s *slots) releaseLocked(party string) {
	s.used--
	if s.running[party]--; s.running[party] == 0 {
		delete(s.running, party)
	}
	s.grantLocked()
}

// grantLocked gives free slots to those who wait.
func (s *slots) grantLocked() {
	for s.used < s.total {
		best := -1
		for i, w := range s.waiting {
			if s.running[w.party] < s.perParty && (best < 0 || s.running[w.party] < s.running[s.waiting[best].party]) {
				best = i
			}
		}
		if best < 0 {
			return
		}

		w := s.waiting[best]
		s.waiting = slices.Delete(s.waiting, best, best+1)
		s.used++
		s.running[w.party]++
		close(w.ready)
	}
}
