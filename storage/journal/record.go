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
//	4 bytes  length of the head, little endian
//	4 bytes  length of the specification
//	4 bytes  CRC-32C of both lengths, the head and the specification
//	head     JSON of a record without its specification
//	spec     the specification, as it came
//
// Records are never changed; a later one wins. The mark begins with a byte that
// neither part contains, so that after damage the next record is found by its mark
// and nothing that a user wrote into a module can pass for one. The specification,
// which is the most of it, is not encoded again.
const (
	header = "pipelined journal 3\n"
	mark   = "\x00PJ\n"
	prefix = len(mark) + 12

	// maxBody bounds a head and a specification together, in bytes: specs and
	// outcomes are below 1 MiB.
	maxBody = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one change. One of the fields is set.
type record struct {
	Put    *Entry              `json:"put,omitempty"`
	Delete *pipeline.AttemptID `json:"delete,omitempty"`
}

// encode appends a record to buf. Its specification is JSON, which has no zero byte.
func encode(buf []byte, r *record) ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return buf, fmt.Errorf("encode journal record: %w", err)
	}
	var spec []byte
	if r.Put != nil {
		spec = r.Put.Spec
	}
	if n := len(head) + len(spec); n > maxBody {
		return buf, pipeline.Errorf(pipeline.TooLarge, "journal record of %d bytes exceeds %d", n, maxBody)
	}

	buf = append(buf, mark...)
	lengths := len(buf)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(head)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(spec)))
	buf = binary.LittleEndian.AppendUint32(buf, checksum(buf[lengths:], head, spec))

	return append(append(buf, head...), spec...), nil
}

func checksum(lengths []byte, parts ...[]byte) uint32 {
	sum := crc32.Checksum(lengths, castagnoli)
	for _, part := range parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return sum
}

// decode reads the record at the start of p and returns how many bytes it has;
// 0 if no intact record begins there.
func decode(p []byte) (r record, n int) {
	if len(p) < prefix || string(p[:len(mark)]) != mark {
		return r, 0
	}

	lengths, rest := p[len(mark):len(mark)+8], p[prefix:]
	head := uint64(binary.LittleEndian.Uint32(lengths))
	size := head + uint64(binary.LittleEndian.Uint32(lengths[4:]))
	if size > maxBody || size > uint64(len(rest)) {
		return r, 0
	}

	body := rest[:size]
	if checksum(lengths, body) != binary.LittleEndian.Uint32(p[len(mark)+8:]) || bytes.IndexByte(body, mark[0]) >= 0 {
		return r, 0
	}
	if json.Unmarshal(body[:head], &r) != nil || (r.Put == nil) == (r.Delete == nil) {
		return record{}, 0
	}
	if r.Put != nil && size > head {
		r.Put.Spec = bytes.Clone(body[head:])
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
