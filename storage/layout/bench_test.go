package layout_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
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

// benchTree stores n small files in directories of 50.
func benchTree(b *testing.B, n int) (tree.Tree, *blob.Store) {
	b.Helper()
	s, _ := blobtest.New(b, blob.Options{NoSync: true})
	var files tree.Tree
	for i := range n {
		text := fmt.Sprintf("package pkg%d // %d\n%s", i/50, i, bytes.Repeat([]byte("x"), i%2000))
		stored(b, s, text)
		files = append(files, file(fmt.Sprintf("pkg%d/file%d.go", i/50, i), text))
	}
	files.Sort()
	return files, s
}

func BenchmarkLayout1k(b *testing.B) {
	files, s := benchTree(b, 1000)
	root := b.TempDir()
	must(b, disk.Mark(root))
	measure(b)
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(root, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o755))
		must(b, layout.Write(b.Context(), files, dir, s))
		b.StopTimer()
		must(b, disk.RemoveAll(root, dir))
		b.StartTimer()
	}
}

func BenchmarkLayoutTiny(b *testing.B) {
	s, _ := blobtest.New(b, blob.Options{NoSync: true})
	stored(b, s, "x")
	root := b.TempDir()
	must(b, disk.Mark(root))
	b.ReportAllocs()
	measure(b)
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(root, fmt.Sprint(i))
		must(b, os.Mkdir(dir, 0o755))
		must(b, layout.Write(b.Context(), tree.Tree{file("a", "x")}, dir, s))
		must(b, disk.RemoveAll(root, dir))
	}
}

func BenchmarkCaptureOne(b *testing.B) {
	s, _ := blobtest.New(b, blob.Options{NoSync: true})
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "out"), "x", 0o644)
	b.ReportAllocs()
	measure(b)
	for b.Loop() {
		if _, _, err := layout.Capture(b.Context(), dir, []string{"out"}, nil, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree10k(b *testing.B) {
	files, s := benchTree(b, 10_000)
	text, err := tree.Encode(files)
	must(b, err)
	b.Run("decode", func(b *testing.B) {
		measure(b)
		for b.Loop() {
			if _, err := tree.Decode(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("filter", func(b *testing.B) {
		measure(b)
		for b.Loop() {
			if got := files.Filter([]string{"go.*", "pkg1*/**", "**/*9.go"}); len(got) == 0 {
				b.Fatal("nothing")
			}
		}
	})
	b.Run("missing", func(b *testing.B) {
		digests := files.Digests()
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
			if _, err := layout.Merge(files, layout.Named{Name: "m", Tree: files[:10]}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
