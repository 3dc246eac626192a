package storage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// JournalEntry is what the journal knows of an attempt.
type JournalEntry struct {
	ID    pipeline.AttemptID
	Fence uint64
	// Incarnation is the keeper's life that the attempt was taken in.
	Incarnation string
	// Spec is the attempt's specification as its taker encoded it.
	Spec []byte
	// Outcome is nil until the attempt has ended.
	Outcome *pipeline.Outcome
	// Dir is the attempt's folder.
	Dir string
}

// Journal remembers which attempts this node has taken, and how they ended,
// until the orchestrator has committed that. It is one file that is appended
// to.
//
// What a method wrote survives the end of this process, however it ends, when
// the method returns. A power cut may take the last tenth of a second; it also
// ends the keeper, and then the attempts of the incarnation are lost whatever
// the journal says.
type Journal struct {
	path     string
	warnings []string
	wake     chan struct{} // holds one: the file has bytes that are not synced

	mu sync.Mutex
	// guards following
	f      *os.File
	state  journalState
	size   int64
	buf    []byte
	dirty  bool
	closed bool
	broken error
	tee    *bytes.Buffer // what is appended while a compacted file is made
}

// journalState is what replaying the file gives.
type journalState struct {
	entries map[pipeline.AttemptID]*journalEntry
	next    uint64 // order of taking
	live    int64  // bytes of records that still matter
}

type journalEntry struct {
	JournalEntry
	order       uint64
	takeSize    int64
	outcomeSize int64
}

const (
	// journalSyncEvery bounds how much a power cut takes.
	journalSyncEvery = 100 * time.Millisecond
	// journalDead is how many bytes of dead records are worth a new file, when
	// they are most of the old one.
	journalDead = 4 << 20
)

var errJournalClosed = errors.New("the journal is closed")

// OpenJournal opens a journal, makes it where there is none, and replays it. A
// last record that was cut short is removed, with a warning; damage before the
// last record is a *JournalError and the file is left as it is.
func OpenJournal(path string) (*Journal, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: path, wake: make(chan struct{}, 1), state: journalState{entries: map[pipeline.AttemptID]*journalEntry{}}}
	end, err := j.replay(data)
	if err != nil {
		return nil, err
	}
	if j.f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", diskError(err))
	}
	if err := j.begin(int64(len(data)), end); err != nil {
		j.f.Close()
		return nil, fmt.Errorf("open journal: %w", diskError(err))
	}
	if dead := j.size - j.state.live; dead > journalDead/4 && dead > j.state.live {
		if err := j.compact(); err != nil {
			j.f.Close()
			return nil, fmt.Errorf("open journal: %w", err)
		}
	}
	return j, nil
}

// replay reads all records and gives the offset behind the last sound one; 0
// where not even the header is whole.
func (j *Journal) replay(data []byte) (int64, error) {
	if len(data) < len(journalHeader) && bytes.HasPrefix([]byte(journalHeader), data) {
		return 0, nil
	}
	if !bytes.HasPrefix(data, []byte(journalHeader)) {
		if len(bytes.Trim(data, "\x00")) == 0 {
			return 0, nil // a file that a power cut left without its bytes
		}
		return 0, &JournalError{Path: j.path, Reason: "it does not begin as a journal of this version does"}
	}
	at := len(journalHeader)
	for at < len(data) {
		body, n, ok := recordAt(data[at:])
		if !ok {
			if recordFollows(data[at+1:]) {
				return 0, &JournalError{Path: j.path, Offset: int64(at), Reason: "a record's checksum or length is wrong"}
			}
			return int64(at), nil
		}
		if err := j.state.apply(body, int64(n)); err != nil {
			return 0, &JournalError{Path: j.path, Offset: int64(at), Reason: err.Error()}
		}
		at += n
	}
	return int64(at), nil
}

// begin brings the file to its sound part, with a header.
func (j *Journal) begin(have, end int64) error {
	if have > end {
		if have > 0 {
			j.warnings = append(j.warnings, fmt.Sprintf("journal %s: the last %d bytes were cut short by a crash and are removed", j.path, have-end))
		}
		if err := j.f.Truncate(end); err != nil {
			return err
		}
	}
	j.size = end
	if end > 0 {
		return nil
	}
	if _, err := j.f.WriteString(journalHeader); err != nil {
		return err
	}
	j.size = int64(len(journalHeader))
	return nil
}

// Warnings are what OpenJournal had to mend, for the log.
func (j *Journal) Warnings() []string { return j.warnings }

// Take writes an attempt down. Its Outcome is not looked at. An attempt that is
// in the journal already stays as it is, and the error is of kind
// pipeline.Conflict.
func (j *Journal) Take(e JournalEntry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.state.entries[e.ID]; ok {
		return pipeline.Errorf(pipeline.Conflict, "attempt %s is in the journal already", e.ID)
	}
	if _, err := pipeline.ParseAttemptID(e.ID.String()); err != nil {
		return &pipeline.Error{Kind: pipeline.Invalid, Message: err.Error(), Err: err}
	}
	n, err := j.appendLocked(func(b []byte) ([]byte, error) { return appendTake(b, &e) })
	if err != nil {
		return fmt.Errorf("journal: take %s: %w", e.ID, err)
	}
	e.Outcome, e.Spec = nil, bytes.Clone(e.Spec)
	j.state.take(&e, n)
	return nil
}

// Outcome writes down how an attempt ended. A second outcome replaces the
// first: it may know of more holders. An attempt that the journal does not
// have is an error of kind pipeline.NotFound.
func (j *Journal) Outcome(o pipeline.Outcome) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.state.entries[o.ID]; !ok {
		return pipeline.Errorf(pipeline.NotFound, "attempt %s is not in the journal", o.ID)
	}
	n, err := j.appendLocked(func(b []byte) ([]byte, error) { return appendOutcome(b, &o) })
	if err != nil {
		return fmt.Errorf("journal: outcome of %s: %w", o.ID, err)
	}
	j.state.outcome(&o, n)
	return nil
}

// Forget removes attempts, in one write. Those the journal does not have are
// passed over.
func (j *Journal) Forget(ids ...pipeline.AttemptID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	known := ids[:0:0]
	for _, id := range ids {
		if _, ok := j.state.entries[id]; ok {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return nil
	}
	_, err := j.appendLocked(func(b []byte) (_ []byte, err error) {
		for _, id := range known {
			if b, err = appendForget(b, id); err != nil {
				return b, err
			}
		}
		return b, nil
	})
	if err != nil {
		return fmt.Errorf("journal: forget: %w", err)
	}
	for _, id := range known {
		j.state.forget(id)
	}
	return nil
}

// All lists the attempts in the order they were taken. Specs and outcomes are
// shared with the journal and must not be changed.
func (j *Journal) All() []JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]JournalEntry, 0, len(j.state.entries))
	for _, e := range j.state.sorted() {
		list = append(list, e.JournalEntry)
	}
	return list
}

// Get gives one attempt; ok is false where the journal does not have it.
func (j *Journal) Get(id pipeline.AttemptID) (e JournalEntry, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if found := j.state.entries[id]; found != nil {
		return found.JournalEntry, true
	}
	return JournalEntry{}, false
}

// appendLocked writes what fill makes in one write, and gives its length. After
// an error the file is as it was.
func (j *Journal) appendLocked(fill func([]byte) ([]byte, error)) (int64, error) {
	if j.closed {
		return 0, errJournalClosed
	}
	if j.broken != nil {
		return 0, j.broken
	}
	buf, err := fill(j.buf[:0])
	if err != nil {
		return 0, err
	}
	if j.buf = buf; cap(buf) > 1<<20 {
		j.buf = nil // one large record must not stay in memory
	}
	if _, err := j.f.Write(buf); err != nil {
		// A part of it may be there: a later record behind it would be damage.
		if terr := j.f.Truncate(j.size); terr != nil {
			j.broken = fmt.Errorf("journal %s cannot be mended after a failed write: %w", j.path, terr)
		}
		return 0, diskError(err)
	}
	j.size += int64(len(buf))
	if j.tee != nil {
		j.tee.Write(buf)
	}
	if !j.dirty {
		j.dirty = true
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	return int64(len(buf)), nil
}

func (s *journalState) take(e *JournalEntry, size int64) {
	if old := s.entries[e.ID]; old != nil {
		s.live -= old.takeSize + old.outcomeSize
	}
	s.next++
	s.entries[e.ID] = &journalEntry{JournalEntry: *e, order: s.next, takeSize: size}
	s.live += size
}

func (s *journalState) outcome(o *pipeline.Outcome, size int64) {
	e := s.entries[o.ID]
	if e == nil {
		return
	}
	kept := *o
	s.live += size - e.outcomeSize
	e.Outcome, e.outcomeSize = &kept, size
}

func (s *journalState) forget(id pipeline.AttemptID) {
	if e := s.entries[id]; e != nil {
		s.live -= e.takeSize + e.outcomeSize
		delete(s.entries, id)
	}
}

func (s *journalState) sorted() []*journalEntry {
	list := make([]*journalEntry, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *journalEntry) int { return cmp.Compare(a.order, b.order) })
	return list
}
