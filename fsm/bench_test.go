package fsm_test

import (
	"crypto/sha256"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// What a run of one module costs the state machine, with an entry in a transaction, and
// with as many as a busy leader has: processor time in ns a run.
func BenchmarkStore_ApplyBatch(b *testing.B) {
	const runs = 2000
	var logs []*raft.Log
	for i := range runs {
		id := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, i)))[:32]
		for _, c := range []*fsm.Command{submit(b, id, 1), batch(assign(id, "m0", 1)), batch(start(id, "m0", 1)),
			batch(outcome(id, "m0", 1, pipeline.AttemptSucceeded), runEnd(id, pipeline.RunSucceeded))} {
			logs = append(logs, entry(b, uint64(len(logs)+1), c))
		}
	}

	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				s := newStore(b)
				b.StartTimer()
				began := processorTime(b)
				for i := 0; i < len(logs); i += size {
					applyAll(s, logs[i:min(i+size, len(logs))])
				}
				used += processorTime(b) - began
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*runs), "cpu-ns/run")
		})
	}
}

func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
