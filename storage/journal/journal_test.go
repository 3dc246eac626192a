package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/journal"
)

func attempt(i int) pipeline.AttemptID {
	return pipeline.AttemptID{Run: "run-1", Module: fmt.Sprintf("build[linux,a/b,%d]", i), Attempt: i%3 + 1}
}

func entry(i int) journal.Entry {
	return journal.Entry{ID: attempt(i), Fence: uint64(1000 + i), Incarnation: "inc", Dir: fmt.Sprintf("/attempts/%d", i),
		Spec: fmt.Appendf(nil, `{"n":%d}`, i)}
}

func outcome(i int) pipeline.Outcome {
	code := i % 2

	return pipeline.Outcome{ID: attempt(i), Fence: uint64(1000 + i), Worker: "n1", State: pipeline.AttemptSucceeded,
		ExitCode: &code, LogSize: int64(i), Result: json.RawMessage(`{"a":1}`),
		FinishedAt: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)}
}

func ended(i int) journal.Entry {
	e, o := entry(i), outcome(i)
	e.Outcome = &o

	return e
}

// openJournal opens a journal and returns what it reports.
func openJournal(tb testing.TB, path string) (*journal.Journal, *[]string) {
	tb.Helper()
	var reports []string
	j, err := journal.OpenUnsynced(path, func(text string) { reports = append(reports, text) })
	must(tb, err)
	tb.Cleanup(func() { j.Close() })

	return j, &reports
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func diff(got, want []journal.Entry) string {
	return cmp.Diff(got, want, cmpopts.IgnoreUnexported(journal.Entry{}), cmpopts.EquateEmpty())
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, reports := openJournal(t, path)
	for i := range 10 {
		must(t, j.Put(entry(i)))
	}
	for i := range 5 {
		must(t, j.SetOutcome(outcome(i)))
	}
	second := outcome(4)
	second.Holders = []pipeline.NodeID{"n1", "n2"}
	must(t, j.SetOutcome(second))
	must(t, errors.Join(j.Delete(attempt(0)), j.Delete(attempt(9)), j.Delete(attempt(77))))

	if err := j.SetOutcome(outcome(9)); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("outcome of a deleted attempt: got %v, want not_found", err)
	}
	if err := j.Put(journal.Entry{ID: attempt(1), Spec: []byte("{")}); err == nil {
		t.Error("a specification that is not JSON was recorded")
	}

	want := []journal.Entry{ended(1), ended(2), ended(3), ended(4), entry(5), entry(6), entry(7), entry(8)}
	want[3].Outcome = &second
	if d := diff(j.All(), want); d != "" {
		t.Error(d)
	}

	must(t, errors.Join(j.Err(), j.Close(), j.Close()))
	for name, err := range map[string]error{"put": j.Put(entry(50)), "outcome": j.SetOutcome(outcome(1)), "delete": j.Delete(attempt(1))} {
		if pipeline.KindOf(err) != pipeline.Unavailable {
			t.Errorf("%s after close: got %v, want unavailable", name, err)
		}
	}

	again, more := openJournal(t, path)
	if d := diff(again.All(), want); d != "" || len(*reports)+len(*more) > 0 {
		t.Errorf("opened again: %s, reports %q, %q", d, *reports, *more)
	}
	must(t, again.Put(entry(0)))
	if d := diff(again.All(), append(want, entry(0))); d != "" {
		t.Errorf("a deleted attempt recorded again: %s", d)
	}
}

// What was recorded survives a process that is killed before any sync.
func TestJournal_killed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_PATH="+path)
	in, err := cmd.StdinPipe()
	must(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())

	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil || line != "recorded\n" {
		t.Fatalf("the process printed %q, %v", line, err)
	}

	j, reports := openJournal(t, path)
	if got := j.All(); len(got) != 100 || len(*reports) > 0 {
		t.Errorf("%d attempts, want 100; reports %q", len(got), *reports)
	}
}

func TestJournal_concurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := journal.Open(path, func(text string) { t.Error(text) })
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1) // Run's result
	go func() { ran <- j.Run(ctx) }()

	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w * 1000; i < w*1000+200; i++ {
				err := errors.Join(j.Put(entry(i)), j.SetOutcome(outcome(i)))
				if i%10 != 0 {
					err = errors.Join(err, j.Delete(attempt(i)))
				}
				if err != nil {
					t.Error(err)
				}
				j.All()
			}
		})
	}
	wg.Wait()
	cancel()
	must(t, errors.Join(<-ran, j.Close()))

	again, _ := openJournal(t, path)
	if d := diff(again.All(), j.All()); d != "" || len(j.All()) != 8*20 {
		t.Errorf("%d attempts, want %d; opened again: %s", len(j.All()), 8*20, d)
	}
}

// sample is a journal's file, where its records end, and the entries after each.
func sample(tb testing.TB) (data []byte, ends []int, states [][]journal.Entry) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "journal.db")
	j, _ := openJournal(tb, path)
	mark := func(err error) {
		must(tb, err)
		info, err := os.Stat(path)
		must(tb, err)
		ends, states = append(ends, int(info.Size())), append(states, j.All())
	}

	mark(nil)
	for i := range 3 {
		mark(j.Put(entry(i)))
	}
	mark(j.SetOutcome(outcome(1)))
	mark(j.Delete(attempt(0)))

	data, err := os.ReadFile(path)
	must(tb, err)

	return data, ends, states
}

// reopen returns what is read from a file and whether damage is reported. With
// disk it goes through one, records another attempt and checks that the journal
// is sound after it.
func reopen(tb testing.TB, path string, data []byte, disk bool) (entries []journal.Entry, damaged bool) {
	tb.Helper()
	if !disk {
		entries, lost := journal.Replay(data)
		return entries, lost > 0
	}

	must(tb, os.WriteFile(path, data, 0o600))
	j, first := openJournal(tb, path)
	entries = j.All()
	must(tb, errors.Join(j.Err(), j.Put(entry(40)), j.Close()))
	if got := j.Damage(); (got != "") != (len(*first) == 1) || len(*first) == 1 && !strings.HasSuffix((*first)[0], got) {
		tb.Errorf("damage %q, reports %q", got, *first)
	}
	if len(*first) > 1 || len(*first) == 1 && !strings.Contains((*first)[0], path) {
		tb.Errorf("reports %q", *first)
	}

	again, second := openJournal(tb, path)
	if d := diff(again.All(), append(entries, entry(40))); d != "" || len(*second) > 0 {
		tb.Errorf("opened again: %s, reports %q", d, *second)
	}
	must(tb, again.Close())

	return entries, len(*first) > 0
}

// The process or the machine dies at any byte of a write.
func TestOpen_cutAtEachByte(t *testing.T) {
	data, ends, states := sample(t)
	path := filepath.Join(t.TempDir(), "journal.db")
	for n := range len(data) + 1 {
		whole := 0
		for whole+1 < len(ends) && ends[whole+1] <= n {
			whole++
		}

		for _, tail := range []string{"", strings.Repeat("\x00", 4096)} {
			got, damaged := reopen(t, path, append(bytes.Clone(data[:n]), tail...), n%32 == 0)
			if d := diff(got, states[whole]); d != "" {
				t.Errorf("cut at byte %d of %d, %d zeros behind: %s", n, len(data), len(tail), d)
			}
			silent := n <= ends[0]+1 || n == ends[whole] && tail == ""
			if damaged == silent {
				t.Errorf("cut at byte %d, %d zeros behind: damage reported: %v", n, len(tail), damaged)
			}
		}
	}
}

// A damaged byte costs the record that it is in.
func TestOpen_flippedAtEachByte(t *testing.T) {
	data, ends, _ := sample(t)
	path := filepath.Join(t.TempDir(), "journal.db")
	all := []journal.Entry{ended(1), entry(2)}
	left := map[int][]journal.Entry{ // by the record that is hit; 0 is the header
		0: all, 1: all, 2: {entry(2), ended(1)}, 3: {ended(1)}, 4: {entry(1), entry(2)}, 5: {entry(0), ended(1), entry(2)}}
	for n := range data {
		hit := 0
		for n >= ends[hit] {
			hit++
		}

		bad := bytes.Clone(data)
		bad[n] ^= 1 << (n % 8)
		got, damaged := reopen(t, path, bad, n%32 == 0)
		if d := diff(got, left[hit]); d != "" || !damaged {
			t.Errorf("byte %d in record %d: %s, damage reported: %v", n, hit, d, damaged)
		}
	}
}

// A damaged block costs the records that it touches.
func TestOpen_lostBlock(t *testing.T) {
	data, ends, _ := sample(t)
	path := filepath.Join(t.TempDir(), "journal.db")
	for from := range len(data) - 60 {
		bad := bytes.Clone(data)
		copy(bad[from:], bytes.Repeat([]byte("\x00P\x07"), 20))
		got, damaged := reopen(t, path, bad, from == 300)
		if !damaged {
			t.Errorf("block at byte %d: no damage reported", from)
		}

		whole := ended(1)
		if from+60 > ends[3] {
			whole = entry(2) // its record precedes the block, or is not touched by it
		}
		if from < ends[3] && from+60 > ends[2] || from < ends[4] && from+60 > ends[3] {
			continue // both may be touched
		}
		if d := diff(got, append(got[:0:0], append(got, whole)...)); d == "" {
			t.Errorf("block at byte %d: %v is missing", from, whole.ID)
		}
	}
}

func TestOpen_foreign(t *testing.T) {
	for name, text := range map[string]string{"text": "hello", "binary": "\x7fELF\x00\x00", "empty lines": "\n\n", "another version": "pipelined journal 9\nx"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			got, damaged := reopen(t, path, []byte(text), true)
			if len(got) != 0 || !damaged {
				t.Errorf("%d attempts, damage reported: %v", len(got), damaged)
			}

			aside, err := filepath.Glob(path + ".damaged-*")
			must(t, err)
			if len(aside) != 1 {
				t.Fatalf("moved aside: %q", aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || string(kept) != text {
				t.Errorf("the file that was moved aside holds %q, %v", kept, err)
			}
		})
	}
}

// A directory stands for everything that opens and cannot be read.
func TestOpen_unreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	must(t, os.Mkdir(path, 0o700))
	j, reports := openJournal(t, path)
	must(t, errors.Join(j.Err(), j.Put(entry(1))))
	if len(*reports) != 1 || !strings.Contains((*reports)[0], ".damaged-") {
		t.Errorf("reports %q", *reports)
	}

	locked := filepath.Join(t.TempDir(), "journal.db")
	must(t, os.WriteFile(locked, nil, 0))
	if _, err := journal.Open(locked, nil); os.Geteuid() != 0 && !errors.Is(err, os.ErrPermission) {
		t.Errorf("a file without permissions: got %v", err)
	}
}

// What a user writes into a module is never read as a record, not even if what
// is around it is damaged.
func TestOpen_forgedRecord(t *testing.T) {
	forged, _, _ := sample(t)
	text, err := json.Marshal(map[string]string{"script": string(forged)})
	must(t, err)
	path := filepath.Join(t.TempDir(), "journal.db")
	j, _ := openJournal(t, path)
	e := entry(7)
	e.Spec = text
	must(t, errors.Join(j.Put(e), j.Put(entry(8)), j.Close()))
	data, err := os.ReadFile(path)
	must(t, err)

	for n := range 60 { // header and head of the first record
		bad := bytes.Clone(data)
		bad[n] ^= 0x10
		got, _ := reopen(t, path, bad, false)
		for _, e := range got {
			if e.ID != attempt(7) && e.ID != attempt(8) {
				t.Fatalf("byte %d flipped: %v was read from a specification", n, e.ID)
			}
		}
	}
}

// A file of deleted records is written anew when it is opened.
func TestOpen_rewrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, _ := openJournal(t, path)
	for i := range 30 {
		e := entry(i)
		e.Spec = fmt.Appendf(nil, "%q", strings.Repeat("x", 10_000))
		must(t, j.Put(e))
		if i > 0 {
			must(t, j.Delete(e.ID))
		}
	}
	must(t, errors.Join(j.SetOutcome(outcome(0)), j.Close()))
	before, err := os.Stat(path)
	must(t, err)
	must(t, os.WriteFile(path+".new", []byte("left by a crash"), 0o600))

	j, _ = openJournal(t, path)
	after, err := os.Stat(path)
	must(t, err)
	if before.Size() < 300_000 || after.Size() > 12_000 {
		t.Errorf("size before %d, after %d", before.Size(), after.Size())
	}
	if got := j.All(); len(got) != 1 || got[0].Outcome == nil {
		t.Errorf("entries: %+v", got)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("beside the journal: %v", left)
	}
}

func BenchmarkJournal(b *testing.B) {
	j, _ := openJournal(b, filepath.Join(b.TempDir(), "journal.db"))
	e, o := entry(1), outcome(1)
	e.Spec = fmt.Appendf(nil, "%q", strings.Repeat("x", 600))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.ID = pipeline.AttemptID{Run: "run-1", Module: "build", Attempt: i + 1}
		o.ID = e.ID
		must(b, errors.Join(j.Put(e), j.SetOutcome(o), j.Delete(e.ID)))
	}
}
