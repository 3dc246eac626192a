package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// Mode is how the directories of attempts are laid out.
type Mode string

// The modes. Whatever it is, nothing that is done in a directory reaches the store
// or another directory.
const (
	// Auto takes an overlay for large trees, if overlays work.
	Auto Mode = "auto"
	// Overlay mounts an overlay over a directory that is kept prepared.
	Overlay Mode = "overlay"
	// Copy makes copies.
	Copy Mode = "copy"
)

// Modes lists them.
func Modes() []string {
	return []string{string(Auto), string(Overlay), string(Copy)}
}

// Config is what a Manager needs.
type Config struct {
	// Dir is theirs alone, WorkDir where the directories are, both links resolved and
	// on one filesystem; WorkDir is marked.
	Dir, WorkDir string
	Blobs        *blob.Store
	// Mode is one that is asked for; "" is Auto. What does not work there is
	// an error where it was asked for by name.
	Mode Mode
	// MinFiles and MinBytes are from how many files, or bytes, on an overlay is
	// used; 0 takes what was measured.
	MinFiles int
	MinBytes int64
	// MaxBytes and MaxTrees bound what is kept prepared; 0 takes a tenth of the
	// disk, 16 GiB at most, and 16.
	MaxBytes int64
	MaxTrees int
}

const (
	// minOverlayFiles and minOverlayBytes are from where on a mount is cheaper
	// than copies: it takes as long as some twenty small files, and what is kept
	// prepared for it takes room.
	minOverlayFiles = 128
	minOverlayBytes = 16 << 20

	layerTrees    = "trees"
	layerAttempts = "attempts"
	layerKey      = "key"
)

// Manager lays trees out as directories, in the quickest mode that is safe on
// their disk. The directories that are overlays are written down: a process that starts
// later finds them. It is safe for concurrent use.
type Manager struct {
	cfg   Config
	trees *layerCache

	probing sync.Once
	// set by probing
	options   string // of an overlay; "" where there is none
	noOverlay error

	mu sync.Mutex
	// guards following
	mounted map[string]string // by the name of the attempt's directory: what is below it
	off     error             // why overlays are not used any more
}

// Open takes up what an earlier process left. Nothing is mounted or
// unmounted by it; see Sweep.
func Open(cfg Config) (*Manager, error) {
	if cfg.Mode == "" {
		cfg.Mode = Auto
	}
	if !slices.Contains(Modes(), string(cfg.Mode)) {
		return nil, pipeline.Errorf(pipeline.Invalid, "layout %.40q: expected one of %s", cfg.Mode, strings.Join(Modes(), ", "))
	}
	cfg.defaults()
	l := &Manager{cfg: cfg, mounted: map[string]string{}}
	for _, dir := range []string{cfg.Dir, l.attempts()} {
		if err := disk.Mark(dir); err != nil {
			return nil, err
		}
	}
	var err error
	if l.trees, err = openPrepared(filepath.Join(cfg.Dir, layerTrees), cfg.Blobs, cfg.MaxBytes, cfg.MaxTrees); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(l.attempts())
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	for _, n := range names {
		if n.Name() == disk.MarkerFile {
			continue
		}
		key, err := os.ReadFile(filepath.Join(l.layer(n.Name()), layerKey))
		if err == nil && l.trees.hold(string(key)) {
			l.mounted[n.Name()] = string(key)
		} else {
			l.mounted[n.Name()] = "" // cannot be mounted again
		}
	}
	if cfg.Mode != Overlay {
		return l, nil // what works is found out when it is needed
	}
	l.probe()
	if l.noOverlay != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "layout overlay: overlays do not work in %s: %w: use layout auto", cfg.Dir, l.noOverlay)
	}
	return l, nil
}

func (c *Config) defaults() {
	if c.MinFiles <= 0 {
		c.MinFiles = minOverlayFiles
	}
	if c.MinBytes <= 0 {
		c.MinBytes = minOverlayBytes
	}
	if c.MaxTrees <= 0 {
		c.MaxTrees = 16
	}
	if c.MaxBytes <= 0 {
		_, total := c.Blobs.FreeBytes()
		c.MaxBytes = int64(min(total/10, 16<<30))
	}
}

func (l *Manager) attempts() string { return filepath.Join(l.cfg.Dir, layerAttempts) }

func (l *Manager) layer(name string) string { return filepath.Join(l.attempts(), name) }

// probe finds out, once, what works here.
func (l *Manager) probe() {
	l.probing.Do(func() {
		if l.cfg.Mode == Copy {
			l.noOverlay = fmt.Errorf("layout %s", l.cfg.Mode)
			return
		}
		if l.options, l.noOverlay = probeOverlay(l.cfg.Dir); l.noOverlay == nil && bootID() == "" {
			l.noOverlay = errors.New("the machine does not tell when it was started")
		}
	})
}

// Mode returns how large trees are laid out, and why not by overlays: nil if they are,
// or are not wanted.
func (l *Manager) Mode() (Mode, error) {
	l.probe()
	l.mu.Lock()
	off := l.off
	l.mu.Unlock()
	switch {
	case l.noOverlay == nil && off == nil:
		return Overlay, nil
	case off == nil:
		off = l.noOverlay
	}
	return Copy, fmt.Errorf("no overlay: %w", off)
}

// NoOverlays makes all directories from now on without overlays, for a reason.
func (l *Manager) NoOverlays(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = reason
}

// Pays reports whether a tree is to be an overlay.
func (l *Manager) Pays(t tree.Tree) bool {
	if len(t) < l.cfg.MinFiles && t.Size() < l.cfg.MinBytes {
		return false
	}
	if l.cfg.Mode != Overlay && treeCost(t) > l.cfg.MaxBytes/2 {
		return false // it would put out all others
	}
	mode, _ := l.Mode()
	return mode == Overlay
}

// Prepared reports whether the tree of a key can be mounted at once.
func (l *Manager) Prepared(key string) bool {
	l.trees.mu.Lock()
	ok := l.trees.known[key] != nil
	l.trees.mu.Unlock()
	if !ok {
		return false
	}
	mode, _ := l.Mode()
	return mode == Overlay
}

// Attach lays a tree out at the empty directory at, by an overlay. name is that of
// the attempt's directory, key what tells the tree from all others: 64 hexadecimal
// digits. The tree is not needed where Prepared was true; it may be nil then, and
// ErrNotPrepared says that it is needed after all. After any error the directory is
// empty, and takes a copy.
func (l *Manager) Attach(ctx context.Context, name, at, key string, t tree.Tree, fetch Fetch) error {
	lower, ok := l.trees.take(key)
	if !ok {
		if t == nil {
			return ErrNotPrepared
		}
		var err error
		if lower, err = l.trees.prepare(ctx, key, t, Options{Fetch: fetch}); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.mounted[name] = key
	l.mu.Unlock()
	err := l.mountNew(name, at, key, lower)
	if err != nil {
		err = errors.Join(err, l.Release(name, at))
	}
	return err
}

// ErrNotPrepared says that a prepared directory went away.
var ErrNotPrepared = errors.New("the directory is not prepared")

// mountNew makes the layer of an attempt and mounts it.
func (l *Manager) mountNew(name, at, key, lower string) error {
	layer := l.layer(name)
	if err := disk.RemoveAll(l.attempts(), layer); err != nil {
		return err
	}
	m := l.overlay(name, at, lower)
	for _, dir := range []string{layer, m.upper, m.work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make layer: %w", disk.Classify(err))
		}
	}
	if err := os.WriteFile(filepath.Join(layer, layerKey), []byte(key), 0o600); err != nil {
		return fmt.Errorf("make layer: %w", disk.Classify(err))
	}
	return m.mount()
}

func (l *Manager) overlay(name, at, lower string) *overlayMount {
	layer := l.layer(name)
	return &overlayMount{lower: lower, upper: filepath.Join(layer, "upper"), work: filepath.Join(layer, "work"), at: at, options: l.options}
}

// Attached reports whether a directory is an overlay of ours, mounted or not.
func (l *Manager) Attached(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.mounted[name]
	return ok
}

// Restore sees to it that what an attempt left can be seen at its directory: where
// the mount that an earlier process made cannot be seen from here it is made
// again. A directory that is no overlay is as it is.
func (l *Manager) Restore(name, at string) error {
	l.mu.Lock()
	key, ok := l.mounted[name]
	l.mu.Unlock()
	if !ok || isOverlay(at) {
		return nil
	}
	if l.probe(); key == "" || l.noOverlay != nil {
		return pipeline.Errorf(pipeline.Unavailable, "the directory's overlay is not mounted any more, and cannot be mounted again: %v", l.noOverlay)
	}
	if err := l.overlay(name, at, l.trees.files(key)).mount(); err != nil {
		return pipeline.Errorf(pipeline.Unavailable, "the directory's overlay is not mounted any more: %w", err)
	}
	return nil
}

// Release takes an overlay away, with all that was written into it. A directory that
// is none is left alone.
func (l *Manager) Release(name, at string) error {
	l.mu.Lock()
	key, ok := l.mounted[name]
	l.mu.Unlock()
	if !ok {
		return nil
	}
	if err := unmountAll(at); err != nil {
		return err
	}
	if err := disk.RemoveAll(l.attempts(), l.layer(name)); err != nil {
		return err
	}
	l.mu.Lock()
	_, ok = l.mounted[name]
	delete(l.mounted, name)
	l.mu.Unlock()
	if ok && key != "" {
		l.trees.put(key)
	}
	return nil
}

// Sweep takes away the overlays of all directories that are not among those to
// keep, and whatever else is mounted below the directories of Layouts: a process that
// was killed left them. at gives the directory of a name.
func (l *Manager) Sweep(keep func(name string) bool, at func(name string) string) error {
	l.mu.Lock()
	var stale []string
	for name := range l.mounted {
		if !keep(name) {
			stale = append(stale, name)
		}
	}
	l.mu.Unlock()
	var errs []error
	for _, name := range stale {
		errs = append(errs, l.Release(name, at(name)))
	}
	for _, dir := range []string{l.cfg.WorkDir, l.cfg.Dir} {
		for _, m := range mountsBelow(dir) {
			rel, err := filepath.Rel(dir, m)
			if err != nil {
				continue
			}
			if name, _, _ := strings.Cut(rel, "/"); dir == l.cfg.Dir || !l.Attached(name) {
				errs = append(errs, unmountAll(m))
			}
		}
	}
	return errors.Join(errs...)
}

// Trim removes prepared directories beyond the limits, those whose bytes were verified
// too long ago, and while the disk is low all that no one uses.
func (l *Manager) Trim() { l.trees.trim(0) }

// Complete brings a directory that holds base, writable, to what all says, which
// Merge made of base and what lies over it.
func Complete(ctx context.Context, base, all tree.Tree, dir string, b *blob.Store, opts Options) error {
	var more tree.Tree
	for i := range all {
		if e := base.Find(all[i].Path); e == nil || *e != all[i] {
			more = append(more, all[i])
		}
	}
	if err := openDirectories(base, all, dir); err != nil {
		return fmt.Errorf("lay out: %w", err)
	}
	opts.Overwrite, opts.retime = true, true
	return WriteWith(ctx, more, dir, b, opts)
}

// openDirectories gives directories that base has empty the mode that they have with
// something in them: that of theirs comes with their entry, if there is one.
func openDirectories(base, all tree.Tree, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i := range base {
		e := &base[i]
		if !e.Dir || e.Mode == 0o755 {
			continue
		}
		if o := all.Find(e.Path); o != nil && *o == *e {
			continue
		}
		if err := root.Chmod(e.Path, 0o755); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
