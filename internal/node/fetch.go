package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// fetches makes attempts that want the same blobs at the same time fetch them
// once.
type fetches struct {
	mu      sync.Mutex // guards following
	pending map[pipeline.Digest]chan struct{}
}

// claim splits want into what the caller is to fetch and what others fetch
// already.
func (f *fetches) claim(want []pipeline.Digest) (mine []pipeline.Digest, others []chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == nil {
		f.pending = map[pipeline.Digest]chan struct{}{}
	}
	for _, d := range want {
		if ch := f.pending[d]; ch != nil {
			others = append(others, ch)
			continue
		}
		f.pending[d] = make(chan struct{})
		mine = append(mine, d)
	}
	return mine, others
}

func (f *fetches) release(mine []pipeline.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range mine {
		close(f.pending[d])
		delete(f.pending, d)
	}
}

// fetch makes blobs present here. Nodes that likely have them are asked first,
// then all others. Kind NotFound where every node that is alive was asked and
// a blob is still missing, Unavailable where some could not be asked.
func (n *Node) fetch(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	for {
		want = n.blobs.Missing(want)
		if len(want) == 0 {
			return nil
		}
		mine, others := n.fetching.claim(want)
		if len(mine) > 0 {
			err := n.fetchFrom(ctx, hints, mine)
			n.fetching.release(mine)
			if err != nil {
				return err
			}
		}
		for _, ch := range others {
			select {
			case <-ch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// fetchFrom asks the nodes that likely have the blobs for the small ones at
// once. What is left is looked for on all nodes, and fetched from where it is.
func (n *Node) fetchFrom(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	for _, id := range n.state.Others(hints...) {
		if !slices.Contains(hints, id) {
			break
		}
		err := n.pull(ctx, id, want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && pipeline.KindOf(err) == pipeline.Unavailable {
			n.log.Debug("fetch", "from", id, "error", err)
		}
		if want = n.blobs.Missing(want); len(want) == 0 {
			return nil
		}
	}
	for {
		before := len(want)
		err := n.fetchFound(ctx, hints, want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if want = n.blobs.Missing(want); len(want) == 0 {
			return nil
		}
		if len(want) == before {
			return err
		}
	}
}

// fetchFound looks for blobs on all nodes and fetches what it finds. Without an
// error there is nothing left, or something came.
func (n *Node) fetchFound(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	found, unasked := n.locate(ctx, n.state.Others(hints...), want)
	small := map[pipeline.NodeID][]pipeline.Digest{}
	var large []pipeline.Digest
	for i, d := range want {
		switch at := found[d]; {
		case len(at.holders) == 0:
		case at.size > largeBlob:
			large = append(large, d)
		default: // spread over those who have it
			h := at.holders[i%len(at.holders)]
			small[h] = append(small[h], d)
		}
	}
	var failed error
	for h, list := range small {
		if err := n.pull(ctx, h, list); err != nil {
			failed = err
		}
	}
	for _, d := range large {
		if err := n.fetchLarge(ctx, d, found[d].size, found[d].holders); err != nil {
			failed = fmt.Errorf("fetch blob %.12s: %w", d, err)
		}
	}
	switch {
	case failed != nil:
		if k := pipeline.KindOf(failed); k == pipeline.Internal || k == pipeline.NotFound {
			// They had it a moment ago: corrupt, or cut.
			failed = pipeline.Errorf(pipeline.Unavailable, "%w", failed)
		}
		return failed
	case unasked != nil:
		return pipeline.Errorf(pipeline.Unavailable, "%d blobs (first %.12s) are not here and a node that may have them cannot be asked: %w", len(want), want[0], unasked)
	}
	return pipeline.Errorf(pipeline.NotFound, "%d blobs (first %.12s) are on no node that answers", len(want), want[0])
}

// located is where a blob is, and its size.
type located struct {
	size    int64
	holders []pipeline.NodeID
}

// locateTimeout is how long a node is waited for that is asked what it has.
const locateTimeout = 5 * time.Second

// locate asks nodes, all at once, which of the blobs they have. unasked is an
// error of one that could not be asked.
func (n *Node) locate(ctx context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (found map[pipeline.Digest]located, unasked error) {
	found = map[pipeline.Digest]located{}
	var mu sync.Mutex
	sizes := make([][]int64, len(nodes))
	var g errgroup.Group
	g.SetLimit(16)
	for i, id := range nodes {
		g.Go(func() error {
			call, cancel := context.WithTimeout(ctx, locateTimeout)
			defer cancel()
			for part := range slices.Chunk(want, sizesBatch) {
				var out []int64
				err := n.peers.Call(call, id, "/peer/sizes", part, &out)
				if err != nil || len(out) != len(part) {
					mu.Lock()
					defer mu.Unlock()
					unasked = fmt.Errorf("node %s: %w", n.state.NodeName(id), err)
					return nil
				}
				sizes[i] = append(sizes[i], out...)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	for i, id := range nodes {
		for k, size := range sizes[i] {
			if size < 0 {
				continue
			}
			at := found[want[k]]
			at.size, at.holders = size, append(at.holders, id)
			found[want[k]] = at
		}
	}
	return found, unasked
}

// sizesBatch is how many blobs one question names.
const sizesBatch = 10_000

// sizes tells the sizes of blobs that are here, -1 for others.
func (n *Node) sizes(want []pipeline.Digest) []int64 {
	out := make([]int64, len(want))
	for i, d := range want {
		size, err := n.blobs.Size(d)
		if err != nil {
			size = -1
		}
		out[i] = size
	}
	return out
}

// pullSize is how many blobs are asked for in one request.
const pullSize = 256

// pull asks one node for blobs; it sends those that it has, but for large ones.
func (n *Node) pull(ctx context.Context, from pipeline.NodeID, want []pipeline.Digest) error {
	for part := range slices.Chunk(want, pullSize) {
		if err := n.pullBundle(ctx, from, part); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) pullBundle(ctx context.Context, from pipeline.NodeID, want []pipeline.Digest) error {
	raw, err := peer.Marshal(want)
	if err != nil {
		return err
	}
	ctx, moved, stop := stall(ctx, transferIdle)
	defer stop()
	res, err := n.peers.Bulk(ctx, from, http.MethodPost, "/peer/blobs/get", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var in io.Reader = &sourceReader{r: res.Body, moved: moved}
	if p := paceOf(ctx); p != nil {
		in = &pacedReader{ctx, in, p}
	}
	if err := n.receive(ctx, in); err != nil {
		return fmt.Errorf("receive blobs from node %.8s: %w", from, err)
	}
	return nil
}

// receive stores a bundle durably.
func (n *Node) receive(ctx context.Context, r io.Reader) error {
	_, err := n.receiveCount(ctx, r)
	return err
}

func (n *Node) receiveCount(ctx context.Context, r io.Reader) (int, error) {
	batch := n.blobs.NewBatch()
	defer batch.Discard()
	got, err := storage.ReadBundle(ctx, r, storage.BundleLimits{}, batch)
	if err != nil {
		// Each was verified by itself: what came whole need not come again.
		_ = batch.Commit(context.WithoutCancel(ctx)) // the first error is the one to tell
		return 0, err
	}
	return len(got), batch.Commit(ctx)
}

// servePeerGetBlobs sends those of the wanted blobs that are here, as a bundle;
// large ones are to be asked for one by one.
func (n *Node) servePeerGetBlobs(w http.ResponseWriter, r *http.Request) {
	var want []pipeline.Digest
	if !peer.ReadMessage(w, r, &want) {
		return
	}
	var have []pipeline.Digest
	for i, size := range n.sizes(want) {
		if size >= 0 && size <= largeBlob {
			have = append(have, want[i])
		}
	}
	if len(have) == 0 {
		peer.WriteError(w, pipeline.Errorf(pipeline.NotFound, "none of the blobs is here"))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := storage.WriteBundle(r.Context(), w, n.blobs, have); err != nil {
		n.log.Warn("send blobs", "error", err)
		panic(http.ErrAbortHandler) // the other side must not take it for whole
	}
}

func (n *Node) servePeerBundle(w http.ResponseWriter, r *http.Request) {
	err := n.receive(r.Context(), r.Body)
	peer.WriteMessage(w, struct{}{}, err)
}

// copyTimeout is how long a second node is waited for before an outcome is
// committed with one copy (settled 1).
const copyTimeout = 2 * time.Second

// copyAway sends blobs to another node: the leader where it is not this one,
// else whoever takes them first. "" where nobody did in time.
func (n *Node) copyAway(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID {
	var hints []pipeline.NodeID
	if leader, err := n.state.LeaderID(); err == nil {
		hints = append(hints, leader)
	}
	for _, to := range n.state.Others(hints...) {
		if n.push(ctx, to, blobs) == nil {
			return to
		}
		if ctx.Err() != nil {
			return ""
		}
	}
	return ""
}

// push sends a node those of the blobs that it lacks: small ones in bundles;
// large ones it is told to fetch, which goes on where it was cut.
func (n *Node) push(ctx context.Context, to pipeline.NodeID, blobs []pipeline.Digest) error {
	var missing []pipeline.Digest
	call, cancel := context.WithTimeout(ctx, copyTimeout)
	err := n.peers.Call(call, to, "/peer/missing", blobs, &missing)
	cancel()
	if err != nil || len(missing) == 0 {
		return err
	}
	var small, large []pipeline.Digest
	var smallBytes, largeBytes int64
	for _, d := range missing {
		size, err := n.blobs.Size(d)
		if err != nil {
			return err
		}
		if size > largeBlob {
			large, largeBytes = append(large, d), largeBytes+size
			continue
		}
		if len(small) > 0 && smallBytes+size > bundleBytes {
			if err := n.pushBundle(ctx, to, small, smallBytes); err != nil {
				return err
			}
			small, smallBytes = nil, 0
		}
		small, smallBytes = append(small, d), smallBytes+size
	}
	if len(small) > 0 {
		if err := n.pushBundle(ctx, to, small, smallBytes); err != nil {
			return err
		}
	}
	if len(large) == 0 {
		return nil
	}
	call, cancel = context.WithTimeout(ctx, timeFor(largeBytes))
	defer cancel()
	return n.peers.Call(call, to, "/peer/take", takeRequest{From: []pipeline.NodeID{n.id}, Blobs: large}, nil)
}

// bundleBytes is how much one pushed bundle holds: what arrived of several
// bundles is kept when a later one is cut.
const bundleBytes = 32 << 20

// timeFor is how long copying so many bytes may take: copyTimeout, and a second
// for every 4 MiB, so that a stalled node holds nobody up.
func timeFor(size int64) time.Duration {
	return copyTimeout + time.Duration(size/(4<<20))*time.Second
}

func (n *Node) pushBundle(ctx context.Context, to pipeline.NodeID, blobs []pipeline.Digest, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, timeFor(size))
	defer cancel()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(storage.WriteBundle(ctx, pw, n.blobs, blobs)) }() // ends when the request closes its body
	res, err := n.peers.Bulk(ctx, to, http.MethodPost, "/peer/bundle", pr)
	_ = pr.Close() // lets the writer end where the request did not read on
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// takeRequest tells a node to fetch blobs, likely from these nodes. Paced copies
// are those nobody waits for.
type takeRequest struct {
	From  []pipeline.NodeID `cbor:"1,keyasint"`
	Blobs []pipeline.Digest `cbor:"2,keyasint"`
	Paced bool              `cbor:"3,keyasint,omitempty"`
}

func (n *Node) take(ctx context.Context, in takeRequest) (struct{}, error) {
	if in.Paced {
		ctx = paced(ctx, &n.repairPace)
	}
	return struct{}{}, n.fetch(ctx, in.From, in.Blobs)
}

// copyReported sends what the reports of this very node carry to a second
// node, before the outcome is proposed here.
func (n *Node) copyReported(ctx context.Context, reports []peer.Report) {
	var blobs []pipeline.Digest
	for i := range reports {
		o := reports[i].Outcome
		if o == nil || len(o.Holders) > 1 {
			continue
		}
		for _, b := range reports[i].Blobs {
			blobs = append(blobs, storage.DigestOf(b))
		}
	}
	var to pipeline.NodeID
	if len(blobs) > 0 && len(n.state.Others()) > 0 {
		if to = n.copyAway(ctx, blobs); to == "" {
			n.log.Warn("no second node took log and outputs in time; they are on this node alone", "blobs", len(blobs))
		}
	}
	for i := range reports {
		if o := reports[i].Outcome; o != nil && to != "" && len(o.Holders) == 1 && len(reports[i].Blobs) > 0 {
			o.Holders = append(o.Holders, to)
		}
		reports[i].Blobs = nil
	}
}
