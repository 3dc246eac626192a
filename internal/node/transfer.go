package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

const (
	// largeBlob is from what size on a blob travels by itself, in stretches.
	largeBlob = 4 << 20
	// stretch is how much of a large blob one request asks for. What it takes to
	// ask is small beside it, and several holders can each bring some.
	stretch = 16 << 20
	// maxStreams is how many holders bring a blob at the same time.
	maxStreams = 4
	// transferIdle is how long a transfer may stand still.
	transferIdle = 10 * time.Second
	blobCoding   = "zstd"
)

// stall ends a transfer that stands still: the context is cancelled unless
// moved is called in time.
func stall(ctx context.Context, idle time.Duration) (_ context.Context, moved func(), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(idle, func() {
		cancel(pipeline.Errorf(pipeline.Unavailable, "nothing came for %v", idle))
	})
	return ctx, func() { t.Reset(idle) }, func() { t.Stop(); cancel(nil) }
}

// fetchLarge downloads one large blob from those who have it, all of them at
// once. What arrived stays when it fails: the next try resumes from there.
func (n *Node) fetchLarge(ctx context.Context, d pipeline.Digest, size int64, holders []pipeline.NodeID) error {
	part, err := n.blobs.Partial(d, size)
	for errors.Is(err, storage.ErrArriving) { // a client uploads it
		if !sleep(ctx, 200*time.Millisecond) {
			return context.Cause(ctx)
		}
		if n.blobs.Has(d) {
			return nil
		}
		part, err = n.blobs.Partial(d, size)
	}
	if err != nil {
		return err
	}
	defer part.Close()

	began, had := time.Now(), part.Bytes()
	t := &transfer{n: n, part: part, digest: d, holders: holders, failed: map[pipeline.NodeID]bool{}}
	streams := min(len(holders), maxStreams, int(size/stretch)+1)
	g, gctx := errgroup.WithContext(ctx)
	for i := range streams {
		g.Go(func() error { return t.bring(gctx, i) })
	}
	err = g.Wait()
	if err == nil {
		err = part.Commit(ctx)
	}

	if size >= toldSize {
		n.log.Info("transfer of a large blob ended", "blob", d[:12], "size", size, "here before", had, "came", t.came.Load(), "streams", streams,
			"took", time.Since(began).Round(time.Millisecond), "error", err)
	}
	return err
}

// toldSize is from what size on a transfer has a line in the log.
const toldSize = 64 << 20

// transfer is a large blob that is being fetched.
type transfer struct {
	n       *Node
	part    *storage.Partial
	digest  pipeline.Digest
	holders []pipeline.NodeID

	came   atomic.Int64 // bytes
	coding coding

	mu     sync.Mutex // guards following
	failed map[pipeline.NodeID]bool
	last   error
}

// holder gives the one to ask next, from a place in the list on; "" where all
// have failed.
func (t *transfer) holder(from int) pipeline.NodeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.holders {
		if h := t.holders[(from+i)%len(t.holders)]; !t.failed[h] {
			return h
		}
	}
	return ""
}

func (t *transfer) fail(h pipeline.NodeID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed[h], t.last = true, err
}

// bring brings stretch after stretch. Where a holder breaks off, the next one
// goes on at that byte.
func (t *transfer) bring(ctx context.Context, from int) error {
	for {
		start, end := t.part.Claim(stretch)
		if start == end {
			return nil
		}
		err := t.stretch(ctx, from, start, end)
		t.part.Release(start, end)
		if err != nil {
			return err
		}
	}
}

func (t *transfer) stretch(ctx context.Context, from int, at, end int64) error {
	for at < end {
		h := t.holder(from)
		if h == "" {
			t.mu.Lock()
			defer t.mu.Unlock()
			return pipeline.Errorf(pipeline.Unavailable, "fetch blob %.12s: every node that has it failed, the last with: %w", t.digest, t.last)
		}
		next, fromHolder, err := t.n.pullPart(ctx, h, t, at, end)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.came.Add(next - at)
		if err != nil && !fromHolder {
			return err // this disk's
		}
		if err != nil {
			t.n.log.Info("a transfer broke off and goes on elsewhere", "blob", t.digest[:12], "at", next, "from", t.n.state.NodeName(h), "error", err)
			t.fail(h, err)
		}
		at = next
	}
	return nil
}

// pullPart asks one node for a part of a blob, and tells how far it came and,
// with an error, whether that node was at fault.
func (n *Node) pullPart(ctx context.Context, from pipeline.NodeID, t *transfer, at, end int64) (next int64, theirs bool, err error) {
	ctx, moved, stop := stall(ctx, transferIdle)
	defer stop()
	q := url.Values{"digest": {string(t.digest)}, "from": {strconv.FormatInt(at, 10)}, "to": {strconv.FormatInt(end, 10)}}
	if t.coding.wantsPlain() {
		q.Set("plain", "1")
	}
	began := time.Now()
	res, err := n.peers.Bulk(ctx, from, http.MethodGet, "/peer/blob?"+q.Encode(), nil)
	if err != nil {
		return at, true, err
	}
	defer res.Body.Close()
	in := &sourceReader{r: res.Body, moved: moved}
	var r io.Reader = in
	packed := res.Header.Get("Content-Encoding") == blobCoding
	if packed {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(4<<20))
		if err != nil {
			return at, true, err
		}
		defer z.Close()
		in = &sourceReader{r: z, moved: moved}
		r = in
	}
	if p := paceOf(ctx); p != nil {
		r = &pacedReader{ctx, r, p}
	}
	next, err = t.part.Fill(ctx, at, end, r)
	t.coding.came(packed, next-at, time.Since(began))
	if err != nil && ctx.Err() != nil {
		return next, true, context.Cause(ctx) // it stood still
	}
	if err == nil {
		_, _ = in.Read(make([]byte, 1)) // the end of the stream, so that the connection stays
	}
	return next, err != nil && in.err != nil, err
}

// sourceReader remembers that it was the source that failed, and tells of every
// byte that came.
type sourceReader struct {
	r     io.Reader
	moved func()
	err   error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 {
		s.moved()
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

// servePeerBlob sends a part of a blob, under zstd where that makes it smaller
// and the other side has not found plain bytes to be quicker.
func (n *Node) servePeerBlob(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d, err := pipeline.ParseDigest(q.Get("digest"))
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("to"), 10, 64)
	if err = errors.Join(err, err1, err2); err != nil || from < 0 || to <= from {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "want the digest of a blob and from < to: %w", err))
		return
	}
	b, err := n.blobs.Open(d)
	if err != nil {
		peer.WriteError(w, err)
		return
	}
	defer b.Close()
	if to > b.Size() {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "blob %.12s has %d bytes", d, b.Size()))
		return
	}
	head := make([]byte, min(sampleSize, to-from))
	if _, err := b.ReadAt(head, from); err != nil {
		peer.WriteError(w, err) // corrupt: kind NotFound, the other side asks elsewhere
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := n.sendPart(w, b, from, to, q.Get("plain") == "" && shrinks(head)); err != nil {
		n.log.Warn("send blob", "blob", d[:12], "error", err)
		panic(http.ErrAbortHandler) // the other side must not take it for whole
	}
}

func (n *Node) sendPart(w http.ResponseWriter, b *storage.Blob, from, to int64, pack bool) error {
	out := io.Writer(&movingWriter{w: w, rc: http.NewResponseController(w)})
	if b.HasFrames(from, to) { // packed on the disk: it goes as it is
		w.Header().Set("Content-Encoding", blobCoding)
		return b.WriteFrames(out, from, to)
	}
	in := io.NewSectionReader(b, from, to-from)
	buf := make([]byte, 256<<10) // a block of the store, read without another buffer
	if !pack {
		_, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf)
		return err
	}
	w.Header().Set("Content-Encoding", blobCoding)
	z := packers.Get().(*zstd.Encoder)
	defer packers.Put(z)
	z.Reset(out)
	defer z.Reset(nil)
	if _, err := io.CopyBuffer(struct{ io.Writer }{z}, struct{ io.Reader }{in}, buf); err != nil {
		return err
	}
	return z.Close()
}

// movingWriter gives a stream that moves all the time it takes.
type movingWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (m *movingWriter) Write(p []byte) (int, error) {
	if err := m.rc.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	return m.w.Write(p)
}

// packers are kept: a new one costs more than a short stretch.
var packers = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("zstd: %v", err)) // the options are constants
	}
	return z
}}

// sampleSize is how much of a stretch is packed on trial.
const sampleSize = 64 << 10

// shrinks reports whether packing is worth its time: archives, images and
// binaries that are packed already stay as they are.
func shrinks(p []byte) bool {
	z := packers.Get().(*zstd.Encoder)
	defer packers.Put(z)
	return len(z.EncodeAll(p, make([]byte, 0, len(p)+1024))) < len(p)*7/8
}
