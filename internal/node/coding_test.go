package node

import (
	"testing"
	"time"
)

// ways plays a transfer of stretches at two speeds and tells how many came as
// they are.
func ways(c *coding, stretches int, packed, plain time.Duration) (asIs int) {
	for range stretches {
		if c.wantsPlain() {
			asIs++
			c.came(false, stretch, plain)
		} else {
			c.came(true, stretch, packed)
		}
	}
	return asIs
}

func TestCoding(t *testing.T) {
	slow, quick := 200*time.Millisecond, 100*time.Millisecond
	if n := ways(&coding{}, 66, slow, quick); n != 61 { // all but the first and every 16th
		t.Errorf("plain is quicker: %d of 66", n)
	}
	if n := ways(&coding{}, 66, quick, slow); n != 5 {
		t.Errorf("packed is quicker: %d of 66", n)
	}
	if n := ways(&coding{}, 66, quick, quick-quick/10); n != 5 {
		t.Errorf("plain is hardly quicker: %d of 66", n)
	}
	c := &coding{}
	ways(c, 20, slow, quick)
	if n := ways(c, 64, slow, 4*slow); n > 8 {
		t.Errorf("the network became slow, and %d of 64 were not packed", n)
	}
	// Where the holder sends nothing packed there is nothing to choose.
	c = &coding{}
	for range 10 {
		if c.wantsPlain() {
			t.Error("plain bytes were asked for that came plain anyhow")
		}
		c.came(false, stretch, quick)
	}
	c = &coding{}
	c.came(true, 1000, quick)
	c.came(true, stretch, 0)
	if c.packed != 0 {
		t.Error("a few bytes, or no time, told the speed")
	}
}
