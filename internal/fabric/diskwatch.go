package fabric

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// diskEvery is how often the free space is checked.
const diskEvery = 2 * time.Second

// DiskWatchConfig holds the neighbours of a DiskWatch. All fields are required.
type DiskWatchConfig struct {
	// Dir is the data directory, for messages.
	Dir string
	// FreeBytes gives what is free and the size of the disk; a size of 0 means that
	// it cannot be told.
	FreeBytes func() (free, total uint64)
	// LowWater is how many bytes must stay free.
	LowWater func() uint64
	// Probe tries whether blobs can be written.
	Probe  func() error
	Logger hclog.Logger
}

// DiskWatch follows whether the disk takes blobs. A node whose disk is nearly
// full takes no work and no blobs; it keeps what it has, and collects.
type DiskWatch struct {
	cfg    DiskWatchConfig
	reason atomic.Pointer[string] // nil while the disk takes blobs
}

// NewDiskWatch makes a watch. Before the first Check the disk counts as free.
func NewDiskWatch(cfg DiskWatchConfig) *DiskWatch { return &DiskWatch{cfg: cfg} }

// Run checks until ctx ends.
func (w *DiskWatch) Run(ctx context.Context) {
	for ok := true; ok; ok = pause(ctx, diskEvery) {
		w.Check()
	}
}

// Check looks at the disk now.
func (w *DiskWatch) Check() {
	free, total := w.cfg.FreeBytes()
	if total == 0 {
		return
	}

	// An eighth more before it counts as free again: no flutter around the mark.
	mark, low := w.cfg.LowWater(), w.Low()
	need := mark
	if low {
		need += mark / 8
	}

	var reason *string
	if err := w.cfg.Probe(); err != nil {
		text := fmt.Sprintf("%v: no work and no files are taken until they can be written", err)
		reason = &text
	} else if free < need {
		text := fmt.Sprintf("disk low: %d MiB free for %s, %d MiB needed: no work and no files are taken until there is more",
			free>>20, w.cfg.Dir, need>>20)
		reason = &text
	}
	w.reason.Store(reason)

	switch {
	case reason != nil && !low:
		w.cfg.Logger.Error(*reason)
	case reason == nil && low:
		w.cfg.Logger.Info("disk takes blobs again: work and files are taken", "free MiB", free>>20)
	}
}

// Low reports whether the node takes no blobs.
func (w *DiskWatch) Low() bool { return w.reason.Load() != nil }

// Reason says why the node takes nothing new; "" if it does.
func (w *DiskWatch) Reason() string {
	if r := w.reason.Load(); r != nil {
		return *r
	}
	return ""
}
