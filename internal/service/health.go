package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/pipeline"
)

// Health describes this node and what it knows of the cluster.
func (c *Cluster) Health(context.Context) wire.Health {
	now := time.Now()
	info := c.cfg.Members.RaftInfo()
	leader, _, known := c.cfg.Members.Leader()
	h := wire.Health{Status: statusHealthy, NodeID: c.cfg.Self, Node: c.cfg.Name, Mode: c.cfg.Mode, Role: roleWorker, Term: info.Term,
		CommitIndex: info.Commit, AppliedIndex: info.Applied, Voters: []string{}, Reasons: []string{}, Version: c.cfg.Version,
		Timestamp: now.UTC(), CurrentLoad: c.cfg.Load(), MaxLoad: c.cfg.Slots, Nonce: c.cfg.Keys.Nonce(c.cfg.Self, now), Quorum: known,
		Blobs: c.cfg.BlobUse()}
	h.Leaving, h.LeaveRefused = c.cfg.Leaving()
	members := c.cfg.Members.Members()
	for _, m := range members {
		c.addMember(&h, m, leader.ID)
	}
	slices.Sort(h.Voters)

	switch {
	case !known:
		h.Reasons = append(h.Reasons, "no leader: this node cannot reach a majority, or an election is under way")
	case leader.ID == c.cfg.Self && !c.cfg.State.Leading():
		h.Quorum = false
		h.Reasons = append(h.Reasons, "this node was elected leader and is not ready yet")
	}
	for _, why := range append([]string{c.voterReason(info, members), clockReason(c.cfg.Self, members), versionReason(members)}, c.cfg.Troubles()...) {
		if why != "" {
			h.Reasons = append(h.Reasons, why)
		}
	}
	if len(h.Reasons) > 0 {
		h.Status = statusDegraded
	}
	return h
}

// voterReason names the voters that do not answer, and what the loss of one more
// means. A node without a part in raft knows no
// voters.
func (c *Cluster) voterReason(info cluster.RaftInfo, members []cluster.Member) string {
	alive := map[string]bool{string(c.cfg.Self): true}
	workers := map[string]bool{} // they were voters before their last start, and have no raft now
	for _, m := range members {
		if m.Status == cluster.StatusAlive {
			alive[string(m.ID)] = true
			workers[string(m.ID)] = m.Mode == pipeline.ModeWorker
		}
	}

	var down []string
	voters := 0
	for _, s := range info.Servers {
		if string(s.Suffrage) != cluster.RoleVoter {
			continue
		}
		voters++
		name := c.cfg.State.NodeName(pipeline.NodeID(s.ID))
		switch {
		case workers[s.ID]:
			down = append(down, name+" (a worker now)")
		case !alive[s.ID]:
			down = append(down, name)
		}
	}
	if len(down) == 0 {
		return ""
	}

	slices.Sort(down)
	left, need := voters-len(down), voters/2+1
	text := fmt.Sprintf("%s not answer: %d of %d voters are left", counted(down, "voter", "does", "do"), left, voters)
	switch spare := left - need; {
	case spare < 0:
		return text + fmt.Sprintf(", and %d are needed", need)
	case spare == 0:
		return text + ", and the loss of one more stops the cluster"
	default:
		return text + fmt.Sprintf(", and %d more may be lost", spare)
	}
}

// counted is a subject with its verb: "voter a does", "voters a, b do".
func counted(names []string, noun, one, many string) string {
	if len(names) == 1 {
		return noun + " " + names[0] + " " + one
	}
	return noun + "s " + strings.Join(names, ", ") + " " + many
}

// versionReason names the versions of the nodes that answer, if they differ: an
// upgrade is not finished.
func versionReason(members []cluster.Member) string {
	nodes := map[string][]string{}
	for _, m := range members {
		if m.Status == cluster.StatusAlive {
			nodes[m.Version] = append(nodes[m.Version], m.Name)
		}
	}
	if len(nodes) < 2 {
		return ""
	}

	var texts []string
	for version, names := range nodes {
		slices.Sort(names)
		texts = append(texts, fmt.Sprintf("%s on %s", version, strings.Join(names, ", ")))
	}
	slices.Sort(texts)
	return "mixed versions: " + strings.Join(texts, "; ")
}

// clockReason names the clocks that differ from this node's. If those of most
// other nodes do, this node's is the wrong one.
func clockReason(self pipeline.NodeID, members []cluster.Member) string {
	var off []cluster.Member
	others := 0
	for _, m := range members {
		if m.ID == self || m.Status != cluster.StatusAlive {
			continue
		}
		others++
		if m.ClockAhead != 0 {
			off = append(off, m)
		}
	}
	if len(off) > 1 && 2*len(off) > others {
		return fmt.Sprintf("the clock of this node is %s that of %d of %d other nodes", aheadOf(-off[0].ClockAhead), len(off), others)
	}
	var texts []string
	for _, m := range off {
		texts = append(texts, fmt.Sprintf("the clock of %s is %s that of this node", m.Name, aheadOf(m.ClockAhead)))
	}
	return strings.Join(texts, ", ")
}

func aheadOf(d time.Duration) string {
	if d < 0 {
		return d.Abs().Round(100*time.Millisecond).String() + " behind"
	}
	return d.Round(100*time.Millisecond).String() + " ahead of"
}
