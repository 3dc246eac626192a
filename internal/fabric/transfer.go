package fabric

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const (
	// rangeSize is how much of a large blob one request asks for: the cost of a
	// request is small beside it, and several holders can each send some.
	rangeSize = 16 << 20
	// maxStreams is how many holders send a blob at the same time.
	maxStreams = 4
	// loggedSize is from what size on a transfer has a line in the log.
	loggedSize = 64 << 20
	// arrivingPause is how often it is checked whether an upload of the same blob,
	// by a client, has ended.
	arrivingPause = 200 * time.Millisecond
	contentCoding = "zstd"
	// decoderWindow bounds the memory that a sender can make the decoder take.
	decoderWindow = 4 << 20
)

// transfer is one large blob on its way here. Its ranges come from several
// holders at the same time.
type transfer struct {
	d      *Downloader
	part   *blob.Partial
	digest pipeline.Digest
	limit  *rate.Limiter

	received atomic.Int64 // bytes

	mu sync.Mutex
	// guards following
	holders []pipeline.NodeID // those that have not failed
	last    error             // of the last one that failed
}

// fetchLarge downloads one large blob from its holders. What arrived stays if it
// fails: the next try resumes there.
func (d *Downloader) fetchLarge(ctx context.Context, limit *rate.Limiter, digest pipeline.Digest, at Location) error {
	part, err := d.openPartial(ctx, digest, at.Size)
	if part == nil || err != nil {
		return err
	}
	defer part.Close()

	began, had := time.Now(), part.Bytes()
	t := &transfer{d: d, part: part, digest: digest, limit: limit, holders: at.Holders}
	streams := min(len(at.Holders), maxStreams, int(at.Size/rangeSize)+1)
	g, gctx := errgroup.WithContext(ctx)
	for i := range streams {
		g.Go(func() error { return t.fetchRanges(gctx, i) })
	}
	err = g.Wait()
	if err == nil {
		err = part.Commit(ctx)
	}

	if at.Size >= loggedSize {
		d.cfg.Logger.Info("transfer of a large blob ended", "blob", digest[:12], "size", at.Size, "had", had, "received", t.received.Load(), "streams", streams,
			"took", time.Since(began).Round(time.Millisecond), "error", err)
	}
	return err
}

// openPartial opens what has arrived of a blob. It waits while a client uploads
// the same one; nil without an error means that the blob is here.
func (d *Downloader) openPartial(ctx context.Context, digest pipeline.Digest, size int64) (*blob.Partial, error) {
	for {
		part, err := d.cfg.Blobs.Partial(digest, size)
		if !errors.Is(err, blob.ErrArriving) {
			return part, err
		}
		if !pause(ctx, arrivingPause) {
			return nil, context.Cause(ctx)
		}
		if d.cfg.Blobs.Has(digest) {
			return nil, nil
		}
	}
}

// holder gives the holder for a stream; "" if all have failed.
func (t *transfer) holder(stream int) pipeline.NodeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.holders) == 0 {
		return ""
	}
	return t.holders[stream%len(t.holders)]
}

// fail takes a holder out.
func (t *transfer) fail(h pipeline.NodeID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A new slice: the caller's is shared with others who located the blob.
	var left []pipeline.NodeID
	for _, id := range t.holders {
		if id != h {
			left = append(left, id)
		}
	}
	t.holders, t.last = left, err
}

// fetchRanges fetches range after range until none is left. Each stream begins
// with another holder.
func (t *transfer) fetchRanges(ctx context.Context, stream int) error {
	for {
		start, end := t.part.Claim(rangeSize)
		if start == end {
			return nil
		}
		err := t.fetchRange(ctx, stream, start, end)
		t.part.Release(start, end)
		if err != nil {
			return err
		}
	}
}

// fetchRange fetches one range. If a holder breaks off, the next one resumes at
// that byte.
func (t *transfer) fetchRange(ctx context.Context, stream int, at, end int64) error {
	for at < end {
		h := t.holder(stream)
		if h == "" {
			t.mu.Lock()
			defer t.mu.Unlock()
			return pipeline.Errorf(pipeline.Unavailable, "every node that has it failed, the last with: %w", t.last)
		}

		next, atFault, err := t.fetchFrom(ctx, h, at, end)
		t.received.Add(next - at)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !atFault {
			return err // this disk's
		}
		if err != nil {
			t.d.cfg.Logger.Info("transfer broke off and resumes from another node", "blob", t.digest[:12], "at", next, "from", t.d.cfg.Members.NodeName(h), "error", err)
			t.fail(h, err)
		}
		at = next
	}
	return nil
}

// fetchFrom asks one node for a part of the blob. It returns how far it came and,
// with an error, whether that node was at fault.
func (t *transfer) fetchFrom(ctx context.Context, from pipeline.NodeID, at, end int64) (next int64, atFault bool, err error) {
	outer := ctx
	ctx, moved, stop := whileMoving(ctx, transferIdle)
	defer stop()
	q := url.Values{"digest": {string(t.digest)}, "from": {strconv.FormatInt(at, 10)}, "to": {strconv.FormatInt(end, 10)}}
	res, err := t.d.cfg.Peers.Bulk(ctx, from, http.MethodGet, pathBlob+"?"+q.Encode(), nil)
	if err != nil {
		return at, true, err
	}
	defer res.Body.Close()

	in := &sourceReader{r: res.Body, moved: moved, metrics: t.d.cfg.Metrics}
	if res.Header.Get("Content-Encoding") == contentCoding {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(decoderWindow))
		if err != nil {
			return at, true, err
		}
		defer z.Close()
		in = &sourceReader{r: z, moved: moved}
	}

	next, err = t.part.Fill(ctx, at, end, &limitedReader{ctx: ctx, r: in, limit: t.limit})
	if err != nil && ctx.Err() != nil {
		return next, outer.Err() == nil, context.Cause(ctx) // it stood still
	}
	if err == nil {
		_, _ = io.ReadFull(in, make([]byte, 1)) // to the end of the stream, so that the connection can be reused
	}
	return next, err != nil && in.err != nil, err
}
