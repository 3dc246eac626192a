package blob

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

func TestSpace_low(t *testing.T) {
	tests := []struct {
		name     string
		lowWater int64
		total    uint64
		want     uint64
	}{
		{"large disk", 0, 1 << 40, 512 << 20},
		{"small disk", 0, 2000, 100},
		{"unknown disk", 0, 0, 0},
		{"set", 300, 1 << 40, 300},
		{"none", -1, 1 << 40, 0},
	}
	for _, test := range tests {
		s := space{lowWater: test.lowWater}
		if got := s.low(test.total); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

func TestSpace_admit(t *testing.T) {
	errMeasure := errors.New("no statfs here")
	tests := []struct {
		name     string
		lowWater int64
		free     uint64
		err      error
		size     int64
		full     bool
	}{
		{"enough", 100, 150, nil, 50, false},
		{"one byte short", 100, 149, nil, 50, true},
		{"an unknown size counts as none", 100, 100, nil, -1, false},
		{"below the mark already", 100, 99, nil, 0, true},
		{"default of 5 %", 0, 49, nil, 0, true},
		{"default of 5 %, enough", 0, 50, nil, 0, false},
		{"no low water", -1, 0, nil, 1 << 40, false},
		{"unknown", 100, 0, errMeasure, 1 << 40, false},
	}
	for _, test := range tests {
		s := space{dir: "/blobs", lowWater: test.lowWater, measure: func(dir string) (uint64, uint64, error) {
			if dir != "/blobs" {
				t.Errorf("measured %s", dir)
			}
			return test.free, 1000, test.err
		}}
		var full *disk.FullError
		if err := s.admit(test.size); errors.As(err, &full) != test.full || (err != nil) != test.full {
			t.Errorf("%s: got %v, full: %t", test.name, err, test.full)
		}
	}
}

func TestSpace_bytes_unknown(t *testing.T) {
	s := space{measure: func(string) (uint64, uint64, error) { return 7, 9, errors.New("no statfs here") }}
	if free, total := s.bytes(); free != 0 || total != 0 {
		t.Errorf("got %d and %d, want 0 and 0", free, total)
	}
}

func TestDirectories_path(t *testing.T) {
	dirs := directories{dir: "/blobs"}
	for _, d := range []pipeline.Digest{"00", "0f", "a0", "ff", "3c"} {
		if got := dirs.path(shardOf(d)); got != "/blobs/"+string(d) {
			t.Errorf("%s: got %s", d, got)
		}
		if i, ok := shardIndex(string(d)); !ok || i != shardOf(d) {
			t.Errorf("%s: index %d, %t", d, i, ok)
		}
	}
	for _, name := range []string{"", "0", "FF", "fF", "0g", "tmp", "-1", "+1"} {
		if i, ok := shardIndex(name); ok {
			t.Errorf("%q counts as directory %d", name, i)
		}
	}
}

// A sync covers the names that were given before it, and no others.
func TestDirectories_sync(t *testing.T) {
	dirs := &directories{dir: t.TempDir()}
	must := func(err error) { mustDo(t, err) }
	must(dirs.load())
	must(dirs.ensure(3))
	must(dirs.ensure(7))
	dirs.named(3)
	dirs.named(7)

	touched := [256]bool{3: true}
	must(dirs.sync(&touched))
	if s := &dirs.shards[3]; s.synced.Load() != 1 || dirs.root.synced.Load() != dirs.root.renamed.Load() {
		t.Errorf("%d names of the touched directory are durable, want 1, and those of the root", s.synced.Load())
	}
	if dirs.shards[7].synced.Load() != 0 {
		t.Error("a directory that was not touched was synced")
	}

	touched[7] = true
	dirs.named(3)
	must(dirs.sync(&touched))
	if dirs.shards[3].synced.Load() != 2 || dirs.shards[7].synced.Load() != 1 {
		t.Errorf("%d and %d names are durable, want 2 and 1", dirs.shards[3].synced.Load(), dirs.shards[7].synced.Load())
	}
}

func TestDirectories_load(t *testing.T) {
	dir := t.TempDir()
	mustDo(t, os.Mkdir(filepath.Join(dir, "0a"), 0o700))
	mustDo(t, os.WriteFile(filepath.Join(dir, "0b"), nil, 0o600))
	dirs := &directories{dir: dir}
	mustDo(t, dirs.load())

	for i := range dirs.shards {
		s := &dirs.shards[i]
		if want := i == 0x0a; s.made.Load() != want || (s.renamed.Load() > s.synced.Load()) != want {
			t.Errorf("%02x: made %t, %d names of which %d are durable", i, s.made.Load(), s.renamed.Load(), s.synced.Load())
		}
	}
	if dirs.makeAgain(0x0a) {
		t.Error("a directory that is there was made again")
	}

	mustDo(t, os.Remove(filepath.Join(dir, "0a")))
	dirs.reload()
	if dirs.shards[0x0a].made.Load() {
		t.Error("a directory that is gone counts as made")
	}
}

// corruptCopy puts a blob and damages its file.
func corruptCopy(t *testing.T, b *Store, p []byte) pipeline.Digest {
	t.Helper()
	d, _, err := b.Put(t.Context(), bytes.NewReader(p))
	mustDo(t, err)
	breakByte(t, b.files.path(d), int64(len(p)/2))
	return d
}

func quarantined(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, corruptDir))
	mustDo(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A failing disk does not fill itself with damaged copies: so many are kept, over
// several processes, and none that is large.
func TestQuarantine_bounds(t *testing.T) {
	dir := t.TempDir()
	b := openTestBlobs(t, dir)
	large := corruptCopy(t, b, noise(maxQuarantinedBytes+1))
	if err := b.Verify(large); err == nil || b.Has(large) {
		t.Errorf("verify: %v, still here: %t", err, b.Has(large))
	}
	if got := quarantined(t, dir); len(got) != 0 {
		t.Errorf("a large copy was kept: %v", got)
	}

	for i := range maxQuarantined - 1 {
		mustDo(t, os.WriteFile(filepath.Join(dir, corruptDir, fmt.Sprintf("earlier.%d", i)), nil, 0o600))
	}
	b = openTestBlobs(t, dir)
	for i := range 3 {
		d := corruptCopy(t, b, fmt.Appendf(nil, "blob %d", i))
		if err := b.Verify(d); err == nil || b.Has(d) {
			t.Errorf("verify: %v, still here: %t", err, b.Has(d))
		}
	}
	if got := quarantined(t, dir); len(got) != maxQuarantined {
		t.Errorf("%d copies are kept, want %d", len(got), maxQuarantined)
	}
}

// The second damaged copy of a blob does not replace the first, also after a
// restart.
func TestQuarantine_sameBlobAgain(t *testing.T) {
	dir, p := t.TempDir(), []byte("damaged again and again")
	for range 2 {
		b := openTestBlobs(t, dir)
		for range 2 {
			if err := b.Verify(corruptCopy(t, b, p)); err == nil {
				t.Error("a damaged copy was verified")
			}
		}
	}
	if got := quarantined(t, dir); len(got) != 4 {
		t.Errorf("kept %v, want 4 copies", got)
	}
}

// If a damaged copy cannot be kept, it is removed all the same.
func TestQuarantine_cannotBeKept(t *testing.T) {
	dir := t.TempDir()
	var reported []pipeline.Digest
	b, err := Open(dir, Options{NoSync: true, LowWater: -1, OnCorrupt: func(d pipeline.Digest) { reported = append(reported, d) }})
	mustDo(t, err)
	t.Cleanup(func() { b.Close() })
	d := corruptCopy(t, b, []byte("some bytes"))
	mustDo(t, os.Remove(filepath.Join(dir, corruptDir)))

	var corrupt *CorruptError
	if err := b.Verify(d); !errors.As(err, &corrupt) || corrupt.Path != b.files.path(d) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]pipeline.Digest{d}, reported); diff != "" || b.Has(d) {
		t.Errorf("reported: %s, still here: %t", diff, b.Has(d))
	}
}

// verifier counts the blobs that are read.
type verifier struct {
	reads  int
	during func()
	err    error
}

func (v *verifier) verify(pipeline.Digest) error {
	v.reads++
	if v.during != nil {
		v.during()
	}
	return v.err
}

// A verified file is not read again until it changes, in whatever way.
func TestCleanMemory_check(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	d, err := b.PutBytes(t.Context(), []byte("some bytes"))
	mustDo(t, err)
	path := b.files.path(d)
	var v verifier
	expect := func(name string, clean bool, reads int) {
		t.Helper()
		v.reads = 0
		if got := b.clean.check(d, v.verify); got != clean || v.reads != reads {
			t.Errorf("%s: clean %t after %d reads, want %t after %d", name, got, v.reads, clean, reads)
		}
	}
	expect("first", true, 1)
	expect("again", true, 0)

	old := b.clean.get(d)
	old.at = time.Now().Add(-cleanAge)
	b.clean.put(d, old)
	expect("an hour later", true, 1)

	rewrite := func(p string) {
		t.Helper()
		mustDo(t, os.Chmod(path, 0o600))
		mustDo(t, os.WriteFile(path, []byte(p), 0o600))
		mustDo(t, os.Chtimes(path, time.Unix(0, old.mtim), time.Unix(0, old.mtim)))
	}
	rewrite("some bytez")
	expect("written, with the old time", true, 1)

	replacement := path + ".new"
	mustDo(t, os.WriteFile(replacement, []byte("some bytes"), 0o600))
	mustDo(t, os.Rename(replacement, path))
	expect("replaced", true, 1)

	v.during = func() { rewrite("some byteZ") }
	rewrite("x")
	expect("written while it was read", true, 1)
	v.during = nil
	expect("is not remembered", true, 1)

	v.err = errors.New("damaged")
	expect("what is remembered", true, 0)
	rewrite("y")
	expect("damaged", false, 1)
	expect("a failure is not remembered", false, 1)

	mustDo(t, os.Remove(path))
	expect("gone", false, 0)
}

// A change of the times by the store itself keeps what is remembered; if the
// file was written to before, it does not.
func TestCleanMemory_keep(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	d, err := b.PutBytes(t.Context(), []byte("some bytes"))
	mustDo(t, err)
	path, hourAgo := b.files.path(d), time.Now().Add(-time.Hour)
	age := func() error { return os.Chtimes(path, hourAgo, hourAgo) }
	var v verifier
	reads := func() int {
		t.Helper()
		v.reads = 0
		if !b.clean.check(d, v.verify) {
			t.Error("not clean")
		}
		return v.reads
	}

	b.clean.keep(d, age)
	if reads() != 1 {
		t.Error("what was never verified is remembered")
	}
	b.clean.keep(d, age)
	if reads() != 0 {
		t.Error("forgotten after a change of its times")
	}
	if !b.usage.present(d, -1) || reads() != 0 {
		t.Error("forgotten after a use")
	}

	mustDo(t, os.Chmod(path, 0o600))
	mustDo(t, os.WriteFile(path, []byte("some bytez"), 0o600))
	b.clean.keep(d, age)
	if reads() != 1 {
		t.Error("remembered although it was written to before")
	}
	mustDo(t, age())
	b.clean.keep(d, func() error { return errors.New("read-only") })
	if reads() != 1 {
		t.Error("remembered although its times were changed by another")
	}
}

func TestCleanMemory_bound(t *testing.T) {
	var c cleanMemory
	for i := range maxClean + 1 {
		c.put(pipeline.Digest(fmt.Sprint(i)), verified{size: 1})
	}
	if len(c.seen) > maxClean || c.get(pipeline.Digest(fmt.Sprint(maxClean))).size != 1 {
		t.Errorf("%d blobs are remembered, want at most %d, with the last", len(c.seen), maxClean)
	}
}

// A failed sync makes the store refuse everything that writes.
func TestStore_Probe_failed(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	d, err := b.PutBytes(t.Context(), []byte("before"))
	mustDo(t, err)
	mustDo(t, b.Probe())
	if left, _ := os.ReadDir(b.tmp.path); len(left) != 0 {
		t.Errorf("the probe left %v", left)
	}

	failure := error(pipeline.Errorf(pipeline.Unavailable, "storage failed"))
	b.dirs.broken.Store(&failure)
	_, putErr := b.PutBytes(t.Context(), []byte("after"))
	_, partErr := b.Partial(DigestOf([]byte("after")), 5)
	for name, err := range map[string]error{"probe": b.Probe(), "admit": b.Admit(0), "put": putErr, "partial": partErr} {
		if !errors.Is(err, failure) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := b.Verify(d); err != nil {
		t.Errorf("what is here cannot be read: %v", err)
	}
}

// A partial blob is refused for want of space as a whole, before a byte of it is
// sent, and in the middle if the disk gets full meanwhile.
func TestPartial_lowWater(t *testing.T) {
	b, err := Open(t.TempDir(), Options{NoSync: true, LowWater: 100 << 20})
	mustDo(t, err)
	t.Cleanup(func() { b.Close() })
	free := uint64(120 << 20)
	b.space.measure = func(string) (uint64, uint64, error) { return free, 1 << 40, nil }
	d := DigestOf([]byte("large"))

	var full *disk.FullError
	if _, err := b.Partial(d, 21<<20); !errors.As(err, &full) {
		t.Errorf("21 of 20 MiB: %v", err)
	}
	const size = 19 << 20
	p, err := b.Partial(d, size)
	if err != nil {
		t.Fatalf("after a refusal it counts as open: %v", err)
	}
	defer p.Close()

	free = 99 << 20
	at, err := p.Fill(t.Context(), 0, size, bytes.NewReader(make([]byte, size)))
	if !errors.As(err, &full) || at != spaceEvery || p.Arrived() != spaceEvery {
		t.Errorf("filled up to %d, %d have arrived: %v", at, p.Arrived(), err)
	}
}

// A reader of a blob that has no checksums yet makes them; those that are there
// are used only for a blob of their length, and if they are whole.
func TestChecksums(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	data := noise(2*BlockSize + 5)
	d, _, err := b.Put(t.Context(), bytes.NewReader(data))
	mustDo(t, err)
	saved := b.sums.load(d, int64(len(data)))
	if len(saved) != 3 {
		t.Fatalf("%d checksums, want 3", len(saved))
	}
	if got := b.sums.load(d, 9*BlockSize); got != nil {
		t.Errorf("for another length: %v", got)
	}

	mustDo(t, os.Remove(b.files.sumsPath(d)))
	if got := b.sums.load(d, int64(len(data))); got != nil {
		t.Errorf("of no file: %v", got)
	}
	mustDo(t, b.Verify(d))
	if diff := cmp.Diff(saved, b.sums.load(d, int64(len(data)))); diff != "" {
		t.Errorf("made again: %s", diff)
	}

	breakByte(t, b.files.sumsPath(d), int64(len(sumsMagic)))
	if got := b.sums.load(d, int64(len(data))); got != nil {
		t.Errorf("damaged: %v", got)
	}
	mustDo(t, b.Delete(d))
	if _, err := os.Stat(b.files.sumsPath(d)); !os.IsNotExist(err) {
		t.Errorf("after its blob was deleted: %v", err)
	}
}

// Files of other processes that were cut are removed, what cannot be a directory
// of a store as well; what a process holds stays.
func TestCleanTemp(t *testing.T) {
	dir := t.TempDir()
	b := openTestBlobs(t, dir)
	mustDo(t, os.MkdirAll(filepath.Join(dir, tmpDir, "dead", "sub"), 0o700))
	mustDo(t, os.WriteFile(filepath.Join(dir, tmpDir, "file"), nil, 0o600))
	mustDo(t, os.Symlink(t.TempDir(), filepath.Join(dir, tmpDir, "link")))
	cleanTemp(dir)

	left, err := filepath.Glob(filepath.Join(dir, tmpDir, "*"))
	mustDo(t, err)
	if diff := cmp.Diff([]string{b.tmp.path}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	cleanTemp(filepath.Join(dir, "none")) // there is nothing to do
}

// Close removes what is under way, and may be called again.
func TestStore_Close(t *testing.T) {
	dir := t.TempDir()
	b := openTestBlobs(t, dir)
	batch := b.NewBatch()
	_, err := batch.PutBytes(t.Context(), []byte("never committed"))
	mustDo(t, err)
	mustDo(t, b.Close())
	mustDo(t, b.Close())
	if left, _ := os.ReadDir(filepath.Join(dir, tmpDir)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Errors of the system while a blob is written say that another node may
// succeed; those of the sender keep their kind.
func TestStoreError(t *testing.T) {
	own := storeError(&os.PathError{Op: "write", Path: "x", Err: unix.EIO})
	if pipeline.KindOf(own) != pipeline.Unavailable || !strings.Contains(own.Error(), "cannot be written") || !errors.Is(own, unix.EIO) {
		t.Errorf("own: %v of kind %v", own, pipeline.KindOf(own))
	}
	sender := pipeline.Errorf(pipeline.Invalid, "a bad request")
	if got := storeError(sender); got != error(sender) {
		t.Errorf("of the sender: %v", got)
	}
	if got := storeError(nil); got != nil {
		t.Errorf("none: %v", got)
	}
}
