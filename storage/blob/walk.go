package blob

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Info is what Walk tells of a blob.
type Info struct {
	Digest pipeline.Digest
	// Size is the length of its bytes.
	Size int64
	// UsedAt is when it was last put or asked for with Missing, to the minute.
	UsedAt time.Time
}

// Walk calls f for each blob that has a file, by digest, until f returns an
// error, which it returns. Blobs that come and go meanwhile may be missed.
func (b *Store) Walk(ctx context.Context, f func(Info) error) error {
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
		for _, n := range names {
			d := pipeline.Digest(n.Name())
			if ValidDigest(d) != nil || shardOf(d) != i {
				continue
			}
			info, err := n.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue // deleted meanwhile
			}
			if err := f(Info{Digest: d, Size: info.Size(), UsedAt: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}
