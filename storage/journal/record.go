package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"github.com/pipelined/pipelined/pipeline"
)

// The file is a header line and then records:
//
//	4 bytes  mark
//	4 bytes  length of the body, little endian
//	4 bytes  CRC-32C of the body
//	body     JSON of a record
//
// Records are never changed; a later one wins. The mark begins with a byte that
// JSON cannot contain, so that after damage the next record is found by its mark
// and nothing that a user wrote into a module can pass for one.
const (
	header = "pipelined journal 2\n"
	mark   = "\x00PJ\n"
	prefix = len(mark) + 8

	// maxBody bounds a body in bytes: specs and outcomes are below 1 MiB.
	maxBody = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one change. One of the fields is set.
type record struct {
	Put    *Entry              `json:"put,omitempty"`
	Delete *pipeline.AttemptID `json:"delete,omitempty"`
}

// encode appends a record to buf.
func encode(buf []byte, r *record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return buf, fmt.Errorf("encode journal record: %w", err)
	}
	if len(body) > maxBody {
		return buf, pipeline.Errorf(pipeline.TooLarge, "journal record of %d bytes exceeds %d", len(body), maxBody)
	}

	buf = append(buf, mark...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(body)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(body, castagnoli))

	return append(buf, body...), nil
}

// decode reads the record at the start of p and returns how many bytes it has;
// 0 if no intact record begins there.
func decode(p []byte) (r record, n int) {
	if len(p) < prefix || string(p[:len(mark)]) != mark {
		return r, 0
	}

	size := binary.LittleEndian.Uint32(p[len(mark):])
	sum := binary.LittleEndian.Uint32(p[len(mark)+4:])
	if size > maxBody || int(size) > len(p)-prefix {
		return r, 0
	}

	body := p[prefix : prefix+int(size)]
	if crc32.Checksum(body, castagnoli) != sum || json.Unmarshal(body, &r) != nil || (r.Put == nil) == (r.Delete == nil) {
		return record{}, 0
	}

	return r, prefix + int(size)
}

// scan calls apply for each intact record of a file, in order, and returns how
// many there are and how many bytes belong to none of them.
func scan(data []byte, apply func(*record)) (records, lost int) {
	rest := bytes.TrimPrefix(data, []byte(header))

	for len(rest) > 0 {
		if r, n := decode(rest); n > 0 {
			apply(&r)
			records++
			rest = rest[n:]

			continue
		}

		// Damage, or the end of a write that a crash cut short: resume at the next mark.
		skip := bytes.Index(rest[1:], []byte(mark)) + 1
		if skip == 0 {
			skip = len(rest)
		}
		lost += skip
		rest = rest[skip:]
	}

	return records, lost
}

// blank reports whether a file holds nothing: a crash cut its header short, or a
// power failure left zeros in its place.
func blank(data []byte) bool {
	return bytes.HasPrefix([]byte(header), bytes.TrimRight(data, "\x00"))
}
