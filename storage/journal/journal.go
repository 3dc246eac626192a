package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Entry is what the journal holds of an attempt.
type Entry struct {
	ID    pipeline.AttemptID `json:"id"`
	Fence uint64             `json:"fence,omitempty"`
	// Incarnation is the keeper's at the time the attempt was taken.
	Incarnation string `json:"incarnation,omitempty"`
	// Spec is the attempt's specification, JSON as its owner encoded it.
	Spec json.RawMessage `json:"-"`
	// Dir is the attempt's directory.
	Dir string `json:"dir,omitempty"`
	// Outcome is nil until the attempt has ended.
	Outcome *pipeline.Outcome `json:"outcome,omitempty"`

	order uint64 // of taking
}

// Journal is an open journal. Run brings it to the disk and repairs it.
type Journal struct {
	path   string
	report func(string)
	create func(path string) (file, error)
	wake   chan struct{} // holds one: Run has something to do
	damage string        // what Damage returns

	mu sync.Mutex
	// guards following
	entries map[pipeline.AttemptID]Entry
	taken   uint64
	file    file    // nil until one could be written
	size    int64   // where the next record begins
	grown   int64   // size at which the file is rewritten
	dirty   bool    // the file has bytes that are not synced
	tee     *[]byte // what is recorded while a new file is written; else nil
	err     error
	closed  bool
}

// Open reads the journal at path and rewrites it with what is left of it;
// without a file it begins one. Damaged records are skipped. A file that is no
// journal, or cannot be read to its end, is renamed to PATH.damaged-TIME. A disk
// that does not take the new file is no error here: see Err.
//
// report is called with one line for everything that was lost, and when writing
// fails and works again. It must not call the journal.
func Open(path string, report func(string)) (*Journal, error) {
	return open(path, report, createFile)
}

func open(path string, report func(string), create func(string) (file, error)) (*Journal, error) {
	j := &Journal{path: path, report: report, create: create, wake: make(chan struct{}, 1), entries: map[pipeline.AttemptID]Entry{}}

	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	unreadable := err != nil && !errors.Is(err, fs.ErrNotExist)

	records, lost := 0, 0
	if !blank(data) {
		records, lost = scan(data, j.apply)
	}
	if unreadable || lost == len(data) && lost > 0 {
		aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000Z")
		if err := os.Rename(path, aside); err != nil {
			return nil, fmt.Errorf("move damaged journal: %w", err)
		}
		j.damage = fmt.Sprintf("it is unreadable and was moved to %s; attempts that only it recorded are reported lost", aside)
	} else if lost > 0 {
		j.damage = fmt.Sprintf("skipped %d damaged bytes, read %d records; attempts that only those bytes recorded are reported lost", lost, records)
	}
	if j.damage != "" {
		report(fmt.Sprintf("journal %s: %s", path, j.damage))
	}

	j.rewrite()

	return j, nil
}

// Damage says what Open found damaged; "" if nothing was.
func (j *Journal) Damage() string { return j.damage }

// Put records an attempt that is being taken. After an error it is not recorded; a
// specification that is no JSON is one of kind pipeline.Invalid.
func (j *Journal) Put(e Entry) error {
	if len(e.Spec) > 0 && !json.Valid(e.Spec) {
		return pipeline.Errorf(pipeline.Invalid, "the specification of attempt %s is no JSON", e.ID)
	}

	j.mu.Lock()
	defer j.mu.Unlock()

	return j.recordLocked(&record{Put: &e}, false)
}

// SetOutcome records how an attempt ended; a second outcome replaces the first.
// The attempt has ended whatever the disk says: after a failed write the outcome
// is kept all the same, and written once the disk works. An attempt that the
// journal does not have is an error of kind pipeline.NotFound.
func (j *Journal) SetOutcome(o pipeline.Outcome) error {
	j.mu.Lock()
	defer j.mu.Unlock()

	e, ok := j.entries[o.ID]
	if !ok {
		return pipeline.Errorf(pipeline.NotFound, "attempt %s is not in the journal", o.ID)
	}
	e.Outcome = &o

	return j.recordLocked(&record{Put: &e}, true)
}

// Delete removes an attempt; one that is not there is no error. Like an outcome
// it holds after a failed write too.
func (j *Journal) Delete(id pipeline.AttemptID) error {
	j.mu.Lock()
	defer j.mu.Unlock()

	if _, ok := j.entries[id]; !ok {
		return nil
	}

	return j.recordLocked(&record{Delete: &id}, true)
}

// All returns the attempts in the order they were taken. Specs and outcomes are
// shared with the journal and must not be changed.
func (j *Journal) All() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()

	return j.allLocked()
}

func (j *Journal) allLocked() []Entry {
	list := make([]Entry, 0, len(j.entries))
	for _, e := range j.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.order, b.order) })

	return list
}

// Err returns why the file does not hold what the journal does, or nil. It is
// set by a failed write or sync and cleared once Run has rewritten the file.
// Puts are tried all the same.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()

	return j.err
}

// recordLocked writes a record and applies it to the entries: after an error
// only if it is a fact, which holds whether or not it could be written.
func (j *Journal) recordLocked(r *record, fact bool) error {
	raw, err := encode(nil, r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}

	if err = j.appendLocked(raw); err != nil && !fact {
		return err
	}

	j.apply(r)
	if j.tee != nil {
		*j.tee = append(*j.tee, raw...)
	}

	return err
}

// appendLocked writes a record behind the last one. After an error the next one
// goes to the same offset, over what there may be of this one.
func (j *Journal) appendLocked(raw []byte) error {
	err := j.err
	switch {
	case j.closed:
		err = fs.ErrClosed
	case j.file != nil:
		_, err = j.file.WriteAt(raw, j.size)
	}
	if err != nil {
		j.failLocked(err)
		return &pipeline.Error{Kind: pipeline.Unavailable, Message: "write journal: " + err.Error(), Err: err}
	}

	j.size += int64(len(raw))
	j.dirty = true
	j.poke()

	return nil
}

// apply changes the entries. j.mu is held, or j is not shared yet.
func (j *Journal) apply(r *record) {
	if r.Delete != nil {
		delete(j.entries, *r.Delete)
		return
	}

	e := *r.Put
	if old, ok := j.entries[e.ID]; ok {
		e.order = old.order
	} else {
		j.taken++
		e.order = j.taken
	}
	j.entries[e.ID] = e
}

func (j *Journal) failLocked(err error) {
	if j.closed {
		return
	}
	if j.err == nil {
		j.report(fmt.Sprintf("journal %s cannot be written: %v", j.path, err))
	}
	j.err = err
	j.poke()
}

func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}
