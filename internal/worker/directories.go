package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/layout"
)

// directories makes, fills and removes the directories of attempts. Large
// workspaces are overlays over a copy that attempts share; everything else is
// laid out file by file.
//
// An overlay is released before its directory is removed or made again: to
// remove through a mount would delete what the module still sees.
type directories struct {
	workDir string
	pool    *attemptdir.Pool
	layouts *layout.Manager
	fetcher *fetcher
	// keepFailed keeps the directories of attempts that did not succeed.
	keepFailed bool
	// apart says that modules do not see what this process mounts, nor it what
	// they see mounted.
	apart bool
	// evict ends the sessions in a directory and reports whether there were any.
	evict func(id pipeline.AttemptID) bool
	log   hclog.Logger
}

// openDirectories decides how directories are laid out on this machine.
func openDirectories(cfg *Config, f *fetcher) (*directories, error) {
	pool, err := attemptdir.NewPool(filepath.Join(cfg.WorkDir, "spare"), cfg.Capabilities.MaxParallelModules+4)
	if err != nil {
		return nil, err
	}

	d := &directories{workDir: cfg.WorkDir, pool: pool, layouts: cfg.Layouts, fetcher: f,
		keepFailed: cfg.KeepWork, apart: !sharesMounts(cfg.Runner), log: cfg.Logger}
	if d.keepFailed {
		d.layouts.NoOverlays(errors.New("-keep-work: a directory that is kept must not need a mount"))
	}
	if d.apart {
		d.layouts.NoOverlays(errors.New("the keeper, which an earlier daemon started, does not see what this one mounts"))
	}
	return d, nil
}

// sharesMounts reports whether the process that runs the modules sees what this
// one mounts, and the other way round: a daemon that a service manager started
// again may live in a mount namespace of its own.
func sharesMounts(r executor.Runner) bool {
	k, ok := r.(interface{ SameMounts() bool })
	return !ok || k.SameMounts()
}

// prepare makes the directory of an attempt and lays out its files.
func (d *directories) prepare(ctx context.Context, a *attempt) error {
	// A daemon that died before the start may have left an overlay.
	if err := d.release(a); err != nil {
		return err
	}
	if err := d.pool.Prepare(a.dir); err != nil {
		return err
	}
	return d.layout(ctx, a)
}

// release removes the overlay of an attempt, with what the module wrote there.
func (d *directories) release(a *attempt) error {
	return d.layouts.Release(a.dir.Name(), a.dir.Work())
}

// restore mounts the overlay of an attempt that an earlier daemon laid out.
func (d *directories) restore(a *attempt) error {
	return d.layouts.Restore(a.dir.Name(), a.dir.Work())
}

// adopt makes the directory of an attempt visible whose process an earlier
// daemon started, for those who want to look into it. A mount that the module
// sees, but this process does not, must not be made again before it has ended.
func (d *directories) adopt(a *attempt) {
	if d.apart {
		return
	}
	if err := d.restore(a); err != nil {
		d.log.Error("the directory of a running attempt cannot be mounted", a.spec.LogFields("error", err)...)
	}
}

// sweep removes mounts that earlier daemons left, except those of live.
func (d *directories) sweep(live []*attempt) {
	keep := map[string]bool{}
	for _, a := range live {
		keep[a.dir.Name()] = true
	}

	err := d.layouts.Sweep(func(name string) bool { return keep[name] }, func(name string) string {
		return attemptdir.Dir(filepath.Join(d.workDir, name)).Work()
	})
	if err != nil {
		d.log.Warn("remove mounts that an earlier daemon left", "error", err)
	}
}

// releaseAll removes the overlays of attempts, when the daemon stops.
func (d *directories) releaseAll(list []*attempt) {
	for _, a := range list {
		if err := d.release(a); err != nil {
			d.log.Warn("remove the overlay of a directory", a.spec.LogFields("error", err)...)
		}
	}
}

// remove removes the directory of an attempt whose outcome is committed, after
// ending the sessions in it.
func (d *directories) remove(a *attempt, succeeded bool) {
	overlay := d.layouts.Attached(a.dir.Name())
	if overlay {
		if err := d.release(a); err != nil {
			d.log.Warn("remove the overlay of a directory", "dir", a.dir, "error", err)
			return // the next start tries again; what is below must not go before
		}
		defer d.layouts.Trim()
	}

	if d.keepFailed && !succeeded {
		a.dir.RemoveFromMemory()
		if err := writeKept(a); err != nil {
			d.log.Warn("describe a directory that is kept", "dir", a.dir, "error", err)
		}
		return
	}

	remove := d.pool.Remove
	if d.evict(a.id) || overlay || d.apart {
		// A session may be in it for a moment longer; or modules still see a mount
		// there that this process does not. No other attempt may get it: removing
		// the directory removes such a mount too.
		remove = attemptdir.Dir.Remove
	}
	if err := remove(a.dir); err != nil {
		d.log.Warn("remove attempt directory", "dir", a.dir, "error", err)
	}
}

// mayMount reports whether the directory of an attempt may be an overlay. A container
// engine may live in another mount namespace, and would see an empty directory.
func (d *directories) mayMount(s *pipeline.Spec) bool { return s.Container.Image == "" }

// explainCopies logs why a directory is no overlay.
func (d *directories) explainCopies(a *attempt, err error) {
	if d.log.IsDebug() && !errors.Is(err, layout.ErrNotPrepared) {
		d.log.Debug("directory laid out by copies", a.spec.LogFields("reason", err)...)
	}
}

// attached mounts the shared copy of a workspace; ok is false if it cannot be,
// and then the directory is empty.
func (d *directories) attached(ctx context.Context, a *attempt, l *contents) (ok bool, err error) {
	if l.key == "" || !d.mayMount(&a.spec) || !d.layouts.Pays(l.base) {
		return false, nil
	}
	if !d.layouts.Prepared(l.key) {
		if err := l.need(ctx, l.hints, l.base.Digests()); err != nil {
			return false, err
		}
	}

	err = d.layouts.Attach(ctx, a.dir.Name(), a.dir.Work(), l.key, l.base, d.refetch(l))
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil || d.layouts.Attached(a.dir.Name()) {
		return false, fmt.Errorf("lay out the workspace: %w", err) // stopped, or what is there cannot be removed
	}
	d.explainCopies(a, err)
	return false, nil
}
