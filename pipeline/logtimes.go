package pipeline

import (
	"encoding/binary"
	"sort"
	"time"
)

// The resolution of the times of output: a tenth of a second, or, if an attempt
// writes for long, a fraction of the time since its start, so that the number
// of marks stays small.
const (
	LogTick      = 100 * time.Millisecond
	logTickParts = 4096
)

// LogMarks makes the record of when an attempt wrote what. Its zero value is
// ready once Begin is set. One goroutine uses it.
type LogMarks struct {
	// Begin is when the attempt began.
	Begin time.Time

	last   time.Duration
	offset int64
	any    bool
}

// Mark appends to dst the record of output that is written at offset at the
// time now, or nothing if the previous mark is close enough. Output before the
// first mark was written in the first LogTick.
func (m *LogMarks) Mark(dst []byte, offset int64, now time.Time) []byte {
	passed := now.Sub(m.Begin)
	if passed-m.last < logTick(m.last) {
		return dst
	}

	if !m.any {
		m.any = true
		dst = binary.AppendUvarint(dst, uint64(max(0, m.Begin.UnixMilli())))
	}

	dst = binary.AppendUvarint(dst, uint64(offset-m.offset))
	dst = binary.AppendUvarint(dst, uint64((passed - m.last).Milliseconds()))
	m.offset, m.last = offset, m.last+(passed-m.last).Truncate(time.Millisecond)

	return dst
}

// logTick is how far apart marks are, so long after the beginning.
func logTick(passed time.Duration) time.Duration { return max(LogTick, passed/logTickParts) }

// LogTimes says when the bytes of an attempt's output were written.
type LogTimes struct {
	begin time.Time
	marks []logMark
}

type logMark struct {
	offset int64
	after  time.Duration
}

// ReadLogTimes reads what LogMarks made, up to the first mark that cannot be
// read. begin is the attempt's start if the record is empty.
func ReadLogTimes(b []byte, begin time.Time) LogTimes {
	t := LogTimes{begin: begin}
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<62 {
			return 0, false
		}

		b = b[n:]

		return v, true
	}

	milli, ok := next()
	if !ok {
		return t
	}

	t.begin = time.UnixMilli(int64(milli)).UTC()

	var at logMark
	for {
		offset, ok1 := next()
		after, ok2 := next()
		if !ok1 || !ok2 || after > uint64(1<<40) || offset > 1<<50 {
			return t
		}

		at.offset += int64(offset)
		at.after += time.Duration(after) * time.Millisecond
		t.marks = append(t.marks, at)
	}
}

// At is when the byte at offset was written, and end the offset up to which
// that holds; end is negative if it holds for all later bytes.
func (t LogTimes) At(offset int64) (at time.Time, end int64) {
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].offset > offset })
	end = -1
	if i < len(t.marks) {
		end = t.marks[i].offset
	}

	if i == 0 {
		return t.begin, end
	}

	return t.begin.Add(t.marks[i-1].after), end
}

// Since is the offset of the first byte that was written at a time or after it;
// negative if there is none yet.
func (t LogTimes) Since(when time.Time) int64 {
	if !t.begin.Add(LogTick).Before(when) {
		return 0
	}

	after := when.Sub(t.begin)
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].after+logTick(t.marks[i].after) > after })
	if i == len(t.marks) {
		return -1
	}

	return t.marks[i].offset
}
