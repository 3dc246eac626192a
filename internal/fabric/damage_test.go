package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
)

// damageLog is what is committed of damage: lines of what was found and repaired.
type damageLog struct {
	mu sync.Mutex
	// guards following
	err     error
	lines   []string
	numbers []uint64
}

func (l *damageLog) open() *fabric.Damage {
	return fabric.NewDamage(fabric.DamageConfig{Report: l.report, Logger: hclog.NewNullLogger()})
}

func (l *damageLog) report(_ context.Context, found, repaired []fsm.Damaged, report uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbers = append(l.numbers, report)
	if l.err == nil {
		l.lines = append(l.lines, fmt.Sprint("found ", found, " repaired ", repaired))
	}
	return l.err
}

func (l *damageLog) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *damageLog) take() ([]string, []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, numbers := l.lines, l.numbers
	l.lines, l.numbers = nil, nil
	return lines, numbers
}

// withDamage runs one in a bubble.
func withDamage(t *testing.T, fn func(*fabric.Damage, *damageLog)) {
	synctest.Test(t, func(t *testing.T) {
		l := new(damageLog)
		d := l.open()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		fn(d, l)
		cancel()
		<-done
	})
}

func damagedBlob(d string, from ...pipeline.NodeID) fsm.Damaged {
	return fsm.Damaged{Subject: d, From: from}
}

// A blob that is found damaged and repaired at once is one report; many are counted
// together.
func TestDamage_coalesced(t *testing.T) {
	withDamage(t, func(d *fabric.Damage, l *damageLog) {
		d.Found(pipeline.DamagedBlobs, damagedBlob("a"))
		d.Repaired(pipeline.DamagedBlobs, damagedBlob("a", "n2"))
		elapse(10 * time.Second)
		for _, digest := range []string{"b", "c", "e"} {
			d.Found(pipeline.DamagedBlobs, damagedBlob(digest))
		}
		d.Found(pipeline.DamagedJournal, fsm.Damaged{Reason: "why"})
		d.Repaired(pipeline.DamagedBlobs, damagedBlob("b", "n3", "n2"))
		d.Repaired(pipeline.DamagedBlobs, damagedBlob("c", "n2"))
		elapse(10 * time.Second)
		lines, _ := l.take()
		want := []string{"found [{a 1  []}] repaired [{a 1  [n2]}]", "found [{blobs 3  []} {journal 1 why []}] repaired [{blobs 2  [n2 n3]}]"}
		if !slices.Equal(lines, want) {
			t.Errorf("got %q, want %q", lines, want)
		}
	})
}

// A disk on which something is found each second makes few reports, and all of it is
// counted.
func TestDamage_bounded(t *testing.T) {
	withDamage(t, func(d *fabric.Damage, l *damageLog) {
		const hours, found = 5, 5 * 3600
		for range found {
			d.Found(pipeline.DamagedBlobs, damagedBlob("a"))
			elapse(time.Second)
		}
		elapse(time.Hour)
		lines, _ := l.take()
		if len(lines) > 6+6*hours+1 {
			t.Errorf("%d reports in %d hours", len(lines), hours)
		}
		total := 0
		for _, line := range lines {
			var subject string
			var n int
			if _, err := fmt.Sscanf(line, "found [{%s %d", &subject, &n); err != nil {
				t.Fatal(line, err)
			}
			total += n
		}
		if total != found {
			t.Errorf("%d are counted, want %d", total, found)
		}
	})
}

// A report that is not committed is repeated under its number until it is, and given up
// if it is refused.
func TestDamage_again(t *testing.T) {
	withDamage(t, func(d *fabric.Damage, l *damageLog) {
		l.refuse(errors.New("no leader"))
		d.Found(pipeline.DamagedBlobs, damagedBlob("a"))
		elapse(time.Minute)
		d.Found(pipeline.DamagedBlobs, damagedBlob("b"))
		l.refuse(nil)
		elapse(time.Minute)
		lines, numbers := l.take()
		if want := []string{"found [{a 1  []}] repaired []", "found [{b 1  []}] repaired []"}; !slices.Equal(lines, want) {
			t.Errorf("got %q, want %q", lines, want)
		}
		n := len(numbers)
		if n < 4 || numbers[0] != numbers[n-2] || numbers[n-2] == numbers[n-1] {
			t.Errorf("numbers: %d", numbers)
		}

		l.refuse(pipeline.Errorf(pipeline.Invalid, "never"))
		d.Found(pipeline.DamagedBlobs, damagedBlob("c"))
		elapse(time.Hour)
		if _, numbers := l.take(); len(numbers) != 1 {
			t.Errorf("a refused report was made %d times", len(numbers))
		}
	})
}
