package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// Putter takes bytes and gives their digest: *Store, where they are stored when
// the call returns, or a *Batch, where they are stored by its Commit.
type Putter interface {
	// Put stores all that r gives, and tells its digest and length.
	Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error)
	// PutBytes stores p, which it does not keep.
	PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error)
}

var (
	_ Putter = (*Store)(nil)
	_ Putter = (*Batch)(nil)
)

// staged is a blob that is written but has not got its name yet.
type staged struct {
	digest pipeline.Digest
	size   int64
	tmp    string // "" where the blob was here already
	sums   []uint32
}

// Put stores all that r gives. Memory is bounded whatever its length. Errors of
// r are returned as they are.
func (b *Store) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	s, err := b.stage(ctx, r, !b.opts.NoSync)
	if err != nil {
		return "", 0, err
	}
	if err := b.publish([]staged{s}); err != nil {
		return "", 0, err
	}
	return s.digest, s.size, nil
}

// PutBytes stores p.
func (b *Store) PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error) {
	s, err := b.stageBytes(ctx, p, !b.opts.NoSync)
	if err != nil {
		return "", err
	}
	if err := b.publish([]staged{s}); err != nil {
		return "", err
	}
	return s.digest, nil
}

// PutExpect stores all that r gives if its digest is d, else nothing: then the
// error is a *MismatchError.
func (b *Store) PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	s, err := b.stageExpect(ctx, d, r, !b.opts.NoSync)
	if err != nil {
		return 0, err
	}
	if err := b.publish([]staged{s}); err != nil {
		return 0, err
	}
	return s.size, nil
}

func (b *Store) stageExpect(ctx context.Context, d pipeline.Digest, r io.Reader, sync bool) (staged, error) {
	if err := ValidDigest(d); err != nil {
		return staged{}, err
	}
	s, err := b.stage(ctx, r, sync)
	if err != nil {
		return staged{}, err
	}
	if s.digest != d {
		b.discard(s)
		return staged{}, &MismatchError{Want: d, Got: s.digest}
	}
	return s, nil
}

// stage writes what r gives to a temporary file, unless it is here already.
func (b *Store) stage(ctx context.Context, r io.Reader, sync bool) (staged, error) {
	buf := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buf)
	n, err := readUpTo(r, *buf)
	if err == io.EOF {
		return b.stageBytes(ctx, (*buf)[:n], sync)
	}
	if err != nil {
		return staged{}, err
	}
	return b.stageLarge(ctx, (*buf)[:n], r, sync)
}

// readUpTo fills p, or reads to the end: then the error is io.EOF. Unlike
// io.ReadFull it cannot take a connection that was cut, which readers tell by
// io.ErrUnexpectedEOF, for an end.
func readUpTo(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if n == len(p) {
		return n, nil
	}
	return n, err
}

// stageBytes writes p to a temporary file, unless it is here already.
func (b *Store) stageBytes(ctx context.Context, p []byte, sync bool) (staged, error) {
	if err := ctx.Err(); err != nil {
		return staged{}, err
	}
	s := staged{digest: DigestOf(p), size: int64(len(p))}
	if len(p) == 0 || b.present(s.digest, s.size) {
		return s, nil
	}
	if err := b.Admit(s.size); err != nil {
		return staged{}, err
	}
	fd, name, err := b.createTemp()
	if err != nil {
		return staged{}, err
	}
	err = disk.WriteFD(fd, p)
	if err := b.finishTemp(fd, name, err, sync); err != nil {
		return staged{}, err
	}
	s.tmp = name
	return s, nil
}

// stageLarge writes head and the rest of r to a temporary file.
func (b *Store) stageLarge(ctx context.Context, head []byte, r io.Reader, sync bool) (staged, error) {
	if err := b.Admit(int64(len(head))); err != nil {
		return staged{}, err
	}
	fd, name, err := b.createTemp()
	if err != nil {
		return staged{}, err
	}
	h := sha256.New()
	var sums blockSums
	h.Write(head)
	sums.write(head)
	size, err := int64(len(head)), disk.WriteFD(fd, head)
	chunk, unchecked := make([]byte, copyChunk), 0
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = r.Read(chunk)
		if n > 0 {
			h.Write(chunk[:n])
			sums.write(chunk[:n])
			if werr := disk.WriteFD(fd, chunk[:n]); werr != nil {
				err = werr
			}
			size += int64(n)
			if unchecked += n; unchecked >= spaceEvery && err == nil {
				unchecked, err = 0, b.Admit(0)
			}
		}
	}
	if err == io.EOF {
		err = nil
	}
	s := staged{digest: encodeDigest(h.Sum(nil)), size: size, sums: sums.done()}
	if err == nil && b.present(s.digest, size) {
		unix.Close(fd)
		os.Remove(name)
		return s, nil
	}
	if err := b.finishTemp(fd, name, err, sync); err != nil {
		return staged{}, err
	}
	s.tmp = name
	return s, nil
}

// createTemp opens a new file in the store's own directory.
func (b *Store) createTemp() (int, string, error) {
	fd, name, err := b.openTemp(unix.O_WRONLY)
	if err != nil {
		return -1, "", fmt.Errorf("put blob: %w", b.storeError(err))
	}
	return fd, name, nil
}

// finishTemp syncs and closes a temporary file; after an error it removes it.
func (b *Store) finishTemp(fd int, name string, err error, sync bool) error {
	if err == nil {
		err = b.at("written")
	}
	if err == nil && sync {
		err = disk.Fdatasync(fd)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		return nil
	}
	os.Remove(name)
	var own unix.Errno
	if errors.As(err, &own) {
		return fmt.Errorf("put blob: %w", b.storeError(err))
	}
	return err
}

func (b *Store) discard(s staged) {
	if s.tmp != "" {
		os.Remove(s.tmp)
	}
}

// at lets a test stop the store between two steps.
func (b *Store) at(point string) error {
	if b.hook == nil {
		return nil
	}
	return b.hook(point)
}

// publish gives staged blobs their names. The bytes must be durable already
// where the store syncs; the names are when publish returns.
func (b *Store) publish(items []staged) error {
	var touched [256]bool
	for i := range items {
		if items[i].size == 0 {
			continue
		}
		shard := shardOf(items[i].digest)
		touched[shard] = true
		if items[i].tmp == "" {
			continue // here already, but its name may not be durable yet
		}
		if err := b.name(shard, items[i]); err != nil {
			for _, rest := range items[i:] {
				b.discard(rest)
			}
			return err
		}
	}
	if err := b.at("renamed"); err != nil {
		return err
	}
	if b.opts.NoSync {
		return nil
	}
	return b.settleAll(&touched)
}

func (b *Store) name(shard int, s staged) error {
	state := &b.shards[shard]
	if !state.made.Load() {
		err := unix.Mkdir(b.dir+"/"+string(s.digest[:2]), 0o700)
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("put blob: %w", b.storeError(err))
		}
		b.root.renamed.Add(1)
		state.made.Store(true)
	}
	if s.size > smallBlob {
		b.saveSums(s.digest, s.sums)
	}
	b.mu.RLock()
	err := disk.RetryEINTR(func() error { return unix.Rename(s.tmp, b.path(s.digest)) })
	if err == unix.ENOENT && unix.Mkdir(b.dir+"/"+string(s.digest[:2]), 0o700) == nil { // somebody has removed it
		b.root.renamed.Add(1)
		err = unix.Rename(s.tmp, b.path(s.digest))
	}
	b.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("put blob: %w", b.storeError(err))
	}
	state.renamed.Add(1)
	return nil
}

// settleAll makes the names in the touched directories durable.
func (b *Store) settleAll(touched *[256]bool) error {
	if err := b.settle(&b.root, b.dir); err != nil {
		return err
	}
	first, n := -1, 0
	for i := range touched {
		if touched[i] {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	shardDir := func(i int) string {
		return b.dir + "/" + string("0123456789abcdef"[i>>4]) + string("0123456789abcdef"[i&15])
	}
	if n == 0 {
		return nil
	}
	if n == 1 {
		return b.settle(&b.shards[first], shardDir(first))
	}
	var g errgroup.Group
	g.SetLimit(8)
	for i := range touched {
		if touched[i] {
			g.Go(func() error { return b.settle(&b.shards[i], shardDir(i)) })
		}
	}
	return g.Wait()
}

// settle makes the names that a directory has now durable. Callers that come
// while one syncs share the next sync.
func (b *Store) settle(s *dirState, path string) error {
	want := s.renamed.Load()
	if s.synced.Load() >= want {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.synced.Load() >= want {
		return nil
	}
	if err := b.broken.Load(); err != nil {
		return *err
	}
	have := s.renamed.Load()
	err := disk.SyncDir(path)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed it, and all in it
		return fmt.Errorf("put blob: %w", b.storeError(err))
	}
	if err != nil {
		// The kernel tells a failure once and then forgets it, so a second try
		// would pass and prove nothing: the store is done for until it is opened
		// again.
		err = &pipeline.Error{Kind: pipeline.Unavailable, Message: fmt.Sprintf("storage failed: %v: check the disk, then start again", err), Err: err}
		b.broken.CompareAndSwap(nil, &err)
		return err
	}
	s.synced.Store(have)
	return nil
}
