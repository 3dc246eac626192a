package worker

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

const (
	// fetchLimit is how long files are looked for before an attempt is given
	// back: a node that restarts is back by then.
	fetchLimit = 15 * time.Second
	// fetchPause is between two tries.
	fetchPause = 500 * time.Millisecond
	// treeTries is how often a tree is fetched whose copy here turned out bad.
	treeTries = 3
)

// fetcher makes blobs present on this node.
type fetcher struct {
	blobs *blob.Store
	trees *tree.Cache
	// remote gets blobs from the nodes in hints, or from any that has them.
	remote func(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error
	// record is what was downloaded for one attempt; nil if no caller asks.
	record *fetched
}

// fetched says when files of one attempt were downloaded, and how much came.
type fetched struct {
	mu          sync.Mutex // guards following
	began, over time.Time
	bytes       int64
}

func (f *fetched) add(began time.Time, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.began.IsZero() {
		f.began = began
	}
	f.over = time.Now()
	f.bytes += bytes
}

// phases gives what is worth recording; the rest is 0.
func (f *fetched) phases() (p pipeline.Phases) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if took := f.over.Sub(f.began); took >= pipeline.ShortPhase {
		p.Fetch, p.FetchedAt, p.FetchedBytes = took, f.over.UTC(), f.bytes
	}
	return p
}

// recording gives a fetcher that records what it downloads.
func (f *fetcher) recording(into *fetched) *fetcher {
	return &fetcher{blobs: f.blobs, trees: f.trees, remote: f.remote, record: into}
}

// need returns when all blobs are here. It repeats for fetchLimit what a node
// that is away may explain; the error is then that of the last try.
func (f *fetcher) need(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	try := func() (struct{}, error) {
		missing := f.blobs.Missing(want)
		if len(missing) == 0 {
			return struct{}{}, nil
		}

		began := time.Now()
		err := f.remote(ctx, hints, missing)
		if err == nil && f.record != nil {
			f.record.add(began, f.size(missing))
		}
		switch pipeline.KindOf(err) {
		case pipeline.NotFound, pipeline.Unavailable, pipeline.Unknown:
			return struct{}{}, err
		}
		if err != nil {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}

	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewConstantBackOff(fetchPause)), backoff.WithMaxElapsedTime(fetchLimit))
	return err
}

// size is that of blobs which are here.
func (f *fetcher) size(blobs []pipeline.Digest) (total int64) {
	for _, d := range blobs {
		n, err := f.blobs.Size(d)
		if err == nil {
			total += n
		}
	}
	return total
}

// tree fetches and reads a tree. A copy that turns out bad when it is read is
// quarantined by the store (NotFound), and fetched again.
func (f *fetcher) tree(ctx context.Context, d pipeline.Digest, hints []pipeline.NodeID) (tree.Tree, error) {
	for tries := 1; ; tries++ {
		if err := f.need(ctx, hints, []pipeline.Digest{d}); err != nil {
			return nil, err
		}
		t, err := f.trees.Read(d)
		if err == nil || tries == treeTries || pipeline.KindOf(err) != pipeline.NotFound {
			return t, err
		}
	}
}

// lostOutputs says that outputs of dependencies are on no node that answers. The
// leader runs those modules again.
type lostOutputs struct {
	error
	modules []string
}

// Unwrap gives the cause.
func (e *lostOutputs) Unwrap() error { return e.error }

// explain turns an error NotFound into lostOutputs, naming the modules whose
// outputs are incomplete here.
func (f *fetcher) explain(err error, outputs []layout.Named) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}

	lost := &lostOutputs{error: err}
	for _, t := range outputs {
		if len(f.blobs.Missing(t.Tree.Digests())) > 0 {
			lost.modules = append(lost.modules, t.Name)
		}
	}
	return lost
}
