package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// folder is what an attempt's folder is to hold.
type folder struct {
	// hints are the nodes that likely have the files.
	hints []pipeline.NodeID
	// base are the files of the workspace; key tells them from all others, "" where
	// there are none. overlays lie over them.
	base     storage.Tree
	key      string
	overlays []storage.NamedTree
}

// layout brings the attempt's files here and lays them out: the workspace,
// then what its dependencies left.
func (w *Worker) layout(ctx context.Context, a *attempt) error {
	s := &a.spec
	f := &folder{hints: s.Holders, key: baseKey(s)}
	if err := w.upstream(ctx, s, f); err != nil {
		return err
	}
	if f.key != "" && len(f.overlays) == 0 && w.cfg.Layouts.Prepared(f.key) {
		// The quickest way: not even the listing is needed.
		err := w.cfg.Layouts.Attach(ctx, a.dir.Name(), a.dir.Work(), f.key, nil, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		w.noAttach(a, err)
	}
	if f.key != "" {
		t, err := w.tree(ctx, s.Workspace, s.Holders)
		if err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
		if !s.InputsAll {
			t = t.Filter(s.Inputs)
		}
		f.base = t
	}
	if len(f.base) == 0 && len(f.overlays) == 0 {
		return nil
	}
	return w.whoseAreLost(w.fill(ctx, a, f), f.overlays)
}

// upstream finds what the dependencies of an attempt left.
func (w *Worker) upstream(ctx context.Context, s *pipeline.Spec, f *folder) error {
	for _, u := range s.Upstream {
		t, err := w.tree(ctx, u.Outputs, u.Holders)
		if err != nil {
			if pipeline.KindOf(err) == pipeline.NotFound {
				return &lostOutputs{error: err, modules: []string{u.Module}}
			}
			return fmt.Errorf("outputs of %s: %w", u.Module, err)
		}
		if s.Layout == "by-module" {
			t = t.Below(u.Module)
		}
		f.overlays = append(f.overlays, storage.NamedTree{Name: u.Module, Tree: t})
		f.hints = append(f.hints[:len(f.hints):len(f.hints)], u.Holders...)
	}
	return nil
}

// baseKey tells the files of the workspace that an attempt sees from all others.
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
		return "" // cannot be: texts and a bool
	}
	return string(storage.DigestOf(text))
}

// fill lays out what is known whole.
func (w *Worker) fill(ctx context.Context, a *attempt, f *folder) error {
	all, err := storage.Merge(f.base, f.overlays...)
	if err != nil {
		return err
	}
	at := a.dir.Work()
	// A blob may turn out bad while it is laid out: then another copy is fetched.
	again := func(ctx context.Context, want []pipeline.Digest) error { return w.need(ctx, f.hints, want) }
	attached, err := w.attach(ctx, a, f, again)
	if err != nil {
		return err
	}
	if attached {
		if len(f.overlays) == 0 {
			return nil
		}
		for _, t := range f.overlays {
			if err := w.need(ctx, f.hints, t.Tree.Digests()); err != nil {
				return err
			}
		}
		return storage.Complete(ctx, f.base, all, at, w.cfg.Blobs, storage.LayoutOptions{Fetch: again, Reflink: w.cfg.Layouts.Reflink()})
	}
	if err := w.need(ctx, f.hints, all.Digests()); err != nil {
		return err
	}
	opts := storage.LayoutOptions{Fetch: again}
	if all.Size() >= reflinkFrom {
		opts.Reflink = w.cfg.Layouts.Reflink()
	}
	return storage.LayoutWith(ctx, all, at, w.cfg.Blobs, opts)
}

// reflinkFrom is from how many bytes on it is worth to find out whether files can
// be clones.
const reflinkFrom = 1 << 20

// attach lays out the workspace's part as an overlay, where that pays and works.
// Else the folder is empty.
func (w *Worker) attach(ctx context.Context, a *attempt, f *folder, fetch storage.Fetch) (bool, error) {
	l := w.cfg.Layouts
	if f.key == "" || !l.Pays(f.base) {
		return false, nil
	}
	if !l.Prepared(f.key) {
		if err := w.need(ctx, f.hints, f.base.Digests()); err != nil {
			return false, err
		}
	}
	err := l.Attach(ctx, a.dir.Name(), a.dir.Work(), f.key, f.base, fetch)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil || l.Attached(a.dir.Name()) {
		return false, err // stopped; or what is there cannot be taken away
	}
	w.noAttach(a, err)
	return false, nil
}

// noAttach says why a folder is no overlay.
func (w *Worker) noAttach(a *attempt, err error) {
	if errors.Is(err, storage.ErrNotPrepared) {
		return
	}
	w.log.Debug("folder by copies", "attempt", a.key, "reason", err)
}

// release takes the overlay of an attempt's folder away, with all in it.
func (w *Worker) release(a *attempt) error {
	return w.cfg.Layouts.Release(a.dir.Name(), a.dir.Work())
}

// restore makes the folder of an attempt visible that an earlier daemon laid out.
func (w *Worker) restore(a *attempt) error {
	return w.cfg.Layouts.Restore(a.dir.Name(), a.dir.Work())
}

// sharesMounts reports whether whoever runs the modules sees what this process
// mounts, and the other way round: a daemon that a service manager started again
// may live in a mount namespace of its own.
func (w *Worker) sharesMounts() bool {
	k, ok := w.cfg.Runner.(interface{ SameMounts() bool })
	return !ok || k.SameMounts()
}

// adopt makes the folder of an attempt that goes on visible, for those who want
// to look into it. A mount that cannot be seen from here, but by the module, must
// not be made a second time before that has ended.
func (w *Worker) adopt(a *attempt) {
	if w.apart {
		return
	}
	if err := w.restore(a); err != nil {
		w.log.Error("the folder of an attempt that goes on cannot be seen", "attempt", a.key, "error", err)
	}
}

// sweepFolders takes away mounts of attempts that are not known any more.
func (w *Worker) sweepFolders() {
	keep := map[string]bool{}
	w.mu.Lock()
	for _, a := range w.attempts {
		keep[a.dir.Name()] = a.outcome == nil
	}
	w.mu.Unlock()
	err := w.cfg.Layouts.Sweep(func(name string) bool { return keep[name] },
		func(name string) string { return attemptdir.Dir(filepath.Join(w.cfg.WorkDir, name)).Work() })
	if err != nil {
		w.log.Warn("take away mounts that an earlier daemon left", "error", err)
	}
}

// TrimFolders removes prepared folders beyond their limits, all that are not in
// use where the disk is low.
func (w *Worker) TrimFolders() { w.cfg.Layouts.Trim() }

// ReleaseFolders takes away the overlays of all attempts that have no process
// any more, at the end: of those that go on without this process, where others is
// false, the folders stay.
func (w *Worker) ReleaseFolders(others bool) {
	w.mu.Lock()
	var list []*attempt
	for _, a := range w.attempts {
		if others || !a.running || a.outcome != nil {
			list = append(list, a)
		}
	}
	w.mu.Unlock()
	for _, a := range list {
		if err := w.release(a); err != nil {
			w.log.Warn("take a folder's overlay away", "attempt", a.key, "error", err)
		}
	}
}
