package executor

import (
	"sync/atomic"
	"time"
)

// silence measures how long nothing was heard and calls a function when that
// has become too long. Output costs it one store, not a timer. A nil silence
// does nothing.
type silence struct {
	limit time.Duration
	from  time.Time
	// last is when something was heard, since from.
	last  atomic.Int64
	timer *time.Timer
}

// newSilence begins to measure. tooLong is called at most once, from a goroutine
// of its own, perhaps while end returns.
func newSilence(limit time.Duration, tooLong func()) *silence {
	s := &silence{limit: limit, from: time.Now()}
	set := make(chan struct{})
	s.timer = time.AfterFunc(limit, func() {
		<-set
		if left := s.limit - (time.Since(s.from) - time.Duration(s.last.Load())); left > 0 {
			s.timer.Reset(left)
			return
		}
		tooLong()
	})
	close(set)
	return s
}

// broken says that something was heard.
func (s *silence) broken() {
	if s != nil {
		s.last.Store(int64(time.Since(s.from)))
	}
}

// end stops the measuring.
func (s *silence) end() {
	if s != nil {
		s.timer.Stop()
	}
}
