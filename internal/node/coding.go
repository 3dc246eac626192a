package node

import (
	"sync"
	"time"
)

// coding chooses whether the stretches of one blob travel packed. What is
// quicker depends on the network, on both machines and on the bytes, so it is
// tried: packed first, then as they are, and from then on the quicker way. It may
// be used concurrently.
type coding struct {
	mu     sync.Mutex
	asked  int
	packed float64 // bytes of the blob a second, smoothed; 0: not tried
	plain  float64
}

const (
	// plainGain is how much quicker plain bytes must be: packed ones leave more
	// of the network to others.
	plainGain = 1.25
	// tryAgain is after how many stretches the slower way gets another chance.
	tryAgain = 16
	// tellsMuch is how much must have come for the time that it took to tell
	// anything.
	tellsMuch = 1 << 20
)

// wantsPlain reports whether the next stretch is to come as it is.
func (c *coding) wantsPlain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	switch {
	case c.packed == 0:
		return false // or the holder found that packing does not pay
	case c.plain == 0:
		return true
	}
	quicker := c.plain > plainGain*c.packed
	return quicker != (c.asked%tryAgain == 0)
}

// came notes how a stretch came.
func (c *coding) came(packed bool, bytes int64, took time.Duration) {
	if bytes < tellsMuch || took <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rate := &c.plain
	if packed {
		rate = &c.packed
	}
	now := float64(bytes) / took.Seconds()
	if *rate == 0 {
		*rate = now
		return
	}
	*rate += (now - *rate) / 2
}
