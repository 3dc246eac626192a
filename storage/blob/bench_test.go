package blob_test

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// measure reports the processor time of an operation besides the time on the
// clock, which says little on a machine that is busy.
func measure(b *testing.B) {
	b.Helper()
	var start unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &start))
	b.Cleanup(func() {
		var end unix.Rusage
		must(b, unix.Getrusage(unix.RUSAGE_SELF, &end))
		used := end.Utime.Nano() + end.Stime.Nano() - start.Utime.Nano() - start.Stime.Nano()
		b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
	})
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkPutTiny(b *testing.B) {
	for name, noSync := range map[string]bool{"sync": false, "nosync": true} {
		b.Run(name, func(b *testing.B) {
			s, _ := openBlobs(b, blob.Options{NoSync: noSync})
			b.ReportAllocs()
			measure(b)
			for i := 0; b.Loop(); i++ {
				if _, err := s.PutBytes(b.Context(), fmt.Appendf(nil, "blob %d", i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("again", func(b *testing.B) {
		s, _ := openBlobs(b, blob.Options{})
		b.ReportAllocs()
		measure(b)
		for b.Loop() {
			if _, err := s.PutBytes(b.Context(), []byte("the same")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("batch of 100, sync", func(b *testing.B) {
		s, _ := openBlobs(b, blob.Options{})
		measure(b)
		for i := 0; b.Loop(); i++ {
			batch := s.NewBatch()
			for k := range 100 {
				if _, err := batch.PutBytes(b.Context(), fmt.Appendf(nil, "blob %d %d", i, k)); err != nil {
					b.Fatal(err)
				}
			}
			if err := batch.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBundle1k(b *testing.B) {
	s, _ := openBlobs(b, blob.Options{NoSync: true})
	var digests []pipeline.Digest
	for i := range 1000 {
		digests = append(digests, mustPutBytes(b, s, strings.Repeat(fmt.Sprint(i), i%2000)+"x"))
	}
	to, _ := openBlobs(b, blob.Options{NoSync: true})
	measure(b)
	for b.Loop() {
		var buf bytes.Buffer
		must(b, blob.WriteBundle(b.Context(), &buf, s, digests))
		batch := to.NewBatch()
		if _, err := blob.ReadBundle(b.Context(), &buf, blob.BundleLimits{}, batch); err != nil {
			b.Fatal(err)
		}
		must(b, batch.Commit(b.Context()))
	}
}

// BenchmarkClean compares what a cache hit costs that reads its outputs with one
// that finds them in the memory of Clean.
func BenchmarkClean(b *testing.B) {
	for _, outputs := range []struct {
		name        string
		files, size int
	}{{"64MiB", 1, 64 << 20}, {"1000x1KiB", 1000, 1 << 10}} {
		dir := filepath.Join(b.TempDir(), "blobs")
		first := openBlobsIn(b, dir, blob.Options{NoSync: true})
		var digests []pipeline.Digest
		for i := range outputs.files {
			d, _, err := first.Put(b.Context(), io.MultiReader(strings.NewReader(fmt.Sprint(i)), io.LimitReader(zeros{}, int64(outputs.size))))
			must(b, err)
			digests = append(digests, d)
		}

		check := func(b *testing.B, s *blob.Store) {
			b.Helper()
			if got := s.Clean(digests); len(got) != len(digests) {
				b.Fatalf("%d of %d are clean", len(got), len(digests))
			}
		}
		b.Run(outputs.name+"/read", func(b *testing.B) {
			measure(b)
			for b.Loop() {
				b.StopTimer()
				s := openBlobsIn(b, dir, blob.Options{NoSync: true}) // remembers nothing
				b.StartTimer()
				check(b, s)
			}
		})
		b.Run(outputs.name+"/remembered", func(b *testing.B) {
			check(b, first)
			measure(b)
			for b.Loop() {
				check(b, first)
			}
		})
	}
}
