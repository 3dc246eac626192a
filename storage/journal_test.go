package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func attempt(i int) pipeline.AttemptID {
	return pipeline.AttemptID{Run: "run-1", Module: fmt.Sprintf("build[linux,a/b,%d]", i), Attempt: i%3 + 1}
}

func entry(i int) storage.JournalEntry {
	return storage.JournalEntry{ID: attempt(i), Fence: uint64(1000 + i), Incarnation: "inc", Dir: fmt.Sprintf("/attempts/%d", i),
		Spec: fmt.Appendf(nil, `{"n":%d}`, i)}
}

func outcome(i int) pipeline.Outcome {
	code := i % 2
	return pipeline.Outcome{ID: attempt(i), Fence: uint64(1000 + i), Worker: "n1", State: pipeline.AttemptSucceeded, ExitCode: &code, LogSize: int64(i),
		FinishedAt: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC), Result: json.RawMessage(`{"a":1}`)}
}

func openJournal(tb testing.TB, path string) *storage.Journal {
	tb.Helper()
	j, err := storage.OpenJournal(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { j.Close() })
	return j
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournal(t, path)
	for i := range 10 {
		must(t, j.Take(entry(i)))
	}
	for i := range 5 {
		must(t, j.Outcome(outcome(i)))
	}
	second := outcome(4)
	second.Holders = []pipeline.NodeID{"n1", "n2"}
	must(t, j.Outcome(second))
	must(t, j.Forget(attempt(0), attempt(9), attempt(77)))
	if err := j.Take(entry(1)); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("take twice: got %v, want a conflict", err)
	}
	if err := j.Outcome(outcome(9)); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("outcome of a forgotten attempt: got %v, want not_found", err)
	}
	if err := j.Take(storage.JournalEntry{}); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("take of nothing: got %v", err)
	}
	var want []storage.JournalEntry
	for i := 1; i < 9; i++ {
		e := entry(i)
		if i < 5 {
			o := outcome(i)
			e.Outcome = &o
		}
		if i == 4 {
			e.Outcome = &second
		}
		want = append(want, e)
	}
	if got := j.All(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(got, want))
	}
	if e, ok := j.Get(attempt(3)); !ok || e.Outcome == nil || e.Fence != 1003 {
		t.Errorf("get: %+v, %v", e, ok)
	}
	if _, ok := j.Get(attempt(0)); ok {
		t.Error("a forgotten attempt is there")
	}
	must(t, errors.Join(j.Close(), j.Close()))
	if err := j.Take(entry(50)); err == nil {
		t.Error("take after close: no error")
	}
	again := openJournal(t, path)
	if got := again.All(); !cmp.Equal(got, want) || len(again.Warnings()) != 0 {
		t.Errorf("after opening again: %s, %v", cmp.Diff(got, want), again.Warnings())
	}
	// What was forgotten may be taken anew.
	must(t, again.Take(entry(0)))
}

// What was taken survives a process that is killed without a sync.
func TestJournal_killed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	p := startHelper(t, "journal", path)
	p.line(t)
	p.kill()
	if got := openJournal(t, path).All(); len(got) != 100 {
		t.Errorf("%d attempts, want 100", len(got))
	}
}

// sample is a journal's file with its records' ends.
func sample(tb testing.TB) (data []byte, ends []int) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "journal.db")
	j := openJournal(tb, path)
	size := func() {
		info, err := os.Stat(path)
		must(tb, err)
		ends = append(ends, int(info.Size()))
	}
	size()
	for i := range 3 {
		must(tb, j.Take(entry(i)))
		size()
	}
	must(tb, j.Outcome(outcome(1)))
	size()
	must(tb, j.Forget(attempt(0)))
	size()
	data, err := os.ReadFile(path)
	must(tb, err)
	return data, ends
}

func TestOpenJournal_tornTail(t *testing.T) {
	data, ends := sample(t)
	path := filepath.Join(t.TempDir(), "journal.db")
	for n := range len(data) + 1 {
		for _, tail := range []string{"", strings.Repeat("\x00", 4096)} {
			must(t, os.WriteFile(path, []byte(string(data[:n])+tail), 0o600))
			j, err := storage.OpenJournal(path)
			if err != nil {
				if n < ends[0] && tail != "" {
					continue // half a header and then zeros is nothing we write
				}
				t.Fatalf("cut at %d of %d: %v", n, len(data), err)
			}
			clean := tail == "" && (n == 0 || slices.Contains(ends, n))
			if warned := len(j.Warnings()) > 0; warned == clean {
				t.Errorf("cut at %d and %d zeros: warned %v, want %v", n, len(tail), warned, !clean)
			}
			want := 0
			for _, end := range ends[1:4] {
				if n >= end {
					want++
				}
			}
			if n == len(data) {
				want--
			}
			if got := j.All(); len(got) != want {
				t.Errorf("cut at %d: %d attempts, want %d", n, len(got), want)
			}
			// It goes on from there.
			must(t, j.Take(entry(40)))
			must(t, j.Close())
			again, err := storage.OpenJournal(path)
			must(t, err)
			if len(again.All()) != want+1 || len(again.Warnings()) > 0 {
				t.Errorf("cut at %d: after a new record %d attempts, %v", n, len(again.All()), again.Warnings())
			}
			must(t, again.Close())
		}
	}
}

func TestOpenJournal_damaged(t *testing.T) {
	data, ends := sample(t)
	path := filepath.Join(t.TempDir(), "journal.db")
	last := ends[len(ends)-2]
	for n := range last {
		bad := bytes.Clone(data)
		bad[n] ^= 0x08
		must(t, os.WriteFile(path, bad, 0o600))
		_, err := storage.OpenJournal(path)
		var damage *storage.JournalError
		if !errors.As(err, &damage) {
			t.Fatalf("bit flipped in byte %d: got %v, want a *JournalError", n, err)
		}
		want := 0
		for _, end := range ends {
			if n >= end {
				want = end
			}
		}
		if damage.Offset != int64(want) || !strings.Contains(err.Error(), path) {
			t.Errorf("bit flipped in byte %d: %v, want offset %d", n, err, want)
		}
		if left, _ := os.ReadFile(path); !bytes.Equal(left, bad) {
			t.Fatal("the damaged file was changed")
		}
	}
	for _, text := range []string{"hello", "pipelined journal 2\n", "pipelined journal x"} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := storage.OpenJournal(path); err == nil {
			t.Errorf("%q was taken for a journal", text)
		}
	}
}

func TestJournal_concurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournal(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1) // Run's one answer
	go func() { ran <- j.Run(ctx) }()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w * 1000; i < w*1000+200; i++ {
				if err := j.Take(entry(i)); err != nil {
					t.Errorf("take: %v", err)
				}
				if err := j.Outcome(outcome(i)); err != nil {
					t.Errorf("outcome: %v", err)
				}
				if i%10 != 0 {
					if err := j.Forget(attempt(i)); err != nil {
						t.Errorf("forget: %v", err)
					}
				}
				j.All()
			}
		})
	}
	wg.Wait()
	cancel()
	must(t, <-ran)
	must(t, j.Close())
	if got := openJournal(t, path).All(); len(got) != 8*20 {
		t.Errorf("%d attempts, want %d", len(got), 8*20)
	}
}

func TestOpenJournal_compacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournal(t, path)
	e := entry(0)
	e.Spec = bytes.Repeat([]byte("x"), 100_000)
	for i := range 30 {
		e.ID = attempt(i)
		must(t, j.Take(e))
		if i > 0 {
			must(t, j.Forget(e.ID))
		}
	}
	must(t, j.Outcome(outcome(0)))
	must(t, j.Close())
	before, err := os.Stat(path)
	must(t, err)
	j = openJournal(t, path)
	after, err := os.Stat(path)
	must(t, err)
	if before.Size() < 3_000_000 || after.Size() > 200_000 {
		t.Errorf("size before %d, after %d", before.Size(), after.Size())
	}
	must(t, j.Take(entry(99)))
	must(t, j.Close())
	got := openJournal(t, path).All()
	if len(got) != 2 || got[0].ID != attempt(0) || got[0].Outcome == nil || got[1].ID != attempt(99) {
		t.Errorf("after compaction: %d attempts", len(got))
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("beside the journal: %v", left)
	}
}
