package consensus

import "sync"

// subscribers are the channels that are poked when leader, state or
// configuration may have changed. It is safe for concurrent use.
type subscribers struct {
	mu    sync.Mutex // guards following
	chans map[chan struct{}]struct{}
}

// add returns a channel with a buffer of one, and a function that removes it.
func (s *subscribers) add() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.chans == nil {
		s.chans = map[chan struct{}]struct{}{}
	}

	s.chans[ch] = struct{}{}

	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.chans, ch)
	}
}

// notify pokes every channel without blocking.
func (s *subscribers) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.chans {
		select {
		case ch <- struct{}{}:
		default: // it holds a poke already
		}
	}
}
