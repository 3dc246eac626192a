package consensus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/awake"
)

// A write that was in progress while this process did not run has not stalled; one
// that takes as long while it runs has.
func TestLogStore_stalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &logStore{log: hclog.NewNullLogger(), inProgress: map[uint64]time.Time{}}
		clock := awake.New()
		for _, tc := range []struct {
			name   string
			paused bool
			least  time.Duration
			most   time.Duration
		}{
			{"paused", true, 0, time.Second},
			{"running", false, 14 * time.Second, 14 * time.Second},
		} {
			clock.Beat()
			release, written := make(chan struct{}), make(chan error, 1)
			go func() { written <- s.timed(func() error { <-release; return nil }) }()
			synctest.Wait()

			for range 28 {
				<-time.After(500 * time.Millisecond)
				if !tc.paused {
					clock.Beat()
				}
			}
			clock.Beat()
			if d := s.stalled(clock); d < tc.least || d > tc.most {
				t.Errorf("%s: stalled for %v", tc.name, d)
			}
			close(release)
			if err := <-written; err != nil {
				t.Error(err)
			}
		}
	})
}
