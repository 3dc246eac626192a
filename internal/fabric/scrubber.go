package fabric

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// scrubDelay is the pause before the first pass: a node that starts has more
// urgent work.
const scrubDelay = time.Minute

// VerifiableBlobs is the blob store, as far as it is scrubbed.
type VerifiableBlobs interface {
	Walk(ctx context.Context, fn func(blob.Info) error) error
	// VerifyAt reads a blob whole and calls wait before each piece of n bytes. A
	// damaged one is quarantined and reported by the store itself.
	VerifyAt(d pipeline.Digest, wait func(n int) error) error
}

// ScrubberConfig holds the settings of a Scrubber.
type ScrubberConfig struct {
	Blobs VerifiableBlobs
	// Rate is how many bytes a second are read; negative turns scrubbing off.
	Rate int64
	// Every is the pause between two passes.
	Every  time.Duration
	Logger hclog.Logger
}

// Scrubber reads every blob of this node again and again, slowly, so that damage
// is found while there is still a good copy. It repairs nothing: the store
// quarantines a damaged copy and reports it, as it does for every reader.
type Scrubber struct{ cfg ScrubberConfig }

// NewScrubber makes a scrubber.
func NewScrubber(cfg ScrubberConfig) *Scrubber { return &Scrubber{cfg: cfg} }

// Run scrubs until ctx ends.
func (s *Scrubber) Run(ctx context.Context) {
	if s.cfg.Rate < 0 {
		return
	}

	limit := newLimiter(s.cfg.Rate)
	for wait := min(s.cfg.Every, scrubDelay); pause(ctx, wait); wait = s.cfg.Every {
		s.pass(ctx, limit)
	}
}

// pass verifies every blob once.
func (s *Scrubber) pass(ctx context.Context, limit *rate.Limiter) {
	began, blobs, damaged := time.Now(), 0, 0
	var list []pipeline.Digest
	// The list comes first: a walk holds directories open, a pass takes hours.
	err := s.cfg.Blobs.Walk(ctx, func(i blob.Info) error {
		list = append(list, i.Digest)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("list the blobs to verify", "error", err)
	}

	for _, d := range list {
		err := s.cfg.Blobs.VerifyAt(d, func(n int) error { return limitN(ctx, limit, n) })
		if ctx.Err() != nil {
			return
		}
		blobs++
		if corrupt := (*blob.CorruptError)(nil); errors.As(err, &corrupt) {
			damaged++
		}
	}
	s.cfg.Logger.Debug("verified every blob on this disk", "blobs", blobs, "damaged", damaged, "took", time.Since(began).Round(time.Second))
}
