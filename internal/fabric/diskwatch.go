package fabric

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/awake"
)

const (
	// diskEvery is how often the disk is checked.
	diskEvery = 2 * time.Second
	// diskAnswers is how long a check may take: beyond it the disk stands still.
	diskAnswers = 5 * time.Second
	diskBeat    = 500 * time.Millisecond
)

// DiskWatchConfig holds the neighbours of a DiskWatch. All fields are required.
type DiskWatchConfig struct {
	// Dir is the data directory, for messages.
	Dir string
	// FreeBytes gives what is free and the size of the disk; a size of 0 means that
	// it cannot be told.
	FreeBytes func() (free, total uint64)
	// LowWater is how many bytes must stay free.
	LowWater func() uint64
	// Probe reports why something that the node needs cannot be written.
	Probe func() error
	// Reserve renews the space that is kept for what must be written on a full
	// disk. It is called while the disk is not low.
	Reserve func() error
	// Filled is called when the disk becomes low.
	Filled func()
	Logger hclog.Logger
}

// DiskWatch follows whether the disk takes blobs. A node whose disk is nearly
// full takes no work and no blobs; it keeps what it has, and collects.
type DiskWatch struct {
	cfg    DiskWatchConfig
	reason atomic.Pointer[string] // nil while the disk takes blobs
	// unreserved is set while no space can be reserved for log and state.
	unreserved atomic.Bool
}

// NewDiskWatch makes a watch. Before the first Check the disk counts as free.
func NewDiskWatch(cfg DiskWatchConfig) *DiskWatch { return &DiskWatch{cfg: cfg} }

// Run checks until ctx ends.
func (w *DiskWatch) Run(ctx context.Context) {
	for ok := true; ok; ok = pause(ctx, diskEvery) {
		w.checkInTime()
	}
}

// checkInTime checks, and counts the disk as failed while it does not answer.
func (w *DiskWatch) checkInTime() {
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		w.Check()
	}()

	// Time in which this process did not run is not the disk's.
	began, clock := time.Now(), awake.New()
	beat := time.NewTicker(diskBeat)
	defer beat.Stop()
	for clock.Since(began) < diskAnswers {
		select {
		case <-checked:
			return
		case <-beat.C:
			clock.Beat()
		}
	}
	w.set(fmt.Sprintf("the disk of %s does not answer: no work and no files are taken until it does", w.cfg.Dir))
	<-checked // its result replaces this one
}

// Check looks at the disk now.
func (w *DiskWatch) Check() {
	if err := w.cfg.Probe(); err != nil {
		w.set(fmt.Sprintf("%v: no work and no files are taken until it can be written", err))
		return
	}

	free, total := w.cfg.FreeBytes()
	if total == 0 {
		w.set("") // unknown; a write that fails shows in the probe
		return
	}

	// An eighth more before it counts as free again: no flutter around the mark.
	need := w.cfg.LowWater()
	if w.Low() {
		need += need / 8
	}
	if free < need {
		w.set(fmt.Sprintf("disk low: %d MiB free for %s, %d MiB needed: no work and no files are taken until there is more",
			free>>20, w.cfg.Dir, need>>20))
		return
	}
	w.set("")

	err := w.cfg.Reserve()
	if again := w.unreserved.Swap(err != nil); err != nil && !again {
		w.cfg.Logger.Warn("no space could be reserved for log and state, trying again", "error", err)
	}
}

// set notes why the node takes nothing new; "" if it does.
func (w *DiskWatch) set(reason string) {
	var now *string
	if reason != "" {
		now = &reason
	}

	switch was := w.reason.Swap(now); {
	case now != nil && was == nil:
		w.cfg.Logger.Error(reason)
		w.cfg.Filled()
	case now == nil && was != nil:
		w.cfg.Logger.Info("the disk accepts writes and has space: work and files are taken again")
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
