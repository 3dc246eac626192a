package node

import (
	"context"
	"errors"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

const (
	// packSoon is how often runs are looked for that have ended: their logs and
	// listings are packed then.
	packSoon = 5 * time.Second
	// packEvery is the longest pause between two looks at all blobs.
	packEvery = 10 * time.Minute
	// packRuns is how many of the newest runs are looked at for those that ended.
	// What is missed is packed when nobody has asked for it for a while.
	packRuns = 500
	// packFiles is from how many files on a listing is worth a try, packBytes from
	// how many bytes on a log is: what fits into one block of the disk does not get
	// smaller.
	packFiles, packBytes = 16, 4 << 10
	// maxFutile bounds how many blobs are remembered that do not shrink.
	maxFutile = 1 << 17
	// packBusy is by how much packing is slower while modules run here.
	packBusy = 4
)

// packer packs blobs on this node's disk.
type packer struct {
	n    *Node
	pace pacer
	// futile are blobs that do not shrink.
	futile map[pipeline.Digest]bool
	// ended are those of the newest runs whose logs were packed.
	ended map[pipeline.RunID]bool
	index uint64 // of the state when runs were last looked at
	// told says that the disk was too full to pack.
	told bool
}

// packBlobs packs logs and listings of runs that have ended, and whatever nobody
// has asked for in a while, until ctx ends. It counts the blobs as well.
func (n *Node) packBlobs(ctx context.Context) {
	after := n.cfg.Limits.PackAfter
	p := &packer{n: n, futile: map[pipeline.Digest]bool{}, pace: pacer{rate: max(n.cfg.Limits.PackRate, 0)}}
	every := packEvery
	if after > 0 {
		every = min(max(after/6, time.Second), packEvery)
	}
	var began time.Time
	for sleep(ctx, min(packSoon, every)) {
		if after > 0 {
			p.endedRuns(ctx)
		}
		if time.Since(began) < every {
			continue
		}
		began = time.Now()
		p.unused(ctx, after)
	}
}

// wait keeps to the pace. Modules go first.
func (p *packer) wait(ctx context.Context, bytes int) error {
	if p.n.worker.Load() > 0 {
		bytes *= packBusy
	}
	return p.pace.wait(ctx, bytes)
}

// pack packs one blob. It reports whether to go on with others, and how many bytes
// of the disk became free.
func (p *packer) pack(ctx context.Context, d pipeline.Digest, unusedSince time.Time) (saved int64, more bool) {
	if p.futile[d] {
		return 0, true
	}
	out, err := p.n.blobs.Pack(ctx, d, storage.PackOptions{UnusedSince: unusedSince,
		Wait: func(n int) error { return p.wait(ctx, n) }, Before: p.n.dir.NeedPackedFormat})
	var corrupt *storage.CorruptError
	var full *storage.FullError
	switch {
	case ctx.Err() != nil:
		return 0, false
	case errors.As(err, &corrupt):
		return 0, true // reported where it was found
	case errors.As(err, &full):
		if !p.told {
			p.told = true
			p.n.log.Warn("blobs are not packed while the disk is so full", "error", err)
		}
		return 0, false
	case err != nil:
		p.n.log.Warn("a blob is not packed", "blob", d[:12], "error", err)
		out.Futile = true // not again in this life
	}
	p.told = false
	if out.Futile {
		if len(p.futile) >= maxFutile {
			p.futile = map[pipeline.Digest]bool{}
		}
		p.futile[d] = true
	}
	if !out.Done {
		return 0, true
	}
	return out.Size - out.Stored, true
}

// endedRuns packs logs and listings of runs that ended since it was last here.
func (p *packer) endedRuns(ctx context.Context) {
	now := p.n.store.Index()
	if now == p.index {
		return
	}
	var list []pipeline.Digest
	ended := map[pipeline.RunID]bool{}
	err := p.n.store.View(func(v *fsm.View) error {
		seen := 0
		v.Runs(0, func(r pipeline.Run) bool {
			seen++
			if r.State.Final() {
				ended[r.ID] = true
				if !p.ended[r.ID] {
					list = append(append(list, r.Workspace), logsAndListings(v.Modules(r.ID))...)
				}
			}
			return seen < packRuns && ctx.Err() == nil
		})
		return nil
	})
	if err != nil {
		return // closed
	}
	var packed int
	var saved int64
	for _, d := range list {
		if len(d) != 64 || d == pipeline.EmptyDigest {
			continue
		}
		n, more := p.pack(ctx, d, time.Time{})
		if !more {
			return // the next look tries again
		}
		if n > 0 {
			packed, saved = packed+1, saved+n
		}
	}
	p.index, p.ended = now, ended
	if packed > 0 {
		p.n.log.Debug("packed logs and listings of runs that ended", "blobs", packed, "bytes saved", saved)
	}
}

// logsAndListings lists those blobs of a run's modules that may get smaller.
func logsAndListings(mods map[string]*pipeline.ModuleRecord) (list []pipeline.Digest) {
	for _, m := range mods {
		if m.OutputCount >= packFiles {
			list = append(list, m.Outputs)
		}
		for i := range m.Attempts {
			if a := &m.Attempts[i]; a.LogSize > packBytes {
				list = append(list, a.Log)
			}
		}
	}
	return list
}

// unused packs what nobody has asked for since so long, and counts.
func (p *packer) unused(ctx context.Context, after time.Duration) {
	began := time.Now()
	before := began.Add(-after)
	var old []pipeline.Digest
	var use wire.BlobUse
	end, err := p.n.blobs.BeginSweep() // the files of trees that were asked for say so now
	if err != nil {
		p.n.log.Debug("a tree that was asked for cannot be read", "error", err)
	}
	err = p.n.blobs.Walk(ctx, func(i storage.BlobInfo) error {
		use.Blobs++
		use.Bytes += i.Size
		use.StoredBytes += i.Stored
		if i.Packed {
			use.Packed++
		}
		if after > 0 && i.Plain && i.UsedAt.Before(before) && (i.Packed || i.Size > packBytes) && !p.futile[i.Digest] {
			old = append(old, i.Digest)
		}
		return nil
	})
	end()
	if err != nil {
		if ctx.Err() == nil {
			p.n.log.Warn("list the blobs to pack", "error", err)
		}
		return
	}
	var packed int
	var saved int64
	for _, d := range old {
		n, more := p.pack(ctx, d, before)
		if !more {
			break
		}
		if n > 0 {
			packed, saved = packed+1, saved+n
		}
	}
	use.StoredBytes -= saved
	use.Packed += packed
	use.At = time.Now().UTC()
	p.n.blobUse.Store(&use)
	if packed > 0 {
		p.n.log.Info("packed blobs that nobody asked for", "blobs", packed, "bytes saved", saved, "took", time.Since(began).Round(time.Millisecond))
	}
}
