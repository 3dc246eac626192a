package fsm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// packed is a body under the compression of snapshots.
func packed(tb testing.TB, body []byte) []byte {
	tb.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(body, nil)
}

// sealed puts the end marker, the count and the checksum behind the pairs.
func sealed(head string, pairs []byte, count uint64) []byte {
	body := append([]byte(head), pairs...)
	body = binary.AppendUvarint(append(body, 0), count)
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

func pair(bucket byte, k, v string) []byte {
	b := binary.AppendUvarint([]byte{bucket}, uint64(len(k)))
	b = binary.AppendUvarint(append(b, k...), uint64(len(v)))
	return append(b, v...)
}

const head = "pipelined-state-1\n"

func TestRestore_damaged(t *testing.T) {
	source := newStore(t)
	play(source, script(t))
	good, want := capture(t, source), walk(t, source)

	dir := t.TempDir()
	s, err := fsm.Open(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	target := &rig{Store: s, tb: t}
	target.must(submit(t, "old", 1), batch(assign("old", "m0", 1)))
	old := walk(t, s)
	refuse := func(what string, snapshot []byte) {
		t.Helper()
		err := restore(s, snapshot)
		got := walk(t, s)
		switch {
		case err != nil && slices.Equal(old, got):
		case err == nil && what == "flipped" && slices.Equal(want, got):
			// A bit that means nothing: what came out is right to the last byte.
			target.index = 0
			if err := restore(s, capture(t, oldStore(t))); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("%s: error %v; the old state stands: %v", what, err, slices.Equal(old, got))
		}
	}

	// Every place near the ends, and every seventh between.
	places := func(yield func(int) bool) {
		for i := range good {
			if (i < 24 || i > len(good)-48 || i%7 == 0) && !yield(i) {
				return
			}
		}
	}

	for n := range places {
		refuse(fmt.Sprintf("cut at %d", n), good[:n])
	}

	for i := range places {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		refuse("flipped", bad)
	}

	refuse("doubled", append(bytes.Clone(good), good...))
	refuse("with a tail", append(bytes.Clone(good), "tail"...))

	one := pair(2, "k", "v")
	for what, body := range map[string][]byte{
		"empty":                  {},
		"wrong magic":            sealed("pipelined-state-2\n", one, 1),
		"no magic":               sealed("", one, 1),
		"wrong count":            sealed(head, one, 2),
		"no end":                 append([]byte(head), one...),
		"unknown bucket":         sealed(head, pair(100, "k", "v"), 1),
		"last bucket of all":     sealed(head, pair(255, "k", "v"), 1),
		"empty key":              sealed(head, pair(2, "", "v"), 1),
		"long key":               sealed(head, pair(2, string(make([]byte, 5000)), "v"), 1),
		"wrong checksum":         append(sealed(head, one, 1)[:len(sealed(head, one, 1))-1], 0),
		"something behind":       append(sealed(head, one, 1), 0),
		"key length of 2^63":     append([]byte(head), append([]byte{2}, binary.AppendUvarint(nil, 1<<63)...)...),
		"length without end":     append([]byte(head), append([]byte{2}, bytes.Repeat([]byte{0xff}, 20)...)...),
		"value length of 2^40":   append([]byte(head), append([]byte{2, 1, 'k'}, binary.AppendUvarint(nil, 1<<40)...)...),
		"value length of 64 MiB": append([]byte(head), append([]byte{2, 1, 'k'}, binary.AppendUvarint(nil, 64<<20)...)...),
	} {
		refuse(what, packed(t, body))
	}

	refuse("not compressed", sealed(head, one, 1))
	if err := restore(s, packed(t, sealed(head, one, 1))); err != nil {
		t.Errorf("the untouched form of these: %v", err)
	}

	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v; want the state alone", files, err)
	}
}

// oldStore has what TestRestore_damaged begins with.
func oldStore(tb testing.TB) *fsm.Store {
	r := newRig(tb)
	r.must(submit(tb, "old", 1), batch(assign("old", "m0", 1)))
	return r.Store
}

// TestRestore_memory: neither a false length nor a body that unpacks to much
// more than it is allocates much memory.
func TestRestore_memory(t *testing.T) {
	s := newStore(t)
	lies := append([]byte(head), append([]byte{2, 1, 'k'}, binary.AppendUvarint(nil, 64<<20)...)...)
	snapshot := packed(t, lies)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := restore(s, snapshot); err == nil {
		t.Fatal("it was restored")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d bytes were allocated for a snapshot of %d", got, len(snapshot))
	}
}

// TestRestore_reader: an error in the middle of the stream.
func TestRestore_reader(t *testing.T) {
	source := newStore(t)
	play(source, script(t))
	good := capture(t, source)
	s := oldStore(t)
	old := walk(t, s)
	broken := errors.New("the connection broke")
	in := &stream{Reader: io.MultiReader(bytes.NewReader(good[:len(good)/2]), failing{broken})}
	if err := s.Restore(in); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v in it", err, broken)
	}
	if !in.closed {
		t.Error("the stream was not closed")
	}
	wantEqual(t, "after a broken stream", old, walk(t, s))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type stream struct {
	io.Reader
	closed bool
}

func (s *stream) Close() error { s.closed = true; return nil }

// gate blocks writers until it is opened, and reports when one waits.
type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

func (g *gate) pass() {
	g.once.Do(func() { close(g.reached) })
	<-g.open
}

type gatedSink struct {
	memorySink
	*gate
}

func (s *gatedSink) Write(b []byte) (int, error) { s.pass(); return s.memorySink.Write(b) }

type gatedReader struct {
	io.Reader
	*gate
}

func (r *gatedReader) Read(b []byte) (int, error) { r.pass(); return r.Reader.Read(b) }

// TestSnapshot_applyGoesOn: entries are applied while a snapshot waits in its
// sink, and it holds what was there when it was taken.
func TestSnapshot_applyGoesOn(t *testing.T) {
	r := newRig(t)
	play(r.Store, script(t))
	r.index = r.Index()
	want := walk(t, r.Store)
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}

	r.must(submit(t, "between", 1)) // before Persist begins
	sink := &gatedSink{gate: newGate()}
	done := make(chan error, 1)
	go func() { done <- snap.Persist(sink) }()
	within(t, "the snapshot's first write", sink.reached)

	for i := range 500 {
		r.must(submit(t, fmt.Sprintf("x%d", i), 1))
	}

	r.must(cancel("x0"))
	close(sink.open)

	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("waited 30 s for the end")
	}

	snap.Release()
	snap.Release() // harmless
	other := newStore(t)
	if err := restore(other, sink.Bytes()); err != nil {
		t.Fatal(err)
	}

	wantEqual(t, "the snapshot", want, walk(t, other))
	if got := r.run("x0").State; got != pipeline.RunCancelling {
		t.Errorf("x0 is %s, want cancelling", got)
	}
}

type brokenSink struct{ memorySink }

func (*brokenSink) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestSnapshot_brokenSink(t *testing.T) {
	s := oldStore(t)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var sink brokenSink
	if err := snap.Persist(&sink); err == nil || !sink.cancelled || sink.closed {
		t.Errorf("error %v, cancelled %v, closed %v; want an error and the sink cancelled", err, sink.cancelled, sink.closed)
	}
}

// TestRestore_readersGoOn: the old state is read while the new one comes in,
// and a snapshot of the old one that is still being written holds no reader up.
func TestRestore_readersGoOn(t *testing.T) {
	source := newStore(t)
	play(source, script(t))
	good := capture(t, source)
	s := oldStore(t)
	old := capture(t, s)
	oldWalk := walk(t, s)

	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}

	in := &gatedReader{Reader: bytes.NewReader(good), gate: newGate()}
	done := make(chan error, 1)
	go func() { done <- s.Restore(io.NopCloser(in)) }()
	within(t, "the restore's first read", in.reached)
	wantEqual(t, "while the new state comes in", oldWalk, walk(t, s))
	swapped := s.Changed("anything")

	// A reader in the middle of its transaction keeps the old state to its end.
	err = s.View(func(v *fsm.View) error {
		close(in.open)
		if v.Index() != 2 {
			t.Errorf("index %d in the old state, want 2", v.Index())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	within(t, "the swap", swapped)
	wantEqual(t, "after the swap, before the old snapshot is released", walk(t, source), walk(t, s))
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		t.Errorf("persist a snapshot of the replaced state: %v", err)
	}

	if !bytes.Equal(sink.Bytes(), old) {
		t.Error("a snapshot of the replaced state has another content")
	}

	snap.Release()

	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("waited 30 s for the end")
	}
}

// TestRestore_underLoad reads all the time while states are swapped: each read
// sees one of the two, whole.
func TestRestore_underLoad(t *testing.T) {
	a, b := newStore(t), oldStore(t)
	play(a, script(t))
	snapshots := [][]byte{capture(t, a), capture(t, b)}
	want := map[string]bool{fmt.Sprint(walk(t, a)): true, fmt.Sprint(walk(t, b)): true}
	s := newStore(t)
	if err := restore(s, snapshots[0]); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !isClosed(stop) {
				if !want[fmt.Sprint(walk(t, s))] {
					t.Error("a reader saw neither state")
					return
				}
			}
		})
	}
	for i := range 30 {
		if err := restore(s, snapshots[i%2]); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestOpen_startsEmpty: what an earlier process left is not trusted.
func TestOpen_startsEmpty(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		s, err := fsm.Open(dir, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		if lines := walk(t, s); len(lines) != 0 {
			t.Errorf("a state of %d pairs after a start", len(lines))
		}
		(&rig{Store: s, tb: t}).must(submit(t, "r", 1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "state.db.restore"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fsm.Open(file, hclog.NewNullLogger()); err == nil {
		t.Error("a file was taken for a directory")
	}
}
