package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/cluster"
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

func (n *Node) fetchFrom(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	var unasked error
	for _, id := range n.sources(hints) {
		err := n.pull(ctx, id, want)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && pipeline.KindOf(err) != pipeline.NotFound {
			unasked = err
		}
		if want = n.blobs.Missing(want); len(want) == 0 {
			return nil
		}
	}
	if unasked != nil {
		return pipeline.Errorf(pipeline.Unavailable, "%d blobs (first %.12s) are not here and a node that may have them cannot be asked: %w", len(want), want[0], unasked)
	}
	return pipeline.Errorf(pipeline.NotFound, "%d blobs (first %.12s) are on no node that answers", len(want), want[0])
}

// sources lists the other nodes that are alive, the likely ones first.
func (n *Node) sources(hints []pipeline.NodeID) []pipeline.NodeID {
	var first, rest []pipeline.NodeID
	for _, m := range n.cluster.Members() {
		switch {
		case m.ID == n.id || m.Status != cluster.StatusAlive:
		case slices.Contains(hints, m.ID):
			first = append(first, m.ID)
		default:
			rest = append(rest, m.ID)
		}
	}
	return append(first, rest...)
}

// pullSize is how many blobs are asked for in one request.
const pullSize = 256

// pull asks one node for blobs; it sends those that it has.
func (n *Node) pull(ctx context.Context, from pipeline.NodeID, want []pipeline.Digest) error {
	for part := range slices.Chunk(want, pullSize) {
		raw, err := wireEnc.Marshal(part)
		if err != nil {
			return err
		}
		res, err := n.request(ctx, from, http.MethodPost, "/peer/blobs/get", strings.NewReader(string(raw)))
		if err != nil {
			return err
		}
		err = n.receive(ctx, res.Body)
		res.Body.Close()
		if err != nil {
			return fmt.Errorf("receive blobs from node %.8s: %w", from, err)
		}
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
		return 0, err
	}
	return len(got), batch.Commit(ctx)
}

// servePeerGetBlobs sends those of the wanted blobs that are here, as a bundle.
func (n *Node) servePeerGetBlobs(w http.ResponseWriter, r *http.Request) {
	var want []pipeline.Digest
	if !readMessage(w, r, &want) {
		return
	}
	missing := n.blobs.Missing(want)
	have := slices.DeleteFunc(want, func(d pipeline.Digest) bool { return slices.Contains(missing, d) })
	if len(have) == 0 {
		writeError(w, pipeline.Errorf(pipeline.NotFound, "none of the blobs is here"))
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
	writeMessage(w, struct{}{}, err)
}

// copyTimeout is how long a second node is waited for before an outcome is
// committed with one copy (settled 1).
const copyTimeout = 2 * time.Second

// copyAway sends blobs to another node: the leader where it is not this one,
// else whoever takes them first. "" where nobody did in time.
func (n *Node) copyAway(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID {
	var hints []pipeline.NodeID
	if leader, err := n.leaderID(); err == nil {
		hints = append(hints, leader)
	}
	for _, to := range n.sources(hints) {
		if n.push(ctx, to, blobs) == nil {
			return to
		}
		if ctx.Err() != nil {
			return ""
		}
	}
	return ""
}

// push sends a node those of the blobs that it lacks. It gives up when nothing
// moves for copyTimeout.
func (n *Node) push(ctx context.Context, to pipeline.NodeID, blobs []pipeline.Digest) error {
	var missing []pipeline.Digest
	call, cancel := context.WithTimeout(ctx, copyTimeout)
	err := n.call(call, to, "/peer/missing", blobs, &missing)
	cancel()
	if err != nil || len(missing) == 0 {
		return err
	}
	var size int64
	for _, d := range missing {
		s, err := n.blobs.Size(d)
		if err != nil {
			return err
		}
		size += s
	}
	// At least 4 MiB/s, so that a stalled node holds nobody up.
	call, cancel = context.WithTimeout(ctx, copyTimeout+time.Duration(size/(4<<20))*time.Second)
	defer cancel()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(storage.WriteBundle(call, pw, n.blobs, missing)) }() // ends when the request closes its body
	res, err := n.request(call, to, http.MethodPost, "/peer/bundle", pr)
	_ = pr.Close() // lets the writer end where the request did not read on
	if err != nil {
		return err
	}
	return res.Body.Close()
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
	if len(blobs) > 0 && n.others() > 0 {
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

// others is the number of other nodes that are alive.
func (n *Node) others() int { return len(n.sources(nil)) }
