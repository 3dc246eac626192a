package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkApply proposes 512-byte commands to three nodes on loopback, with
// TLS, checksums and real syncs.
func BenchmarkApply(b *testing.B) {
	a := newNode(b, "a").start()
	waitReady(b, a)
	nodes := []*testNode{a, newNode(b, "b", join(a)).start(), newNode(b, "c", join(a)).start()}
	wantRoles(b, nodes, 3, 0, 0)
	leader := leaderOf(b, nodes...)
	cmd := bytes.Repeat([]byte("x"), 512)
	for _, clients := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			var wg sync.WaitGroup
			work := make(chan struct{}, clients)
			for range clients {
				wg.Go(func() {
					for range work {
						if _, _, err := leader.c.Apply(context.Background(), cmd); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
		})
	}
}
