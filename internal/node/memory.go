package node

import (
	"context"
	"runtime/debug"
	"time"
)

// idleCheck is how often a node checks whether it has become idle.
const idleCheck = 3 * time.Second

// releaseMemory gives memory back to the system once after each time of work,
// until ctx ends: Go keeps what a burst needed, and an agent shares its machine
// with modules. index grows with each change of the state, load is the number of
// running modules.
func releaseMemory(ctx context.Context, index func() uint64, load func() int) {
	var seen uint64
	busy := true
	tick := time.NewTicker(idleCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}

		now := index()
		switch {
		case now != seen || load() > 0:
			seen, busy = now, true
		case busy:
			busy = false
			debug.FreeOSMemory()
		}
	}
}
