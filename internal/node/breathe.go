package node

import (
	"context"
	"runtime/debug"
	"time"
)

// breatheEvery is how often a node looks whether it has become idle.
const breatheEvery = 3 * time.Second

// breathe gives memory back to the system once after each time of work: Go
// keeps what a burst needed, and an agent shares its machine with modules.
func (n *Node) breathe(ctx context.Context) {
	var seen uint64
	busy := true
	for sleep(ctx, breatheEvery) {
		now := n.store.Index()
		switch {
		case now != seen || n.worker.Load() > 0:
			seen, busy = now, true
		case busy:
			busy = false
			debug.FreeOSMemory()
		}
	}
}
