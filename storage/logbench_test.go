package storage_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/pipelined/pipelined/storage"
)

// BenchmarkLog stores a log, reads all of it, and reads 4 KiB from its middle.
func BenchmarkLog(b *testing.B) {
	text := logText(64 << 20)
	store, _ := openBlobs(b, storage.BlobOptions{NoSync: true})
	d, err := storage.PutLog(b.Context(), store, int64(len(text)), bytes.NewReader(text))
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
			if _, err := storage.PutLog(b.Context(), store, int64(len(text)), bytes.NewReader(text)); err != nil {
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
	read := func(b *testing.B, f func(storage.LogReader)) {
		for b.Loop() {
			blob, err := store.Open(d)
			if err != nil {
				b.Fatal(err)
			}
			log, err := storage.OpenLog(blob, int64(len(text)))
			if err != nil {
				b.Fatal(err)
			}
			f(log)
			blob.Close()
		}
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		read(b, func(log storage.LogReader) {
			if n, err := io.Copy(io.Discard, log); err != nil || n != int64(len(text)) {
				b.Fatal(n, err)
			}
		})
	})
	b.Run("4KiB", func(b *testing.B) {
		part := make([]byte, 4<<10)
		read(b, func(log storage.LogReader) {
			if _, err := log.ReadAt(part, int64(len(text)/2)); err != nil {
				b.Fatal(err)
			}
		})
	})
}
