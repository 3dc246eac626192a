package tree

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const (
	// MaxBytes bounds the blob of a tree that is read.
	MaxBytes = 256 << 20
	// maxReading is how many bytes of such blobs are read and decoded at a time: a
	// large one by itself, small ones together.
	maxReading = MaxBytes
	// maxCached is how many bytes the trees of a Cache take in memory: those of some
	// 200,000 files.
	maxCached = 48 << 20
	// treeCost and entryCost are what a tree and an entry take besides their texts.
	treeCost, entryCost = 2 << 10, 192
)

// Put stores the blob of a tree.
func Put(ctx context.Context, into blob.Putter, t Tree) (pipeline.Digest, error) {
	text, err := Encode(t)
	if err != nil {
		return "", err
	}
	return into.PutBytes(ctx, text)
}

// Cache reads trees from a store of blobs. The last few are kept in memory, so
// that a workspace of many files is decoded once and not for every module. It is
// safe for concurrent use.
type Cache struct {
	blobs *blob.Store
	// reading counts bytes of blobs that are being decoded. Several times as much is
	// in memory meanwhile, and any caller may name a blob.
	reading *semaphore.Weighted

	mu sync.Mutex
	// guards following
	trees map[pipeline.Digest]Tree
	order []pipeline.Digest // the one read last is the last
	bytes int               // what they take
}

// NewCache makes an empty one over a store.
func NewCache(blobs *blob.Store) *Cache {
	return &Cache{blobs: blobs, reading: semaphore.NewWeighted(maxReading), trees: map[pipeline.Digest]Tree{}}
}

// Read reads a tree from its blob. The caller must not change what it gets.
// Errors: those of blob.Store.ReadAll; an *Error if the blob is no tree.
func (c *Cache) Read(d pipeline.Digest) (Tree, error) {
	if t, ok := c.get(d); ok {
		return t, nil
	}

	t, err := c.ReadOnce(d)
	if err != nil {
		return nil, err
	}
	c.add(d, t)
	return t, nil
}

// ReadOnce is Read for a tree that will not be read again soon: it is not kept, and
// it is the caller's.
func (c *Cache) ReadOnce(d pipeline.Digest) (Tree, error) {
	size, err := c.blobs.Size(d)
	if err != nil {
		return nil, err
	}
	size = min(size, maxReading) // a longer one is refused below

	// The wait is short: who holds it only reads and decodes.
	if err := c.reading.Acquire(context.Background(), size); err != nil {
		return nil, err
	}
	defer c.reading.Release(size)
	text, err := c.blobs.ReadAll(d, MaxBytes)
	if err != nil {
		return nil, err
	}
	t, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", d, err)
	}
	return t, nil
}

// Missing gives what is not in the store of a tree and its files: only the tree
// itself if that is not there or turns out to be bad. All of it that is there
// counts as used from now on, as with blob.Store.Missing. An error says that the
// blob is no tree.
func (c *Cache) Missing(d pipeline.Digest) ([]pipeline.Digest, error) {
	if err := blob.ValidDigest(d); err != nil {
		return nil, err
	}
	if missing := c.blobs.Missing([]pipeline.Digest{d}); len(missing) > 0 {
		return missing, nil
	}

	t, err := c.Read(d)
	if pipeline.KindOf(err) == pipeline.NotFound {
		return []pipeline.Digest{d}, nil
	}
	if err != nil {
		return nil, err
	}
	return c.blobs.Missing(t.Digests()), nil
}

func (c *Cache) get(d pipeline.Digest) (Tree, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.trees[d]
	if ok && c.order[len(c.order)-1] != d {
		i := slices.Index(c.order, d)
		c.order = append(slices.Delete(c.order, i, i+1), d)
	}
	return t, ok
}

// costOf is about how many bytes a tree takes in memory.
func costOf(t Tree) int {
	n := treeCost
	for i := range t {
		n += entryCost + len(t[i].Path) + len(t[i].Link)
	}
	return n
}

// add keeps a tree and drops those that were read longest ago.
func (c *Cache) add(d pipeline.Digest, t Tree) {
	cost := costOf(t)
	if cost > maxCached {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.trees[d]; ok {
		return
	}

	for c.bytes += cost; c.bytes > maxCached; c.order = c.order[1:] {
		c.bytes -= costOf(c.trees[c.order[0]])
		delete(c.trees, c.order[0])
	}
	c.trees[d] = t
	c.order = append(c.order, d)
}
