package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxIndexed bounds how many chunks are found, and so the memory: about 8 MiB
	// for 30 to 40 GiB of blobs. The oldest go first.
	maxIndexed = 1 << 17
	// maxFresh bounds what Unchunked gives.
	maxFresh = 100
)

// chunkIndex finds chunks in the blobs that are here. A hint: a blob may have gone
// meanwhile, which whoever reads it finds out.
type chunkIndex struct {
	once   sync.Once // reads the lists that are kept
	making chan struct{}

	cutOnce sync.Once
	cutter  *Cutter

	mu sync.Mutex
	// guards following
	at    map[ChunkSum]indexedChunk
	blobs []pipeline.Digest // those in at, the oldest first
	fresh []pipeline.Digest
}

type indexedChunk struct {
	blob pipeline.Digest
	off  int64
	size uint32
}

func (x *chunkIndex) init() {
	x.making = make(chan struct{}, 1)
	x.at = map[ChunkSum]indexedChunk{}
}

func (x *chunkIndex) cut() *Cutter {
	x.cutOnce.Do(func() { x.cutter = NewCutter(chunkAverage) })
	return x.cutter
}

// lock waits for the turn to make a list.
func (x *chunkIndex) lock(ctx context.Context) error {
	select {
	case x.making <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (x *chunkIndex) unlock() { <-x.making }

// load reads the lists that earlier lives kept, once.
func (x *chunkIndex) load(b *Blobs) {
	x.once.Do(func() {
		for i := range b.shards {
			if !b.shards[i].made.Load() {
				continue
			}
			names, err := os.ReadDir(filepath.Join(b.dir, fmt.Sprintf("%02x", i)))
			if err != nil {
				continue // what is not found is sent
			}
			for _, n := range names {
				name, ok := strings.CutSuffix(n.Name(), chunksSuffix)
				d := pipeline.Digest(name)
				if !ok || valid(d) != nil || shardOf(d) != i {
					continue
				}
				size, err := b.Size(d)
				if err != nil {
					continue
				}
				if list := b.KeptChunks(d, size); list != nil {
					x.add(d, list)
				}
			}
		}
	})
}

// add lets the chunks of a blob be found.
func (x *chunkIndex) add(d pipeline.Digest, list []Chunk) {
	list = list[:min(len(list), maxIndexed)]
	x.mu.Lock()
	defer x.mu.Unlock()
	if slices.Contains(x.blobs, d) {
		return
	}
	for len(x.at)+len(list) > maxIndexed && len(x.blobs) > 0 {
		x.forgetLocked(x.blobs[0])
	}
	x.blobs = append(x.blobs, d)
	off := int64(0)
	for i := range list {
		if _, ok := x.at[list[i].Sum]; !ok {
			x.at[list[i].Sum] = indexedChunk{blob: d, off: off, size: list[i].Size}
		}
		off += int64(list[i].Size)
	}
}

func (x *chunkIndex) find(s ChunkSum) (indexedChunk, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, ok := x.at[s]
	return c, ok
}

// forget takes a blob out.
func (x *chunkIndex) forget(d pipeline.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetLocked(d)
}

func (x *chunkIndex) forgetLocked(d pipeline.Digest) {
	for s, c := range x.at {
		if c.blob == d {
			delete(x.at, s)
		}
	}
	x.blobs = slices.DeleteFunc(x.blobs, func(b pipeline.Digest) bool { return b == d })
}

// put takes note of a large blob that has no list yet.
func (x *chunkIndex) put(d pipeline.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.fresh) < maxFresh {
		x.fresh = append(x.fresh, d)
	}
}
