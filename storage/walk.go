package storage

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// BlobInfo is what Walk tells of a blob.
type BlobInfo struct {
	Digest pipeline.Digest
	// Size is the length of its bytes, 0 where its packed file is damaged.
	Size int64
	// Stored is how many bytes its files have.
	Stored int64
	// Plain and Packed tell which files there are; both for a while, see Pack.
	Plain, Packed bool
	// UsedAt is when it was last put or asked for with Missing, to the minute.
	UsedAt time.Time
}

// Walk calls f for each blob that has a file, by digest, until f returns an
// error, which it returns. Blobs that come and go meanwhile may be missed.
func (b *Blobs) Walk(ctx context.Context, f func(BlobInfo) error) error {
	for i := range b.shards {
		if !b.shards[i].made.Load() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := os.ReadDir(filepath.Join(b.dir, fmt.Sprintf("%02x", i)))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		var at BlobInfo // its files are neighbours
		for _, n := range names {
			d, err := pipeline.ParseDigest(strings.TrimSuffix(n.Name(), packedSuffix))
			if err != nil || len(d) != 64 || shardOf(d) != i {
				continue
			}
			if at.Digest != d {
				if at.Digest != "" {
					if err := f(at); err != nil {
						return err
					}
				}
				at = BlobInfo{}
			}
			b.look(d, n, &at)
		}
		if at.Digest != "" {
			if err := f(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// look adds a file of a blob to what is told of it.
func (b *Blobs) look(d pipeline.Digest, file fs.DirEntry, to *BlobInfo) {
	info, err := file.Info()
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	to.Digest = d
	to.Stored += info.Size()
	if info.ModTime().After(to.UsedAt) {
		to.UsedAt = info.ModTime()
	}
	if len(file.Name()) == len(d) {
		to.Plain, to.Size = true, info.Size()
		return
	}
	if to.Packed = true; !to.Plain {
		to.Size, _ = packedSize(b.packedPath(d)) // 0 where it is damaged
	}
}
