package blob

import (
	"context"
	"io"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// Batch collects blobs that become visible and durable together, with few
// syncs. Its methods are safe for concurrent use; after Commit or Discard it is
// empty and may be used again.
type Batch struct {
	writer *writer

	mu    sync.Mutex // guards following
	items []staged
	seen  map[pipeline.Digest]struct{}
}

// Put adds all that r gives.
func (t *Batch) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	s, err := t.writer.stage(ctx, r, false)
	if err != nil {
		return "", 0, err
	}
	t.add(s)
	return s.digest, s.size, nil
}

// PutBytes adds p, which it does not keep.
func (t *Batch) PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error) {
	d := DigestOf(p)
	if t.has(d) {
		return d, nil
	}

	s, err := t.writer.stageBytes(ctx, p, false)
	if err != nil {
		return "", err
	}
	t.add(s)
	return d, nil
}

// PutExpect adds all that r gives if its digest is d; else nothing is added and
// the error is a *MismatchError.
func (t *Batch) PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	s, err := t.writer.stageExpect(ctx, d, r, false)
	if err != nil {
		return 0, err
	}
	t.add(s)
	return s.size, nil
}

func (t *Batch) has(d pipeline.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.seen[d]
	return ok
}

func (t *Batch) add(s staged) {
	t.mu.Lock()

	_, dup := t.seen[s.digest]
	if !dup {
		t.seen[s.digest] = struct{}{}
		t.items = append(t.items, s)
	}

	t.mu.Unlock()
	if dup {
		s.discard()
	}
}

func (t *Batch) take() []staged {
	t.mu.Lock()
	defer t.mu.Unlock()

	items := t.items
	t.items, t.seen = nil, map[pipeline.Digest]struct{}{}
	return items
}

// Take moves what another batch has collected into this one, so that both become
// durable with the same syncs.
func (t *Batch) Take(from *Batch) {
	for _, s := range from.take() {
		t.add(s)
	}
}

// Commit makes the batch's blobs visible, and durable if the store syncs.
// After an error some of them may be there; none may be relied on.
func (t *Batch) Commit(ctx context.Context) error {
	items := t.take()
	if len(items) == 0 {
		return nil
	}

	err := ctx.Err()
	if err == nil && !t.writer.noSync {
		err = t.writer.syncFiles(items)
	}
	if err != nil {
		for _, s := range items {
			s.discard()
		}
		return err
	}
	return t.writer.publish(items)
}

// Discard forgets what was added since the last Commit.
func (t *Batch) Discard() {
	for _, s := range t.take() {
		s.discard()
	}
}

// Collect gives a batch if into is a store, and how to end it.
func Collect(into Putter) (put Putter, commit func(context.Context) error, discard func()) {
	b, ok := into.(*Store)
	if !ok {
		return into, func(context.Context) error { return nil }, func() {}
	}

	batch := b.NewBatch()
	return batch, batch.Commit, batch.Discard
}
