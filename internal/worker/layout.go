package worker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// contents are what the directory of an attempt will hold.
type contents struct {
	*fetcher
	// hints are the nodes that likely have the files.
	hints []pipeline.NodeID
	// base are the files of the workspace; key identifies them, "" if there are
	// none. overlays lie over them: a file of a later one wins.
	base     tree.Tree
	key      string
	overlays []layout.Named
}

// layout fetches the attempt's files and lays them out: the workspace, then the
// outputs of its dependencies.
func (d *directories) layout(ctx context.Context, a *attempt) error {
	s := &a.spec
	l := &contents{fetcher: d.fetcher.recording(&a.fetched), hints: s.Holders, key: baseKey(s)}
	if err := d.addUpstream(ctx, s, l); err != nil {
		return err
	}

	if l.key != "" && len(l.overlays) == 0 && d.mayMount(s) && d.layouts.Prepared(l.key) {
		// The quickest way: not even the listing is needed.
		err := d.layouts.Attach(ctx, a.dir.Name(), a.dir.Work(), l.key, nil, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		d.explainCopies(a, err)
	}

	if l.key != "" {
		t, err := l.tree(ctx, s.Workspace, s.Holders)
		if err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
		if !s.InputsAll {
			t = t.Filter(s.Inputs)
		}
		l.base = t
	}
	if len(l.base) == 0 && len(l.overlays) == 0 {
		return nil
	}

	return l.explain(d.fill(ctx, a, l), l.overlays)
}

// addUpstream adds the outputs of the dependencies, and the nodes that have them.
func (d *directories) addUpstream(ctx context.Context, s *pipeline.Spec, l *contents) error {
	for _, u := range s.Upstream {
		t, err := l.tree(ctx, u.Outputs, u.Holders)
		if pipeline.KindOf(err) == pipeline.NotFound && err != nil {
			return &lostOutputs{error: err, modules: []string{u.Module}}
		}
		if err != nil {
			return fmt.Errorf("outputs of %s: %w", u.Module, err)
		}

		if s.Layout == "by-module" {
			t = t.Below(tree.DirectoryOf(u.Module))
		}
		l.overlays = append(l.overlays, layout.Named{Name: u.Module, Tree: t})
		l.hints = append(l.hints[:len(l.hints):len(l.hints)], u.Holders...) // never into the spec's own array
	}

	return nil
}

// baseKey identifies the files of the workspace that an attempt sees: attempts of
// the same key share a copy.
func baseKey(s *pipeline.Spec) string {
	if s.Workspace == "" || !s.InputsAll && len(s.Inputs) == 0 {
		return ""
	}

	globs := s.Inputs
	if s.InputsAll {
		globs = nil
	}
	text, err := json.Marshal(struct {
		Workspace pipeline.Digest
		All       bool
		Globs     []string
	}{s.Workspace, s.InputsAll, globs})
	if err != nil {
		return "" // cannot be: strings and a bool
	}
	return string(blob.DigestOf(text))
}

// refetch is what the storage calls if a blob turns out bad while it is laid
// out: another copy of it is fetched.
func (d *directories) refetch(l *contents) layout.Fetch {
	return func(ctx context.Context, want []pipeline.Digest) error { return l.need(ctx, l.hints, want) }
}

// fill lays out a workspace and outputs whose listings are known.
func (d *directories) fill(ctx context.Context, a *attempt, l *contents) error {
	all, err := layout.Merge(l.base, l.overlays...)
	if err != nil {
		return err
	}

	attached, err := d.attached(ctx, a, l)
	if err != nil {
		return err
	}
	if attached {
		return d.fillOver(ctx, a, l, all)
	}

	if err := l.need(ctx, l.hints, all.Digests()); err != nil {
		return err
	}
	opts := layout.Options{Fetch: d.refetch(l)}
	return layout.WriteWith(ctx, all, a.dir.Work(), l.blobs, opts)
}

// fillOver lays the outputs of dependencies over an attached workspace.
func (d *directories) fillOver(ctx context.Context, a *attempt, l *contents, all tree.Tree) error {
	if len(l.overlays) == 0 {
		return nil
	}

	for _, t := range l.overlays {
		if err := l.need(ctx, l.hints, t.Tree.Digests()); err != nil {
			return err
		}
	}
	return layout.Complete(ctx, l.base, all, a.dir.Work(), l.blobs,
		layout.Options{Fetch: d.refetch(l)})
}
