package storage_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/workspace"
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

func BenchmarkPutTiny(b *testing.B) {
	for name, noSync := range map[string]bool{"sync": false, "nosync": true} {
		b.Run(name, func(b *testing.B) {
			s, _ := openBlobs(b, storage.BlobOptions{NoSync: noSync})
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
		s, _ := openBlobs(b, storage.BlobOptions{})
		b.ReportAllocs()
		measure(b)
		for b.Loop() {
			if _, err := s.PutBytes(b.Context(), []byte("the same")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("batch of 100, sync", func(b *testing.B) {
		s, _ := openBlobs(b, storage.BlobOptions{})
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

// benchFiles makes n small files in folders of 50.
func benchFiles(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := range n {
		writeFile(tb, filepath.Join(dir, fmt.Sprintf("pkg%d/file%d.go", i/50, i)), fmt.Sprintf("package pkg%d // %d\n%s", i/50, i, bytes.Repeat([]byte("x"), i%2000)), 0o644)
	}
	writeFile(tb, filepath.Join(dir, ".gitignore"), "*.o\n/bin/\nnode_modules\n*.tmp\n!keep.tmp\n", 0o644)
	return dir
}

func BenchmarkSnapshot10k(b *testing.B) {
	dir := benchFiles(b, 10_000)
	for name, noSync := range map[string]bool{"sync": false, "nosync": true} {
		b.Run(name, func(b *testing.B) {
			measure(b)
			for b.Loop() {
				b.StopTimer()
				s, _ := openBlobs(b, storage.BlobOptions{NoSync: noSync})
				b.StartTimer()
				if _, err := workspace.Snapshot(b.Context(), dir, s, workspace.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("again", func(b *testing.B) {
		s, _ := openBlobs(b, storage.BlobOptions{})
		if _, err := workspace.Snapshot(b.Context(), dir, s, workspace.Options{}); err != nil {
			b.Fatal(err)
		}
		measure(b)
		for b.Loop() {
			if _, err := workspace.Snapshot(b.Context(), dir, s, workspace.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchTree(b *testing.B, n int) (storage.Tree, *storage.Blobs) {
	s, _ := openBlobs(b, storage.BlobOptions{NoSync: true})
	tree, err := workspace.Snapshot(b.Context(), benchFiles(b, n), s, workspace.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return tree, s
}

func BenchmarkLayout1k(b *testing.B) {
	tree, s := benchTree(b, 1000)
	root := b.TempDir()
	must(b, disk.Mark(root))
	measure(b)
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(root, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o755))
		must(b, storage.Layout(b.Context(), tree, dir, s))
		b.StopTimer()
		must(b, disk.RemoveAll(root, dir))
		b.StartTimer()
	}
}

func BenchmarkLayoutTiny(b *testing.B) {
	s, _ := openBlobs(b, storage.BlobOptions{NoSync: true})
	stored(b, s, "x")
	root := b.TempDir()
	must(b, disk.Mark(root))
	b.ReportAllocs()
	measure(b)
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(root, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o755))
		must(b, storage.Layout(b.Context(), storage.Tree{file("a", "x")}, dir, s))
		must(b, disk.RemoveAll(root, dir))
	}
}

func BenchmarkCaptureOne(b *testing.B) {
	s, _ := openBlobs(b, storage.BlobOptions{NoSync: true})
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "out"), "x", 0o644)
	b.ReportAllocs()
	measure(b)
	for b.Loop() {
		if _, _, err := storage.Capture(b.Context(), dir, []string{"out"}, nil, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree10k(b *testing.B) {
	tree, s := benchTree(b, 10_000)
	blob, err := storage.EncodeTree(tree)
	must(b, err)
	b.Run("decode", func(b *testing.B) {
		measure(b)
		for b.Loop() {
			if _, err := storage.DecodeTree(blob); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("filter", func(b *testing.B) {
		measure(b)
		for b.Loop() {
			if got := tree.Filter([]string{"go.*", "pkg1*/**", "**/*9.go"}); len(got) == 0 {
				b.Fatal("nothing")
			}
		}
	})
	b.Run("missing", func(b *testing.B) {
		digests := tree.Digests()
		measure(b)
		for b.Loop() {
			if got := s.Missing(digests); len(got) != 0 {
				b.Fatal("missing")
			}
		}
	})
	b.Run("merge", func(b *testing.B) {
		measure(b)
		for b.Loop() {
			if _, err := storage.Merge(tree, storage.NamedTree{Name: "m", Tree: tree[:10]}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBundle1k(b *testing.B) {
	tree, s := benchTree(b, 1000)
	digests := tree.Digests()
	to, _ := openBlobs(b, storage.BlobOptions{NoSync: true})
	measure(b)
	for b.Loop() {
		var buf bytes.Buffer
		must(b, storage.WriteBundle(b.Context(), &buf, s, digests))
		batch := to.NewBatch()
		if _, err := storage.ReadBundle(b.Context(), &buf, storage.BundleLimits{}, batch); err != nil {
			b.Fatal(err)
		}
		must(b, batch.Commit(b.Context()))
	}
}
