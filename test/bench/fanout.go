package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// fanOut calls f for 0 to n-1 from some clients at once and returns how long
// each call took. It ends at the first error.
func fanOut(n, clients int, f func(i int) error) ([]time.Duration, error) {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		stop  atomic.Bool
		took  = make([]time.Duration, n)
		first error
		once  sync.Once
	)

	for range clients {
		wg.Go(func() {
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				begin := time.Now()
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					stop.Store(true)
					return
				}
				took[i] = time.Since(begin)
			}
		})
	}

	wg.Wait()

	return took, first
}
