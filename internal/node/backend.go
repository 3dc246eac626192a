package node

import (
	"context"
	"time"
)

// backend is the node as the API sees it: the calls that no package of their own
// serves yet.
type backend Node

func (b *backend) node() *Node { return (*Node)(b) }

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
