package storage

import (
	"math/bits"
	"math/rand/v2"
)

// Cutter finds where chunks end by what is around it: FastCDC as published (Xia
// and others, USENIX ATC 2016), with a gear hash and normalized chunking. Bytes
// that are moved are cut as before, so that two versions of a file share most of
// their chunks. It is safe for concurrent use.
type Cutter struct {
	gear                [256]uint64
	least, normal, most int
	hard, easy          uint64 // masks before and behind the average
}

// NewCutter makes one for chunks of an average length, a power of two of 256 or
// more: a quarter of it at least and four times at most.
func NewCutter(average int) *Cutter {
	c := &Cutter{least: average / 4, normal: average, most: 4 * average}
	r := rand.New(rand.NewPCG(0x706970656c696e65, 1)) // fixed: every node must cut alike
	for i := range c.gear {
		c.gear[i] = r.Uint64()
	}
	n := bits.Len(uint(average)) - 1
	// The high bits of a gear hash depend on the most bytes.
	c.hard, c.easy = ^uint64(0)<<(64-n-2), ^uint64(0)<<(64-n+2)
	return c
}

// Next gives the length of the first chunk of p. It is p's where p is the end of
// all bytes; otherwise p must be as long as the longest chunk.
func (c *Cutter) Next(p []byte) int {
	if len(p) <= c.least {
		return len(p)
	}
	p = p[:min(len(p), c.most)]
	normal := min(c.normal, len(p))
	var h uint64
	i := c.least
	for ; i < normal; i++ {
		if h = h<<1 + c.gear[p[i]]; h&c.hard == 0 {
			return i + 1
		}
	}
	for ; i < len(p); i++ {
		if h = h<<1 + c.gear[p[i]]; h&c.easy == 0 {
			return i + 1
		}
	}
	return len(p)
}
