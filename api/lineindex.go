package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// lineChunk is how many bytes of an output one entry of its line index stands for.
	lineChunk = pipeline.LogChunk
	// maxIndexes is how many outputs have an index; of 100 MB one takes 3 KB.
	maxIndexes = 64
)

// logKey names the output of an attempt.
type logKey struct {
	run     pipeline.RunID
	module  string
	attempt int
}

// lineIndexes keeps the line indexes of the outputs that were looked at last. It is
// safe for concurrent use.
type lineIndexes struct {
	mu    sync.Mutex // guards following
	byKey map[logKey]*lineIndex
	order []logKey // those used last come last
}

// get gives the index of an output, which may have to be extended.
func (x *lineIndexes) get(key logKey) *lineIndex {
	x.mu.Lock()
	defer x.mu.Unlock()

	if x.byKey == nil {
		x.byKey = map[logKey]*lineIndex{}
	}
	ix := x.byKey[key]
	if ix == nil {
		ix = &lineIndex{turn: make(chan struct{}, 1)}
		x.byKey[key] = ix
		if len(x.byKey) > maxIndexes {
			delete(x.byKey, x.order[0])
			x.order = x.order[1:]
		}
	} else {
		x.order = slices.DeleteFunc(x.order, func(k logKey) bool { return k == key })
	}
	x.order = append(x.order, key)
	return ix
}

// lineIndex says where the lines of an output are. It covers whole chunks, and what
// came after them up to size.
type lineIndex struct {
	// turn guards following: it has an element while a caller reads the output. The
	// others wait no longer than their own calls last.
	turn chan struct{}
	// before has for each chunk the number of line ends before it.
	before []int64
	// ends is the number of line ends in all, size that of bytes.
	ends, size int64
	// open is set if the last line has no end yet.
	open bool
}

// lines is the number of lines, one without an end included.
func (x *lineIndex) lines() int64 {
	if x.open {
		return x.ends + 1
	}
	return x.ends
}

// place is where a line is, in an output as it was at one moment.
type place struct {
	line int64
	// chunk is the offset of a chunk that begins before the line, ends the number of
	// line ends before that.
	chunk, ends int64
	size, lines int64
	final       bool
}

// locate finds a line, after reading what is new; a negative one counts from the end.
// No other caller waits for what this one does with the place.
func (x *lineIndex) locate(ctx context.Context, logs Logs, key logKey, line int64) (place, error) {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return place{}, context.Cause(ctx)
	}

	info, err := x.extend(ctx, logs, key)
	if err != nil {
		return place{}, err
	}
	if line < 0 {
		line = max(1, x.lines()+1+line)
	}
	p := place{line: line, size: x.size, lines: x.lines(), final: info.Final}
	p.chunk, p.ends = x.chunkOf(line)
	return p, nil
}

// extend reads what the index does not cover yet. Of an output that has ended and is
// looked at for the first time, that is less than a chunk.
func (x *lineIndex) extend(ctx context.Context, logs Logs, key logKey) (LogInfo, error) {
	if x.size == 0 {
		counts, err := logs.LineEnds(ctx, key.run, key.module, key.attempt)
		if err != nil {
			return LogInfo{}, err
		}
		for _, n := range counts {
			x.before = append(x.before, x.ends)
			x.ends += n
			x.size += lineChunk
		}
	}

	r, info, err := logs.Log(ctx, key.run, key.module, key.attempt, x.size)
	if err != nil {
		return info, err
	}
	defer r.Close()
	buf := make([]byte, min(4*readSize, max(0, info.Size-x.size)))
	for x.size < info.Size {
		n, err := r.Read(buf[:min(int64(len(buf)), info.Size-x.size)])
		x.add(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return info, err
		}
	}
	return info, nil
}

// add counts the next bytes of the output.
func (x *lineIndex) add(b []byte) {
	for len(b) > 0 {
		if x.size%lineChunk == 0 {
			x.before = append(x.before, x.ends)
		}
		n := min(int64(len(b)), lineChunk-x.size%lineChunk)
		x.ends += int64(bytes.Count(b[:n], []byte{'\n'}))
		x.size += n
		x.open = b[n-1] != '\n'
		b = b[n:]
	}
}

// chunkOf gives the offset of the chunk in which a line begins, or the one before it
// ends, and how many line ends come before the chunk. Lines count from 1.
func (x *lineIndex) chunkOf(line int64) (offset, ends int64) {
	at, _ := slices.BinarySearchFunc(x.before, line-1, func(before, want int64) int {
		if before < want {
			return -1
		}
		return 1
	})
	at = max(0, at-1)
	if len(x.before) == 0 {
		return 0, 0
	}
	return int64(at) * lineChunk, x.before[at]
}
