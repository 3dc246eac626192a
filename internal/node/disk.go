package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// diskEvery is how often the free space is looked at.
const diskEvery = 2 * time.Second

// disk follows how much is free for the data directory.
type disk struct {
	low    atomic.Bool
	reason atomic.Pointer[string]
}

// watchDisk says when the disk is nearly full, and when it is not any more. A low
// node takes no work and no blobs; it goes on with what it has, and sweeps.
func (n *Node) watchDisk(ctx context.Context) {
	for ok := true; ok; ok = sleep(ctx, diskEvery) {
		n.lookAtDisk()
	}
}

func (n *Node) lookAtDisk() {
	free, total := n.blobs.FreeBytes()
	mark := n.blobs.LowWater()
	if total == 0 {
		return // cannot tell
	}
	was := n.disk.low.Load()
	// An eighth more before it counts as over: nothing flutters around the mark.
	if was {
		mark += mark / 8
	}
	low := free < mark
	if err := n.blobs.Probe(); err != nil {
		low = true
		text := fmt.Sprintf("%v; this node takes no work and no files until they can", err)
		n.disk.reason.Store(&text)
	} else if low {
		text := fmt.Sprintf("disk low: %d MiB are free for %s and %d MiB must be; this node takes no work and no files until there is room",
			free>>20, n.dir.Path(), mark>>20)
		n.disk.reason.Store(&text)
	}
	n.disk.low.Store(low)
	switch {
	case low && !was:
		n.log.Error(*n.disk.reason.Load())
	case was && !low:
		n.log.Info("the disk takes blobs again: this node takes work and files", "free MiB", free>>20)
	}
}

// whyFull says why this node takes nothing new; "" where it does.
func (n *Node) whyFull() string {
	if !n.disk.low.Load() {
		return ""
	}
	return *n.disk.reason.Load()
}
