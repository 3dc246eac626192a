package tree

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const (
	// maxTreeBytes bounds the blob of a tree that is read.
	maxTreeBytes = 512 << 20
	// maxCachedEntries bounds a Cache to some 40 MB.
	maxCachedEntries = 200_000
	// cachedCost is what a tree takes besides its entries, in entries.
	cachedCost = 16
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

	mu sync.Mutex
	// guards following
	trees   map[pipeline.Digest]Tree
	order   []pipeline.Digest // the one read last is the last
	entries int
}

// NewCache makes an empty one over a store.
func NewCache(blobs *blob.Store) *Cache {
	return &Cache{blobs: blobs, trees: map[pipeline.Digest]Tree{}}
}

// Read reads a tree from its blob. The caller must not change what it gets.
// Errors: those of blob.Store.ReadAll; an *Error if the blob is no tree.
func (c *Cache) Read(d pipeline.Digest) (Tree, error) {
	if t, ok := c.get(d); ok {
		return t, nil
	}

	text, err := c.blobs.ReadAll(d, maxTreeBytes)
	if err != nil {
		return nil, err
	}
	t, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", d, err)
	}
	c.add(d, t)
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

// add keeps a tree and drops those that were read longest ago.
func (c *Cache) add(d pipeline.Digest, t Tree) {
	cost := len(t) + cachedCost
	if cost > maxCachedEntries {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.trees[d]; ok {
		return
	}

	for c.entries += cost; c.entries > maxCachedEntries; c.order = c.order[1:] {
		c.entries -= len(c.trees[c.order[0]]) + cachedCost
		delete(c.trees, c.order[0])
	}
	c.trees[d] = t
	c.order = append(c.order, d)
}
