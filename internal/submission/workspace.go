package submission

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/tempdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
	"github.com/pipelined/pipelined/storage/workspace"
)

const (
	// bundledBlob is up to what size, in bytes, a file travels with others.
	bundledBlob = 1 << 20
	// bundleBytes is when a bundle is full. It is kept in memory, so that it can
	// be sent again.
	bundleBytes = 8 << 20
	// fewFiles is up to how many files are named one by one.
	fewFiles = 1000
)

// fileSet is a snapshot of the files that go along with a run. The zero value
// has none.
type fileSet struct {
	digest pipeline.Digest
	tree   tree.Tree
	root   string
	rules  workspace.Options
	blobs  *blob.Store // what was read of it, and its listing
	dir    string
}

// takeWorkspace takes a snapshot of the files that the pipeline wants along.
// What it has to read goes into a spool of its own; close removes that. What the
// directory o.known remembers from earlier snapshots is not read; "" remembers nothing.
func (o *Options) takeWorkspace(ctx context.Context, s *source) (w *fileSet, err error) {
	rules := s.File.Workspace()
	w = &fileSet{root: filepath.Join(s.dir, rules.Root)}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = tempdir.Make("", "submit"); err != nil {
		return w, wrapped("create a temporary directory for the workspace", err)
	}

	if w.blobs, err = blob.Open(w.dir, blob.Options{NoSync: true, LowWater: -1}); err != nil {
		return w, wrapped("create a temporary directory for the workspace", err)
	}

	private := newPrivate(o.Private)
	w.rules = workspace.Options{
		Exclude: rules.Exclude,
		Skip:    append(append(ownOutputs(), w.dir), private...),
		Private: private.holds,
		Warn:    o.Warn,
	}
	if root, err := filepath.Abs(w.root); err == nil && o.Known != "" {
		if root, err = filepath.EvalSymlinks(root); err == nil {
			w.rules.Cache = workspace.OpenStatCache(o.Known, root)
		}
	}

	batch := w.blobs.NewBatch()
	defer batch.Discard()
	if w.tree, err = workspace.Snapshot(ctx, w.root, batch, w.rules); err != nil {
		return w, err
	}

	w.tree = withoutSecrets(w.tree, o.Secrets, o.Warn)
	if len(w.tree) == 0 {
		return w, nil
	}

	if w.digest, err = tree.Put(ctx, batch, w.tree); err != nil {
		return w, wrapped("snapshot the workspace", err)
	}

	return w, wrapped("snapshot the workspace", batch.Commit(ctx))
}

// remember keeps what is known of the files for the next snapshot. Where it
// cannot be kept, that one reads everything.
func (w *fileSet) remember() {
	if w.rules.Cache != nil {
		_ = w.rules.Cache.Save()
	}
}

// ownOutputs are the files that this process writes to: they would change while
// they are read.
func ownOutputs() []string {
	var list []string
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			list = append(list, fmt.Sprintf("/dev/fd/%d", f.Fd()))
		}
	}

	return list
}

// send uploads what a node is missing of the workspace. Files that were not read so
// far are read now, and only then; where they are not what they were, the
// workspace has another digest afterwards.
func (w *fileSet) send(ctx context.Context, at *client.Client) error {
	if w.digest == "" {
		return nil
	}
	for {
		missing, err := w.missing(ctx, at)
		if err != nil || len(missing) == 0 {
			return err
		}

		files, changed, err := workspace.Refill(ctx, w.root, w.tree, missing, w.blobs, w.rules)
		if err != nil {
			return err
		}

		if changed {
			w.tree = files
			if w.digest, err = tree.Put(ctx, w.blobs, w.tree); err != nil {
				return wrapped("snapshot the workspace", err)
			}

			continue // the repaired listing is asked about again
		}

		if err := w.upload(ctx, at, missing); err != nil {
			return err
		}

		if len(w.tree) <= fewFiles || len(missing) > 1 || missing[0] != w.digest {
			return nil
		}
		// It could not say what is missing before it had the listing.
	}
}

// missing asks a node what it is missing. Of many files it is asked by their listing,
// which it may know: to name each of them takes longer than all the rest.
func (w *fileSet) missing(ctx context.Context, at *client.Client) ([]pipeline.Digest, error) {
	if len(w.tree) > fewFiles {
		return at.Blobs().MissingOf(ctx, w.digest)
	}

	return at.Blobs().Missing(ctx, append(w.tree.Digests(), w.digest))
}

// upload sends blobs, small ones together.
func (w *fileSet) upload(ctx context.Context, at *client.Client, blobs []pipeline.Digest) error {
	var bundle []pipeline.Digest
	var total int64
	flush := func() error {
		if len(bundle) == 0 {
			return nil
		}

		var buf bytes.Buffer
		if err := blob.WriteBundle(ctx, &buf, w.blobs, bundle); err != nil {
			return err
		}

		bundle, total = bundle[:0], 0
		_, err := at.Blobs().PutBundle(ctx, bytes.NewReader(buf.Bytes()))
		return wrapped("send the workspace", err)
	}
	for _, d := range blobs {
		size, err := w.blobs.Size(d)
		if err != nil {
			return fmt.Errorf("send the workspace: the node asks for %s, which is not part of it", d)
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

func (w *fileSet) sendLarge(ctx context.Context, at *client.Client, d pipeline.Digest) error {
	r, err := w.blobs.Open(d)
	if err != nil {
		return wrapped("send the workspace", err)
	}

	defer r.Close()
	return wrapped("send the workspace", at.Blobs().Put(ctx, d, r))
}

// close removes the spool.
func (w *fileSet) close() {
	if w.blobs != nil {
		_ = w.blobs.Close() // it is removed next
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // a spool in the temporary directory; nothing depends on it
	}
}
