package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// random gives n bytes that follow from a seed.
func random(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

func cutAll(c *storage.Cutter, p []byte) (lengths []int) {
	for len(p) > 0 {
		n := c.Next(p)
		lengths = append(lengths, n)
		p = p[n:]
	}
	return lengths
}

// Every node must cut alike, of whatever version it is: these are the borders of
// given bytes, for ever.
func TestCutter_sameForEver(t *testing.T) {
	h := sha256.New()
	lengths := cutAll(storage.NewCutter(256<<10), random(20<<20, 9))
	for _, n := range lengths {
		h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	}
	const want = "7293fe1d464f4cb7"
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
		t.Errorf("%d chunks, digest of their lengths %s, want %s", len(lengths), got, want)
	}
}

// Lengths keep to their bounds and add up, and after bytes that were put in the
// middle the borders are those of before.
func TestCutter_bounds(t *testing.T) {
	const average = 4 << 10
	c := storage.NewCutter(average)
	for name, p := range map[string][]byte{"random": random(1<<20, 1), "zeros": make([]byte, 100_000), "one": {1}, "text": text(300_000)} {
		sum := 0
		lengths := cutAll(c, p)
		for i, n := range lengths {
			if sum += n; n > 4*average || n < average/4 && i < len(lengths)-1 {
				t.Errorf("%s: chunk %d has %d bytes", name, i, n)
			}
		}
		if sum != len(p) {
			t.Errorf("%s: %d bytes of %d", name, sum, len(p))
		}
	}
	before := random(1<<20, 2)
	after := slices.Concat(before[:500_000], []byte("some bytes more"), before[500_000:])
	have := map[string]bool{}
	each := func(p []byte, f func(string)) {
		for _, n := range cutAll(c, p) {
			f(string(p[:n]))
			p = p[n:]
		}
	}
	each(before, func(s string) { have[s] = true })
	missing := 0
	each(after, func(s string) {
		if !have[s] {
			missing += len(s)
		}
	})
	if missing > 8*average {
		t.Errorf("%d bytes are in new chunks", missing)
	}
}

func TestParseChunks(t *testing.T) {
	const size = 20 << 20
	var good []storage.Chunk
	for left := uint32(size); left > 0; {
		n := min(left, 700<<10)
		good = append(good, storage.Chunk{Sum: storage.ChunkSum{byte(left), byte(left >> 8)}, Size: n})
		left -= n
	}
	raw := storage.AppendChunks(nil, good)
	if got, err := storage.ParseChunks(raw, size); err != nil || !slices.Equal(got, good) {
		t.Errorf("a good list: %d chunks, %v", len(got), err)
	}
	with := func(i int, n uint32) []byte {
		list := slices.Clone(good)
		list[i].Size = n
		return storage.AppendChunks(nil, list)
	}
	for name, bad := range map[string]struct {
		raw  []byte
		size int64
	}{
		"empty": {nil, size}, "cut": {raw[:len(raw)-1], size}, "one less": {raw[20:], size}, "another size": {raw, size + 1}, "a small blob": {raw, 100},
		"a huge blob": {raw, 1 << 60}, "no bytes": {with(3, 0), size}, "too short": {with(3, 1000), size}, "too long": {with(3, 2<<20), size},
		"all of it": {with(0, 1<<32-1), size}, "negative": {raw, -size}, "many": {bytes.Repeat(raw[:20], 400_000), size},
	} {
		if _, err := storage.ParseChunks(bad.raw, bad.size); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%s: got %v, want an error of kind invalid", name, err)
		}
	}
}

func FuzzParseChunks(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 2, 3, 0, 4, 0}, 500), int64(17<<20))
	f.Fuzz(func(t *testing.T, raw []byte, size int64) {
		list, err := storage.ParseChunks(raw, size)
		sum := int64(0)
		for i := range list {
			sum += int64(list[i].Size)
		}
		if err == nil && sum != size {
			t.Errorf("%d bytes of %d", sum, size)
		}
	})
}

const chunkedSize = 24<<20 + 12345

// versions are two versions of a file.
func versions() (before, after []byte) {
	before = random(chunkedSize, 3)
	after = slices.Concat(before[:9<<20], []byte("a line more"), before[9<<20:], []byte("and one at the end"))
	return before, after
}

func chunksFile(dir string, d pipeline.Digest) string { return blobFile(dir, d) + ".cdc" }

// A list is made once, kept, found by the next life, and goes with its blob; a
// damaged one is made anew.
func TestBlobs_Chunks(t *testing.T) {
	b, dir := openBlobs(t, storage.BlobOptions{NoSync: true})
	p, _ := versions()
	d := put(t, b, p)
	if got := b.Unchunked(); !slices.Equal(got, []pipeline.Digest{d}) || b.Unchunked() != nil || b.Chunked() {
		t.Errorf("new large blobs: %v", got)
	}
	list, err := b.Chunks(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lengths []int
	at := 0
	for _, c := range list {
		sum := sha256.Sum256(p[at : at+int(c.Size)])
		if c.Sum != storage.ChunkSum(sum[:16]) {
			t.Fatalf("the chunk at %d has another sum", at)
		}
		lengths, at = append(lengths, int(c.Size)), at+int(c.Size)
	}
	if want := cutAll(storage.NewCutter(256<<10), p); !slices.Equal(lengths, want) {
		t.Errorf("cut in pieces: %v, as a whole: %v", lengths, want)
	}
	stop := errors.New("read again")
	never := func(int) error { return stop }
	if again, err := b.Chunks(t.Context(), d, never); err != nil || !slices.Equal(again, list) {
		t.Errorf("again: %v", err)
	}
	next := openBlobsIn(t, dir, storage.BlobOptions{NoSync: true})
	if !next.Chunked() || next.HasChunks([]storage.ChunkSum{list[3].Sum, {1}}) != 1 {
		t.Error("the next life does not find the chunks")
	}
	raw, _ := os.ReadFile(chunksFile(dir, d))
	raw[30] ^= 1
	os.Remove(chunksFile(dir, d))
	if err := os.WriteFile(chunksFile(dir, d), raw, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Chunks(t.Context(), d, never); !errors.Is(err, stop) {
		t.Errorf("with a damaged list: %v", err)
	}
	if again, err := b.Chunks(t.Context(), d, nil); err != nil || !slices.Equal(again, list) {
		t.Errorf("made anew: %v", err)
	}
	if err := b.Delete(d); err != nil || exists(chunksFile(dir, d)) {
		t.Errorf("after the blob went: %v", err)
	}
	small := put(t, b, random(1<<20, 1))
	for d, kind := range map[pipeline.Digest]pipeline.Kind{small: pipeline.Invalid, d: pipeline.NotFound} {
		if _, err := b.Chunks(t.Context(), d, nil); pipeline.KindOf(err) != kind {
			t.Errorf("got %v, want kind %v", err, kind)
		}
		if _, err := b.SampleChunks(t.Context(), d); pipeline.KindOf(err) != kind {
			t.Errorf("sample: got %v, want kind %v", err, kind)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Chunks(done, put(t, b, p), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A sample tells a new version from other bytes.
func TestBlobs_SampleChunks(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	before, after := versions()
	if _, err := b.Chunks(t.Context(), put(t, b, before), nil); err != nil {
		t.Fatal(err)
	}
	holder, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	for name, test := range map[string]struct {
		p           []byte
		least, most float64
	}{"another version": {after, 0.6, 1}, "other bytes": {random(chunkedSize, 4), 0, 0}} {
		sums, err := holder.SampleChunks(t.Context(), put(t, holder, test.p))
		if err != nil || len(sums) < 10 {
			t.Fatalf("%s: %d sums, %v", name, len(sums), err)
		}
		if got := float64(b.HasChunks(sums)) / float64(len(sums)); got < test.least || got > test.most {
			t.Errorf("%s: %.2f of the sample are here", name, got)
		}
	}
}

// filling has a version of a file and a partial blob of the next one, and its list.
func filling(t *testing.T, packed bool) (b *storage.Blobs, dir string, old pipeline.Digest, part *storage.Partial, list []storage.Chunk, after []byte) {
	t.Helper()
	b, dir = openBlobs(t, storage.BlobOptions{NoSync: true})
	before, after := versions()
	old = put(t, b, before)
	if _, err := b.Chunks(t.Context(), old, nil); err != nil {
		t.Fatal(err)
	}
	if packed {
		storage.PackAll(b)
		mustPack(t, b, old)
	}
	holder, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	list, err := holder.Chunks(t.Context(), put(t, holder, after), nil)
	if err != nil {
		t.Fatal(err)
	}
	if part, err = b.Partial(storage.DigestOf(after), int64(len(after))); err != nil {
		t.Fatal(err)
	}
	return b, dir, old, part, list, after
}

// bring fetches what is missing, and gives how much that was.
func bring(t *testing.T, part *storage.Partial, from []byte) (came int64) {
	t.Helper()
	for {
		at, to := part.Claim(16 << 20)
		if at == to {
			return came
		}
		if _, err := part.Fill(t.Context(), at, to, bytes.NewReader(from[at:])); err != nil {
			t.Fatal(err)
		}
		part.Release(at, to)
		came += to - at
	}
}

// What the versions share is taken over, from a plain and from a packed blob, and
// little is left to come.
func TestPartial_FillLocal(t *testing.T) {
	for _, packed := range []bool{false, true} {
		b, _, _, part, list, after := filling(t, packed)
		// Some of it is on its way already.
		from, to := part.Claim(3 * storage.BlockSize)
		filled, err := part.FillLocal(t.Context(), list)
		if err != nil || filled < int64(len(after))*8/10 || part.Bytes() != filled {
			t.Fatalf("packed %v: taken over %d bytes, %d are here, %v", packed, filled, part.Bytes(), err)
		}
		part.Release(from, to)
		if again, err := part.FillLocal(t.Context(), list); again != to-from || err != nil {
			t.Errorf("again: %d bytes, %v, want those %d that were claimed", again, err, to-from)
		}
		if came := bring(t, part, after); came > 3<<20 {
			t.Errorf("%d bytes came", came)
		}
		if err := part.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := b.ReadAll(storage.DigestOf(after), 1<<30); err != nil || !bytes.Equal(got, after) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// Where the blob that has the chunks is gone, damaged or another than the index
// says, nothing false is taken over.
func TestPartial_FillLocal_gone(t *testing.T) {
	for name, spoilIt := range map[string]func(b *storage.Blobs, dir string, old pipeline.Digest){
		"deleted": func(b *storage.Blobs, _ string, old pipeline.Digest) { _ = b.Delete(old) },
		"damaged": func(_ *storage.Blobs, dir string, old pipeline.Digest) {
			p, _ := os.ReadFile(blobFile(dir, old))
			p[15<<20] ^= 1
			spoil(t, dir, old, p)
		},
		"removed by hand": func(_ *storage.Blobs, dir string, old pipeline.Digest) { os.Remove(blobFile(dir, old)) },
	} {
		b, dir, old, part, list, after := filling(t, false)
		spoilIt(b, dir, old)
		filled, err := part.FillLocal(t.Context(), list)
		if err != nil || filled > 15<<20 {
			t.Errorf("%s: %d bytes, %v", name, filled, err)
		}
		if came := bring(t, part, after); came+filled != int64(len(after)) {
			t.Errorf("%s: %d bytes came, %d were taken over", name, came, filled)
		}
		if err := part.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A list that is not the blob's is found out at the end, and nothing is kept.
func TestPartial_FillLocal_falseList(t *testing.T) {
	b, _, _, part, list, after := filling(t, false)
	slices.Reverse(list[:len(list)-1])
	filled, err := part.FillLocal(t.Context(), list)
	if err != nil || filled == 0 {
		t.Fatalf("%d bytes, %v", filled, err)
	}
	bring(t, part, after)
	var mismatch *storage.MismatchError
	d := storage.DigestOf(after)
	if err := part.Commit(t.Context()); !errors.As(err, &mismatch) || b.Has(d) {
		t.Errorf("commit: %v", err)
	}
	if n, _ := b.Arrived(d); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
}
