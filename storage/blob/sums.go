package blob

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A blob longer than smallBlob has checksums of its blocks beside it, so that
// any part of it can be verified before it is handed out: a SHA-256 shows only
// at the end that the beginning was bad. They follow from the blob's bytes, so
// they can be made again at any time, and need not be durable.
const (
	// BlockSize is how many bytes one checksum covers, and the unit in which
	// the bytes of a partial blob arrive.
	BlockSize  = 256 << 10
	sumsSuffix = ".crc"
	sumsMagic  = "PLC1"
)

// blocks is how many blocks so many bytes have.
func blocks(size int64) int { return int((size + BlockSize - 1) / BlockSize) }

// blockSums makes the checksums of bytes that come in order.
type blockSums struct {
	sums []uint32
	crc  uint32
	n    int // bytes in crc
}

func (s *blockSums) write(p []byte) {
	for len(p) > 0 {
		k := min(len(p), BlockSize-s.n)
		s.crc = crc32.Update(s.crc, castagnoli, p[:k])
		s.n += k
		p = p[k:]
		if s.n == BlockSize {
			s.cut()
		}
	}
}

func (s *blockSums) cut() {
	s.sums = append(s.sums, s.crc)
	s.crc, s.n = 0, 0
}

// done ends the last block.
func (s *blockSums) done() []uint32 {
	if s.n > 0 {
		s.cut()
	}
	return s.sums
}

// checksums keeps the checksums of blobs in files.
type checksums struct {
	files *files
	tmp   *tempDir
}

// save keeps checksums; without them the blob is verified as a whole when
// it is read next, so an error costs time only.
func (c *checksums) save(d pipeline.Digest, sums []uint32) {
	p := make([]byte, 0, len(sumsMagic)+4*len(sums)+4)
	p = append(p, sumsMagic...)
	for _, s := range sums {
		p = binary.LittleEndian.AppendUint32(p, s)
	}
	p = binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))

	fd, name, err := c.tmp.file()
	if err != nil {
		return
	}

	if err := errors.Join(disk.WriteFD(fd, p), unix.Close(fd)); err != nil || os.Rename(name, c.files.sumsPath(d)) != nil {
		os.Remove(name)
	}
}

// load reads the checksums of a blob of this size; nil if there are none
// that can be trusted.
func (c *checksums) load(d pipeline.Digest, size int64) []uint32 {
	p, err := os.ReadFile(c.files.sumsPath(d))
	n := blocks(size)
	if err != nil || len(p) != len(sumsMagic)+4*n+4 || string(p[:len(sumsMagic)]) != sumsMagic {
		return nil
	}

	body, end := p[:len(p)-4], p[len(p)-4:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(end) {
		return nil
	}

	sums := make([]uint32, n)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(body[len(sumsMagic)+4*i:])
	}
	return sums
}

// measure reads a blob's file from its start to its end and gives its digest
// and the checksums of its blocks.
func measure(f io.ReaderAt, size int64, buf []byte) (pipeline.Digest, []uint32, error) {
	var s blockSums
	h := sha256.New()
	for off := int64(0); off < size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				break // shorter than it should be: the digest will differ
			}
			return "", nil, err
		}

		h.Write(buf[:n])
		s.write(buf[:n])
		off += int64(n)
	}
	return encodeDigest(h.Sum(nil)), s.done(), nil
}
