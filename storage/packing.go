package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// diskBlock is in what units a filesystem gives room: what is not longer than
	// one does not get smaller by packing.
	diskBlock = 4 << 10
	// packSample is how much of a blob is packed on trial, from its middle: the
	// beginning of a file is often of another kind than the rest.
	packSample = 64 << 10
)

// PackOptions say how a blob is packed.
type PackOptions struct {
	// Wait is called before each piece is read, with its length in bytes; its error
	// ends the packing. nil waits for nothing.
	Wait func(n int) error
	// UnusedSince leaves blobs plain that were put, or asked for with Missing or
	// Plain, since then. The zero time packs whatever was.
	UnusedSince time.Time
	// Before, where given, is called before a packed file is written. Its error ends
	// the packing.
	Before func() error
}

// Packing is what became of a blob that was to be packed.
type Packing struct {
	// Done: it has its packed file alone.
	Done bool
	// Futile: it does not shrink by an eighth, and will not another time.
	Futile bool
	// Size is the length of its bytes, Stored that of its packed file.
	Size, Stored int64
}

// Pack replaces the plain file of a blob by a packed one, if that is shorter by
// an eighth or more and takes less room on the disk. Its digest is verified on the
// way, and what was packed is unpacked on trial. One whose plain file has other
// names (hard links) stays, as does one that is not here.
//
// The packed file is durable before the plain one goes: a crash leaves one of
// them, or both, and the next Pack goes on from there. Errors: *CorruptError where
// the plain file was bad; those of the disk; those of Wait.
func (b *Blobs) Pack(ctx context.Context, d pipeline.Digest, opts PackOptions) (Packing, error) {
	if err := valid(d); err != nil {
		return Packing{}, err
	}
	f, err := os.OpenFile(b.path(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Packing{}, nil
	}
	if err != nil {
		return Packing{}, fmt.Errorf("pack blob: %w", err)
	}
	defer f.Close()
	p := &packing{ctx: ctx, b: b, d: d, opts: opts, f: f}
	if p.was, err = f.Stat(); err != nil {
		return Packing{}, fmt.Errorf("pack blob: %w", err)
	}
	p.out.Size = p.was.Size()
	if !p.idle(p.was) {
		return p.out, nil
	}
	done, err := p.hadBefore()
	if err == nil && !done {
		done, err = p.write()
	}
	if err == nil && done {
		p.out.Done, err = p.removePlain()
	}
	return p.out, err
}

// packing is one blob that is being packed.
type packing struct {
	ctx  context.Context
	b    *Blobs
	d    pipeline.Digest
	opts PackOptions
	f    *os.File
	was  fs.FileInfo // of the plain file at the start
	out  Packing
}

// idle reports whether nothing needs the plain file.
func (p *packing) idle(info fs.FileInfo) bool {
	st, ok := info.Sys().(*unixStat)
	return info.Mode().IsRegular() && (!ok || st.Nlink == 1) && (p.opts.UnusedSince.IsZero() || info.ModTime().Before(p.opts.UnusedSince))
}

func (p *packing) wait(n int) error {
	if err := p.ctx.Err(); err != nil {
		return context.Cause(p.ctx)
	}
	if p.opts.Wait == nil {
		return nil
	}
	return p.opts.Wait(n)
}

// hadBefore reports whether the blob has a packed file already, a good one: of a
// life that died, or of before it was unpacked. A bad one is put aside.
func (p *packing) hadBefore() (bool, error) {
	r, err := p.b.openPacked(p.d)
	if err == nil {
		defer r.Close()
		err = r.verifyAt(p.wait)
		p.out.Stored = r.packed.length()
	}
	var corrupt *CorruptError
	var missing *MissingError
	if errors.As(err, &corrupt) || errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

// write makes the packed file, if it pays.
func (p *packing) write() (bool, error) {
	z, err := p.b.pack.encoder()
	if err != nil {
		return false, err
	}
	defer p.b.pack.encode.Put(z)
	if pays, err := p.sample(z); err != nil || !pays {
		p.out.Futile = err == nil
		return false, err
	}
	if err := p.room(); err != nil {
		return false, err
	}
	if p.opts.Before != nil {
		if err := p.opts.Before(); err != nil {
			return false, err
		}
	}
	fd, name, err := p.b.createTemp()
	if err != nil {
		return false, err
	}
	sums, err := p.encode(z, fd)
	if err == nil && !p.b.packAll && !shorter(p.out.Stored, p.out.Size) {
		p.out.Futile = true
	}
	if err != nil || p.out.Futile {
		unix.Close(fd)
		os.Remove(name)
		return false, err
	}
	if err := p.b.finishTemp(fd, name, p.b.at("packed"), !p.b.opts.NoSync); err != nil {
		return false, err
	}
	return p.publish(name, sums)
}

// shorter reports whether packing pays: by an eighth, and in room on the disk.
func shorter(packed, plain int64) bool {
	units := func(n int64) int64 { return (n + diskBlock - 1) / diskBlock }
	return packed <= plain-plain/8 && units(packed) < units(plain)
}

// sample tells from a part of the blob whether it shrinks.
func (p *packing) sample(z *zstd.Encoder) (bool, error) {
	if p.out.Size <= diskBlock || p.b.packAll {
		return p.b.packAll, nil
	}
	n := min(packSample, p.out.Size)
	if err := p.wait(int(n)); err != nil {
		return false, err
	}
	head := make([]byte, n)
	if _, err := p.f.ReadAt(head, (p.out.Size-n)/2); err != nil {
		return false, fmt.Errorf("pack blob %s: %w", p.d, err)
	}
	packed := z.EncodeAll(head, make([]byte, 0, n+1024))
	return int64(len(packed)) <= n-n/8, nil
}

// room refuses to pack where the disk is nearly full. Packing makes room in the
// end, so that half of what must stay free is enough.
func (p *packing) room() error {
	free, total, err := p.b.space(p.b.dir)
	if err != nil || p.b.opts.LowWater < 0 {
		return nil // cannot tell; the write will
	}
	low := uint64(p.b.opts.LowWater)
	if low == 0 {
		low = min(maxLowWater, total/20)
	}
	if need := low/2 + uint64(p.out.Size); free < need {
		return &FullError{Reason: fmt.Sprintf("pack blob %s: %d MiB are free, and %d MiB are to be while it is packed", p.d, free>>20, need>>20)}
	}
	return nil
}

// encode writes frames and index, and gives the checksums of the plain blocks.
func (p *packing) encode(z *zstd.Encoder, fd int) ([]uint32, error) {
	block, packed := p.b.pack.blocks.Get().(*[]byte), p.b.pack.frames.Get().(*[]byte)
	trial := p.b.pack.blocks.Get().(*[]byte)
	defer func() { p.b.pack.blocks.Put(block); p.b.pack.blocks.Put(trial); p.b.pack.frames.Put(packed) }()
	sum := sha256.New()
	var sums blockSums
	frames := make([]frame, 0, blocks(p.out.Size))
	for off := int64(0); off < p.out.Size; off += BlockSize {
		plain := (*block)[:min(BlockSize, p.out.Size-off)]
		if err := p.wait(len(plain)); err != nil {
			return nil, err
		}
		n, err := p.f.ReadAt(plain, off)
		if n < len(plain) && err != nil && err != io.EOF {
			return nil, fmt.Errorf("pack blob %s: %w", p.d, err)
		}
		plain = plain[:n] // shorter than it was: the digest tells
		sum.Write(plain)
		sums.write(plain)
		out := z.EncodeAll(plain, (*packed)[:0])
		if err := p.b.unpackBlock(out, (*trial)[:n]); err != nil || crc32.Checksum((*trial)[:n], castagnoli) != crc32.Checksum(plain, castagnoli) {
			return nil, pipeline.Errorf(pipeline.Internal, "pack blob %s: what was packed does not unpack to the same bytes", p.d)
		}
		if err := writeFD(fd, out); err != nil {
			return nil, fmt.Errorf("pack blob: %w", diskError(err))
		}
		p.out.Stored += int64(len(out))
		frames = append(frames, frame{packed: len(out), sum: crc32.Checksum(out, castagnoli)})
	}
	if encodeDigest(sum.Sum(nil)) != p.d {
		return nil, p.b.quarantine(p.d, p.b.path(p.d), p.f)
	}
	index := appendIndex(nil, p.out.Size, frames)
	if err := writeFD(fd, index); err != nil {
		return nil, fmt.Errorf("pack blob: %w", diskError(err))
	}
	p.out.Stored += int64(len(index))
	return sums.done(), nil
}

// publish gives the packed file its name, durably; not where the blob has gone, or
// is another file, or has come into use meanwhile.
func (p *packing) publish(name string, sums []uint32) (bool, error) {
	shard := shardOf(p.d)
	if p.out.Size > smallBlob && p.b.loadSums(p.d, p.out.Size) == nil {
		p.b.saveSums(p.d, sums)
	}
	p.b.mu.Lock()
	now, same := p.plainLocked()
	var err error
	if same {
		// A sweep sees no difference between the two files.
		err = errors.Join(os.Chtimes(name, now.ModTime(), now.ModTime()), retryEINTR(func() error { return unix.Rename(name, p.b.packedPath(p.d)) }))
	}
	p.b.mu.Unlock()
	if err != nil || !same {
		os.Remove(name)
		if err != nil {
			err = fmt.Errorf("pack blob: %w", diskError(err))
		}
		return false, err
	}
	p.b.shards[shard].renamed.Add(1)
	if err := p.b.at("named"); err != nil || p.b.opts.NoSync {
		return err == nil, err
	}
	var touched [256]bool
	touched[shard] = true
	return true, p.b.settleAll(&touched)
}

// plainLocked looks at the plain file: same is false where it is not the one that
// was packed, or is in use. mu is held.
func (p *packing) plainLocked() (info fs.FileInfo, same bool) {
	info, err := os.Lstat(p.b.path(p.d))
	return info, err == nil && os.SameFile(info, p.was) && p.idle(info)
}

// removePlain ends the packing.
func (p *packing) removePlain() (bool, error) {
	if err := p.b.at("before the plain file goes"); err != nil {
		return false, err
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	now, same := p.plainLocked()
	if !same {
		return false, nil
	}
	packed, err := os.Lstat(p.b.packedPath(p.d))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // found bad, and put aside
	}
	if err == nil && packed.ModTime().Before(now.ModTime()) {
		err = os.Chtimes(p.b.packedPath(p.d), now.ModTime(), now.ModTime())
	}
	if err == nil {
		err = os.Remove(p.b.path(p.d))
	}
	if err != nil {
		return false, fmt.Errorf("pack blob: %w", err)
	}
	return true, nil
}

// Plain gives the path of the plain file of a blob, which is unpacked where it has
// only a packed one. The file may be read and linked to, and must not be written
// to. It counts as wanted from now on, so that Pack and a sweep leave it alone for
// as long as they are told to; where one of them was told to take all, the path
// may be gone when it is used, and Plain is to be asked again. The bytes of a file
// that was plain before are not verified (see Clean). Errors: *MissingError,
// *CorruptError; kind Invalid for the empty blob, which has no file; kind
// Unavailable where the disk has no room.
func (b *Blobs) Plain(ctx context.Context, d pipeline.Digest) (string, error) {
	if d == pipeline.EmptyDigest {
		return "", pipeline.Errorf(pipeline.Invalid, "the empty blob has no file")
	}
	if err := valid(d); err != nil {
		return "", err
	}
	if b.wantPlain(d) {
		return b.path(d), nil
	}
	r, err := b.openPacked(d)
	var missing *MissingError
	if errors.As(err, &missing) && b.wantPlain(d) {
		return b.path(d), nil
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	if err := b.admit(r.size); err != nil {
		return "", err
	}
	name := b.tempName()
	if err := b.unpackTo(ctx, name, r); err != nil {
		return "", err
	}
	b.mu.RLock()
	err = retryEINTR(func() error { return unix.Rename(name, b.path(d)) })
	b.mu.RUnlock()
	if err != nil {
		os.Remove(name)
		return "", fmt.Errorf("unpack blob: %w", diskError(err))
	}
	// The packed file stays as well, until the plain one is not wanted any more: its
	// name need not be durable, and nothing is to be packed again.
	b.shards[shardOf(d)].renamed.Add(1)
	return b.path(d), nil
}

// wantPlain reports whether there is a plain file, and says that it is wanted.
func (b *Blobs) wantPlain(d pipeline.Digest) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if info, err := os.Lstat(b.path(d)); err != nil || !info.Mode().IsRegular() {
		return false
	}
	return b.presentLocked(d, -1)
}

// unpackTo writes the plain bytes of an open blob to a new file, verified as a
// whole.
func (b *Blobs) unpackTo(ctx context.Context, name string, r *Blob) error {
	fd, err := openFD(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return fmt.Errorf("unpack blob: %w", diskError(err))
	}
	buf := b.pack.blocks.Get().(*[]byte)
	defer b.pack.blocks.Put(buf)
	sum, unchecked := sha256.New(), 0
	for off := int64(0); err == nil && off < r.size; off += BlockSize {
		p := (*buf)[:min(BlockSize, r.size-off)]
		var n int
		if n, err = r.in.ReadAt(p, off); n < len(p) {
			if err == nil || err == io.EOF {
				err = r.corrupt()
			}
			break
		}
		sum.Write(p)
		if err = writeFD(fd, p); err != nil {
			err = fmt.Errorf("unpack blob: %w", diskError(err))
		}
		if unchecked += n; unchecked >= spaceEvery && err == nil {
			unchecked, err = 0, b.admit(0)
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	if err == nil && encodeDigest(sum.Sum(nil)) != r.digest {
		err = r.corrupt()
	}
	return b.finishTemp(fd, name, err, !b.opts.NoSync)
}

// HasFrames reports whether a part of the blob can be given out as it is packed on
// the disk, see WriteFrames.
func (r *Blob) HasFrames(from, to int64) bool {
	return r.packed != nil && from >= 0 && from < to && to <= r.size && from%BlockSize == 0 && (to%BlockSize == 0 || to == r.size)
}

// WriteFrames writes a part of a packed blob as a zstd stream, without unpacking
// it. Each frame is checked against the checksum that was taken of it when it was
// made of verified bytes; one that is bad ends the stream with a *CorruptError.
func (r *Blob) WriteFrames(w io.Writer, from, to int64) error {
	if !r.HasFrames(from, to) {
		return pipeline.Errorf(pipeline.Invalid, "bytes %d to %d of blob %s are no whole packed blocks", from, to, r.digest)
	}
	buf := r.store.pack.frames.Get().(*[]byte)
	defer r.store.pack.frames.Put(buf)
	for i := int(from / BlockSize); i < blocks(to); i++ {
		p, err := r.packed.frame(i, *buf)
		if errors.Is(err, errDamaged) {
			return r.corrupt()
		}
		if err != nil {
			return fmt.Errorf("read blob %s: %w", r.digest, err)
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}
