package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/pipelined/pipelined/pipeline"
)

// The journal's file is a header line and records one after the other:
//
//	2 bytes  recordMark
//	4 bytes  length of the body, little endian
//	4 bytes  CRC-32C of the body
//	body     kind (1 byte), then what the kind says
//
// A taken attempt is its fence (uvarint) and four strings (uvarint length,
// bytes): id, incarnation, folder, spec. An outcome is its JSON. A forgotten
// attempt is its id. Records are never changed; a later one wins.
const (
	journalHeader = "pipelined journal 1\n"
	recordMark    = "\xa7J"
	recordHead    = 10
	// maxRecord bounds a body: a spec or an outcome is below 1 MiB.
	maxRecord = 16 << 20
)

const (
	recordTake    = 1
	recordOutcome = 2
	recordForget  = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// JournalError says where a journal is damaged. Its kind is pipeline.Internal:
// whoever opens the journal decides whether to go on without it.
type JournalError struct {
	Path string
	// Offset is where the damaged record begins, in bytes.
	Offset int64
	Reason string
}

// Error names file and place and what to do.
func (e *JournalError) Error() string {
	return fmt.Sprintf("journal %s is damaged at byte %d: %s: move the file away to start without it; attempts it held will be reported lost", e.Path, e.Offset, e.Reason)
}

// appendRecord adds a record whose body is made by fill.
func appendRecord(buf []byte, fill func([]byte) []byte) ([]byte, error) {
	start := len(buf)
	buf = append(buf, recordMark+"\x00\x00\x00\x00\x00\x00\x00\x00"...)
	buf = fill(buf)
	body := buf[start+recordHead:]
	if len(body) > maxRecord {
		return buf[:start], pipeline.Errorf(pipeline.TooLarge, "journal record of %d bytes, more than %d", len(body), maxRecord)
	}
	binary.LittleEndian.PutUint32(buf[start+2:], uint32(len(body)))
	binary.LittleEndian.PutUint32(buf[start+6:], crc32.Checksum(body, castagnoli))
	return buf, nil
}

func appendTake(buf []byte, e *JournalEntry) ([]byte, error) {
	return appendRecord(buf, func(b []byte) []byte {
		b = append(b, recordTake)
		b = binary.AppendUvarint(b, e.Fence)
		b = appendString(b, e.ID.String())
		b = appendString(b, e.Incarnation)
		b = appendString(b, e.Dir)
		b = binary.AppendUvarint(b, uint64(len(e.Spec)))
		return append(b, e.Spec...)
	})
}

func appendOutcome(buf []byte, o *pipeline.Outcome) ([]byte, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return buf, fmt.Errorf("encode outcome of %s: %w", o.ID, err)
	}
	return appendRecord(buf, func(b []byte) []byte { return append(append(b, recordOutcome), text...) })
}

func appendForget(buf []byte, id pipeline.AttemptID) ([]byte, error) {
	return appendRecord(buf, func(b []byte) []byte { return append(append(b, recordForget), id.String()...) })
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// recordAt gives the body of the record at the start of p and the record's
// length. ok is false where there is no whole and sound record.
func recordAt(p []byte) (body []byte, n int, ok bool) {
	if len(p) < recordHead+1 || string(p[:2]) != recordMark {
		return nil, 0, false
	}
	size := binary.LittleEndian.Uint32(p[2:])
	if size == 0 || size > maxRecord || int(size) > len(p)-recordHead {
		return nil, 0, false
	}
	body = p[recordHead : recordHead+int(size)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(p[6:]) {
		return nil, 0, false
	}
	return body, recordHead + int(size), true
}

// recordFollows reports whether a sound record stands anywhere in p: then what
// stands before it is damage and no torn tail. The work is bounded: a wrong
// length may make a checksum cost megabytes, so only so many bytes are summed.
func recordFollows(p []byte) bool {
	budget := 64 << 20
	for {
		i := bytes.Index(p, []byte(recordMark))
		if i < 0 {
			return false
		}
		p = p[i:]
		if len(p) >= recordHead {
			if size := binary.LittleEndian.Uint32(p[2:]); size <= maxRecord {
				if budget -= int(size); budget < 0 {
					return true // too odd for the end of a write
				}
			}
		}
		if _, _, ok := recordAt(p); ok {
			return true
		}
		p = p[len(recordMark):]
	}
}

var errRecord = errors.New("a record is sound but not understood")

// apply changes entries as a record's body says.
func (s *journalState) apply(body []byte, size int64) error {
	kind, rest := body[0], body[1:]
	switch kind {
	case recordTake:
		e, err := decodeTake(rest)
		if err != nil {
			return err
		}
		s.take(e, size)
		return nil
	case recordOutcome:
		var o pipeline.Outcome
		if err := json.Unmarshal(rest, &o); err != nil {
			return fmt.Errorf("%w: %w", errRecord, err)
		}
		s.outcome(&o, size)
		return nil
	case recordForget:
		id, err := pipeline.ParseAttemptID(string(rest))
		if err != nil {
			return fmt.Errorf("%w: %w", errRecord, err)
		}
		s.forget(id)
		return nil
	}
	return fmt.Errorf("%w: its kind is %d", errRecord, kind)
}

func decodeTake(p []byte) (*JournalEntry, error) {
	fence, n := binary.Uvarint(p)
	if n <= 0 {
		return nil, errRecord
	}
	p = p[n:]
	var fields [4][]byte
	for i := range fields {
		size, n := binary.Uvarint(p)
		if n <= 0 || size > uint64(len(p)-n) {
			return nil, errRecord
		}
		fields[i], p = p[n:n+int(size)], p[n+int(size):]
	}
	if len(p) != 0 {
		return nil, errRecord
	}
	id, err := pipeline.ParseAttemptID(string(fields[0]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return &JournalEntry{ID: id, Fence: fence, Incarnation: string(fields[1]), Dir: string(fields[2]), Spec: bytes.Clone(fields[3])}, nil
}
