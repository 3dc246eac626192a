package fabric

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

const (
	// largeBlob is the size in bytes above which a blob travels by itself, in
	// ranges; smaller ones travel in bundles.
	largeBlob = 4 << 20
	// locateTimeout is how long a node is waited for that is asked what it has.
	locateTimeout = 5 * time.Second
	// locateBatch is how many blobs one question names, locateAtOnce how many nodes
	// are asked at the same time.
	locateBatch, locateAtOnce = 10_000, 16
	// bundleBlobs is how many blobs are asked for in one request.
	bundleBlobs = 256
	// transferIdle is how long a transfer may stand still.
	transferIdle = 10 * time.Second
)

// Peers sends messages to other nodes: internal/peer.Client.
type Peers interface {
	// Call sends in and decodes the answer into out.
	Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error
	// Bulk makes a request that carries files; the caller closes the body.
	Bulk(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error)
}

// Members says which other nodes there are.
type Members interface {
	// Others lists the other nodes that are alive, those of preferred first.
	Others(preferred ...pipeline.NodeID) []pipeline.NodeID
	// NodeName gives a node's name for log lines.
	NodeName(pipeline.NodeID) string
}

// DownloaderConfig holds the neighbours of a Downloader. All fields but Metrics are
// required.
type DownloaderConfig struct {
	Self    pipeline.NodeID
	Blobs   *blob.Store
	Trees   *tree.Cache // over Blobs
	Peers   Peers
	Members Members
	// CopyRate bounds the copies that the replicator has made, in bytes a second; 0
	// or less is no limit.
	CopyRate int64
	Logger   hclog.Logger
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Fabric
}

// Downloader makes blobs present on this node.
type Downloader struct {
	cfg      DownloaderConfig
	inFlight inFlight
	copyRate *rate.Limiter
}

// NewDownloader makes a downloader.
func NewDownloader(cfg DownloaderConfig) *Downloader {
	return &Downloader{cfg: cfg, inFlight: inFlight{pending: map[pipeline.Digest]chan struct{}{}}, copyRate: newLimiter(cfg.CopyRate)}
}

// inFlight makes callers that want the same blobs at the same time download them
// once. It works on sets, each blob by itself: two sets may overlap.
type inFlight struct {
	mu      sync.Mutex // guards following
	pending map[pipeline.Digest]chan struct{}
}

// claim splits want into what the caller is to download, until release, and what
// others download already.
func (f *inFlight) claim(want []pipeline.Digest) (mine []pipeline.Digest, others []chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range want {
		if ch := f.pending[d]; ch != nil {
			others = append(others, ch)
			continue
		}
		f.pending[d] = make(chan struct{})
		mine = append(mine, d)
	}
	return mine, others
}

func (f *inFlight) release(mine []pipeline.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range mine {
		close(f.pending[d])
		delete(f.pending, d)
	}
}

// Fetch makes blobs present here. Nodes in hints likely have them and are asked
// first, then all others. The error has the kind NotFound if every node that is
// alive was asked and a blob is still missing, Unavailable if one could not be
// asked. What arrived stays in any case.
func (d *Downloader) Fetch(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	return d.fetch(ctx, nil, hints, want)
}

// FetchCopies is Fetch at the rate of copies that no module waits for.
func (d *Downloader) FetchCopies(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	return d.fetch(ctx, d.copyRate, hints, want)
}

// FetchAt has a node, which may be this one, fetch copies of so many bytes from
// their holders, and returns when it has them. The replicator uses it.
func (d *Downloader) FetchAt(ctx context.Context, to pipeline.NodeID, holders []pipeline.NodeID, blobs []pipeline.Digest, size int64) error {
	limit := time.Minute + timeFor(size)
	if d.cfg.CopyRate > 0 { // twice what it takes at the rate
		limit += time.Duration(float64(size) / float64(d.cfg.CopyRate) * float64(2*time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if to == d.cfg.Self {
		return d.FetchCopies(ctx, holders, blobs)
	}
	return d.cfg.Peers.Call(ctx, to, pathFetch, FetchRequest{From: holders, Blobs: blobs, Copies: true}, nil)
}

func (d *Downloader) fetch(ctx context.Context, limit *rate.Limiter, hints []pipeline.NodeID, want []pipeline.Digest) error {
	for {
		want = d.cfg.Blobs.Missing(want)
		if len(want) == 0 {
			return nil
		}

		mine, others := d.inFlight.claim(want)
		if len(mine) > 0 {
			err := d.download(ctx, limit, hints, mine)
			d.inFlight.release(mine)
			if err != nil {
				return err
			}
		}

		// Another caller's download may fail for its own reasons, such as its end: then
		// the next round takes it over.
		for _, ch := range others {
			select {
			case <-ch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// download asks the nodes in hints for the small blobs at once: the usual case
// costs one request. What is left is located on all nodes first.
func (d *Downloader) download(ctx context.Context, limit *rate.Limiter, hints []pipeline.NodeID, want []pipeline.Digest) error {
	for _, id := range d.cfg.Members.Others(hints...) {
		if !slices.Contains(hints, id) {
			break
		}

		err := d.fetchSmall(ctx, limit, id, want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && pipeline.KindOf(err) == pipeline.Unavailable {
			d.cfg.Logger.Debug("download failed", "from", d.cfg.Members.NodeName(id), "error", err)
		}
		if want = d.cfg.Blobs.Missing(want); len(want) == 0 {
			return nil
		}
	}

	for {
		before := len(want)
		err := d.downloadLocated(ctx, limit, hints, want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if want = d.cfg.Blobs.Missing(want); len(want) == 0 {
			return nil
		}
		if len(want) == before { // no progress: another round would be the same
			return err
		}
	}
}

// downloadLocated locates blobs on all nodes and downloads what is found. Without
// an error nothing is missing, or something came.
func (d *Downloader) downloadLocated(ctx context.Context, limit *rate.Limiter, hints []pipeline.NodeID, want []pipeline.Digest) error {
	found, unasked := d.Locate(ctx, d.cfg.Members.Others(hints...), want)
	small := map[pipeline.NodeID][]pipeline.Digest{}
	var large []pipeline.Digest
	for i, digest := range want {
		switch at := found[digest]; {
		case len(at.Holders) == 0:
		case at.Size > largeBlob:
			large = append(large, digest)
		default: // spread over those who have it
			h := at.Holders[i%len(at.Holders)]
			small[h] = append(small[h], digest)
		}
	}

	// All of them are tried: a holder that fails must not cost what others have.
	var failed error
	for h, list := range small {
		if err := d.fetchSmall(ctx, limit, h, list); err != nil {
			failed = err
		}
	}
	for _, digest := range large {
		if err := d.fetchLarge(ctx, limit, digest, found[digest]); err != nil {
			failed = fmt.Errorf("download blob %.12s: %w", digest, err)
		}
	}

	switch {
	case failed != nil:
		if k := pipeline.KindOf(failed); k == pipeline.Internal || k == pipeline.NotFound {
			// The holders had it a moment ago: damaged, or cut. It may work again.
			failed = pipeline.Errorf(pipeline.Unavailable, "%w", failed)
		}
		return failed
	case unasked != nil:
		return pipeline.Errorf(pipeline.Unavailable, "%s not here, and a node that may have it cannot be asked: %w", missing(want), unasked)
	}
	return pipeline.Errorf(pipeline.NotFound, "%s on no node that answers", missing(want))
}

// missing names blobs as the subject of a sentence, with its verb.
func missing(want []pipeline.Digest) string {
	if len(want) == 1 {
		return fmt.Sprintf("blob %.12s is", want[0])
	}
	return fmt.Sprintf("%d blobs (first %.12s) are", len(want), want[0])
}

// Locate asks nodes, this one included if it is listed, which of the blobs they
// have. unasked is the error of a node that could not be asked.
func (d *Downloader) Locate(ctx context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (found map[pipeline.Digest]Location, unasked error) {
	var mu sync.Mutex // guards unasked
	sizes := make([][]int64, len(nodes))
	var g errgroup.Group
	g.SetLimit(locateAtOnce)
	for i, id := range nodes {
		g.Go(func() error {
			list, err := d.sizesAt(ctx, id, want)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				unasked = fmt.Errorf("node %s: %w", d.cfg.Members.NodeName(id), err)
				return nil
			}
			sizes[i] = list
			return nil
		})
	}
	_ = g.Wait() // its functions return nil

	found = map[pipeline.Digest]Location{}
	for i, id := range nodes {
		for k, size := range sizes[i] {
			if size < 0 {
				continue
			}
			at := found[want[k]]
			at.Size, at.Holders = size, append(at.Holders, id)
			found[want[k]] = at
		}
	}
	return found, unasked
}

// sizesAt asks one node for the sizes of blobs; -1 stands for one it does not
// have.
func (d *Downloader) sizesAt(ctx context.Context, id pipeline.NodeID, want []pipeline.Digest) ([]int64, error) {
	if id == d.cfg.Self {
		return sizesHere(d.cfg.Blobs, want), nil
	}

	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	var list []int64
	for part := range slices.Chunk(want, locateBatch) {
		var out []int64
		if err := d.cfg.Peers.Call(ctx, id, pathSizes, part, &out); err != nil {
			return nil, err
		}
		if len(out) != len(part) {
			return nil, pipeline.Errorf(pipeline.Internal, "it answered for %d of %d blobs", len(out), len(part))
		}
		list = append(list, out...)
	}
	return list, nil
}

// CleanAt returns those of the digests whose blobs another node has, undamaged. It
// may have to read them.
func (d *Downloader) CleanAt(ctx context.Context, node pipeline.NodeID, digests []pipeline.Digest) (clean []pipeline.Digest, err error) {
	err = d.cfg.Peers.Call(ctx, node, pathClean, digests, &clean)
	return clean, err
}

func sizesHere(blobs *blob.Store, want []pipeline.Digest) []int64 {
	out := make([]int64, len(want))
	for i, d := range want {
		size, err := blobs.Size(d)
		if err != nil {
			size = -1
		}
		out[i] = size
	}
	return out
}

// fetchSmall asks one node for blobs, in bundles; it sends those that it has,
// without the large ones.
func (d *Downloader) fetchSmall(ctx context.Context, limit *rate.Limiter, from pipeline.NodeID, want []pipeline.Digest) error {
	for part := range slices.Chunk(want, bundleBlobs) {
		if err := d.fetchBundle(ctx, limit, from, part); err != nil {
			return err
		}
	}
	return nil
}

func (d *Downloader) fetchBundle(ctx context.Context, limit *rate.Limiter, from pipeline.NodeID, want []pipeline.Digest) error {
	raw, err := peer.Marshal(want)
	if err != nil {
		return err
	}
	// No bound on the whole: a slow network may take long, one that stands still may
	// not.
	ctx, moved, stop := whileMoving(ctx, transferIdle)
	defer stop()
	res, err := d.cfg.Peers.Bulk(ctx, from, http.MethodPost, pathBundleGet, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()

	in := &limitedReader{ctx: ctx, r: &sourceReader{r: res.Body, moved: moved, metrics: d.cfg.Metrics}, limit: limit}
	if _, err := Receive(ctx, d.cfg.Blobs, in); err != nil {
		return fmt.Errorf("receive blobs from node %s: %w", d.cfg.Members.NodeName(from), err)
	}
	return nil
}

// Receive stores a bundle durably. It returns how many blobs came, 0 with an
// error.
func Receive(ctx context.Context, blobs *blob.Store, r io.Reader) (int, error) {
	batch := blobs.NewBatch()
	defer batch.Discard()
	got, err := blob.ReadBundle(ctx, r, blob.BundleLimits{}, batch)
	if err != nil {
		// Each blob was verified by itself: what came whole need not come again.
		_ = batch.Commit(context.WithoutCancel(ctx)) // the first error is the one to report
		return 0, err
	}
	return len(got), batch.Commit(ctx)
}

// whileMoving gives a context that ends if moved is not called for idle.
func whileMoving(ctx context.Context, idle time.Duration) (_ context.Context, moved func(), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(idle, func() {
		cancel(pipeline.Errorf(pipeline.Unavailable, "no bytes for %v", idle))
	})
	return ctx, func() { t.Reset(idle) }, func() { t.Stop(); cancel(nil) }
}

// sourceReader remembers that the source failed, as opposed to this disk, and
// reports every byte that came.
type sourceReader struct {
	r     io.Reader
	moved func()
	err   error
	// metrics counts what comes over the wire; nil elsewhere.
	metrics *metrics.Fabric
}

// Read reads from the source.
func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 {
		s.moved()
		s.metrics.Received(n)
	}
	if err != nil {
		s.err = err
	}
	return n, err
}
