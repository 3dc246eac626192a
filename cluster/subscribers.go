package cluster

import "sync"

// subscribers are the channels that are poked when members or leader may have
// changed. It is safe for concurrent use.
type subscribers struct {
	mu    sync.Mutex // guards following
	chans map[chan struct{}]struct{}
}

// add returns a channel with room for one poke, and a function that removes it.
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

// notify pokes every channel. It never blocks: a channel that still holds a
// poke needs no second one.
func (s *subscribers) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.chans {
		poke(ch)
	}
}

// poke puts a value into a channel with room for one, unless it holds one.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
