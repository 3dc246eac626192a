package node

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// fullDiskCheck is how often a run looks at the state of its disk, and
	// fullDiskLimit how long it waits for one that accepts nothing.
	fullDiskCheck = time.Second
	fullDiskLimit = 5 * time.Second
)

// endOnFullDisk ends a node that no other can stand in for, if its disk accepts
// nothing (full says why) and no module runs whose end could be committed (busy).
func endOnFullDisk(ctx context.Context, full func() string, busy func() bool) error {
	tick := time.NewTicker(fullDiskCheck)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			reason := full()
			switch stuck := reason != "" && !busy(); {
			case !stuck:
				since = time.Time{}
			case since.IsZero():
				since = now
			case now.Sub(since) >= fullDiskLimit:
				return pipeline.Errorf(pipeline.Internal, "cannot continue: %s", reason)
			}
		}
	}
}
