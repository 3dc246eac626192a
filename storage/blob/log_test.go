package blob_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// logText is output of n bytes as modules write it.
func logText(n int) []byte {
	var p []byte
	for i := 0; len(p) < n; i++ {
		p = strconv.AppendInt(append(p, "ok  	github.com/somebody/something/package"...), int64(i*i), 10)
		p = append(p, "	0.012s\n"...)
	}
	return p[:n]
}

func putLog(t *testing.T, b *blob.Store, text, times []byte) pipeline.Digest {
	t.Helper()
	output := io.MultiReader(iotest.OneByteReader(bytes.NewReader(text[:min(len(text), 100)])), bytes.NewReader(text[min(len(text), 100):]), strings.NewReader("written since"))
	d, err := blob.PutLog(t.Context(), b, int64(len(text)), output, bytes.NewReader(times))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenLog(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{})
	times := []byte("the times of it")
	for _, size := range []int{0, 1, blob.CompressLogFrom - 1, blob.CompressLogFrom, 100_000, 256<<10 - len(times), 256 << 10, 256<<10 + 1, 512 << 10, 1_000_000} {
		text := logText(size)
		d := putLog(t, b, text, times)
		var ends []int64
		for rest := text; len(rest) > pipeline.LogChunk; rest = rest[pipeline.LogChunk:] {
			ends = append(ends, int64(bytes.Count(rest[:pipeline.LogChunk], []byte{'\n'})))
		}
		opened, err := b.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if compressed := opened.Size() < int64(size); compressed != (size >= blob.CompressLogFrom) {
			t.Errorf("%d bytes: the blob has %d", size, opened.Size())
		}

		log, err := blob.OpenLog(opened, int64(size))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := io.ReadAll(log)
		counts := got[min(size, len(got)):max(0, len(got)-len(times))]
		if err != nil || !bytes.HasPrefix(got, text) || !bytes.HasSuffix(got, times) || int64(len(counts)) != pipeline.LogCountsSize(int64(size)) || !slices.Equal(pipeline.ReadLogCounts(counts), ends) {
			t.Errorf("%d bytes: read %d, lines %d, %v", size, len(got), counts, err)
		}
		for range 20 {
			at := rand.Int64N(int64(len(got)))
			part := make([]byte, 1+rand.IntN(300<<10))
			n, err := log.ReadAt(part, at)
			if want := got[at:min(at+int64(len(part)), int64(len(got)))]; !bytes.Equal(part[:n], want) || (n < len(part)) != (err == io.EOF) {
				t.Errorf("%d bytes: %d of %d at %d: %v", size, n, len(part), at, err)
			}
		}
		if _, err := log.Seek(int64(size)+pipeline.LogCountsSize(int64(size)), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(log); err != nil || !bytes.Equal(got, times) {
			t.Errorf("%d bytes: times %q, %v", size, got, err)
		}
	}
}

// Any program that knows zstd reads the blob of a log.
func TestPutLog_isZstd(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{})
	text := logText(700_000)
	packed, err := b.ReadAll(putLog(t, b, text, nil), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if got, err := io.ReadAll(z); err != nil || !bytes.HasPrefix(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// The same log is the same blob, and an error of the source is passed on.
func TestPutLog_errors(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{})
	text := logText(100_000)
	if one, two := putLog(t, b, text, nil), putLog(t, b, text, nil); one != two {
		t.Errorf("digests %s and %s", one, two)
	}
	want := errors.New("the disk is on fire")
	none := strings.NewReader("")
	_, err := blob.PutLog(t.Context(), b, 1<<20, io.MultiReader(bytes.NewReader(text), iotest.ErrReader(want)), none)
	if !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	if _, err := blob.PutLog(t.Context(), b, 1<<20, bytes.NewReader(text), none); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an output that is too short: error %v", err)
	}
}

// A flipped byte, wherever it is, is found before a wrong byte is given out.
func TestOpenLog_corrupt(t *testing.T) {
	b, dir := openBlobs(t, blob.Options{})
	text := logText(2_000_000)
	times := []byte("times")
	whole, err := readLog(b, putLog(t, b, text, times), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		d := putLog(t, b, text, times)
		path := filepath.Join(dir, string(d[:2]), string(d))
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[rand.IntN(len(raw))] ^= 1 << rand.IntN(8)
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, raw, 0o600)); err != nil {
			t.Fatal(err)
		}

		got, err := readLog(b, d, int64(len(text)))
		var corrupt *blob.CorruptError
		if !errors.As(err, &corrupt) || !bytes.HasPrefix(whole, got) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	}
}

func readLog(b *blob.Store, d pipeline.Digest, size int64) ([]byte, error) {
	opened, err := b.Open(d)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	log, err := blob.OpenLog(opened, size)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(log)
}

// Bytes that are no compressed log are an error, however they are made.
func FuzzOpenLog(f *testing.F) {
	f.Add([]byte("no zstd at all, but long enough to have a footer"), int64(5000))
	f.Add([]byte{}, int64(1<<40))
	f.Fuzz(func(t *testing.T, p []byte, size int64) {
		log, err := blob.OpenLog(bytes.NewReader(p), size)
		if err != nil || size < blob.CompressLogFrom {
			return
		}
		_, _ = io.Copy(io.Discard, log)
		_, _ = log.ReadAt(make([]byte, 100), size/2)
	})
}
