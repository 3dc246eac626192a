package node

import (
	"context"
	"errors"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// OpenBlob opens a blob of this node, or of any.
func (b *backend) OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (api.Blob, error) {
	n := b.node()
	if local && !n.blobs.Has(d) {
		return nil, pipeline.Errorf(pipeline.NotFound, "blob %s is not on this node", d)
	}
	return n.openBlob(ctx, nil, d)
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
	return b.node().receiveCount(ctx, r)
}

// Artifacts lists the outputs of a run, or of one module of it.
func (b *backend) Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	n := b.node()
	n.freshen(ctx)
	out := wire.ArtifactList{Artifacts: []wire.Artifact{}}
	type source struct {
		module  string
		tree    pipeline.Digest
		holders []pipeline.NodeID
	}
	var from []source
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
			from = append(from, source{name, rec.Outputs, rec.Last().Holders})
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	for _, s := range from {
		tree, err := n.readTree(ctx, s.holders, s.tree)
		if err != nil {
			return out, err
		}
		for i := range tree {
			if e := &tree[i]; !e.Dir {
				out.Artifacts = append(out.Artifacts, wire.Artifact{Module: s.module, Path: e.Path, Size: e.Size, Mode: e.Mode, Digest: e.Digest, Link: e.Link})
			}
		}
	}
	return out, nil
}

func (n *Node) readTree(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (storage.Tree, error) {
	raw, err := n.readBlob(ctx, hints, d, 256<<20)
	if err != nil {
		return nil, err
	}
	return storage.DecodeTree(raw)
}

// OpenArtifact opens one output file.
func (b *backend) OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (api.Blob, wire.Artifact, error) {
	list, err := b.Artifacts(ctx, id, module)
	if err != nil {
		return nil, wire.Artifact{}, err
	}
	for _, a := range list.Artifacts {
		if a.Path != path {
			continue
		}
		if a.Link != "" {
			return nil, a, pipeline.Errorf(pipeline.Invalid, "%s is a link to %s: ask for that", path, a.Link)
		}
		blob, err := b.node().openBlob(ctx, nil, a.Digest)
		return blob, a, err
	}
	return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "module %s of run %s has no output %q", module, id, path)
}
