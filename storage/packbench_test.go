package storage_test

import (
	"io"
	"os"
	"testing"

	"github.com/pipelined/pipelined/storage"
)

// packFiles are what the benchmarks pack: a text, this test's own program, and the
// file that PIPELINED_PACK names.
func packFiles(b *testing.B) map[string]func() io.Reader {
	open := func(path string) func() io.Reader {
		return func() io.Reader {
			f, err := os.Open(path)
			must(b, err)
			b.Cleanup(func() { f.Close() })
			return f
		}
	}
	program, err := os.Executable()
	must(b, err)
	files := map[string]func() io.Reader{"program": open(program)}
	if path := os.Getenv("PIPELINED_PACK"); path != "" {
		files["given"] = open(path)
	}
	return files
}

// BenchmarkPack packs a blob; of its plain bytes "stored" are left.
func BenchmarkPack(b *testing.B) {
	for name, open := range packFiles(b) {
		b.Run(name, func(b *testing.B) {
			s, _ := openBlobs(b, storage.BlobOptions{})
			measure(b)
			b.StopTimer()
			for range b.N {
				d, size, err := s.Put(b.Context(), open())
				must(b, err)
				b.SetBytes(size)
				b.StartTimer()
				out, err := s.Pack(b.Context(), d, storage.PackOptions{})
				b.StopTimer()
				must(b, err)
				if !out.Done {
					b.Fatalf("not packed: %+v", out)
				}
				b.ReportMetric(float64(out.Stored)/float64(out.Size), "stored")
				must(b, s.Delete(d))
			}
		})
	}
}

// BenchmarkUnpack makes the plain file again.
func BenchmarkUnpack(b *testing.B) {
	for name, open := range packFiles(b) {
		b.Run(name, func(b *testing.B) {
			s, _ := openBlobs(b, storage.BlobOptions{})
			measure(b)
			b.StopTimer()
			for range b.N {
				d, size, err := s.Put(b.Context(), open())
				must(b, err)
				b.SetBytes(size)
				mustPack(b, s, d)
				b.StartTimer()
				_, err = s.Plain(b.Context(), d)
				b.StopTimer()
				must(b, err)
				must(b, s.Delete(d))
			}
		})
	}
}

// BenchmarkReadPacked reads a blob from both forms, as a whole, and in parts of
// 4 KiB from all over it.
func BenchmarkReadPacked(b *testing.B) {
	for name, open := range packFiles(b) {
		for _, form := range []string{"plain", "packed"} {
			s, _ := openBlobs(b, storage.BlobOptions{})
			d, size, err := s.Put(b.Context(), open())
			must(b, err)
			if form == "packed" {
				mustPack(b, s, d)
			}
			b.Run(name+"/"+form+"/whole", func(b *testing.B) {
				buf := make([]byte, storage.BlockSize)
				b.SetBytes(size)
				measure(b)
				for b.Loop() {
					r, err := s.Open(d)
					must(b, err)
					_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
					must(b, err)
					r.Close()
				}
			})
			b.Run(name+"/"+form+"/4KiB", func(b *testing.B) {
				buf := make([]byte, 4<<10)
				measure(b)
				for i := int64(0); b.Loop(); i++ {
					r, err := s.Open(d)
					must(b, err)
					_, err = r.ReadAt(buf, i*7919*4096%(size-4096))
					must(b, err)
					r.Close()
				}
			})
		}
	}
}
