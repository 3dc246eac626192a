package fabric

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// compareBatch is how many blobs the nodes are asked about at once.
	compareBatch = 4000
	// copyStreams is how many nodes make copies at the same time.
	copyStreams = 2
	// copyBlobs and copyBytes bound what one node is asked to copy at once.
	copyBlobs = 256
	copyBytes = 64 << 20
	// recordBatch is how many attempts one entry of the log corrects.
	recordBatch = 500
)

// Location is where a blob is, and its size in bytes.
type Location struct {
	Size    int64
	Holders []pipeline.NodeID
}

// comparedNodes are the nodes that a comparison is about.
type comparedNodes struct {
	// alive are those whose copies count; leaving have copies that do not count, as they
	// will be gone.
	alive, leaving []pipeline.NodeID
	// reporter is a node that is to have a copy of each blob; "" if none is.
	reporter pipeline.NodeID
}

// comparison is one pass over some references: wanted copies against those that
// the nodes report.
type comparison struct {
	cfg *ReplicatorConfig
	who comparedNodes

	// batch is what the nodes are asked about next, from[i] what named batch[i].
	batch []pipeline.Digest
	from  []*fsm.Reference

	// holders are those to record for attempts whose record names too few.
	holders map[pipeline.AttemptID][]pipeline.NodeID

	blobs, lost int // blobs seen; blobs that no node has
	// others are the nodes besides the reporter that have a blob; nil without a reporter.
	others map[pipeline.Digest][]pipeline.NodeID

	mu sync.Mutex
	// guards following, while copies are made
	copied, failed int
	refused        error                    // why the last copy could not be made
	short          map[pipeline.Digest]bool // blobs without enough copies
	incomplete     map[pipeline.AttemptID]bool
}

// compare compares references. An error means that it broke off: a node could not
// be asked, or ctx ended. Copies that could not be made are counted instead.
func (r *Replicator) compare(ctx context.Context, refs []fsm.Reference, who comparedNodes) (*comparison, error) {
	c := &comparison{cfg: &r.cfg, who: who, holders: map[pipeline.AttemptID][]pipeline.NodeID{},
		short: map[pipeline.Digest]bool{}, incomplete: map[pipeline.AttemptID]bool{}}

	if who.reporter != "" {
		c.others = map[pipeline.Digest][]pipeline.NodeID{}
	}
	w := &walk{trees: r.cfg.Trees, visit: func(d pipeline.Digest, from *fsm.Reference) error {
		c.batch, c.from = append(c.batch, d), append(c.from, from)
		if len(c.batch) == compareBatch {
			return c.flush(ctx)
		}
		return nil
	}, unreadable: func(ref *fsm.Reference, err error) error {
		if kind := pipeline.KindOf(err); len(who.leaving) > 0 && (kind == pipeline.Unavailable || kind == pipeline.Unknown) {
			return err // its files may be on a node that leaves alone
		}
		c.lost++
		c.incomplete[ref.Attempt] = true
		r.cfg.Logger.Warn("listing of a tree cannot be read on any node that answers", "run", ref.Attempt.Run, "module", ref.Attempt.Module, "error", err)
		return nil
	}}
	if _, err := w.run(ctx, refs); err != nil {
		return nil, err
	}
	if err := c.flush(ctx); err != nil {
		return nil, err
	}
	return c, c.record(ctx)
}

// flush asks about the batch and has the missing copies made.
func (c *comparison) flush(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}

	found, unasked := c.cfg.Locate(ctx, slices.Concat(c.who.alive, c.who.leaving), c.batch)
	if unasked != nil {
		// A node that does not answer may have copies: making more would be wrong
		// each time a node is slow.
		return fmt.Errorf("ask which nodes have which blobs: %w", unasked)
	}

	orders := map[pipeline.NodeID]*copyOrder{}
	for i, d := range c.batch {
		c.blobs++
		at := found[d] // with nodes that leave: they can be copied from
		if len(at.Holders) == 0 {
			c.lost++
			c.fail(d, c.from[i])
			continue
		}

		holders := slices.DeleteFunc(slices.Clone(at.Holders), func(id pipeline.NodeID) bool { return slices.Contains(c.who.leaving, id) })
		if c.others != nil {
			c.others[d] = slices.DeleteFunc(slices.Clone(holders), func(id pipeline.NodeID) bool { return id == c.who.reporter })
		}
		if to := c.target(c.from[i].Digest, holders); to != "" {
			if orders[to] == nil {
				orders[to] = &copyOrder{to: to}
			}
			orders[to].add(d, c.from[i], at)
			holders = append(holders, to)
		}
		c.noteHolders(d, c.from[i], holders)
	}

	c.batch, c.from = c.batch[:0], c.from[:0]
	return c.carryOut(ctx, orders)
}

// target chooses the node that makes one more copy: the reporter, if it has none;
// nothing, if there are enough; else by a hash of the reference's digest and the
// node, so that the files of a tree go to one node and the copies of a dead node
// spread over all that are left.
func (c *comparison) target(d pipeline.Digest, holders []pipeline.NodeID) pipeline.NodeID {
	if c.who.reporter != "" && !slices.Contains(holders, c.who.reporter) && slices.Contains(c.who.alive, c.who.reporter) {
		return c.who.reporter
	}
	if len(holders) >= min(WantedCopies, len(c.who.alive)) {
		return ""
	}

	var best pipeline.NodeID
	var most uint64
	for _, id := range c.who.alive {
		if slices.Contains(holders, id) {
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(id))
		h.Write([]byte(d))
		if s := h.Sum64(); best == "" || s > most {
			best, most = id, s
		}
	}
	return best
}

// noteHolders remembers to correct the record of an attempt that names fewer live
// holders than there are. Only the blob that the record names counts: a tree's
// files may be elsewhere as well.
func (c *comparison) noteHolders(d pipeline.Digest, from *fsm.Reference, holders []pipeline.NodeID) {
	if from.Digest != d || from.Attempt.Module == "" {
		return
	}
	if named := countIn(from.Holders, c.who.alive); named < WantedCopies && named < len(holders) {
		c.holders[from.Attempt] = holders
	}
}

// copyOrder is what one node is to copy.
type copyOrder struct {
	to      pipeline.NodeID
	blobs   []pipeline.Digest
	from    []*fsm.Reference
	sizes   []int64
	holders []pipeline.NodeID
}

func (o *copyOrder) add(d pipeline.Digest, from *fsm.Reference, at Location) {
	o.blobs, o.from, o.sizes = append(o.blobs, d), append(o.from, from), append(o.sizes, at.Size)
	for _, h := range at.Holders {
		if !slices.Contains(o.holders, h) {
			o.holders = append(o.holders, h)
		}
	}
}

// next cuts off the part that is asked for at once: bounded, so that a failure
// costs little of what was copied.
func (o *copyOrder) next() (part copyOrder, size int64) {
	k := 0
	for ; k < len(o.blobs) && k < copyBlobs && (k == 0 || size+o.sizes[k] <= copyBytes); k++ {
		size += o.sizes[k]
	}
	part = copyOrder{to: o.to, blobs: o.blobs[:k], from: o.from[:k], holders: o.holders}
	o.blobs, o.from, o.sizes = o.blobs[k:], o.from[k:], o.sizes[k:]
	return part, size
}

// carryOut has copies made, by the nodes that are to have them.
func (c *comparison) carryOut(ctx context.Context, orders map[pipeline.NodeID]*copyOrder) error {
	var g errgroup.Group
	g.SetLimit(copyStreams)
	for _, o := range orders {
		g.Go(func() error {
			for len(o.blobs) > 0 && ctx.Err() == nil {
				part, size := o.next()
				c.finish(&part, c.cfg.Copy(ctx, part.to, part.holders, part.blobs, size))
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return ctx.Err()
}

func (c *comparison) finish(part *copyOrder, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.copied += len(part.blobs)
		return
	}

	c.cfg.Logger.Warn("a node could not make copies", "node", c.cfg.NodeName(part.to), "blobs", len(part.blobs), "error", err)
	c.failed += len(part.blobs)
	c.refused = fmt.Errorf("%s: %w", c.cfg.NodeName(part.to), err)
	for i, d := range part.blobs {
		c.fail(d, part.from[i])
	}
}

// fail notes that a blob has too few copies, and that its attempt's holders must
// not be recorded: the record would claim a copy that is not there.
func (c *comparison) fail(d pipeline.Digest, from *fsm.Reference) {
	c.short[d] = true
	c.incomplete[from.Attempt] = true
}

// record corrects in the state where logs and outputs are.
func (c *comparison) record(ctx context.Context) error {
	var list []fsm.Copies
	for id, holders := range c.holders {
		if !c.incomplete[id] {
			list = append(list, fsm.Copies{ID: id, Holders: holders})
		}
	}

	for part := range slices.Chunk(list, recordBatch) {
		if err := c.cfg.Record(ctx, part); err != nil {
			return fmt.Errorf("record where copies are: %w", err)
		}
	}
	return nil
}
