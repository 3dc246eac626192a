//go:build unix

package language

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// helperCPU is the processor time of a helper in seconds, the runtime's own
	// included. The kernel ends the process there.
	helperCPU = 1 * raceFactor
	// helperMemory is how much a helper may take beyond what it had at its start.
	helperMemory = 256 << 20
)

// limitProcess limits what this process may take from now on. The function it
// returns ends the watching; the limits stay.
func limitProcess() (stop func(), err error) {
	// The helper of a crashed limit must not leave a core file behind.
	limits := map[int]unix.Rlimit{unix.RLIMIT_CPU: {Cur: helperCPU, Max: helperCPU}, unix.RLIMIT_CORE: {}}
	if n := addressSpace(); n > 0 {
		limits[unix.RLIMIT_AS] = unix.Rlimit{Cur: n + helperMemory, Max: n + helperMemory}
	}

	for which, limit := range limits {
		if err := unix.Setrlimit(which, &limit); err != nil {
			return nil, err
		}
	}

	// The collector works harder before the limit is reached.
	debug.SetMemoryLimit(helperMemory / 2)
	done, ended := make(chan struct{}), make(chan struct{})
	go watchMemory(done, ended)

	return func() { close(done); <-ended }, nil
}

// watchMemory ends the process when its memory grows beyond the limit, for
// systems whose kernel does not.
func watchMemory(done <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()

	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if metrics.Read(sample); sample[0].Value.Uint64() > helperMemory {
				os.Exit(HelperTooLarge)
			}
		}
	}
}
