package fabric

import (
	"context"
	"io"
	"time"

	"golang.org/x/time/rate"
)

// burstTime is how much may pass at once after a pause, in time at the rate.
const burstTime = 200 * time.Millisecond

// newLimiter limits to so many bytes a second; 0 or less is no limit.
func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	burst := int(float64(bytesPerSecond) * burstTime.Seconds())
	return rate.NewLimiter(rate.Limit(bytesPerSecond), max(burst, 1))
}

// limitN waits until n more bytes may pass. A nil limiter lets everything pass.
func limitN(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil || l.Limit() == rate.Inf {
		return ctx.Err()
	}

	// More than the burst is refused at once by the limiter: take it in pieces.
	for n > 0 {
		part := min(n, l.Burst())
		if err := l.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// limitedReader passes on what r gives at the limiter's rate.
type limitedReader struct {
	ctx   context.Context // of the transfer that reads
	r     io.Reader
	limit *rate.Limiter
}

// Read reads, and then waits for what came.
func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		if werr := limitN(l.ctx, l.limit, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}

// pause waits; it returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
