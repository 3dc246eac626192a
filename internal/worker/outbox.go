package worker

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/peer"
)

const (
	// gatherTime is for how long outcomes are gathered that nothing waits for:
	// the next attempt has begun already.
	gatherTime = 4 * time.Millisecond
	// maxReportBytes bounds what travels in one call.
	maxReportBytes = 4 << 20
	// maxCalls is how many calls may wait for their commit at once, so that the
	// next outcome need not wait for the one before.
	maxCalls = 4
	// reportTimeout bounds one call.
	reportTimeout = 10 * time.Second
	// quietTries is how often a call may fail before that is logged: an election
	// takes a few.
	quietTries = 5
)

// outbox sends reports to the orchestrator, wherever it is, and repeats each
// until it is acknowledged. It holds reports in memory only: outcomes are in the
// journal before they are added, so a restart adds them again.
type outbox struct {
	send func(ctx context.Context, reports []peer.Report) ([]peer.Ack, error)
	// acknowledged is called once for each report that is done.
	acknowledged func(r *peer.Report, ack peer.Ack)
	log          hclog.Logger

	// wake has a token while something may be queued.
	wake chan struct{}

	mu     sync.Mutex // guards following
	queued []peer.Report
}

// add queues a report. A lazy one may wait for others.
func (b *outbox) add(r peer.Report, lazy bool) {
	b.mu.Lock()
	b.queued = append(b.queued, r)
	first := len(b.queued) == 1
	b.mu.Unlock()

	switch {
	case !lazy:
		b.poke()
	case first:
		time.AfterFunc(gatherTime, b.poke) // poke never blocks, so there is nothing to wait for
	}
}

func (b *outbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take takes what is queued, up to maxReportBytes but at least one.
func (b *outbox) take() []peer.Report {
	b.mu.Lock()
	defer b.mu.Unlock()

	n, size := 0, 0
	for ; n < len(b.queued); n++ {
		for _, blob := range b.queued[n].Blobs {
			size += len(blob)
		}
		if n > 0 && size > maxReportBytes {
			break
		}
	}

	batch := b.queued[:n:n]
	b.queued = b.queued[n:]
	return batch
}

// run sends what is queued until ctx ends, and waits for the calls under way.
func (b *outbox) run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, maxCalls)

	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}

		for batch := b.take(); len(batch) > 0; batch = b.take() {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			calls.Go(func() {
				defer func() { <-slots }()
				b.deliver(ctx, batch)
			})
		}
	}
}

// deliver repeats a batch until every report in it is acknowledged, or ctx ends.
func (b *outbox) deliver(ctx context.Context, batch []peer.Report) {
	pause := &backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, Multiplier: 2,
		RandomizationFactor: 0.2, MaxInterval: 500 * time.Millisecond}
	pause.Reset()

	for tries := 0; ; tries++ {
		call, cancel := context.WithTimeout(ctx, reportTimeout)
		acks, err := b.send(call, batch)
		cancel()
		if ctx.Err() != nil {
			return // the journal has the outcomes
		}

		switch {
		case err == nil && len(acks) == len(batch):
			batch = b.unfinished(batch, acks)
		case tries == quietTries:
			b.log.Info("outcomes wait for a leader", "count", len(batch), "error", err)
		}
		if len(batch) == 0 {
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// unfinished hands over what is acknowledged and returns the rest.
func (b *outbox) unfinished(batch []peer.Report, acks []peer.Ack) (rest []peer.Report) {
	for i := range batch {
		if acks[i].Done {
			b.acknowledged(&batch[i], acks[i])
		} else {
			rest = append(rest, batch[i])
		}
	}
	return rest
}
