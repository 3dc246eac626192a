package gossip

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestClocks(t *testing.T) {
	now := time.Now()
	c := newClocks()
	c.now = func() time.Time { return now }
	read := func(ahead, rtt time.Duration) {
		sent := now.Add(ahead - rtt/2)
		c.note("b", rtt, binary.BigEndian.AppendUint64(nil, uint64(sent.UnixNano())))
	}

	read(25*time.Hour, 0)
	if d := c.ahead("b"); d != 0 {
		t.Errorf("one reading is believed: %v", d)
	}
	read(25*time.Hour, 400*time.Millisecond)
	if d := c.ahead("b"); d != 25*time.Hour {
		t.Errorf("ahead by %v", d)
	}
	// A process that stood still between two steps makes one wrong reading.
	read(0, 0)
	read(-30*time.Second, 0)
	read(time.Millisecond, 0)
	if d := c.ahead("b"); d.Abs() > time.Millisecond {
		t.Errorf("one wrong reading is believed: %v", d)
	}
	read(-2*time.Second, 0)
	read(-3*time.Second, 0)
	if d := c.ahead("b"); d != -2*time.Second {
		t.Errorf("ahead by %v", d)
	}

	c.note("b", 0, nil)
	c.note("b", 0, []byte("not a clock"))
	if d := c.ahead("b"); d != -2*time.Second {
		t.Errorf("a foreign payload changed it to %v", d)
	}
	if d := c.ahead("unknown"); d != 0 {
		t.Errorf("an unknown node is ahead by %v", d)
	}
}
