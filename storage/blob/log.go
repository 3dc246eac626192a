package blob

import (
	"context"
	"fmt"
	"io"
	"sync"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
)

// CompressLogFrom is the length of a log, in bytes, from which on its blob is
// compressed. It is part of the format: the blob of a shorter log is plain, that
// of any other is compressed, and nothing else says which is which.
const CompressLogFrom = 4 << 10

// logFrame is how many plain bytes are compressed together. A range costs the
// frames that it touches, and so does a chunk whose line ends were counted.
const logFrame = pipeline.LogChunk

// PutLog stores a log: size bytes that output gives, behind them how many lines end
// in each of their chunks, and behind these all of times. It returns the digest of
// the blob, which is compressed from CompressLogFrom bytes on: then it is a file in
// the seekable format of zstd, and the digest is that of the compressed bytes. Errors
// of output and times are returned as they are.
func PutLog(ctx context.Context, into Putter, size int64, output, times io.Reader) (pipeline.Digest, error) {
	counts := &logCounts{}
	all := io.MultiReader(io.TeeReader(&exactly{in: output, left: size}, &counts.LogCounts), counts, times)
	if size >= CompressLogFrom {
		codec, err := logCodecs()
		if err != nil {
			return "", err
		}
		encoder, err := seekable.NewEncoder(codec.encoder)
		if err != nil {
			return "", fmt.Errorf("compress log: %w", err)
		}
		all = &compressor{in: all, encoder: encoder, frame: make([]byte, logFrame)}
	}

	d, _, err := into.Put(ctx, all)
	return d, err
}

// logCounts gives the counts of an output, once that was read.
type logCounts struct {
	pipeline.LogCounts
	read int
}

func (c *logCounts) Read(p []byte) (int, error) {
	n := copy(p, c.Bytes()[c.read:])
	c.read += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// exactly gives the first bytes of in. Fewer are an error: what is behind them would
// not be found.
type exactly struct {
	in   io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.in.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// LogReader gives the plain bytes of a log: the output first, then the counts of its
// lines (pipeline.LogCountsSize) and its times.
// It is for one goroutine.
type LogReader interface {
	io.ReadSeeker
	io.ReaderAt
}

// OpenLog reads the log of size bytes in a blob. Offsets are those of the plain
// bytes. The blob must verify what it gives; it stays the caller's to close.
func OpenLog(blob io.ReadSeeker, size int64) (LogReader, error) {
	if size < CompressLogFrom {
		return plainLog{blob}, nil
	}

	codec, err := logCodecs()
	if err != nil {
		return nil, err
	}
	r, err := seekable.NewReader(blob, codec.decoder)
	if err != nil {
		return nil, fmt.Errorf("open compressed log: %w", err)
	}
	return r, nil
}

// plainLog is a log that is not compressed.
type plainLog struct{ io.ReadSeeker }

// ReadAt moves the position.
func (l plainLog) ReadAt(p []byte, off int64) (int, error) {
	if _, err := l.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(l.ReadSeeker, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// compressor gives the compressed bytes of in, frame by frame, and the seek
// table at the end.
type compressor struct {
	in      io.Reader
	encoder *seekable.Encoder
	frame   []byte // plain bytes
	out     []byte // compressed bytes that were not read yet
	ended   bool
}

// Read compresses the next frame when the last one was read.
func (c *compressor) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.ended {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *compressor) next() error {
	n, err := readUpTo(c.in, c.frame)
	if err != nil && err != io.EOF {
		return err
	}
	c.ended = err == io.EOF

	if c.out, err = c.encoder.Encode(c.frame[:n]); err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	if c.ended {
		table, err := c.encoder.EndStream()
		if err != nil {
			return fmt.Errorf("compress log: %w", err)
		}
		c.out = append(c.out, table...)
	}
	return nil
}

type logCodec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// logCodecs are made when they are first needed. Both may be used concurrently.
// The fastest level is used, since the outcome of an attempt waits for it. The
// decoder refuses a frame that is longer than those that are written here, so
// that no blob takes more memory than that.
var logCodecs = sync.OnceValues(func() (logCodec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(logFrame), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return logCodec{}, fmt.Errorf("zstd: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(logFrame))
	if err != nil {
		return logCodec{}, fmt.Errorf("zstd: %w", err)
	}
	return logCodec{encoder: encoder, decoder: decoder}, nil
})
