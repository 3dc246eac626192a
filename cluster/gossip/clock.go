package gossip

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// clocks is by how much the clocks of other nodes are ahead of this node's. An
// answer to a probe carries the time at which it was sent. One reading can be
// wrong by as long as a process did not run, so the smaller of the last two
// counts. It is safe for concurrent use.
type clocks struct {
	now func() time.Time

	mu sync.Mutex // guards following
	// read has the last two readings of each node.
	read map[string][2]time.Duration
}

func newClocks() *clocks {
	return &clocks{now: time.Now, read: map[string][2]time.Duration{}}
}

// ahead is by how much a node's clock is ahead of ours; 0 if that is not known.
func (c *clocks) ahead(id string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.read[id]
	switch {
	case last[0] < 0 != (last[1] < 0):
		return 0
	case last[0].Abs() < last[1].Abs():
		return last[0]
	}
	return last[1]
}

// note adds a reading: what a node sent, which was half of rtt ago.
func (c *clocks) note(id string, rtt time.Duration, payload []byte) {
	if len(payload) != 8 {
		return
	}
	theirs := time.Unix(0, int64(binary.BigEndian.Uint64(payload)))
	// Round(0) drops the monotonic reading: the wall clocks are compared.
	reading := theirs.Sub(c.now().Round(0)) + rtt/2

	c.mu.Lock()
	defer c.mu.Unlock()
	keep(c.read, id, [2]time.Duration{reading, c.read[id][0]})
}

// AckPayload is what our answer to a probe carries.
func (d *delegate) AckPayload() []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(d.g.clocks.now().UnixNano()))
}

// NotifyPingComplete reads another node's clock from its answer.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	d.g.cfg.Metrics.Probed(rtt)
	d.g.contacts.answer(n.Name, rtt)
	d.g.clocks.note(n.Name, rtt, payload)
}
