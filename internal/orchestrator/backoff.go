package orchestrator

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// backoffs holds the modules that wait for their next attempt.
type backoffs struct {
	model   *model
	steps   steps
	waiting []*moduleState
}

// add lets a module wait until its notBefore.
func (b *backoffs) add(m *moduleState) {
	if !slices.Contains(b.waiting, m) {
		b.waiting = append(b.waiting, m)
	}
}

// next returns a channel that fires when the next backoff ends; nil, which never
// fires, if none is waited for.
func (b *backoffs) next() <-chan time.Time {
	// Few modules wait at once; a heap would not pay.
	var first time.Time
	for _, m := range b.waiting {
		if first.IsZero() || m.tries.notBefore.Before(first) {
			first = m.tries.notBefore
		}
	}

	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first))
}

// wake advances the modules whose backoff has ended.
func (b *backoffs) wake(now time.Time) {
	if len(b.waiting) == 0 {
		return
	}

	// advance may add modules: it must find a fresh list.
	list := b.waiting
	b.waiting = nil
	for _, m := range list {
		switch {
		case !b.model.isCurrent(m.run):
		case m.tries.notBefore.After(now):
			b.waiting = append(b.waiting, m)
		default:
			b.steps.advance(m)
		}
	}
}

// lossPause is the wait before a lost module is repeated. After the first loss
// there is none: a machine died. After several, the module itself may be the cause,
// for example because it fills the disk, which is free again once it is gone.
func lossPause(losses int) time.Duration {
	if losses < 2 {
		return 0
	}
	return 2 * time.Second << (2 * min(losses-2, 2))
}

// retryPause is the wait before a failed module is repeated: doubled with each
// failure, at most MaxBackoff, less up to a quarter at random, so that modules that
// failed together do not return together.
func retryPause(retry *pipeline.Retry, failures int) time.Duration {
	d := retry.Pause(failures)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}
