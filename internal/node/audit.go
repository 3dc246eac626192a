package node

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// auditBatch is how many blobs the nodes are asked about at once.
	auditBatch = 4000
	// auditStreams is how many nodes take copies at the same time.
	auditStreams = 2
	// takeBlobs and takeBytes bound what one node is told to take at once.
	takeBlobs = 256
	takeBytes = 64 << 20
	// wantCopies is on how many nodes a blob is kept, where there are as many.
	wantCopies = 2
)

// auditor checks that what the state names is on enough nodes.
type auditor struct {
	n     *Node
	alive []pipeline.NodeID
	// batch is what the nodes are asked about next.
	batch []pipeline.Digest
	from  []*fsm.Reference
	// noted are the attempts whose holders in the state were wrong.
	noted map[pipeline.AttemptID][]pipeline.NodeID

	copied, lost, failed int
}

// audit looks for every blob that the state names on every node that is alive,
// and has second copies made where one is missing; whole tells if there are two
// of everything now. Nodes are asked, and not the state: a disk may have lost
// what it once had.
func (n *Node) audit(ctx context.Context, alive []pipeline.NodeID) (whole bool, err error) {
	began := time.Now()
	refs, _, err := n.references()
	if err != nil {
		return false, err
	}
	a := &auditor{n: n, alive: alive, noted: map[pipeline.AttemptID][]pipeline.NodeID{}}
	seen, err := n.walkBlobs(ctx, refs, func(d pipeline.Digest, from *fsm.Reference) error {
		a.batch, a.from = append(a.batch, d), append(a.from, from)
		if len(a.batch) == auditBatch {
			return a.flush(ctx)
		}
		return nil
	}, func(r *fsm.Reference, err error) error {
		a.lost++
		n.log.Warn("outputs or a workspace cannot be read on any node that answers", "run", r.Attempt.Run, "module", r.Attempt.Module, "error", err)
		return nil
	})
	if err == nil {
		err = a.flush(ctx)
	}
	if err != nil {
		return false, err
	}
	if err := a.note(ctx); err != nil {
		return false, err
	}
	log := n.log.Debug
	if a.copied+a.lost+a.failed > 0 {
		log = n.log.Info
	}
	log("checked the copies of everything that is kept", "blobs", len(seen), "copied", a.copied, "lost", a.lost, "failed", a.failed,
		"took", time.Since(began).Round(time.Millisecond))
	return a.failed == 0, nil
}

// flush asks about a batch and has the missing copies made.
func (a *auditor) flush(ctx context.Context) error {
	if len(a.batch) == 0 {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(a.alive), func(id pipeline.NodeID) bool { return id == a.n.id })
	found, unasked := a.n.locate(ctx, others, a.batch)
	if unasked != nil {
		return fmt.Errorf("ask who has which blobs: %w", unasked)
	}
	for i, size := range a.n.sizes(a.batch) {
		if size >= 0 {
			at := found[a.batch[i]]
			at.size, at.holders = size, append(at.holders, a.n.id)
			found[a.batch[i]] = at
		}
	}
	moves := map[pipeline.NodeID]*move{}
	for i, d := range a.batch {
		at := found[d]
		switch {
		case len(at.holders) == 0:
			a.lost++
			continue
		case len(at.holders) >= min(wantCopies, len(a.alive)):
		default:
			to := targetOf(d, a.alive, at.holders)
			m := moves[to]
			if m == nil {
				m = &move{}
				moves[to] = m
			}
			m.add(d, at)
			at.holders = append(at.holders, to)
		}
		if r := a.from[i]; r.Digest == d && r.Attempt.Module != "" && countIn(r.Holders, a.alive) < len(at.holders) && countIn(r.Holders, a.alive) < wantCopies {
			a.noted[r.Attempt] = at.holders
		}
	}
	a.batch, a.from = a.batch[:0], a.from[:0]
	return a.move(ctx, moves)
}

func countIn(list, alive []pipeline.NodeID) int {
	n := 0
	for _, id := range list {
		if slices.Contains(alive, id) {
			n++
		}
	}
	return n
}

// targetOf chooses the node that takes a copy, by a hash of both: the copies of
// a dead node spread over all that are left. "" where every node is a holder.
func targetOf(d pipeline.Digest, alive, holders []pipeline.NodeID) pipeline.NodeID {
	var best pipeline.NodeID
	var most uint64
	for _, id := range alive {
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

// move is what one node is to take.
type move struct {
	blobs   []pipeline.Digest
	sizes   []int64
	holders []pipeline.NodeID
	// done and failed count once the move is through.
	done, failed int
}

func (m *move) add(d pipeline.Digest, at located) {
	m.blobs, m.sizes = append(m.blobs, d), append(m.sizes, at.size)
	for _, h := range at.holders {
		if !slices.Contains(m.holders, h) {
			m.holders = append(m.holders, h)
		}
	}
}

// move has the copies made, by those who are to have them.
func (a *auditor) move(ctx context.Context, moves map[pipeline.NodeID]*move) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(auditStreams)
	for to, m := range moves {
		g.Go(func() error {
			for len(m.blobs) > 0 {
				k, bytes := 0, int64(0)
				for ; k < len(m.blobs) && k < takeBlobs && (k == 0 || bytes+m.sizes[k] <= takeBytes); k++ {
					bytes += m.sizes[k]
				}
				part := m.blobs[:k]
				m.blobs, m.sizes = m.blobs[k:], m.sizes[k:]
				if err := a.n.tellTake(gctx, to, m.holders, part, bytes); err != nil {
					a.n.log.Warn("a node could not take copies", "node", a.n.state.NodeName(to), "blobs", len(part), "error", err)
					m.failed += len(part)
					continue
				}
				m.done += len(part)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	for _, m := range moves {
		a.copied, a.failed = a.copied+m.done, a.failed+m.failed
	}
	return ctx.Err()
}

// tellTake has a node take copies at the pace of copies that nobody waits for.
func (n *Node) tellTake(ctx context.Context, to pipeline.NodeID, from []pipeline.NodeID, blobs []pipeline.Digest, size int64) error {
	limit := time.Minute + timeFor(size)
	if r := n.repairPace.rate; r > 0 {
		limit += time.Duration(float64(size) / float64(r) * float64(2*time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	in := takeRequest{From: from, Blobs: blobs, Paced: true}
	if to == n.id {
		_, err := n.take(ctx, in)
		return err
	}
	return n.peers.Call(ctx, to, "/peer/take", in, nil)
}

// noteBatch is how many attempts one entry of the log corrects.
const noteBatch = 500

// note corrects in the state where logs and outputs are.
func (a *auditor) note(ctx context.Context) error {
	var list []fsm.Copies
	for id, holders := range a.noted {
		list = append(list, fsm.Copies{ID: id, Holders: holders})
	}
	for part := range slices.Chunk(list, noteBatch) {
		if err := a.n.state.Commit(ctx, &fsm.Command{At: time.Now().UTC(), Batch: &fsm.Batch{Copies: part}}); err != nil {
			return fmt.Errorf("note where copies are: %w", err)
		}
	}
	return nil
}
