package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

func testEntry(i int) Entry {
	id := pipeline.AttemptID{Run: "r", Module: fmt.Sprintf("m%d", i), Attempt: 1}

	return Entry{ID: id, Fence: 7, Incarnation: "i", Dir: "d", Spec: []byte(`{}`)}
}

// fault is what is wrong with a disk. The zero value is a sound one.
type fault struct {
	err error
	// room is how many bytes a write takes before it fails.
	room int
	// syncs makes only syncs fail.
	syncs bool
}

// badDisk has files that fail as it is told to.
type badDisk struct {
	mu sync.Mutex
	// guards following
	fault   fault
	reports []string
}

type badFile struct {
	file
	disk *badDisk
}

func (d *badDisk) set(f fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

func (d *badDisk) get() fault {
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.fault
}

func (d *badDisk) report(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reports = append(d.reports, text)
}

func (d *badDisk) reported() []string {
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.reports
}

func (d *badDisk) create(path string) (file, error) {
	if f := d.get(); f.err != nil && !f.syncs && f.room == 0 {
		return nil, f.err
	}
	f, err := createUnsynced(path)

	return badFile{f, d}, err
}

func (f badFile) WriteAt(p []byte, off int64) (int, error) {
	bad := f.disk.get()
	if bad.err == nil || bad.syncs {
		return f.file.WriteAt(p, off)
	}

	n, err := f.file.WriteAt(p[:min(len(p), bad.room)], off)
	if err == nil && n < len(p) {
		err = bad.err
	}

	return n, err
}

func (f badFile) Sync() error {
	if bad := f.disk.get(); bad.syncs {
		return bad.err
	}

	return f.file.Sync()
}

func (d *badDisk) open(tb testing.TB, path string) *Journal {
	tb.Helper()
	j, err := open(path, d.report, d.create)
	if err != nil {
		tb.Fatal(err)
	}

	return j
}

func modules(j *Journal) string {
	var names []string
	for _, e := range j.All() {
		name := e.ID.Module
		if e.Outcome != nil {
			name += " " + string(e.Outcome.State)
		}
		names = append(names, name)
	}

	return strings.Join(names, ", ")
}

// reread returns what the file alone says.
func reread(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	j := &Journal{entries: map[pipeline.AttemptID]Entry{}}
	scan(data, j.apply)

	return modules(j)
}

// A write fails once, at any byte: it has no effect beyond what is known to
// have happened, the next one works, and the file is right.
func TestJournal_failedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	for _, cause := range []error{unix.EIO, unix.ENOSPC, unix.EPERM, unix.EROFS} {
		for room := 0; room < 110; room += 5 {
			d := &badDisk{}
			os.Remove(path)
			j := d.open(t, path)
			if err := errors.Join(j.Put(testEntry(1)), j.Put(testEntry(2))); err != nil {
				t.Fatal(err)
			}

			d.set(fault{err: cause, room: room})
			for name, err := range map[string]error{
				"put":     j.Put(testEntry(3)),
				"outcome": j.SetOutcome(pipeline.Outcome{ID: testEntry(1).ID, State: pipeline.AttemptFailed, Reason: strings.Repeat("x", 100)}),
			} {
				if !errors.Is(err, cause) || pipeline.KindOf(err) != pipeline.Unavailable {
					t.Fatalf("%s with room for %d bytes: got %v, want %v", name, room, err, cause)
				}
			}
			if err := j.Delete(testEntry(2).ID); err == nil && room < 50 {
				t.Fatalf("delete with room for %d bytes: no error", room)
			}
			if !errors.Is(j.Err(), cause) || len(d.reported()) != 1 {
				t.Fatalf("room for %d bytes: Err %v, reports %q", room, j.Err(), d.reported())
			}
			if got := modules(j); got != "m1 failed" {
				t.Fatalf("room for %d bytes: the journal holds %q", room, got)
			}

			// The disk works again: at once for the next attempt, and for what is
			// owed once Run has rewritten the file.
			d.set(fault{})
			if err := j.Put(testEntry(4)); err != nil {
				t.Fatal(err)
			}
			if got := reread(t, path); !strings.HasSuffix(got, "m4") || strings.Contains(got, "m3") {
				t.Fatalf("room for %d bytes: the file holds %q", room, got)
			}
			if !j.due() {
				t.Fatal("a rewrite is not due")
			}
			j.rewrite()
			if got := reread(t, path); got != "m1 failed, m4" || j.Err() != nil || len(d.reported()) != 2 {
				t.Fatalf("room for %d bytes: the file holds %q; Err %v, reports %q", room, got, j.Err(), d.reported())
			}
			j.Close()
		}
	}
}

// Run repairs the file within a second of the disk's recovery.
func TestJournal_repair(t *testing.T) {
	for name, broken := range map[string]fault{"no new files": {err: unix.EPERM}, "short writes": {err: unix.ENOSPC, room: 10}, "syncs": {err: unix.EIO, syncs: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &badDisk{}
				path := filepath.Join(t.TempDir(), "journal.db")
				j := d.open(t, path)
				ctx, cancel := context.WithCancel(t.Context())
				ran := make(chan error, 1) // Run's result
				go func() { ran <- j.Run(ctx) }()
				synctest.Wait()

				if err := j.Put(testEntry(1)); err != nil {
					t.Fatal(err)
				}
				d.set(broken)
				if err := j.Put(testEntry(2)); (err == nil) != broken.syncs {
					t.Errorf("put: got %v", err)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !errors.Is(j.Err(), broken.err) || len(d.reported()) != 1 {
					t.Errorf("Err %v, reports %q", j.Err(), d.reported())
				}

				d.set(fault{})
				time.Sleep(repairEvery + syncEvery)
				synctest.Wait()
				want := modules(j)
				if got := reread(t, path); got != want || j.Err() != nil || len(d.reported()) != 2 {
					t.Errorf("the file holds %q, the journal %q; Err %v, reports %q", got, want, j.Err(), d.reported())
				}

				cancel()
				if err := errors.Join(<-ran, j.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A disk that takes nothing at start keeps the old file, and gets the new one
// later; the process may die at any byte of it.
func TestOpen_fullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	d := &badDisk{}
	j := d.open(t, path)
	if err := errors.Join(j.Put(testEntry(1)), j.Put(testEntry(2)), j.Delete(testEntry(1).ID), j.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	for room := range 110 {
		d.set(fault{err: unix.ENOSPC, room: room})
		j := d.open(t, path)
		if got := modules(j); got != "m2" || !errors.Is(j.Err(), unix.ENOSPC) {
			t.Fatalf("room for %d bytes: the journal holds %q, Err %v", room, got, j.Err())
		}
		if err := j.Put(testEntry(3)); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("put: got %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("room for %d bytes: the old file was changed: %v", room, err)
		}
		j.Close()
	}

	j = d.open(t, path)
	d.set(fault{})
	j.rewrite()
	if err := errors.Join(j.Put(testEntry(3)), j.Err(), j.Close()); err != nil || reread(t, path) != "m2, m3" {
		t.Errorf("after the repair: %v, the file holds %q", err, reread(t, path))
	}
}

// What is recorded while a new file is written is in it.
func TestJournal_rewriteMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := (&badDisk{}).open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			j.rewrite()
			j.sync()
		}
	}()

	for i := range 2000 {
		if err := j.Put(testEntry(i)); err != nil {
			t.Fatal(err)
		}
		if i%4 != 0 {
			if err := j.Delete(testEntry(i).ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	<-done

	if err := errors.Join(j.Err(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if got := reread(t, path); got != modules(j) || len(j.All()) != 500 {
		t.Errorf("%d attempts, want 500; the file has others: %v", len(j.All()), got != modules(j))
	}
	if info, err := os.Stat(path); err != nil || info.Size() != j.size {
		t.Errorf("size %d, the journal assumes %d: %v", info.Size(), j.size, err)
	}
}

// Run rewrites a file that has grown.
func TestJournal_grows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "journal.db")
		j := (&badDisk{}).open(t, path)
		e := testEntry(1)
		e.Spec = fmt.Appendf(nil, "%q", strings.Repeat("s", 64<<10))
		for range 80 {
			if err := errors.Join(j.Put(e), j.Delete(e.ID)); err != nil {
				t.Fatal(err)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1) // Run's result
		go func() { ran <- j.Run(ctx) }()
		time.Sleep(time.Second)
		synctest.Wait()
		if info, err := os.Stat(path); err != nil || info.Size() != int64(len(header)) {
			t.Errorf("size after a rewrite: %d, %v", info.Size(), err)
		}
		cancel()
		if err := errors.Join(<-ran, j.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestEncode_tooLarge(t *testing.T) {
	e := testEntry(1)
	e.Spec = fmt.Appendf(nil, "%q", strings.Repeat("s", maxBody))
	if _, err := encode(nil, &record{Put: &e}); pipeline.KindOf(err) != pipeline.TooLarge {
		t.Errorf("got %v, want too_large", err)
	}
}

// FuzzScan: whatever the bytes are, what is read from them is written and read
// again as the same entries.
func FuzzScan(f *testing.F) {
	seed := []byte(header)
	e := testEntry(1)
	seed, _ = encode(seed, &record{Put: &e})
	seed, _ = encode(seed, &record{Delete: &e.ID})
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte(header + mark + "\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first := &Journal{entries: map[pipeline.AttemptID]Entry{}}
		_, lost := scan(data, first.apply)
		if lost < 0 || lost > len(data) {
			t.Fatalf("%d of %d bytes lost", lost, len(data))
		}

		var image []byte
		var err error
		for _, e := range first.All() {
			if image, err = encode(image, &record{Put: &e}); err != nil {
				t.Fatal(err)
			}
		}
		second := &Journal{entries: map[pipeline.AttemptID]Entry{}}
		if _, lost := scan(image, second.apply); lost != 0 || len(first.entries) != len(second.entries) {
			t.Fatalf("%d entries, then %d; %d bytes lost", len(first.entries), len(second.entries), lost)
		}
		if a, b := first.All(), second.All(); len(a) > 0 && !reflect.DeepEqual(ids(a), ids(b)) {
			t.Fatal("the order changed")
		}
	})
}

func ids(list []Entry) (ids []pipeline.AttemptID) {
	for _, e := range list {
		ids = append(ids, e.ID)
	}

	return ids
}
