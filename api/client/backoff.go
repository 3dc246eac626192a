package client

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// firstWait is the pause before the first repetition of a call.
const firstWait = 50 * time.Millisecond

// newBackoff gives the pauses between tries: each is about twice as long as the
// one before, up to highest, and randomized by half so that clients that lost the
// same node do not return in step. One goroutine uses it.
func newBackoff(highest time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: highest}
	b.Reset()

	return b
}

// sleep waits for d and returns true, or returns false as soon as ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()

	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
