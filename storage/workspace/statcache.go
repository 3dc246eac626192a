package workspace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// A StatCache remembers, between snapshots of one workspace, which digest each
// file had and what the kernel said of the file then. A file of which it says
// the same again, size, inode, mode and both times, is not read again.
//
// What is remembered can be trusted because the kernel sets ctime on every
// change, whatever the writer sets afterwards. Its clock is coarse, though: two
// changes within one tick have the same time. So only files are remembered whose
// last change lies well before the snapshot began (racyMargin), and then any later
// change has another time. Nothing is remembered of filesystems whose clock may
// be another machine's, nor of files on another filesystem than the workspace.
//
// One is for one Snapshot, and is not safe for concurrent use.
type StatCache struct {
	path string // of the file; "" where there is none
	root string
	dev  uint64
	old  map[string]statRecord
	next []statRecord
	hits int
	now  func() time.Time // replaced in tests
}

// statRecord is what is known of a file.
type statRecord struct {
	path string
	fileStat
	digest pipeline.Digest
}

// fileStat is what tells a file from what it was: times in nanoseconds.
type fileStat struct {
	size, mtime, ctime int64
	ino                uint64
	mode               uint32
}

func statOf(st *unix.Stat_t) fileStat {
	return fileStat{size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino, mode: uint32(st.Mode)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	// racyMargin is how much older than a snapshot a file's last change must be
	// for its digest to be remembered: the coarsest clock of the filesystems that
	// count has seconds.
	racyMargin = 2 * time.Second
	// maxStatFiles and maxStatBytes bound what is kept of all workspaces
	// together; those that were used longest ago go first.
	maxStatFiles = 64
	maxStatBytes = 512 << 20
	// statUsedEvery is how often a file that need not be written again is marked
	// as used.
	statUsedEvery = 24 * time.Hour

	statMagic = "pipelined stat cache 1\n"
	// statFixed is the size in bytes of a record without its path: the numbers of
	// a fileStat and a digest in hexadecimal.
	statFixed = 2 + 8*4 + 4 + 64
)

// OpenStatCache reads what is remembered of the workspace root, links resolved,
// in the directory dir, which Save makes. A file that is damaged, of another
// version or of another workspace counts as none: then all is read, and written
// anew.
func OpenStatCache(dir, root string) *StatCache {
	c := &StatCache{root: root, now: time.Now}
	var st unix.Stat_t
	if unix.Stat(root, &st) != nil || !disk.LocalFilesystem(root) {
		return c
	}
	sum := sha256.Sum256([]byte(root))
	c.path, c.dev = filepath.Join(dir, hex.EncodeToString(sum[:16])), uint64(st.Dev)
	if info, err := os.Stat(c.path); err != nil || info.Size() > maxStatBytes {
		return c
	}
	if text, err := os.ReadFile(c.path); err == nil {
		c.old = c.decode(string(text))
	}
	return c
}

// find gives the digest that a file had when it was last read, where it surely
// has that still.
func (c *StatCache) find(path string, st *unix.Stat_t) (pipeline.Digest, bool) {
	r, ok := c.old[path]
	if !ok || uint64(st.Dev) != c.dev || r.fileStat != statOf(st) {
		return "", false
	}
	return r.digest, true
}

// reliable reports whether any later change of a file must show in its times:
// began is when the snapshot did.
func (c *StatCache) reliable(st *unix.Stat_t, began time.Time) bool {
	limit := began.Add(-racyMargin).UnixNano()
	return c.path != "" && uint64(st.Dev) == c.dev && st.Mtim.Nano() < limit && st.Ctim.Nano() < limit
}

// Save keeps what the last Snapshot learned, for the next one. The file is
// replaced as a whole: of two snapshots at once the last one's stays.
func (c *StatCache) Save() error {
	switch {
	case c.path == "":
		return nil
	case len(c.next) == c.hits && c.hits == len(c.old):
		if info, err := os.Stat(c.path); err == nil && time.Since(info.ModTime()) > statUsedEvery {
			return os.Chtimes(c.path, time.Now(), time.Now())
		}
		return nil
	}
	dir := filepath.Dir(c.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("remember the files of %s: %w", c.root, err)
	}
	if err := disk.WriteFile(c.path, c.encode(), 0o600, false); err != nil {
		return fmt.Errorf("remember the files of %s: %w", c.root, err)
	}
	pruneStats(dir, filepath.Base(c.path))
	return nil
}

// learn remembers a file for the next snapshot.
func (c *StatCache) learn(e *entry) {
	if e.hit {
		c.hits++
	}
	if e.hit || e.learn {
		c.next = append(c.next, statRecord{e.Path, e.stat, e.Digest})
	}
}

// forget takes back what was learned of a file.
func (c *StatCache) forget(path string) {
	c.next = slices.DeleteFunc(c.next, func(r statRecord) bool { return r.path == path })
}

// encode writes: the magic; lengths of root and records; device; root; records;
// a checksum of all that.
func (c *StatCache) encode() []byte {
	size := len(statMagic) + 24 + len(c.root) + 4
	for i := range c.next {
		size += statFixed + len(c.next[i].path)
	}
	out := append(make([]byte, 0, size), statMagic...)
	le := binary.LittleEndian
	out = le.AppendUint64(out, uint64(len(c.root)))
	out = le.AppendUint64(out, uint64(len(c.next)))
	out = le.AppendUint64(out, c.dev)
	out = append(out, c.root...)
	for i := range c.next {
		r := &c.next[i]
		out = le.AppendUint16(out, uint16(len(r.path))) // MaxPathBytes at most
		out = le.AppendUint64(out, uint64(r.size))
		out = le.AppendUint64(out, uint64(r.mtime))
		out = le.AppendUint64(out, uint64(r.ctime))
		out = le.AppendUint64(out, r.ino)
		out = le.AppendUint32(out, r.mode)
		out = append(out, r.digest...)
		out = append(out, r.path...)
	}
	return le.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// decode reads records; nil where anything is wrong with them. Their strings
// are parts of text.
func (c *StatCache) decode(text string) map[string]statRecord {
	header := len(statMagic) + 24
	if len(text) < header+4 || !strings.HasPrefix(text, statMagic) {
		return nil
	}
	raw := []byte(text)
	le, end := binary.LittleEndian, len(text)-4
	if crc32.Checksum(raw[:end], castagnoli) != le.Uint32(raw[end:]) {
		return nil
	}
	at := len(statMagic)
	rootLen, count, dev := le.Uint64(raw[at:]), le.Uint64(raw[at+8:]), le.Uint64(raw[at+16:])
	at = header
	if rootLen != uint64(len(c.root)) || dev != c.dev || count > tree.MaxEntries || !strings.HasPrefix(text[at:end], c.root) {
		return nil
	}
	at += len(c.root)
	records := make(map[string]statRecord, count)
	for range count {
		if end-at < statFixed {
			return nil
		}
		n := int(le.Uint16(raw[at:]))
		if end-at < statFixed+n {
			return nil
		}
		r := statRecord{fileStat: fileStat{size: int64(le.Uint64(raw[at+2:])), mtime: int64(le.Uint64(raw[at+10:])), ctime: int64(le.Uint64(raw[at+18:])),
			ino: le.Uint64(raw[at+26:]), mode: le.Uint32(raw[at+34:])}}
		at += statFixed
		r.digest, r.path = pipeline.Digest(text[at-64:at]), text[at:at+n]
		if _, err := pipeline.ParseDigest(string(r.digest)); err != nil {
			return nil
		}
		at += n
		records[r.path] = r
	}
	if at != end || len(records) != int(count) {
		return nil
	}
	return records
}
