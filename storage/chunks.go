package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// A large blob has a list of its chunks, cut by their content. A node that is to
// bring a blob compares its list with those of the large blobs it has: what they
// share need not travel. The list lies beside the blob's file as the checksums of
// its blocks do, follows from the bytes as they do, and need not be durable.
const (
	// ChunkedFrom is from what length on a blob has a list: below, to ask takes as
	// long as to send. maxChunked bounds the list.
	ChunkedFrom = 16 << 20
	maxChunked  = 64 << 30
	// chunkAverage is the length of a block, in which a blob arrives.
	chunkAverage = BlockSize
	chunksSuffix = ".cdc"
	chunksMagic  = "PLK1"
	chunkEntry   = 16 + 4
	// samplePiece is how much is cut at three places to guess whether the list is
	// worth its making.
	samplePiece = 4 << 20
)

// ChunkSum tells chunks apart: the first half of the SHA-256 of their bytes.
type ChunkSum [16]byte

// Chunk is a part of a blob.
type Chunk struct {
	Sum  ChunkSum
	Size uint32 // bytes
}

func sumChunk(p []byte) (s ChunkSum) {
	whole := sha256.Sum256(p)
	return ChunkSum(whole[:16])
}

// AppendChunks adds a list in the form that ParseChunks reads.
func AppendChunks(p []byte, list []Chunk) []byte {
	for i := range list {
		p = append(p, list[i].Sum[:]...)
		p = binary.LittleEndian.AppendUint32(p, list[i].Size)
	}
	return p
}

// ParseChunks reads the list of a blob of this length. One that cannot be right is
// an error of kind Invalid: lengths that do not add up, or that no cutter gives.
func ParseChunks(p []byte, size int64) ([]Chunk, error) {
	most := int64(chunkAverage * 4)
	n := len(p) / chunkEntry
	if len(p)%chunkEntry != 0 || size < ChunkedFrom || size > maxChunked || int64(n) < (size+most-1)/most || int64(n) > size/(chunkAverage/4)+1 {
		return nil, pipeline.Errorf(pipeline.Invalid, "%d bytes are no list of the chunks of a blob of %d", len(p), size)
	}
	list, left := make([]Chunk, n), size
	for i := range list {
		e := p[i*chunkEntry:]
		list[i] = Chunk{Sum: ChunkSum(e[:16]), Size: binary.LittleEndian.Uint32(e[16:])}
		k := int64(list[i].Size)
		if k == 0 || k > most || k < chunkAverage/4 && i < n-1 {
			return nil, pipeline.Errorf(pipeline.Invalid, "chunk %d of a blob of %d bytes has %d", i, size, k)
		}
		left -= k
	}
	if left != 0 {
		return nil, pipeline.Errorf(pipeline.Invalid, "the chunks of a blob of %d bytes have %d", size, size-left)
	}
	return list, nil
}

// cutAll gives f each chunk of what r gives, in order. wait is called before each
// piece is read.
func (b *Blobs) cutAll(r io.Reader, wait func(n int) error, f func(p []byte)) error {
	c := b.chunks.cut()
	buf := make([]byte, 2*c.most)
	from, to, ended := 0, 0, false
	for {
		if to-from < c.most && !ended {
			to = copy(buf, buf[from:to])
			from = 0
			if err := wait(len(buf) - to); err != nil {
				return err
			}
			n, err := readUpTo(r, buf[to:])
			if err != nil && err != io.EOF {
				return err
			}
			to, ended = to+n, err == io.EOF
		}
		if from == to {
			return nil
		}
		n := c.Next(buf[from:to])
		f(buf[from : from+n])
		from += n
	}
}

func (b *Blobs) chunksPath(d pipeline.Digest) string { return b.path(d) + chunksSuffix }

// Chunks gives the list of a blob of ChunkedFrom bytes or more: the one that was
// kept, or a new one, which is kept. wait, which may be nil, is called before each
// piece of the blob is read; its error ends it. Lists are made one at a time.
func (b *Blobs) Chunks(ctx context.Context, d pipeline.Digest, wait func(n int) error) ([]Chunk, error) {
	size, err := b.Size(d)
	if err != nil {
		return nil, err
	}
	if size < ChunkedFrom || size > maxChunked {
		return nil, pipeline.Errorf(pipeline.Invalid, "blob %.12s of %d bytes has no list of chunks", d, size)
	}
	if list := b.KeptChunks(d, size); list != nil {
		return list, nil
	}
	if err := b.chunks.lock(ctx); err != nil {
		return nil, err
	}
	defer b.chunks.unlock()
	if list := b.KeptChunks(d, size); list != nil { // made while this one waited
		return list, nil
	}
	r, err := b.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var list []Chunk
	err = b.cutAll(struct{ io.Reader }{r}, func(n int) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if wait == nil {
			return nil
		}
		return wait(n)
	}, func(p []byte) { list = append(list, Chunk{Sum: sumChunk(p), Size: uint32(len(p))}) })
	if err != nil {
		return nil, err
	}
	b.KeepChunks(d, list)
	return list, nil
}

// KeptChunks gives the list that is kept of a blob of this length, nil where there
// is none that can be trusted.
func (b *Blobs) KeptChunks(d pipeline.Digest, size int64) []Chunk {
	f, err := os.OpenFile(b.chunksPath(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	most := len(chunksMagic) + 4 + int(size/(chunkAverage/4)+1)*chunkEntry
	p, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil || len(p) > most || len(p) < len(chunksMagic)+4 || string(p[:len(chunksMagic)]) != chunksMagic {
		return nil
	}
	body, end := p[:len(p)-4], p[len(p)-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(end) {
		return nil
	}
	list, err := ParseChunks(body[len(chunksMagic):], size)
	if err != nil {
		return nil
	}
	return list
}

// KeepChunks keeps the list of a blob that is here, whose bytes were verified, and
// lets it be found by HasChunks. It costs time only where the list is wrong: what
// is taken from a blob by it is verified.
func (b *Blobs) KeepChunks(d pipeline.Digest, list []Chunk) {
	if valid(d) != nil {
		return
	}
	b.chunks.load(b)
	b.chunks.add(d, list)
	p := AppendChunks([]byte(chunksMagic), list)
	p = binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
	fd, name, err := b.createTemp()
	if err != nil {
		return
	}
	if err := errors.Join(writeFD(fd, p), unix.Close(fd)); err != nil || os.Rename(name, b.chunksPath(d)) != nil {
		os.Remove(name)
	}
}

// SampleChunks gives some of a large blob's chunks, from its beginning, its middle
// and its end, in some hundredths of a second.
func (b *Blobs) SampleChunks(ctx context.Context, d pipeline.Digest) ([]ChunkSum, error) {
	r, err := b.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.size < ChunkedFrom {
		return nil, pipeline.Errorf(pipeline.Invalid, "blob %.12s of %d bytes has no list of chunks", d, r.size)
	}
	var sums []ChunkSum
	for _, at := range []int64{0, (r.size - samplePiece) / 2, r.size - samplePiece} {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n := len(sums)
		err := b.cutAll(io.NewSectionReader(r, at, samplePiece), func(int) error { return nil }, func(p []byte) { sums = append(sums, sumChunk(p)) })
		if err != nil {
			return nil, err
		}
		// Where the piece ends is no border, but at the end of the blob.
		if at+samplePiece < r.size && len(sums) > n {
			sums = sums[:len(sums)-1]
		}
	}
	return sums, nil
}

// HasChunks counts which of the chunks are in large blobs that are here.
func (b *Blobs) HasChunks(sums []ChunkSum) int {
	b.chunks.load(b)
	n := 0
	for _, s := range sums {
		if _, ok := b.chunks.find(s); ok {
			n++
		}
	}
	return n
}

// Chunked reports whether there is any list at all.
func (b *Blobs) Chunked() bool {
	b.chunks.load(b)
	b.chunks.mu.Lock()
	defer b.chunks.mu.Unlock()
	return len(b.chunks.at) > 0
}

// Unchunked gives the blobs of ChunkedFrom bytes or more that were put lately, at
// most a hundred, and forgets them.
func (b *Blobs) Unchunked() []pipeline.Digest {
	b.chunks.mu.Lock()
	defer b.chunks.mu.Unlock()
	list := b.chunks.fresh
	b.chunks.fresh = nil
	return list
}

// FillLocal brings those blocks of a partial blob that lie in chunks of large blobs
// which are here, by the list of its chunks. It gives how many bytes they have.
// Every chunk is verified by its sum; whether the list is right, Commit tells. Only
// an error of the disk or of ctx is one: what cannot be brought is left out.
func (p *Partial) FillLocal(ctx context.Context, list []Chunk) (filled int64, err error) {
	l := &localChunks{ctx: ctx, b: p.b, open: map[pipeline.Digest]*Blob{}}
	defer l.close()
	p.b.chunks.load(p.b)
	for from := 0; from < len(list); {
		start, to := l.off, from
		for ; to < len(list); to++ {
			if _, ok := p.b.chunks.find(list[to].Sum); !ok {
				break
			}
			l.off += int64(list[to].Size)
		}
		if to > from {
			n, err := p.fillRun(l, start, list[from:to])
			filled += n
			if err != nil {
				return filled, err
			}
		}
		if from = to; from < len(list) {
			l.off += int64(list[from].Size)
			from++
		}
	}
	return filled, nil
}

// fillRun brings the blocks that lie in a run of chunks which are here and begins
// at start.
func (p *Partial) fillRun(l *localChunks, start int64, run []Chunk) (filled int64, err error) {
	end := start
	for i := range run {
		end += int64(run[i].Size)
	}
	from, to := (start+BlockSize-1)/BlockSize*BlockSize, end/BlockSize*BlockSize
	if end == p.size {
		to = end
	}
	for from < to {
		at, until := p.claimIn(from, to)
		if at == until {
			return filled, nil
		}
		l.begin(start, run, at)
		next, err := p.Fill(l.ctx, at, until, l)
		p.Release(at, until)
		filled += next - at
		if err != nil && !errors.Is(err, errChunkGone) {
			return filled, fmt.Errorf("take over chunks that are here: %w", err)
		}
		if from = until; err != nil {
			return filled, nil // the rest is brought from elsewhere
		}
	}
	return filled, nil
}

// claimIn claims the first stretch of missing bytes between two places.
func (p *Partial) claimIn(from, to int64) (at, until int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, n := int(from/BlockSize), blocks(to)
	for ; i < n && (p.have[i] || p.taken[i]); i++ {
	}
	at = int64(i) * BlockSize
	if i == n {
		return to, to
	}
	for ; i < n && !p.have[i] && !p.taken[i]; i++ {
		p.taken[i] = true
	}
	return at, min(int64(i)*BlockSize, to)
}

// errChunkGone says that a chunk is not where the index says.
var errChunkGone = errors.New("the chunk is not here any more")

// localChunks reads chunks from the blobs that have them.
type localChunks struct {
	ctx  context.Context // of the transfer
	b    *Blobs
	open map[pipeline.Digest]*Blob
	off  int64 // where in the partial blob FillLocal is

	run  []Chunk
	skip int64 // of the next chunk
	buf  []byte
	left []byte // of buf, not read yet
}

// maxOpenChunks is how many blobs are open for their chunks at once.
const maxOpenChunks = 16

func (l *localChunks) close() {
	for _, r := range l.open {
		r.Close()
	}
	clear(l.open)
}

// begin goes to a place in a run of chunks that begins at start.
func (l *localChunks) begin(start int64, run []Chunk, at int64) {
	for start+int64(run[0].Size) <= at {
		start += int64(run[0].Size)
		run = run[1:]
	}
	l.run, l.skip, l.left = run, at-start, nil
}

// Read gives the bytes of the run; errChunkGone where a chunk is not what it should
// be.
func (l *localChunks) Read(p []byte) (int, error) {
	if len(l.left) == 0 {
		if len(l.run) == 0 {
			return 0, io.EOF
		}
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}

// next reads and verifies a chunk.
func (l *localChunks) next() error {
	want := l.run[0]
	at, ok := l.b.chunks.find(want.Sum)
	if !ok || at.size != want.Size {
		return errChunkGone
	}
	r := l.open[at.blob]
	if r == nil {
		var err error
		if r, err = l.b.Open(at.blob); err != nil {
			l.b.chunks.forget(at.blob)
			return errChunkGone
		}
		if len(l.open) >= maxOpenChunks {
			l.close()
		}
		l.open[at.blob] = r
	}
	if cap(l.buf) < int(want.Size) {
		l.buf = make([]byte, chunkAverage*4)
	}
	l.buf = l.buf[:want.Size]
	if n, err := r.ReadAt(l.buf, at.off); n < len(l.buf) || err != nil && err != io.EOF || sumChunk(l.buf) != want.Sum {
		l.b.chunks.forget(at.blob)
		return errChunkGone
	}
	l.left, l.skip, l.run = l.buf[l.skip:], 0, l.run[1:]
	return nil
}
