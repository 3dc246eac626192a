package fabric_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
)

// reports records what Suspects reports, and answers as a test sets it.
type reports struct {
	mu sync.Mutex
	// guards following
	calls  [][]pipeline.Digest
	answer func([]pipeline.Digest) ([]fabric.Repaired, error)
}

func (r *reports) report(_ context.Context, blobs []pipeline.Digest) ([]fabric.Repaired, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, slices.Clone(blobs))
	return r.answer(blobs)
}

func (r *reports) set(answer func([]pipeline.Digest) ([]fabric.Repaired, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *reports) take() [][]pipeline.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

func all(blobs []pipeline.Digest) (list []fabric.Repaired, err error) {
	for _, d := range blobs {
		list = append(list, fabric.Repaired{Blob: d, From: []pipeline.NodeID{"n2"}})
	}
	return list, nil
}
func none([]pipeline.Digest) ([]fabric.Repaired, error)        { return nil, nil }
func noLeader([]pipeline.Digest) ([]fabric.Repaired, error)    { return nil, errors.New("no leader") }
func first(blobs []pipeline.Digest) ([]fabric.Repaired, error) { return all(blobs[:1]) }

// inBubble runs suspects with a fake leader.
func inBubble(t *testing.T, answer func([]pipeline.Digest) ([]fabric.Repaired, error), fn func(*fabric.Suspects, *reports)) {
	synctest.Test(t, func(t *testing.T) {
		r := &reports{answer: answer}
		s := fabric.NewSuspects(fabric.SuspectsConfig{Report: r.report, Damage: new(damageLog).open(), Logger: hclog.NewNullLogger()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		fn(s, r)
		cancel()
		<-done
	})
}

// What is found damaged is reported at once, and once if it is repaired.
func TestSuspects_repaired(t *testing.T) {
	inBubble(t, all, func(s *fabric.Suspects, r *reports) {
		s.Damaged(digest("a"))
		synctest.Wait()
		if got := r.take(); len(got) != 1 || !slices.Equal(got[0], []pipeline.Digest{digest("a")}) {
			t.Errorf("reported %v, want a at once", got)
		}
		elapse(10 * time.Minute)
		if got := r.take(); len(got) > 0 {
			t.Errorf("reported %v again after the repair", got)
		}
	})
}

// What is not repaired is reported again, without what is.
func TestSuspects_retry(t *testing.T) {
	inBubble(t, first, func(s *fabric.Suspects, r *reports) {
		s.Alone(digest("a"), digest("b"))
		s.Damaged(digest("a")) // it is one blob
		synctest.Wait()
		elapse(time.Minute)
		reported := map[pipeline.Digest]int{}
		for _, call := range r.take() {
			for _, d := range call {
				reported[d]++
			}
		}
		if reported[digest("a")] == 0 || reported[digest("b")] == 0 {
			t.Errorf("reported %v, want both", reported)
		}
		elapse(time.Hour)
		if got := r.take(); len(got) > 0 {
			t.Errorf("reported %v after all were repaired", got)
		}
	})
}

// Without a leader nothing is forgotten.
func TestSuspects_noLeader(t *testing.T) {
	inBubble(t, noLeader, func(s *fabric.Suspects, r *reports) {
		s.Alone(digest("a"))
		elapse(5 * time.Minute)
		r.set(all)
		r.take()
		elapse(time.Minute)
		if got := r.take(); len(got) != 1 {
			t.Errorf("%d reports once there is a leader, want 1", len(got))
		}
	})
}

// The list is bounded, and goes in parts.
func TestSuspects_bounded(t *testing.T) {
	inBubble(t, none, func(s *fabric.Suspects, r *reports) {
		var many []pipeline.Digest
		for i := range 12_000 {
			many = append(many, digest(string(rune(i))+"x"))
		}
		s.Alone(many...)
		synctest.Wait()
		total := 0
		for _, call := range r.take() {
			if len(call) > 256 {
				t.Errorf("%d in one report", len(call))
			}
			total += len(call)
		}
		if total != 10_000 {
			t.Errorf("%d reported, want the bound of 10,000", total)
		}
	})
}
