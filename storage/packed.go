package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A packed blob is a file in the seekable format of zstd: each block of
// BlockSize plain bytes is a frame of its own, so that any part can be read
// without what lies before it, and the zstd program opens the whole. Behind the
// frames stand two skippable frames. The first is ours:
//
//	magic, length of what follows (4 bytes each, as all numbers little-endian)
//	"PLZ1"
//	length of the plain bytes (8 bytes)
//	for each frame the CRC-32C of its packed bytes
//	CRC-32C of "PLZ1" to here, and of the seek table
//
// The second is the seek table of the format: for each frame its packed and its
// plain length, then their number, a byte of flags (none) and a magic.
//
// What a frame says of its own length is not believed: it is unpacked into the
// room for one block or not at all.
const (
	packedSuffix = ".zst"
	packedMagic  = "PLZ1"
	// ownFrame and seekFrame are the magics of the two skippable frames.
	ownFrame  = 0x184D2A5D
	seekFrame = 0x184D2A5E
	seekMagic = 0x8F92EAB1
	// indexFixed is how long both are without what each frame adds, indexEntry.
	indexFixed, indexEntry = 8 + 4 + 8 + 4 + 8 + 9, 4 + 8
	// maxFrame is how long a packed block may be: where nothing shrinks zstd adds
	// some bytes.
	maxFrame = BlockSize + 4<<10
	// maxFrames bounds a packed blob to 4 TiB.
	maxFrames = 1 << 24
	// indexTail is what is read of the end of a packed file at first: the whole
	// index of a blob of up to 80 MiB.
	indexTail = 4 << 10
)

// errDamaged says that a packed file is not what was written.
var errDamaged = errors.New("the packed file is damaged")

// packedIndex tells where in a packed file what is.
type packedIndex struct {
	size int64    // of the plain bytes
	at   []int64  // where each frame begins, and at the end where the last ends
	sums []uint32 // of each frame's packed bytes
}

// frame is what the index says of a packed block.
type frame struct {
	packed int
	sum    uint32
}

// appendIndex adds the index of a packed file.
func appendIndex(p []byte, size int64, frames []frame) []byte {
	le := binary.LittleEndian
	p = le.AppendUint32(p, ownFrame)
	p = le.AppendUint32(p, uint32(4+8+4*len(frames)+4))
	own := len(p)
	p = append(p, packedMagic...)
	p = le.AppendUint64(p, uint64(size))
	for i := range frames {
		p = le.AppendUint32(p, frames[i].sum)
	}
	var seek []byte
	seek = le.AppendUint32(seek, seekFrame)
	seek = le.AppendUint32(seek, uint32(8*len(frames)+9))
	for i, left := 0, size; i < len(frames); i, left = i+1, left-BlockSize {
		seek = le.AppendUint32(seek, uint32(frames[i].packed))
		seek = le.AppendUint32(seek, uint32(min(left, BlockSize)))
	}
	seek = le.AppendUint32(seek, uint32(len(frames)))
	seek = append(seek, 0)
	seek = le.AppendUint32(seek, seekMagic)
	sum := crc32.Update(crc32.Checksum(p[own:], castagnoli), castagnoli, seek)
	return append(le.AppendUint32(p, sum), seek...)
}

// readIndex reads the index of a packed file of this length. Memory is bounded by
// the file's length; errDamaged where it cannot be right.
func readIndex(f io.ReaderAt, length int64) (*packedIndex, error) {
	tail, err := readTail(f, length, indexTail)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if len(tail) < indexFixed || le.Uint32(tail[len(tail)-4:]) != seekMagic || tail[len(tail)-5] != 0 {
		return nil, errDamaged
	}
	n := int64(le.Uint32(tail[len(tail)-9:]))
	whole := indexFixed + n*indexEntry
	if n == 0 || n > maxFrames || whole > length {
		return nil, errDamaged
	}
	if whole > int64(len(tail)) {
		if tail, err = readTail(f, length, whole); err != nil {
			return nil, err
		}
	}
	return parsePacked(tail[int64(len(tail))-whole:], int(n), length-whole)
}

// readTail reads the last bytes of a file, fewer where it is shorter.
func readTail(f io.ReaderAt, length, most int64) ([]byte, error) {
	p := make([]byte, min(length, most))
	n, err := f.ReadAt(p, length-int64(len(p)))
	if n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, errDamaged // it has become shorter
		}
		return nil, err
	}
	return p, nil
}

// parsePacked checks and takes apart an index of n frames that are so long
// together.
func parsePacked(p []byte, n int, frames int64) (*packedIndex, error) {
	le := binary.LittleEndian
	own, seek := p[8:8+16+4*n], p[8+16+4*n:]
	body, sum := own[:len(own)-4], le.Uint32(own[len(own)-4:])
	switch {
	case le.Uint32(p) != ownFrame || int(le.Uint32(p[4:])) != len(own) || string(own[:4]) != packedMagic,
		le.Uint32(seek) != seekFrame || int(le.Uint32(seek[4:])) != len(seek)-8,
		crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, seek) != sum:
		return nil, errDamaged
	}
	size := le.Uint64(own[4:])
	if size == 0 || size > math.MaxInt64 || blocks(int64(size)) != n {
		return nil, errDamaged
	}
	ix := &packedIndex{size: int64(size), at: make([]int64, n+1), sums: make([]uint32, n)}
	for i := range n {
		packed, plain := le.Uint32(seek[8+8*i:]), le.Uint32(seek[12+8*i:])
		if packed == 0 || packed > maxFrame || int64(plain) != ix.plain(i) {
			return nil, errDamaged
		}
		ix.at[i+1] = ix.at[i] + int64(packed)
		ix.sums[i] = le.Uint32(own[12+4*i:])
	}
	if ix.at[n] != frames {
		return nil, errDamaged
	}
	return ix, nil
}

// plain is the plain length of a block.
func (ix *packedIndex) plain(i int) int64 { return min(BlockSize, ix.size-int64(i)*BlockSize) }

// length is that of the whole packed file.
func (p *packedFile) length() int64 {
	n := len(p.ix.sums)
	return p.ix.at[n] + int64(indexFixed+n*indexEntry)
}

// packedFile gives the plain bytes of a packed file. It is safe for concurrent
// use.
type packedFile struct {
	store *Blobs
	f     io.ReaderAt
	ix    *packedIndex
}

// ReadAt reads plain bytes. A frame that is damaged ends them, as if the file were
// cut there (io.EOF): whoever verifies what it got finds out, as with a plain
// file.
func (p *packedFile) ReadAt(b []byte, off int64) (n int, err error) {
	var own *[]byte
	for n < len(b) && off < p.ix.size {
		i := int(off / BlockSize)
		start, whole := int64(i)*BlockSize, p.ix.plain(i)
		if off == start && int64(len(b)-n) >= whole {
			if err = p.unpack(i, b[n:n+int(whole)]); err != nil {
				break
			}
			n, off = n+int(whole), off+whole
			continue
		}
		if own == nil {
			own = p.store.pack.blocks.Get().(*[]byte)
			defer p.store.pack.blocks.Put(own)
		}
		if err = p.unpack(i, (*own)[:whole]); err != nil {
			break
		}
		k := copy(b[n:], (*own)[off-start:whole])
		n, off = n+k, off+int64(k)
	}
	if errors.Is(err, errDamaged) || err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

// unpack unpacks a block into the room for its plain bytes.
func (p *packedFile) unpack(i int, into []byte) error {
	buf := p.store.pack.frames.Get().(*[]byte)
	defer p.store.pack.frames.Put(buf)
	packed, err := p.frame(i, *buf)
	if err != nil {
		return err
	}
	return p.store.unpackBlock(packed, into)
}

// frame reads the packed bytes of a block into buf, and checks them.
func (p *packedFile) frame(i int, buf []byte) ([]byte, error) {
	packed := buf[:p.ix.at[i+1]-p.ix.at[i]]
	n, err := p.f.ReadAt(packed, p.ix.at[i])
	if n < len(packed) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(packed) || crc32.Checksum(packed, castagnoli) != p.ix.sums[i] {
		return nil, errDamaged
	}
	return packed, nil
}

// unpackBlock unpacks a frame that must fill p, no more and no less.
func (b *Blobs) unpackBlock(packed, p []byte) error {
	z, err := b.pack.decoder()
	if err != nil {
		return err
	}
	got, err := z.DecodeAll(packed, p[:0:len(p)])
	if err != nil || len(got) != len(p) || len(p) > 0 && &got[0] != &p[0] {
		return errDamaged
	}
	return nil
}

// packers are what packs and unpacks, and their buffers.
type packers struct {
	blocks sync.Pool // *[]byte of BlockSize
	frames sync.Pool // *[]byte of maxFrame
	encode sync.Pool // *zstd.Encoder

	once   sync.Once
	decode *zstd.Decoder // set by once, as err
	err    error
}

func (p *packers) init() {
	p.blocks.New = func() any { buf := make([]byte, BlockSize); return &buf }
	p.frames.New = func() any { buf := make([]byte, maxFrame); return &buf }
}

// unpackers is how many blocks are unpacked at the same time.
const unpackers = 4

// decoder is made when it is first needed. It never takes more than the room it
// is given.
func (p *packers) decoder() (*zstd.Decoder, error) {
	p.once.Do(func() {
		p.decode, p.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(unpackers), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(BlockSize), zstd.WithDecodeAllCapLimit(true))
	})
	if p.err != nil {
		return nil, fmt.Errorf("zstd: %w", p.err)
	}
	return p.decode, nil
}

// encoder gives a compressor of blocks, to be put back.
func (p *packers) encoder() (*zstd.Encoder, error) {
	if z, ok := p.encode.Get().(*zstd.Encoder); ok {
		return z, nil
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(BlockSize), zstd.WithLowerEncoderMem(true))
}

// openPackedFile reads the index of an open file.
func (b *Blobs) openPackedFile(f *os.File) (*packedFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	ix, err := readIndex(f, info.Size())
	if err != nil {
		return nil, err
	}
	return &packedFile{store: b, f: f, ix: ix}, nil
}
