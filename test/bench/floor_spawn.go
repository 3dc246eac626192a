package main

import (
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// shape is a set of modules and what they wait for: layers, each of which
// starts when the one before has ended. W1 is one wide layer, W2 many of one.
type shape struct {
	layers, width int
}

// modules is how many there are.
func (s shape) modules() int { return s.layers * s.width }

// The shapes of the workloads.
var (
	wide    = shape{1, 200}
	wider   = shape{1, 1000}
	chain   = shape{50, 1}
	layered = shape{20, 10}
)

// parallel is how many modules run at the same time in every workload.
const parallel = 2

// runShape does work for every module of a shape, parallel of them at the same
// time, and returns the total duration.
func runShape(s shape, work func() error) (time.Duration, error) {
	start := time.Now()

	for range s.layers {
		var wg sync.WaitGroup
		todo := make(chan struct{}, s.width) // holds the layer, so that filling it never waits
		errs := make(chan error, parallel)   // one slot for each goroutine's first error

		for range s.width {
			todo <- struct{}{}
		}

		close(todo)

		for range min(parallel, s.width) {
			wg.Go(func() {
				for range todo {
					if err := work(); err != nil {
						errs <- err
						return
					}
				}
			})
		}

		wg.Wait()

		select {
		case err := <-errs:
			return 0, err
		default:
		}
	}

	return time.Since(start), nil
}

// spawner returns a function that starts a command, captures its output and
// waits for its end: the least that a module costs.
func spawner(argv []string) (func() error, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("find the no-op: %w", err)
	}
	return func() error {
		if out, err := exec.Command(path, argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", path, err, out)
		}
		return nil
	}, nil
}

// spawnFloor is the time that the modules of a shape take when nothing is
// done but to start them and to capture what they print.
func spawnFloor(s shape, argv []string) (time.Duration, error) {
	spawn, err := spawner(argv)
	if err != nil {
		return 0, err
	}
	return runShape(s, spawn)
}
