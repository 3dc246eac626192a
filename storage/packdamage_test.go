package storage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// Whatever is wrong with a packed file, no byte of it is given out: it is put
// aside, told of, and replaced by a good copy.
func TestBlobs_packedDamage(t *testing.T) {
	for _, size := range []int{40 << 10, 3*storage.BlockSize + 5} {
		good := text(size)
		frames := func(raw []byte) int { return len(raw) - 41 - 12*((size+storage.BlockSize-1)/storage.BlockSize) }
		flip := func(at func(raw []byte) int) func([]byte) []byte {
			return func(raw []byte) []byte { raw[at(raw)] ^= 0x10; return raw }
		}
		last := func(k int) func([]byte) int { return func(raw []byte) int { return len(raw) - k } }
		bad := map[string]func([]byte) []byte{
			"first frame's head": flip(func([]byte) int { return 0 }), "first frame": flip(func([]byte) int { return 100 }),
			"last frame": flip(func(raw []byte) int { return frames(raw) - 1 }), "own frame's head": flip(func(raw []byte) int { return frames(raw) }),
			"own frame's length": flip(func(raw []byte) int { return frames(raw) + 4 }), "plain length": flip(func(raw []byte) int { return frames(raw) + 12 }),
			"checksum of a frame": flip(func(raw []byte) int { return frames(raw) + 20 }), "seek table": flip(last(12)),
			"number of frames": flip(last(9)), "many frames": func(raw []byte) []byte { binary.LittleEndian.PutUint32(raw[len(raw)-9:], 1<<31); return raw },
			"flags": flip(last(5)), "magic at the end": flip(last(1)), "one byte less": func(raw []byte) []byte { return raw[:len(raw)-1] },
			"one byte more": func(raw []byte) []byte { return append(raw, 0) }, "no index": func(raw []byte) []byte { return raw[:frames(raw)] },
			"index alone": func(raw []byte) []byte { return raw[frames(raw):] }, "half": func(raw []byte) []byte { return raw[:len(raw)/2] },
			"nothing": func([]byte) []byte { return nil }, "another": func(raw []byte) []byte { return []byte(strings.Repeat("x", len(raw))) },
		}
		reads := map[string]func(*storage.Blobs, pipeline.Digest) error{
			"ReadAll": func(b *storage.Blobs, d pipeline.Digest) error { _, err := b.ReadAll(d, 1<<20); return err },
			"Verify":  func(b *storage.Blobs, d pipeline.Digest) error { return b.Verify(d) },
			"Plain":   func(b *storage.Blobs, d pipeline.Digest) error { _, err := b.Plain(t.Context(), d); return err },
			"Layout": func(b *storage.Blobs, d pipeline.Digest) error {
				return storage.Layout(t.Context(), storage.Tree{{Path: "f", Mode: 0o644, Digest: d, Size: int64(size)}}, t.TempDir(), b)
			},
			"Copy": func(b *storage.Blobs, d pipeline.Digest) error {
				r, err := b.Open(d)
				if err != nil {
					return err
				}
				defer r.Close()
				var got bytes.Buffer
				if _, err = io.Copy(&got, r); !bytes.HasPrefix(good, got.Bytes()) {
					return fmt.Errorf("bytes that are not the blob's were given out before %w", err)
				}
				return err
			},
		}
		for how, spoil := range bad {
			for with, read := range reads {
				t.Run(fmt.Sprintf("%d/%s/%s", size, how, with), func(t *testing.T) {
					var told []pipeline.Digest
					b, dir := openBlobs(t, storage.BlobOptions{NoSync: true, OnCorrupt: func(d pipeline.Digest) { told = append(told, d) }})
					d := put(t, b, good)
					mustPack(t, b, d)
					raw, err := os.ReadFile(packedFile(dir, d))
					if err != nil {
						t.Fatal(err)
					}
					os.Remove(packedFile(dir, d))
					if err := os.WriteFile(packedFile(dir, d), spoil(raw), 0o400); err != nil {
						t.Fatal(err)
					}
					var corrupt *storage.CorruptError
					if err := read(b, d); !errors.As(err, &corrupt) || corrupt.Digest != d {
						t.Fatalf("got %v, want a *CorruptError", err)
					}
					if b.Has(d) || !slices.Equal(told, []pipeline.Digest{d}) {
						t.Errorf("here still: %v, told of %v", b.Has(d), told)
					}
					if aside, _ := os.ReadDir(filepath.Join(dir, "corrupt")); len(aside) != 1 {
						t.Errorf("put aside: %v, want one file", aside)
					}
					if _, err := b.PutExpect(t.Context(), d, bytes.NewReader(good)); err != nil || b.Verify(d) != nil {
						t.Errorf("put a good copy: %v", err)
					}
					mustPack(t, b, d)
				})
			}
		}
	}
}

// A damaged index is found by whoever asks for the size; a frame by the scrub.
func TestBlobs_packedDamage_found(t *testing.T) {
	for name, at := range map[string]int{"index": -3, "frame": 50} {
		told := 0
		b, dir := openBlobs(t, storage.BlobOptions{NoSync: true, OnCorrupt: func(pipeline.Digest) { told++ }})
		d := put(t, b, text(300<<10))
		mustPack(t, b, d)
		raw, _ := os.ReadFile(packedFile(dir, d))
		raw[(len(raw)+at)%len(raw)] ^= 1
		os.Remove(packedFile(dir, d))
		if err := os.WriteFile(packedFile(dir, d), raw, 0o400); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := b.Walk(t.Context(), func(storage.BlobInfo) error { n++; return nil }); n != 1 || err != nil {
			t.Errorf("%s: walk gives %d blobs, %v", name, n, err)
		}
		if name == "index" {
			if _, err := b.Size(d); pipeline.KindOf(err) != pipeline.NotFound || told != 1 {
				t.Errorf("size: %v, told %d times", err, told)
			}
		}
		if err := b.VerifyAt(d, func(int) error { return nil }); pipeline.KindOf(err) != pipeline.NotFound || told != 1 {
			t.Errorf("%s: verify: %v, told %d times", name, err, told)
		}
	}
}
