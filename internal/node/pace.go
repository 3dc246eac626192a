package node

import (
	"context"
	"io"
	"sync"
	"time"
)

// pacer spreads bytes over time, so that copies nobody waits for leave room for
// what must not wait. The zero value lets everything pass.
type pacer struct {
	rate int64 // bytes a second; 0 is no bound

	mu   sync.Mutex
	next time.Time // when the next byte may pass; guarded by mu
}

// paceBurst is what may pass at once after a pause.
const paceBurst = 200 * time.Millisecond

// wait returns when n more bytes may pass, or ctx ended.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p == nil || p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-paceBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	pause := p.next.Sub(now)
	p.mu.Unlock()
	if pause > 0 && !sleep(ctx, pause) {
		return context.Cause(ctx)
	}
	return nil
}

type pacedReader struct {
	ctx context.Context // of the transfer that reads
	r   io.Reader
	p   *pacer
}

func (r *pacedReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		if werr := r.p.wait(r.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}

type paceKey struct{}

// paced makes the transfers under ctx keep to a pace.
func paced(ctx context.Context, p *pacer) context.Context {
	return context.WithValue(ctx, paceKey{}, p)
}

func paceOf(ctx context.Context) *pacer {
	p, _ := ctx.Value(paceKey{}).(*pacer)
	return p
}
