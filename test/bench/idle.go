package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// idle is what a node costs when nothing happens.
type idle struct {
	rss int64
	// cpu is the share of one core.
	cpu float64
}

// idleOf measures some processes together over a while. The caller sees to it
// that nothing happens meanwhile.
func idleOf(ctx context.Context, over time.Duration, pids ...int) (idle, error) {
	before, err := measure(pids...)
	if err != nil {
		return idle{}, err
	}

	begin := time.Now()

	select {
	case <-time.After(over):
	case <-ctx.Done():
		return idle{}, context.Cause(ctx)
	}

	after, err := measure(pids...)
	if err != nil {
		return idle{}, err
	}

	return idle{rss: after.rss, cpu: float64(after.cpu-before.cpu) / float64(time.Since(begin))}, nil
}

// pids of an agent: the daemon and its keeper.
func (a *agent) pids() []int { return append(keepersOf(a.data), a.proc.pid()) }

// size returns the length of a file in MB.
func size(path string) (float64, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(fi.Size()) / 1e6, nil
}

func mib(b int64) string { return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20)) }

func percent(v float64) string { return fmt.Sprintf("%.2f %% of a core", 100*v) }
