package fabric_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// memoryBlobs fakes a store for the scrubber and the collector.
type memoryBlobs struct {
	mu sync.Mutex
	// guards following
	used     map[pipeline.Digest]time.Time
	size     int
	damaged  map[pipeline.Digest]bool
	verified []pipeline.Digest
	cleaned  int
	inUse    map[pipeline.Digest]bool // asked for between the walk and the deletion
}

func newMemoryBlobs(size int, list ...pipeline.Digest) *memoryBlobs {
	m := &memoryBlobs{used: map[pipeline.Digest]time.Time{}, size: size, damaged: map[pipeline.Digest]bool{}, inUse: map[pipeline.Digest]bool{}}
	for _, d := range list {
		m.used[d] = time.Now().Add(-24 * time.Hour)
	}
	return m
}

func (m *memoryBlobs) Walk(_ context.Context, fn func(blob.Info) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d, at := range m.used {
		if err := fn(blob.Info{Digest: d, Size: int64(m.size), UsedAt: at}); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryBlobs) VerifyAt(d pipeline.Digest, wait func(int) error) error {
	if err := wait(m.size); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verified = append(m.verified, d)
	if m.damaged[d] {
		return &blob.CorruptError{Digest: d}
	}
	return nil
}

func (m *memoryBlobs) DeleteUnused(d pipeline.Digest, since time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inUse[d] || !m.used[d].Before(since) {
		return false, nil
	}
	delete(m.used, d)
	return true, nil
}

func (m *memoryBlobs) CleanPartials() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cleaned++
}

func (m *memoryBlobs) has(d pipeline.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.used[d]
	return ok
}

func (m *memoryBlobs) verifications() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.verified)
}

// The scrubber reads everything, at its rate, again and again.
func TestScrubber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs := newMemoryBlobs(1<<20, digest("a"), digest("b"), digest("c"))
		blobs.damaged[digest("b")] = true
		s := fabric.NewScrubber(fabric.ScrubberConfig{Blobs: blobs, Rate: 1 << 20, Every: time.Hour, Logger: hclog.NewNullLogger()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()

		elapse(59 * time.Second)
		if got := blobs.verifications(); got > 0 {
			t.Errorf("%d blobs read within a minute of the start", got)
		}
		elapse(3 * time.Second)
		if got := blobs.verifications(); got >= 3 {
			t.Errorf("%d MiB read in 2 s at 1 MiB a second", got)
		}
		elapse(10 * time.Second)
		if got := blobs.verifications(); got != 3 {
			t.Errorf("%d blobs read in the first pass, want 3: a damaged one must not end it", got)
		}
		elapse(time.Hour + 10*time.Second)
		if got := blobs.verifications(); got != 6 {
			t.Errorf("%d blobs read in two passes, want 6", got)
		}
		cancel()
		<-done
	})
}

func TestScrubber_off(t *testing.T) {
	s := fabric.NewScrubber(fabric.ScrubberConfig{Rate: -1})
	s.Run(t.Context()) // returns at once
}

// collector builds a collector over fakes, with what a test changes.
func collector(t testing.TB, s fabric.State, trees fabric.Trees, blobs *memoryBlobs, change func(*fabric.CollectorConfig)) *fabric.Collector {
	cfg := fabric.CollectorConfig{State: s, Trees: trees, Blobs: blobs,
		CatchUp:    func(context.Context) error { return nil },
		Unreported: func() []pipeline.Outcome { return nil },
		NoneAway:   func() bool { return true },
		DiskLow:    func() bool { return false },
		Trim:       func() {},
		Stamp:      filepath.Join(t.TempDir(), "collected"),
		Grace:      time.Hour, Logger: hclog.NewNullLogger()}
	if change != nil {
		change(&cfg)
	}
	return fabric.NewCollector(cfg)
}

// What the state names, with the files of trees, and what this node still has to
// report stays; the rest is deleted.
func TestCollector_Collect(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	log, out := c.put(digest("log"), "n1"), c.putTree("out", 2, "n1")
	s.succeed("r1", log, out, "n1")
	unreported := c.putTree("unreported", 1, "n1")
	garbage, fresh, asked := digest("garbage"), digest("fresh"), digest("asked")
	blobs := newMemoryBlobs(10, log, out, digest("out/0"), digest("out/1"), unreported, digest("unreported/0"), digest("late log"), digest("late tests"), garbage, fresh, asked)
	blobs.used[fresh] = time.Now().Add(-time.Minute)
	blobs.inUse[asked] = true

	gc := collector(t, s, c, blobs, func(cfg *fabric.CollectorConfig) {
		cfg.Unreported = func() []pipeline.Outcome {
			return []pipeline.Outcome{{ID: attempt1, Log: digest("late log"), Tests: &pipeline.TestSummary{Cases: digest("late tests")}, Outputs: unreported}}
		}
	})
	if u := gc.Usage(); u != nil {
		t.Errorf("before the first pass: %+v", u)
	}
	got, err := gc.Collect(t.Context(), time.Hour)
	if u := gc.Usage(); u == nil || u.Blobs != 10 || u.Bytes != 100 || u.LogBytes != 20 {
		t.Errorf("after it: %+v, want 10 blobs of 10 bytes, two of them logs", u)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.Removed != 1 || got.Bytes != 10 || got.Blobs != 11 || blobs.has(garbage) {
		t.Errorf("%+v, want the garbage alone removed", got)
	}
	for _, d := range []pipeline.Digest{log, out, digest("out/1"), unreported, digest("unreported/0"), digest("late log"), digest("late tests"), fresh, asked} {
		if !blobs.has(d) {
			t.Errorf("blob %.12s was deleted", d)
		}
	}
	if blobs.cleaned != 1 {
		t.Errorf("partial transfers cleaned %d times", blobs.cleaned)
	}
}

// Nothing is deleted while it is not known what is needed.
func TestCollector_Collect_unknown(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	s.succeed("r1", "", digest("lost tree"), "n1")
	garbage := digest("garbage")

	for name, change := range map[string]func(*fabric.CollectorConfig){
		"behind the leader": func(cfg *fabric.CollectorConfig) {
			cfg.CatchUp = func(context.Context) error { return errors.New("no leader") }
		},
		"listing on a node that is away": func(cfg *fabric.CollectorConfig) {
			cfg.NoneAway = func() bool { return false }
		},
	} {
		blobs := newMemoryBlobs(10, garbage)
		if _, err := collector(t, s, c, blobs, change).Collect(t.Context(), time.Hour); err == nil {
			t.Errorf("%s: no error", name)
		}
		if !blobs.has(garbage) {
			t.Errorf("%s: a blob was deleted", name)
		}
	}

	// A listing that is lost for certain does not keep everything else.
	blobs := newMemoryBlobs(10, garbage)
	if _, err := collector(t, s, c, blobs, nil).Collect(t.Context(), time.Hour); err != nil || blobs.has(garbage) {
		t.Errorf("with a lost listing: %v, garbage there %v", err, blobs.has(garbage))
	}
}

// Processes that end before a pass is due make one at their end, but not each of them.
func TestCollector_Finish(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	stamp := filepath.Join(t.TempDir(), "collected")
	synctest.Test(t, func(t *testing.T) {
		prepared := 0
		finish := func(blobs *memoryBlobs) {
			collector(t, s, c, blobs, func(cfg *fabric.CollectorConfig) { cfg.Stamp = stamp }).Finish(t.Context(), func(context.Context) error {
				prepared++
				return nil
			})
		}
		garbage := digest("garbage")
		for i := range 7 { // every 20 minutes
			blobs := newMemoryBlobs(10, garbage)
			finish(blobs)
			if want := i != 3 && i != 6; blobs.has(garbage) != want {
				t.Errorf("process %d: the blob is there: %t, want %t", i, !want, want)
			}
			elapse(20 * time.Minute)
		}
		if prepared != 2 {
			t.Errorf("prepared %d passes, want 2", prepared)
		}

		later := time.Now().Add(24 * time.Hour)
		if err := os.Chtimes(stamp, later, later); err != nil {
			t.Fatal(err)
		}
		blobs := newMemoryBlobs(10, garbage)
		if finish(blobs); blobs.has(garbage) {
			t.Error("the clock was set back, and nothing is collected until it is where it was")
		}
	})
}

// A process that runs as long as a pass counts the time of the one before it.
func TestCollector_Run_restarts(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	stamp := filepath.Join(t.TempDir(), "collected")
	synctest.Test(t, func(t *testing.T) {
		garbage := digest("garbage")
		for i := range 3 { // 8 minutes each
			blobs := newMemoryBlobs(10, garbage)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			collect := collector(t, s, c, blobs, func(cfg *fabric.CollectorConfig) { cfg.Stamp = stamp })
			go func() { defer close(done); collect.Run(ctx) }()
			elapse(8 * time.Minute)
			cancel()
			<-done
			if want := i == 0; blobs.has(garbage) != want {
				t.Errorf("process %d: the blob is there: %t, want %t", i, !want, want)
			}
		}
	})
}

// A low disk is collected at once and with a short grace.
func TestCollector_Run_diskLow(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	synctest.Test(t, func(t *testing.T) {
		recent := digest("recent")
		blobs := newMemoryBlobs(10)
		blobs.used[recent] = time.Now().Add(-10 * time.Minute)
		var mu sync.Mutex
		low, trims := false, 0
		collect := collector(t, s, c, blobs, func(cfg *fabric.CollectorConfig) {
			cfg.DiskLow = func() bool { mu.Lock(); defer mu.Unlock(); return low }
			cfg.Trim = func() { mu.Lock(); defer mu.Unlock(); trims++ }
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); collect.Run(ctx) }()

		elapse(15 * time.Minute)
		if !blobs.has(recent) {
			t.Error("a blob within its grace was deleted")
		}
		mu.Lock()
		low = true
		mu.Unlock()
		elapse(30 * time.Second)
		if blobs.has(recent) {
			t.Error("the disk is low and nothing was deleted")
		}
		mu.Lock()
		if trims == 0 {
			t.Error("nothing was trimmed")
		}
		mu.Unlock()
		cancel()
		<-done
	})
}

// disk fakes a disk.
type disk struct {
	free, total uint64
	broken      error
	// hangs, if it is set, holds every probe until it is closed.
	hangs chan struct{}
	// filled and reserved count calls.
	filled, reserved int
}

func (d *disk) watch() *fabric.DiskWatch {
	return fabric.NewDiskWatch(fabric.DiskWatchConfig{Dir: "/data", FreeBytes: func() (uint64, uint64) { return d.free, d.total },
		LowWater: func() uint64 { return 800 << 20 }, Logger: hclog.NewNullLogger(),
		Probe: func() error {
			if d.hangs != nil {
				<-d.hangs
			}
			return d.broken
		},
		Reserve: func() error { d.reserved++; return nil }, Filled: func() { d.filled++ }})
}

// The mark has two sides: a disk is low below it, and free again an eighth above.
func TestDiskWatch(t *testing.T) {
	d := &disk{free: 1 << 30, total: 1 << 40}
	w := d.watch()
	for _, step := range []struct {
		free uint64
		low  bool
	}{{900 << 20, false}, {799 << 20, true}, {850 << 20, true}, {899 << 20, true}, {901 << 20, false}, {850 << 20, false}} {
		d.free = step.free
		w.Check()
		if w.Low() != step.low {
			t.Errorf("%d MiB free: low %v, want %v", step.free>>20, w.Low(), step.low)
		}
		if (w.Reason() != "") != step.low {
			t.Errorf("%d MiB free: reason %q", step.free>>20, w.Reason())
		}
	}
}

// A disk with room that cannot be written is no better than a full one.
func TestDiskWatch_probe(t *testing.T) {
	d := &disk{free: 1 << 40, total: 1 << 40, broken: errors.New("read-only file system")}
	w := d.watch()
	w.Check()
	w.Check()
	if !w.Low() || d.filled != 1 || d.reserved != 0 {
		t.Errorf("a disk that cannot be written: low %v, reported %d times, reserved %d times", w.Low(), d.filled, d.reserved)
	}
	d.broken = nil
	w.Check()
	if w.Low() || d.reserved != 1 {
		t.Errorf("after the disk works again: low %v, reserved %d times", w.Low(), d.reserved)
	}

	// A file system that tells no sizes is not watched for space, but for errors.
	d.total, d.free = 0, 0
	w.Check()
	if w.Low() {
		t.Error("low without knowing the size")
	}
	d.broken = errors.New("input/output error")
	w.Check()
	if !w.Low() {
		t.Error("a disk that tells no size and cannot be written counts as free")
	}
}

// A disk that does not answer counts as failed until it does.
func TestDiskWatch_hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{free: 1 << 40, total: 1 << 40, hangs: make(chan struct{})}
		w := d.watch()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()

		elapse(4 * time.Second)
		if w.Low() {
			t.Error("low too early")
		}
		elapse(2 * time.Second)
		if !strings.Contains(w.Reason(), "does not answer") {
			t.Errorf("reason %q", w.Reason())
		}
		close(d.hangs)
		elapse(time.Millisecond)
		if w.Low() {
			t.Error("still low after the disk answers")
		}
		cancel()
		<-done
	})
}
