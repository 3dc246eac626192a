package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/internal/awake"
	"github.com/pipelined/pipelined/internal/metrics"
)

var (
	// ErrCorrupt is returned if an entry of the log is not what was written.
	ErrCorrupt = errors.New("raft's log is damaged")
)

// raft's names for its keys.
const (
	keyVoteTerm = "LastVoteTerm"
	keyVoteCand = "LastVoteCand"
)

// keyVote holds both halves of a vote in one value, so that they change in one
// transaction (reliability H19); keyProbe is written to test whether the disk
// accepts writes again.
var (
	keyVote  = []byte("pipelined.vote")
	keyProbe = []byte("pipelined.probe")
)

// sumLen is the length of the checksum's trailer: a tag and a CRC32C.
const (
	sumTag = 0xC5
	sumLen = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logStore keeps raft's log and its few stable values in one bbolt file. It
// adds a checksum to every entry, which travels to the followers with it,
// times the writes in progress, and remembers failures.
type logStore struct {
	bolt *raftboltdb.BoltStore
	log  hclog.Logger
	// metrics is set before raft's first write.
	metrics *metrics.Raft
	closed  chan struct{}
	once    sync.Once
	// abandonOnce guards closed.
	abandonOnce sync.Once

	// inProgress are the writes that have not ended, by number, with when they
	// began.
	writesMu   sync.Mutex // guards following
	inProgress map[uint64]time.Time
	writes     uint64

	// failure is set by a failed write and cleared by a probe.
	failure fault
	// configured is the highest index of a configuration that went through.
	configured atomic.Uint64
	// inject is set by tests to make writes hang or fail.
	inject atomic.Pointer[func() error]
	// floor is the index up to which entries may be deleted; nil for no limit.
	// It is set before raft's first snapshot.
	floor func() uint64
	// replaced is called before the end of the log is removed, because another
	// leader has other entries there.
	replaced atomic.Pointer[func(lo, hi uint64)]
	// damaged holds the first corruption found.
	damaged atomic.Pointer[error]

	mu sync.Mutex // guards following
	// voteTerm and voteCand are the vote as raft sees it. A term that was set
	// without its candidate is not on disk yet: no vote has been answered.
	voteTerm uint64
	voteCand []byte
	// pending is a term that waits for its candidate.
	pending    uint64
	hasPending bool
}

// openLogStore opens or makes the file. A file that another process holds is
// an error within a second, and so is one that bbolt cannot make sense of.
func openLogStore(path string, log hclog.Logger) (s *logStore, err error) {
	// A file that was cut off is mapped beyond its end.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// bbolt panics on pages it cannot read (H20c).
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("open %s: %w: %v", path, ErrCorrupt, p)
		}
	}()

	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout: time.Second, NoFreelistSync: true,
			FreelistType: bbolt.FreelistMapType, InitialMmapSize: 64 << 20,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open raft's log %s: %w", path, err)
	}

	s = &logStore{bolt: bolt, log: log, closed: make(chan struct{}), inProgress: map[uint64]time.Time{}}
	vote, err := bolt.Get(keyVote)
	switch {
	case errors.Is(err, raftboltdb.ErrKeyNotFound):
	case err != nil:
		bolt.Close()
		return nil, fmt.Errorf("read raft's vote: %w", err)
	case len(vote) < 8:
		bolt.Close()
		return nil, fmt.Errorf("read raft's vote: %w", ErrCorrupt)
	default:
		s.voteTerm, s.voteCand = binary.BigEndian.Uint64(vote), vote[8:]
	}

	return s, nil
}

// abandon ends the writes that are repeated until they succeed. Nothing may
// leave this node afterwards: raft believes that they did.
func (s *logStore) abandon() { s.abandonOnce.Do(func() { close(s.closed) }) }

// Close ends waiting writes and closes the file.
func (s *logStore) Close() error {
	s.abandon()
	var err error
	s.once.Do(func() { err = s.bolt.Close() })
	return err
}

func (s *logStore) FirstIndex() (uint64, error) { return s.bolt.FirstIndex() }
func (s *logStore) LastIndex() (uint64, error)  { return s.bolt.LastIndex() }

// GetLog reads an entry and checks it.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	if err := s.read(index, log); err != nil {
		if errors.Is(err, ErrCorrupt) {
			s.damaged.CompareAndSwap(nil, &err)
		}
		return err
	}
	s.noteConfiguration(log)
	return nil
}

// read is GetLog without consequences.
func (s *logStore) read(index uint64, log *raft.Log) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read entry %d: %w: %v", index, ErrCorrupt, p)
		}
	}()
	if err := s.bolt.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err // as it is: raft compares it
		}
		return fmt.Errorf("read entry %d: %w: %w", index, ErrCorrupt, err)
	}
	if log.Index != index || !checked(log) {
		return fmt.Errorf("read entry %d: %w", index, ErrCorrupt)
	}
	return nil
}

// noteConfiguration remembers the newest configuration, even if a later leader
// reverts it: a wait for it then ends only with the next.
func (s *logStore) noteConfiguration(l *raft.Log) {
	if l.Type != raft.LogConfiguration {
		return
	}
	for {
		old := s.configured.Load()
		if l.Index <= old || s.configured.CompareAndSwap(old, l.Index) {
			return
		}
	}
}

// StoreLog writes one entry.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, synced. Entries that come from a leader carry their
// checksum already and are refused if it is wrong.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		s.noteConfiguration(l)
		if hasSum(l) {
			if !checked(l) {
				return fmt.Errorf("store entry %d: arrived damaged", l.Index)
			}
			continue
		}
		l.Extensions = appendSum(l)
	}
	return s.write(func() error { return s.bolt.StoreLogs(logs) })
}

// DeleteRange removes entries, both ends included. From the beginning of the
// log, it removes no more than two snapshots cover. The end, which another
// leader has replaced, is removed whole.
func (s *logStore) DeleteRange(lo, hi uint64) error {
	if s.floor != nil {
		first, err := s.bolt.FirstIndex()
		if err != nil {
			return err
		}
		last, err := s.bolt.LastIndex()
		if err != nil {
			return err
		}
		if f := s.replaced.Load(); f != nil && lo > first && hi == last {
			(*f)(lo, hi)
		}
		if lo <= first && hi < last {
			if hi = min(hi, s.floor()); hi < lo {
				return nil
			}
		}
	}
	return s.write(func() error { return s.bolt.DeleteRange(lo, hi) })
}

// write times a write and remembers its failure.
func (s *logStore) write(f func() error) error {
	began := time.Now()
	err := s.timed(f)
	s.metrics.Flushed(time.Since(began))
	if err != nil && !s.isClosed() {
		s.failure.set(err)
	}
	return err
}

// timed counts a write as in progress while f runs. Heartbeats may write the term
// beside a write of the log, so there may be two.
func (s *logStore) timed(f func() error) error {
	s.writesMu.Lock()
	s.writes++
	id := s.writes
	s.inProgress[id] = time.Now()
	s.writesMu.Unlock()
	defer func() {
		s.writesMu.Lock()
		delete(s.inProgress, id)
		s.writesMu.Unlock()
	}()
	if inject := s.inject.Load(); inject != nil {
		if err := (*inject)(); err != nil {
			return err
		}
	}
	return f()
}

// stalled is how long the oldest write in progress has taken by a clock, 0 if
// there is none.
func (s *logStore) stalled(clock *awake.Clock) time.Duration {
	s.writesMu.Lock()
	defer s.writesMu.Unlock()
	var d time.Duration
	for _, began := range s.inProgress {
		d = max(d, clock.Since(began))
	}
	return d
}

// probe writes something and reports whether the disk accepted it.
func (s *logStore) probe() error {
	err := s.timed(func() error { return s.bolt.Set(keyProbe, []byte(time.Now().UTC().Format(time.RFC3339))) })
	if err == nil {
		s.failure.clear()
	}
	return err
}

func (s *logStore) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Set keeps a value of raft's; the candidate of a vote is written together
// with its term.
func (s *logStore) Set(key, val []byte) error {
	if string(key) != keyVoteCand {
		return s.write(func() error { return s.bolt.Set(key, val) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	term := s.voteTerm
	if s.hasPending {
		term = s.pending
	}
	s.hasPending = false
	vote := append(binary.BigEndian.AppendUint64(nil, term), val...)
	if err := s.write(func() error { return s.bolt.Set(keyVote, vote) }); err != nil {
		return err
	}
	s.voteTerm, s.voteCand = term, vote[8:]
	return nil
}

// Get reads a value of raft's.
func (s *logStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyVoteCand {
		return s.bolt.Get(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.voteCand == nil {
		return nil, raftboltdb.ErrKeyNotFound
	}
	return s.voteCand, nil
}

// SetUint64 stores a number of raft's. raft panics if its term cannot be
// written, so a failing write is repeated until the disk accepts it or the node
// is closed.
func (s *logStore) SetUint64(key []byte, val uint64) error {
	if string(key) == keyVoteTerm {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending, s.hasPending = val, true
		return nil
	}
	for {
		err := s.timed(func() error { return s.bolt.SetUint64(key, val) })
		if err == nil || s.isClosed() {
			return nil
		}
		s.failure.set(err)
		select {
		case <-s.closed:
		case <-time.After(retryWrite):
		}
	}
}

// GetUint64 reads a number of raft's.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	if string(key) != keyVoteTerm {
		return s.bolt.GetUint64(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.voteCand == nil {
		return 0, raftboltdb.ErrKeyNotFound
	}
	return s.voteTerm, nil
}

// sum is the CRC32C of what the entry means: its place, kind and content.
func sum(l *raft.Log, extensions []byte) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	c := crc32.Update(0, castagnoli, head[:])
	c = crc32.Update(c, castagnoli, l.Data)
	return crc32.Update(c, castagnoli, extensions)
}

func appendSum(l *raft.Log) []byte {
	c := sum(l, l.Extensions)
	ext := make([]byte, 0, len(l.Extensions)+sumLen)
	ext = append(append(ext, l.Extensions...), sumTag)
	return binary.BigEndian.AppendUint32(ext, c)
}

func hasSum(l *raft.Log) bool {
	n := len(l.Extensions)
	return n >= sumLen && l.Extensions[n-sumLen] == sumTag
}

// checked reports whether the entry has a checksum and it is right.
func checked(l *raft.Log) bool {
	if !hasSum(l) {
		return false
	}
	n := len(l.Extensions) - sumLen
	return binary.BigEndian.Uint32(l.Extensions[n+1:]) == sum(l, l.Extensions[:n])
}
