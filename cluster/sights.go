package cluster

import (
	"time"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

// sightSlack is added to two rounds of probes: a busy node probes late.
const sightSlack = 2 * time.Second

// Sight is what this node sees of another one by itself.
type Sight struct {
	ID   pipeline.NodeID
	Name string
	// Status is that of gossip: others may vouch for a node that this one does not
	// reach.
	Status string
	// RoundTrip is that of the last probe; 0 if the node has answered none in the last
	// two rounds.
	RoundTrip time.Duration
	// Hears is set if a packet of the node came in that time, Fresh if its Status is no
	// older than that, so that nothing follows from silence.
	Hears, Fresh bool
}

// Sights are what this node sees of the others, by id.
func (c *Cluster) Sights() []Sight {
	members := c.gossip.Members()
	window := 2*gossip.ProbeRound(len(members)) + sightSlack
	recent := func(at time.Time) bool { return !at.IsZero() && time.Since(at) < window }

	var out []Sight
	for _, m := range members {
		if m.ID == string(c.cfg.NodeID) || m.Status == gossip.Left {
			continue
		}
		described := describeMember(m, nil)
		s := Sight{ID: described.ID, Name: described.Name, Status: described.Status, Fresh: recent(m.Since)}
		contact := c.gossip.Contact(m)
		s.Hears = recent(contact.Heard)
		if recent(contact.Answered) {
			s.RoundTrip = contact.RoundTrip
		}
		out = append(out, s)
	}
	return out
}
