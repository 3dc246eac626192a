package node

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// mender brings blobs back whose bytes went bad on this disk.
type mender struct {
	mu sync.Mutex // guards following
	// open are those found bad and not replaced yet.
	open map[pipeline.Digest]time.Time
	// found and mended count since the start.
	found, mended int
	poke          chan struct{}
}

// corrupt takes note of a blob whose copy here was bad and was put aside. It
// does not block.
func (n *Node) corrupt(d pipeline.Digest) {
	n.log.Error("a blob was corrupt on this disk; that copy is put aside and fetched again from another node", "blob", d)
	n.mend.mu.Lock()
	n.mend.found++
	n.mend.open[d] = time.Now()
	n.mend.mu.Unlock()
	select {
	case n.mend.poke <- struct{}{}:
	default:
	}
}

// mendBlobs fetches what was corrupt from its other copies until ctx ends. What is nowhere
// is tried again, in case a node comes back.
func (n *Node) mendBlobs(ctx context.Context) {
	retry := time.NewTicker(30 * time.Second)
	defer retry.Stop()
	for {
		for _, d := range n.bad() {
			if len(n.state.Others()) > 0 {
				err := n.fetch(ctx, nil, []pipeline.Digest{d})
				if err != nil && ctx.Err() == nil {
					n.log.Warn("a corrupt blob has no good copy within reach", "blob", d, "error", err)
				}
			}
			if n.blobs.Has(d) { // fetched, or put anew by somebody
				n.mend.mu.Lock()
				delete(n.mend.open, d)
				n.mend.mended++
				n.mend.mu.Unlock()
				n.log.Info("a corrupt blob was replaced by a good copy", "blob", d)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-n.mend.poke:
		case <-retry.C:
		}
	}
}

func (n *Node) bad() []pipeline.Digest {
	n.mend.mu.Lock()
	defer n.mend.mu.Unlock()
	list := make([]pipeline.Digest, 0, len(n.mend.open))
	for d := range n.mend.open {
		list = append(list, d)
	}
	return list
}

// mendingBlob reads a blob on from another copy where the one here turns out to
// be bad: no bad byte was given out before, so the reader need not know.
type mendingBlob struct {
	n     *Node
	ctx   context.Context // of the request that reads
	hints []pipeline.NodeID
	d     pipeline.Digest

	b   *storage.Blob
	pos int64
}

var _ api.Blob = (*mendingBlob)(nil)

// openBlob opens a blob, after fetching it where it is not here.
func (n *Node) openBlob(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (api.Blob, error) {
	m := &mendingBlob{n: n, ctx: ctx, hints: hints, d: d}
	if err := m.open(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *mendingBlob) open() (err error) {
	for range 3 { // it may be swept, or found bad, between the two steps
		if err = m.n.fetch(m.ctx, m.hints, []pipeline.Digest{m.d}); err != nil {
			return err
		}
		var b *storage.Blob
		if b, err = m.n.blobs.Open(m.d); err == nil {
			m.b = b
			_, err = m.b.Seek(m.pos, io.SeekStart)
			return err
		}
	}
	return err
}

// Size is the blob's length in bytes.
func (m *mendingBlob) Size() int64 { return m.b.Size() }

// Close closes the file.
func (m *mendingBlob) Close() error { return m.b.Close() }

// Seek moves to another place.
func (m *mendingBlob) Seek(offset int64, whence int) (int64, error) {
	pos, err := m.b.Seek(offset, whence)
	if err == nil {
		m.pos = pos
	}
	return pos, err
}

// Read reads on.
func (m *mendingBlob) Read(p []byte) (int, error) {
	for tries := 0; ; tries++ {
		k, err := m.b.Read(p)
		m.pos += int64(k)
		var bad *storage.CorruptError
		if k > 0 || tries == 3 || !errors.As(err, &bad) {
			return k, err
		}
		size := m.b.Size()
		m.b.Close()
		if err := m.open(); err != nil {
			return 0, err
		}
		if m.pos == 0 && m.b.Size() != size {
			continue // the bad copy was cut; what was announced of it fails, nothing false is sent
		}
	}
}

// readBlob gives a blob of at most limit bytes whole, from another copy where
// the one here is bad.
func (n *Node) readBlob(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest, limit int64) ([]byte, error) {
	for tries := 0; ; tries++ {
		if err := n.fetch(ctx, hints, []pipeline.Digest{d}); err != nil {
			return nil, err
		}
		raw, err := n.blobs.ReadAll(d, limit)
		if err == nil || tries == 2 || pipeline.KindOf(err) != pipeline.NotFound {
			return raw, err
		}
	}
}
