package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// past makes blobs look as if nobody had asked for them for an hour.
func past(tb testing.TB, n *Node, list ...pipeline.Digest) {
	tb.Helper()
	old := time.Now().Add(-time.Hour)
	for _, d := range list {
		err := os.Chtimes(filepath.Join(n.stores.dir.BlobsDir(), string(d[:2]), string(d)), old, old)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			tb.Error(err)
		}
	}
}

// putRun commits a run that is over, with a workspace of one file. As a client
// does, it asks which blobs are missing, and sends those.
func putRun(tb testing.TB, n *Node, id pipeline.RunID, text string) []pipeline.Digest {
	tb.Helper()
	ctx := tb.Context()
	file := []byte(text)
	files := tree.Tree{{Path: "f", Mode: 0o644, Size: int64(len(file)), Digest: blob.DigestOf(file)}}
	listing, err := tree.Encode(files)
	if err != nil {
		tb.Fatal(err)
	}
	all := map[pipeline.Digest][]byte{blob.DigestOf(file): file, blob.DigestOf(listing): listing}
	digests := []pipeline.Digest{blob.DigestOf(file), blob.DigestOf(listing)}
	batch := n.stores.blobs.NewBatch()
	defer batch.Discard()
	for _, d := range n.stores.blobs.Missing(digests) {
		if _, err := batch.PutBytes(ctx, all[d]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := batch.Commit(ctx); err != nil {
		tb.Fatal(err)
	}
	def, err := fsm.EncodeDefinition(&pipeline.Pipeline{Name: "p"})
	if err != nil {
		tb.Fatal(err)
	}
	run := pipeline.Run{ID: id, Pipeline: "p", Workspace: blob.DigestOf(listing), Holders: []pipeline.NodeID{n.id}}
	now := time.Now().UTC()
	if err := n.state.Commit(ctx, &fsm.Command{At: now, Submit: &fsm.Submit{Run: run, Definition: def}}); err != nil {
		tb.Fatal(err)
	}
	if err := n.state.Commit(ctx, &fsm.Command{At: now, Batch: &fsm.Batch{Runs: []fsm.RunEnd{{Run: id, State: pipeline.RunSucceeded}}}}); err != nil {
		tb.Fatal(err)
	}
	return digests
}

// Runs come and go by a limit while the sweep runs without a pause, and what was
// swept or is about to be is named again all the time: nothing that is named is
// ever lost, and the rest goes. PIPELINED_SWEEP_RUNS is how many runs.
func TestSweep_underLoad(t *testing.T) {
	total := 600
	if v, err := strconv.Atoi(os.Getenv("PIPELINED_SWEEP_RUNS")); err == nil {
		total = v
	}
	const writers, keep = 8, 100
	n, _ := openNode(t, Config{Name: "n1", Limits: Limits{KeepRuns: keep}})
	eventually(t, func() error {
		if !n.orch.Leading() {
			return errors.New("it does not lead yet")
		}
		return nil
	})
	began := time.Now()
	sweeping, stop := context.WithCancel(t.Context())
	defer stop()
	var sweeps, removed int
	var took time.Duration
	// Time passes between sweeps: what is committed becomes old then, and only then.
	var clock sync.RWMutex
	var mu sync.Mutex
	var committed []pipeline.Digest
	age := func() {
		clock.Lock()
		defer clock.Unlock()
		past(t, n, committed...)
		committed = nil
	}
	var g, background errgroup.Group
	background.Go(func() error {
		for sweeping.Err() == nil {
			if err := n.services.retention.Apply(sweeping, time.Now()); err != nil && sweeping.Err() == nil {
				return err
			}
			age()
			at := time.Now()
			s, err := n.fabric.collector.Collect(sweeping, minSweepGrace)
			if err != nil && sweeping.Err() == nil {
				return err
			}
			took = max(took, time.Since(at))
			sweeps, removed = sweeps+1, removed+s.Removed
		}
		return nil
	})
	for w := range writers {
		g.Go(func() error {
			for i := range total / writers {
				// Every text comes again after a while, when its runs may be gone.
				text := fmt.Sprintf("%d-%d", w, i%max(keep/2, total/writers/4))
				clock.RLock()
				list := putRun(t, n, service.NewRunID(), text)
				mu.Lock()
				committed = append(committed, list...)
				mu.Unlock()
				clock.RUnlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	stop()
	if err := background.Wait(); err != nil {
		t.Error(err)
	}
	if err := n.services.retention.Apply(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var all []pipeline.Digest // the sweeps have read the listings: that is use, too
	err := n.stores.blobs.Walk(t.Context(), func(i blob.Info) error { all = append(all, i.Digest); return nil })
	if err != nil {
		t.Fatal(err)
	}
	past(t, n, all...)
	s, err := n.fabric.collector.Collect(t.Context(), minSweepGrace)
	if err != nil {
		t.Fatal(err)
	}
	removed += s.Removed
	refs, named := wantNamed(t, n)
	left := s.Blobs - s.Removed
	t.Logf("%d runs in %v: %d sweeps, the longest %v, removed %d blobs; %d are left and %d named", total, time.Since(began).Round(time.Millisecond),
		sweeps, took.Round(time.Millisecond), removed, left, named)
	if refs > keep || left > 2*keep || removed == 0 || left < named {
		t.Errorf("%d blobs left, %d named by %d references; %d removed in %d sweeps", left, named, refs, removed, sweeps)
	}
}

// wantNamed checks that every blob which the state names is there and right. It
// gives the number of different references, and of blobs with the files of trees.
func wantNamed(t *testing.T, n *Node) (refs, blobs int) {
	t.Helper()
	seen := map[pipeline.Digest]bool{}
	var trees []pipeline.Digest
	err := n.stores.state.View(func(v *fsm.View) error {
		return v.References(func(r fsm.Reference) error {
			if !seen[r.Digest] && r.Tree {
				trees = append(trees, r.Digest)
			}
			seen[r.Digest] = true
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	refs = len(seen)
	for _, root := range trees {
		tree, err := n.fabric.down.ReadTree(t.Context(), nil, root)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Digests() {
			seen[d] = true
		}
	}
	for d := range seen {
		if err := n.stores.blobs.Verify(d); err != nil {
			t.Errorf("a blob that the state names: %v", err)
		}
	}
	return refs, len(seen)
}

// A node whose blobs cannot be written says so and takes no work; when they can be
// again it goes on.
func TestDisk_blobsCannotBeWritten(t *testing.T) {
	n, c := openNode(t, Config{Name: "n1", Limits: Limits{LowWater: 1 << 20}})
	dir := n.stores.dir.BlobsDir()
	away := filepath.Join(t.TempDir(), "away")
	if err := errors.Join(os.Rename(dir, away), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		h, err := c.Health(t.Context())
		if err != nil || h.Status != "degraded" || len(h.Reasons) != 1 || !strings.Contains(h.Reasons[0], "cannot be written") {
			return fmt.Errorf("health: %+v, %w", h, err)
		}
		return nil
	})
	if n.fabric.disk.Reason() == "" {
		t.Error("it takes work")
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if h, err := c.Health(t.Context()); err != nil || h.Status != "healthy" {
			return fmt.Errorf("health: %+v, %w", h, err)
		}
		return nil
	})
}
