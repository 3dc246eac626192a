package fsm

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"
)

// A snapshot is, under zstd: the magic line, then for each pair a bucket
// number (byte, from 1), key and value with their lengths as uvarints, then a
// zero byte, the number of pairs (uvarint) and the SHA-256 of all before it.
const magic = "pipelined-state-1\n"

// Limits of what a snapshot may claim, so that a damaged one cannot make us
// allocate much.
const (
	maxKeyBytes   = 4 << 10
	maxValueBytes = 64 << 20
)

type snapshot struct{ tx *bolt.Tx }

// Snapshot opens a read transaction; Persist streams it while Apply continues.
func (s *Store) Snapshot() (raft.FSMSnapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &snapshot{tx: tx}, nil
}

// Persist writes the snapshot into the sink and closes it.
func (p *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(p.tx, sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release ends the read transaction.
func (p *snapshot) Release() { _ = p.tx.Rollback() } // a second Rollback is the only error

func writeSnapshot(tx *bolt.Tx, out io.Writer) error {
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}

	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(z, sum), 64<<10)
	var n uint64
	var scratch []byte
	if _, err := w.WriteString(magic); err != nil {
		return err
	}

	for i, name := range allBuckets {
		err := tx.Bucket(name).ForEach(func(k, v []byte) error {
			n++
			scratch = append(scratch[:0], byte(i+1))
			scratch = binary.AppendUvarint(scratch, uint64(len(k)))
			scratch = append(scratch, k...)
			scratch = binary.AppendUvarint(scratch, uint64(len(v)))
			if _, err := w.Write(scratch); err != nil {
				return err
			}
			_, err := w.Write(v)
			return err
		})
		if err != nil {
			return err
		}
	}

	if _, err := w.Write(binary.AppendUvarint([]byte{0}, n)); err != nil {
		return err
	}

	if err := w.Flush(); err != nil {
		return err
	}

	if _, err := z.Write(sum.Sum(nil)); err != nil {
		return err
	}

	return z.Close()
}

// Restore replaces the state by a snapshot: it writes a new file, verifies it
// to its last byte, then swaps the files. On an error the old state remains.
func (s *Store) Restore(in io.ReadCloser) error {
	defer in.Close()
	tmp := s.path + ".restore"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("remove old restore file: %w", err)
	}

	db, err := openBolt(tmp)
	if err != nil {
		return err
	}

	if err := readSnapshot(db, in); err != nil {
		return errors.Join(fmt.Errorf("restore state: %w", err), db.Close(), os.Remove(tmp))
	}

	old, err := s.swap(tmp, db)
	if err != nil {
		return errors.Join(fmt.Errorf("swap in restored state: %w", err), db.Close(), os.Remove(tmp))
	}

	s.recent.clear()
	s.watch.replaced()

	// Waits for a snapshot of the old state that is still being written; readers
	// have the new one by now.
	if err := old.Close(); err != nil {
		return fmt.Errorf("close replaced state: %w", err)
	}

	return nil
}

// swap replaces the present file by db, which is open, and returns the old one.
// The file is renamed while it is open, so that nothing can fail afterwards.
func (s *Store) swap(path string, db *bolt.DB) (old *bolt.DB, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(path, s.path); err != nil {
		return nil, err
	}
	old, s.db = s.db, db
	return old, nil
}

// hashReader adds the bytes it reads to a hash.
type hashReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (h *hashReader) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		h.sum.Write([]byte{b})
	}
	return b, err
}

// read allocates memory only as the bytes arrive: a false length costs nothing.
func (h *hashReader) read(n uint64) ([]byte, error) {
	const step = 1 << 20
	b := make([]byte, 0, min(n, step))
	for uint64(len(b)) < n {
		from := len(b)
		b = append(b, make([]byte, min(n-uint64(from), step))...)
		if _, err := io.ReadFull(h.r, b[from:]); err != nil {
			return nil, fmt.Errorf("the snapshot is cut off: %w", err)
		}
	}
	h.sum.Write(b)
	return b, nil
}

func (h *hashReader) bytes(max uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(h)
	if err != nil {
		return nil, err
	}
	if n > max {
		return nil, fmt.Errorf("length %d: at most %d", n, max)
	}
	return h.read(n)
}

func readSnapshot(db *bolt.DB, in io.Reader) error {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	h := &hashReader{r: bufio.NewReaderSize(z, 64<<10), sum: sha256.New()}
	if b, err := h.read(uint64(len(magic))); err != nil || string(b) != magic {
		return errors.Join(errors.New("not a snapshot of this version"), err)
	}

	if err := db.Update(makeBuckets); err != nil {
		return err
	}

	var n uint64
	for done := false; !done; {
		err := db.Update(func(tx *bolt.Tx) error {
			var err error
			done, err = readPairs(h, tx, &n)
			return err
		})
		if err != nil {
			return fmt.Errorf("pair %d: %w", n, err)
		}
	}

	claimed, err := binary.ReadUvarint(h)
	if err != nil || claimed != n {
		return fmt.Errorf("%d pairs of %d: %w", n, claimed, errors.Join(err, errors.New("the snapshot is damaged")))
	}

	want := h.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(h.r, got); err != nil || string(got) != string(want) {
		return errors.Join(errors.New("the snapshot's checksum does not match"), err)
	}

	// The end also verifies the checksum of the compression.
	if _, err := h.r.ReadByte(); err != io.EOF {
		return errors.Join(errors.New("the snapshot continues behind its end"), err)
	}

	return nil
}

// readPairs reads up to 10,000 pairs, or some 16 MiB, into one transaction,
// which keeps them in memory until it is committed.
func readPairs(h *hashReader, tx *bolt.Tx, n *uint64) (done bool, err error) {
	for size := 0; size < 16<<20; {
		tag, err := h.ReadByte()
		if err != nil {
			return false, err
		}

		if tag == 0 {
			return true, nil
		}

		if int(tag) > len(allBuckets) {
			return false, fmt.Errorf("unknown bucket %d", tag)
		}

		k, err := h.bytes(maxKeyBytes)
		if err != nil {
			return false, err
		}

		v, err := h.bytes(maxValueBytes)
		if err != nil {
			return false, err
		}

		b := tx.Bucket(allBuckets[tag-1])
		b.FillPercent = 0.9 // keys come in order

		if err := b.Put(k, v); err != nil {
			return false, err
		}

		*n++
		size += len(k) + len(v) + (16<<20)/10_000
	}

	return false, nil
}

// Walk calls fn with every pair of the state, in order: replicas are compared
// by it, never by their files.
func (s *Store) Walk(fn func(bucket string, k, v []byte) error) error {
	return s.View(func(v *View) error {
		for _, name := range allBuckets {
			err := v.tx.Bucket(name).ForEach(func(k, val []byte) error { return fn(string(name), k, val) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}
