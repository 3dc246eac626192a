package fabric

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

const (
	// CopyTimeout is how long a second node is waited for before an outcome is
	// committed with one copy (settled 1). Each 4 MiB take a second more.
	CopyTimeout = 2 * time.Second
	// bundleBytes bounds an uploaded bundle: what arrived of several bundles is kept
	// if a later one is cut.
	bundleBytes = 32 << 20
	// filesPerSecond is how many files a node looks for at least.
	filesPerSecond = 20_000
	// slowFor is for how long a node is asked last that let a copy stand still.
	slowFor = 10 * time.Second
)

// timeFor is how long copying so many bytes may take, so that a node that stands
// still holds up no outcome.
func timeFor(size int64) time.Duration {
	return CopyTimeout + time.Duration(size/(4<<20))*time.Second
}

// UploaderConfig holds the neighbours of an Uploader. All fields but Metrics are
// required.
type UploaderConfig struct {
	Self    pipeline.NodeID
	Blobs   *blob.Store
	Trees   *tree.Cache // over Blobs
	Peers   Peers
	Members Members
	// Leader gives the leader's id; "" if none is known.
	Leader func() pipeline.NodeID
	Logger hclog.Logger
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Fabric
}

// Uploader sends blobs of this node to other nodes.
type Uploader struct {
	cfg UploaderConfig

	mu sync.Mutex
	// guards following: until when a node that stood still is asked last
	slow map[pipeline.NodeID]time.Time
}

// NewUploader makes an uploader.
func NewUploader(cfg UploaderConfig) *Uploader {
	return &Uploader{cfg: cfg, slow: map[pipeline.NodeID]time.Time{}}
}

// SecondCopy has another node take blobs, the leader first if it is not this
// one, and returns that node; "" if none did in time. Each node but the last is
// given half of the time that is left, so that one which stands still does not
// cost the copy.
func (u *Uploader) SecondCopy(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID {
	var size int64
	for _, n := range sizesHere(u.cfg.Blobs, blobs) {
		size += max(n, 0)
	}
	ctx, cancel := context.WithTimeout(ctx, timeFor(size))
	defer cancel()

	targets := u.targets()
	end, _ := ctx.Deadline()
	for i, to := range targets {
		share := time.Until(end)
		if i < len(targets)-1 {
			share /= 2
		}
		call, cancelCall := context.WithTimeout(ctx, share)
		err := u.Send(call, to, blobs)
		stoodStill := call.Err() != nil
		cancelCall()
		if err == nil {
			return to
		}

		u.cfg.Logger.Debug("a node did not take copies", "node", u.cfg.Members.NodeName(to), "blobs", len(blobs), "error", err)
		if stoodStill {
			u.mu.Lock()
			u.slow[to] = time.Now().Add(slowFor)
			u.mu.Unlock()
		}
		if ctx.Err() != nil {
			return ""
		}
	}
	return ""
}

// targets lists the other nodes that are alive: the leader first, those that
// stood still lately last.
func (u *Uploader) targets() []pipeline.NodeID {
	list := u.cfg.Members.Others(u.cfg.Leader())
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	for id, until := range u.slow {
		if now.After(until) {
			delete(u.slow, id)
		}
	}
	rank := func(id pipeline.NodeID) int {
		if _, slow := u.slow[id]; slow {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b pipeline.NodeID) int { return rank(a) - rank(b) })
	return list
}

// Send sends a node those of the blobs that it does not have: small ones in
// bundles; large ones it is asked to download, which resumes where it is cut.
func (u *Uploader) Send(ctx context.Context, to pipeline.NodeID, blobs []pipeline.Digest) error {
	var missing []pipeline.Digest
	call, cancel := context.WithTimeout(ctx, CopyTimeout)
	err := u.cfg.Peers.Call(call, to, pathMissing, blobs, &missing)
	cancel()
	if err != nil || len(missing) == 0 {
		return err
	}

	var small, large []pipeline.Digest
	var smallBytes, largeBytes int64
	for _, d := range missing {
		size, err := u.cfg.Blobs.Size(d)
		if err != nil {
			return err
		}
		if size > largeBlob {
			large, largeBytes = append(large, d), largeBytes+size
			continue
		}
		if len(small) > 0 && smallBytes+size > bundleBytes {
			if err := u.sendBundle(ctx, to, small, smallBytes); err != nil {
				return err
			}
			small, smallBytes = nil, 0
		}
		small, smallBytes = append(small, d), smallBytes+size
	}
	if len(small) > 0 {
		if err := u.sendBundle(ctx, to, small, smallBytes); err != nil {
			return err
		}
	}
	if len(large) == 0 {
		return nil
	}

	call, cancel = context.WithTimeout(ctx, timeFor(largeBytes))
	defer cancel()
	return u.cfg.Peers.Call(call, to, pathFetch, FetchRequest{From: []pipeline.NodeID{u.cfg.Self}, Blobs: large}, nil)
}

// SendTree sends a node a tree and its files, as far as it does not have them.
func (u *Uploader) SendTree(ctx context.Context, to pipeline.NodeID, root pipeline.Digest) error {
	tree, err := u.cfg.Trees.Read(root)
	if err != nil {
		return err
	}
	var missing []pipeline.Digest
	call, cancel := context.WithTimeout(ctx, CopyTimeout+time.Duration(len(tree.Digests())/filesPerSecond)*time.Second)
	err = u.cfg.Peers.Call(call, to, pathMissingTree, root, &missing)
	cancel()
	if err != nil {
		return err
	}
	if len(missing) == 1 && missing[0] == root {
		// Without the listing it does not know the files.
		missing = append(missing, tree.Digests()...)
	}
	if len(missing) == 0 {
		return nil
	}
	return u.Send(ctx, to, missing)
}

func (u *Uploader) sendBundle(ctx context.Context, to pipeline.NodeID, blobs []pipeline.Digest, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, timeFor(size))
	defer cancel()
	// The bundle is written while it is sent: it is never in memory as a whole. The
	// writer ends in any case, because closing the reader's side breaks its pipe.
	pr, pw := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		pw.CloseWithError(blob.WriteBundle(ctx, sentWriter{pw, u.cfg.Metrics}, u.cfg.Blobs, blobs))
	}()

	res, err := u.cfg.Peers.Bulk(ctx, to, http.MethodPost, pathBundlePut, pr)
	_ = pr.Close() // ends the writer if the request did not read on
	<-written
	if err != nil {
		return err
	}
	return res.Body.Close()
}
