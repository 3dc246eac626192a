package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

const (
	// bundledBlob is up to what size, in bytes, a file travels with others.
	bundledBlob = 1 << 20
	// bundleBytes is when a bundle is full. It is kept in memory, so that it can
	// be sent again.
	bundleBytes = 8 << 20
)

// workspace is a snapshot of the files that go along with a run. The zero value
// has none.
type workspace struct {
	digest pipeline.Digest
	tree   storage.Tree
	sizes  map[pipeline.Digest]int64
	blobs  *storage.Blobs
	dir    string
}

// takeWorkspace reads the files that the pipeline wants along into a spool of
// its own. Close removes it.
func (p *program) takeWorkspace(ctx context.Context, s *source) (w *workspace, err error) {
	w = &workspace{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = tempFolder("", "submit"); err != nil {
		return w, wrap("make a spool for the workspace", err)
	}
	if w.blobs, err = storage.OpenBlobs(w.dir, storage.BlobOptions{NoSync: true, LowWater: -1}); err != nil {
		return w, wrap("make a spool for the workspace", err)
	}
	rules := s.file.Workspace()
	batch := w.blobs.NewBatch()
	defer batch.Discard()
	w.tree, err = storage.Snapshot(ctx, filepath.Join(s.dir, rules.Root), batch, storage.SnapshotOptions{
		Exclude: rules.Exclude,
		Skip:    append(p.ownOutputs(), w.dir),
		Warn:    func(text string) { p.tell("warning: %s", text) },
	})
	if err != nil {
		return w, err
	}
	if len(w.tree) == 0 {
		return w, nil
	}
	if w.digest, err = storage.PutTree(ctx, batch, w.tree); err != nil {
		return w, wrap("take the workspace", err)
	}
	if err = batch.Commit(ctx); err != nil {
		return w, wrap("take the workspace", err)
	}
	w.sizes = make(map[pipeline.Digest]int64, len(w.tree)+1)
	for i := range w.tree {
		w.sizes[w.tree[i].Digest] = w.tree[i].Size
	}
	size, err := w.blobs.Size(w.digest)
	w.sizes[w.digest] = size
	return w, err
}

// ownOutputs are the files that this process writes to: they would change while
// they are read.
func (p *program) ownOutputs() []string {
	var list []string
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			list = append(list, fmt.Sprintf("/dev/fd/%d", f.Fd()))
		}
	}
	return list
}

// send uploads what a node lacks of the workspace.
func (w *workspace) send(ctx context.Context, at *client.Client) error {
	if w.digest == "" {
		return nil
	}
	missing, err := at.Missing(ctx, append(w.tree.Digests(), w.digest))
	if err != nil {
		return err
	}
	var bundle []pipeline.Digest
	var total int64
	flush := func() error {
		if len(bundle) == 0 {
			return nil
		}
		var buf bytes.Buffer
		if err := storage.WriteBundle(ctx, &buf, w.blobs, bundle); err != nil {
			return err
		}
		bundle, total = bundle[:0], 0
		_, err := at.PutBundle(ctx, bytes.NewReader(buf.Bytes()))
		return wrap("send the workspace", err)
	}
	for _, d := range missing {
		size, known := w.sizes[d]
		if !known {
			return fmt.Errorf("send the workspace: the node asks for %s, which is no part of it", d)
		}
		if size > bundledBlob {
			if err := w.sendLarge(ctx, at, d); err != nil {
				return err
			}
			continue
		}
		if total+size > bundleBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		bundle, total = append(bundle, d), total+size
	}
	return flush()
}

func (w *workspace) sendLarge(ctx context.Context, at *client.Client, d pipeline.Digest) error {
	r, err := w.blobs.Open(d)
	if err != nil {
		return wrap("send the workspace", err)
	}
	defer r.Close()
	return wrap("send the workspace", at.PutBlob(ctx, d, r))
}

// close removes the spool.
func (w *workspace) close() {
	if w.blobs != nil {
		_ = w.blobs.Close() // it is removed next
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // a spool in the temporary folder; nothing depends on it
	}
}
