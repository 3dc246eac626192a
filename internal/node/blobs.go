package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// OpenBlob opens a blob of this node, or of any.
func (b *backend) OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (api.Blob, error) {
	n := b.node()
	if local && !n.blobs.Has(d) {
		return nil, pipeline.Errorf(pipeline.NotFound, "blob %s is not on this node", d)
	}
	return n.fabric.down.Open(ctx, nil, d)
}

// PutBlob stores a blob here.
func (b *backend) PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	_, err := b.blobs.PutExpect(ctx, d, r)
	return err
}

// PutBlobPart takes a blob, or what is still to come of it.
func (b *backend) PutBlobPart(ctx context.Context, d pipeline.Digest, from, total int64, r io.Reader) error {
	part, err := b.blobs.Partial(d, total)
	if errors.Is(err, storage.ErrArriving) {
		// The connection that was cut may not be known to be; or it is being fetched.
		return pipeline.Errorf(pipeline.Unavailable, "blob %.12s is arriving already: ask again which blobs are missing", d)
	}
	if err != nil {
		return err
	}
	defer part.Close()
	if have := part.Arrived(); from > have || from%storage.BlockSize != 0 && from != have {
		return pipeline.Errorf(pipeline.Conflict, "the upload is to go on at byte %d, and %d bytes are here", from, have)
	}
	if _, err := part.Fill(ctx, from, total, r); err != nil {
		return err
	}
	return part.Commit(ctx)
}

// ArrivedBlobs says how much is here of blobs whose upload was cut.
func (b *backend) ArrivedBlobs(_ context.Context, list []pipeline.Digest) map[pipeline.Digest]int64 {
	if !b.blobs.Arriving() {
		return nil
	}
	out := map[pipeline.Digest]int64{}
	for _, d := range list {
		if n, _ := b.blobs.Arrived(d); n > 0 {
			out[d] = n
		}
	}
	return out
}

// MissingBlobs says which blobs this node lacks.
func (b *backend) MissingBlobs(_ context.Context, d []pipeline.Digest) ([]pipeline.Digest, error) {
	for _, x := range d {
		if _, err := pipeline.ParseDigest(string(x)); err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
		}
	}
	missing := b.blobs.Missing(d)
	if missing == nil {
		missing = []pipeline.Digest{}
	}
	return missing, nil
}

// MissingOfTree says which blobs of a tree this node lacks.
func (b *backend) MissingOfTree(_ context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
	return b.blobs.MissingOf(tree)
}

// PutBundle stores many blobs here.
func (b *backend) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	return fabric.Receive(ctx, b.blobs, r)
}

// Bundle gives what writes small blobs as a bundle.
func (b *backend) Bundle(ctx context.Context, want []pipeline.Digest) (func(io.Writer) error, error) {
	n := b.node()
	// What is found nowhere is not in the bundle; whoever asks for it by itself is
	// told why.
	if err := n.fabric.down.Fetch(ctx, nil, want); err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	have := make([]pipeline.Digest, 0, len(want))
	for _, d := range want {
		if size, err := n.blobs.Size(d); err == nil && size <= wire.MaxBundledBlob {
			have = append(have, d)
		}
	}
	return func(w io.Writer) error { return storage.WriteBundle(ctx, w, n.blobs, have) }, nil
}

// outputs are the files that one module of a run left.
type outputs struct {
	module  string
	tree    pipeline.Digest
	holders []pipeline.NodeID
}

// outputsOf finds the outputs of a run, or of one module of it.
func (n *Node) outputsOf(ctx context.Context, id pipeline.RunID, module string) ([]outputs, error) {
	n.state.Fresh(ctx)
	var from []outputs
	err := n.store.View(func(v *fsm.View) error {
		r, ok := v.Run(id)
		if !ok {
			return noRun(id)
		}
		if r.ArtifactsGone {
			return pipeline.Errorf(pipeline.NotFound, "the artifacts of run %s are no longer kept: a limit of the cluster let them go (pipelined pin RUN keeps a run's)", id)
		}
		mods, err := v.RunModules(id)
		if err != nil {
			return err
		}
		if module != "" && !selected(mods, module) {
			return noModule(id, module, mods)
		}
		recs := v.Modules(id)
		for i := range mods {
			name := mods[i].Name
			rec := recs[name]
			if rec == nil || rec.Outputs == "" || module != "" && !pipeline.Selects(module, name) {
				continue
			}
			from = append(from, outputs{name, rec.Outputs, rec.Last().Holders})
		}
		return nil
	})
	return from, err
}

// Artifacts lists the outputs of a run, or of one module of it.
func (b *backend) Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	out := wire.ArtifactList{Artifacts: []wire.Artifact{}}
	from, err := b.node().outputsOf(ctx, id, module)
	if err != nil {
		return out, err
	}
	for _, s := range from {
		tree, err := b.fabric.down.Listing(ctx, s.holders, s.tree)
		if err != nil {
			return out, lostListing(s.module, err)
		}
		for i := range tree {
			if e := &tree[i]; !e.Dir {
				out.Artifacts = append(out.Artifacts, artifactOf(s.module, e))
			}
		}
	}
	return out, nil
}

func artifactOf(module string, e *pipeline.TreeEntry) wire.Artifact {
	return wire.Artifact{Module: module, Path: e.Path, Size: e.Size, Mode: e.Mode, Digest: e.Digest, Link: e.Link}
}

// lostListing says of which module the listing of outputs is nowhere. That is a
// loss and no wrong name, hence not NotFound.
func lostListing(module string, err error) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return &pipeline.Error{Kind: pipeline.Conflict, Err: err,
		Message: fmt.Sprintf("the listing of what module %s left is on no node that answers: start the nodes that are down, or run the module again", module)}
}

// lostOutput says the same of an output file.
func lostOutput(module, path string, err error) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return &pipeline.Error{Kind: pipeline.Conflict, Err: err,
		Message: fmt.Sprintf("the bytes of output %q of module %s are on no node that answers: start the nodes that are down, or run the module again", path, module)}
}

// OpenArtifact opens one output file.
func (b *backend) OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (api.Blob, wire.Artifact, error) {
	n := b.node()
	from, err := n.outputsOf(ctx, id, module)
	if err != nil {
		return nil, wire.Artifact{}, err
	}
	for _, s := range from {
		tree, err := n.fabric.down.Listing(ctx, s.holders, s.tree)
		if err != nil {
			return nil, wire.Artifact{}, lostListing(s.module, err)
		}
		e := tree.Find(path)
		if e == nil || e.Dir {
			continue
		}
		a := artifactOf(s.module, e)
		if a.Link != "" {
			return nil, a, pipeline.Errorf(pipeline.Invalid, "%s is a link to %s: ask for that", path, a.Link)
		}
		blob, err := n.fabric.down.Open(ctx, s.holders, a.Digest)
		if err != nil {
			return nil, a, lostOutput(s.module, path, err)
		}
		return blob, a, nil
	}
	return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "module %s of run %s has no output %q", module, id, path)
}
