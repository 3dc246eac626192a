package service

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// Artifacts lists and opens the files that modules leave. It implements
// api.Artifacts.
type Artifacts struct {
	state *state.State
	down  *fabric.Downloader
}

// NewArtifacts makes an Artifacts.
func NewArtifacts(s *state.State, down *fabric.Downloader) *Artifacts {
	return &Artifacts{state: s, down: down}
}

// outputTree is the tree of files that a module left, and the nodes that have it.
type outputTree struct {
	module  string
	root    pipeline.Digest
	holders []pipeline.NodeID
}

// Artifacts lists the artifacts of a run, or of one of its modules. It is called on a
// node that has proved to lead, or by one who takes what may be behind.
func (a *Artifacts) Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	out := wire.ArtifactList{Artifacts: []wire.Artifact{}}
	trees, err := a.trees(id, module)
	if err != nil {
		return out, err
	}

	for _, t := range trees {
		listing, err := a.down.Listing(ctx, t.holders, t.root)
		if err != nil {
			return out, lostListing(t.module, err)
		}
		for i := range listing {
			if entry := &listing[i]; !entry.Dir {
				out.Artifacts = append(out.Artifacts, artifactOf(t.module, entry))
			}
		}
	}
	return out, nil
}

// OpenArtifact opens one artifact.
func (a *Artifacts) OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (api.Blob, wire.Artifact, error) {
	a.state.Fresh(ctx)
	trees, err := a.trees(id, module)
	if err != nil {
		return nil, wire.Artifact{}, err
	}

	for _, t := range trees {
		listing, err := a.down.Listing(ctx, t.holders, t.root)
		if err != nil {
			return nil, wire.Artifact{}, lostListing(t.module, err)
		}
		entry := listing.Find(path)
		if entry == nil || entry.Dir {
			continue
		}
		artifact := artifactOf(t.module, entry)
		if artifact.Link != "" {
			return nil, artifact, pipeline.Errorf(pipeline.Invalid, "%s is a link to %s: ask for that", path, artifact.Link)
		}
		blob, err := a.down.Open(ctx, t.holders, artifact.Digest)
		if err != nil {
			return nil, artifact, lostOutput(t.module, path, err)
		}
		return blob, artifact, nil
	}
	return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "module %s of run %s has no output %q", module, id, path)
}

// trees finds the output trees of a run, or of one of its modules.
func (a *Artifacts) trees(id pipeline.RunID, module string) ([]outputTree, error) {
	var trees []outputTree
	err := a.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		if run.ArtifactsGone {
			return pipeline.Errorf(pipeline.NotFound, "the artifacts of run %s are no longer kept: a limit of the cluster deleted them (pipelined pin RUN exempts a run)", id)
		}
		mods, err := v.RunModules(id)
		if err != nil {
			return err
		}
		if module != "" && !fsm.Selects(mods, module) {
			return pipeline.NoModule(id, module, mods)
		}

		records := v.Modules(id)
		for i := range mods {
			name := mods[i].Name
			record := records[name]
			if record == nil || record.Outputs == "" || module != "" && !pipeline.Selects(module, name) {
				continue
			}
			trees = append(trees, outputTree{name, record.Outputs, record.Last().Holders})
		}
		return nil
	})
	return trees, err
}

func artifactOf(module string, e *pipeline.TreeEntry) wire.Artifact {
	return wire.Artifact{Module: module, Path: e.Path, Size: e.Size, Mode: e.Mode, Digest: e.Digest, Link: e.Link}
}

// lostListing is the error for a listing of outputs that is on no node. That is
// a loss, not a wrong name, hence not NotFound.
func lostListing(module string, err error) error {
	return lost(err, "the listing of what module %s left is on no node that answers: start the nodes that are down, or run the module again", module)
}

// lostOutput is the same for an output file.
func lostOutput(module, path string, err error) error {
	return lost(err, "the bytes of output %q of module %s are on no node that answers: start the nodes that are down, or run the module again", path, module)
}

func lost(err error, format string, args ...any) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return pipeline.Errorf(pipeline.Conflict, format, args...)
}
