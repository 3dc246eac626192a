package blob_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/storage/blob"
)

// BenchmarkLog stores a log, reads all of it, and reads 4 KiB from its middle.
func BenchmarkLog(b *testing.B) {
	text := logText(64 << 20)
	store, _ := openBlobs(b, blob.Options{NoSync: true})
	d, err := blob.PutLog(b.Context(), store, int64(len(text)), bytes.NewReader(text), strings.NewReader(""))
	if err != nil {
		b.Fatal(err)
	}
	stored, err := store.Size(d)
	if err != nil {
		b.Fatal(err)
	}

	b.Run("put", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := blob.PutLog(b.Context(), store, int64(len(text)), bytes.NewReader(text), strings.NewReader("")); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(100*float64(stored)/float64(len(text)), "%stored")
	})
	b.Run("put plain", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, _, err := store.Put(b.Context(), bytes.NewReader(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
	read := func(b *testing.B, f func(blob.LogReader)) {
		for b.Loop() {
			opened, err := store.Open(d)
			if err != nil {
				b.Fatal(err)
			}
			log, err := blob.OpenLog(opened, int64(len(text)))
			if err != nil {
				b.Fatal(err)
			}
			f(log)
			opened.Close()
		}
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		read(b, func(log blob.LogReader) {
			if n, err := io.Copy(io.Discard, log); err != nil || n < int64(len(text)) {
				b.Fatal(n, err)
			}
		})
	})
	b.Run("4KiB", func(b *testing.B) {
		part := make([]byte, 4<<10)
		read(b, func(log blob.LogReader) {
			if _, err := log.ReadAt(part, int64(len(text)/2)); err != nil {
				b.Fatal(err)
			}
		})
	})
}
