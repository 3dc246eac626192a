package wire

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
)

// MaxModuleName bounds the name of a module instance in a path or a position,
// in bytes: a name, and in brackets the values of its axes.
const MaxModuleName = 512

// ValidModule reports whether s may name a module of a run: a name, followed
// for an instance of a matrix by its key in brackets ("build[linux,amd64]").
func ValidModule(s string) bool {
	name, key, instance := strings.Cut(s, "[")
	if !pipeline.ValidName(name) || len(s) > MaxModuleName || !utf8.ValidString(s) {
		return false
	}
	if !instance {
		return true
	}
	if !strings.HasSuffix(key, "]") || len(key) < 2 {
		return false
	}
	for _, c := range key {
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
			return false
		}
	}
	return true
}

// FormatPosition writes the id of a server-sent log event,
// "module/attempt/offset": the next byte that the follower lacks.
func FormatPosition(module string, p LogPosition) string {
	b := make([]byte, 0, len(module)+24)
	b = append(append(b, module...), '/')
	b = append(strconv.AppendInt(b, int64(p.Attempt), 10), '/')
	return string(strconv.AppendInt(b, p.Offset, 10))
}

// ParsePosition reads what FormatPosition writes. The key of an instance may
// hold slashes, so the numbers are taken from the end. The error is of kind
// Invalid.
func ParsePosition(s string) (module string, p LogPosition, err error) {
	bad := func() (string, LogPosition, error) {
		return "", LogPosition{}, pipeline.Errorf(pipeline.Invalid, "log position %.80q: expected module/attempt/offset", s)
	}
	last := strings.LastIndexByte(s, '/')
	if last < 0 {
		return bad()
	}
	middle := strings.LastIndexByte(s[:last], '/')
	if middle < 0 || !ValidModule(s[:middle]) {
		return bad()
	}
	attempt, ok1 := parseCount(s[middle+1:last], 31)
	offset, ok2 := parseCount(s[last+1:], 63)
	if !ok1 || !ok2 || attempt < 1 {
		return bad()
	}
	return s[:middle], LogPosition{Attempt: int(attempt), Offset: offset}, nil
}

// parseCount reads a decimal number without sign or leading zeros.
func parseCount(s string, bits int) (int64, bool) {
	if s == "" || s[0] == '+' || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, bits)
	return int64(n), err == nil
}

// Valid reports whether a follower may give p as a position.
func (p LogPosition) Valid() bool { return p.Attempt >= 0 && p.Offset >= 0 }

// Bytes gives the piece's exact bytes. They must not be changed.
func (e LogEvent) Bytes() []byte {
	if e.Raw != nil {
		return e.Raw
	}
	return []byte(e.Text)
}

// Len is the number of bytes of the piece.
func (e LogEvent) Len() int64 {
	if e.Raw != nil {
		return int64(len(e.Raw))
	}
	return int64(len(e.Text))
}

// Next is the position behind the event.
func (e LogEvent) Next() LogPosition {
	return LogPosition{Attempt: e.Attempt, Offset: e.Offset + e.Len(), Ended: e.End}
}

// From gives the event without the bytes before offset, which must not lie
// behind its end.
func (e LogEvent) From(offset int64) LogEvent {
	n := offset - e.Offset
	if n <= 0 {
		return e
	}
	rest := e.Bytes()[n:]
	e.Offset, e.Text, e.Raw = offset, string(rest), nil
	if !utf8.ValidString(e.Text) {
		e.Text, e.Raw = strings.ToValidUTF8(e.Text, "\uFFFD"), rest
	}
	return e
}
