package pipeline

import (
	"bytes"
	"encoding/binary"
)

// LogChunk is the part of an output, in bytes, for which a log says how many lines
// end in it.
const LogChunk = 256 << 10

// logCount is the length of one count, in bytes.
const logCount = 4

// LogCountsSize is the length of the counts of an output of size bytes: one for each
// chunk but the last. They are behind the output, and the record of times is behind
// them.
func LogCountsSize(size int64) int64 { return max(0, size-1) / LogChunk * logCount }

// LogCounts counts the line ends of an output that is written to it. Its zero value
// is ready. One goroutine uses it.
type LogCounts struct {
	counts []byte
	// ends are those of the first n bytes of the last chunk.
	ends uint32
	n    int
}

// Write counts the line ends of the next bytes.
func (c *LogCounts) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if c.n == LogChunk {
			c.counts = binary.LittleEndian.AppendUint32(c.counts, c.ends)
			c.ends, c.n = 0, 0
		}
		part := p[:min(len(p), LogChunk-c.n)]
		p = p[len(part):]
		c.ends += uint32(bytes.Count(part, []byte{'\n'}))
		c.n += len(part)
	}
	return written, nil
}

// Bytes are the counts of the chunks before the last.
func (c *LogCounts) Bytes() []byte { return c.counts }

// ReadLogCounts reads what LogCounts made: the line ends of each chunk but the last.
func ReadLogCounts(b []byte) []int64 {
	counts := make([]int64, len(b)/logCount)
	for i := range counts {
		counts[i] = int64(binary.LittleEndian.Uint32(b[i*logCount:]))
	}
	return counts
}
