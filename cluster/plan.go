package cluster

import (
	"cmp"
	"slices"

	"github.com/pipelined/pipelined/cluster/consensus"
)

const (
	// maxVoters is how many voters there are at most, maxSpares how many
	// standbys beside them.
	maxVoters = 5
	maxSpares = 2
)

// The changes of raft's configuration that a plan may ask for.
type change int

const (
	changeNone change = iota
	changeAdd
	changePromote
	changeDemote
	changeRemove
	// changeTransfer hands leadership over, for the sake of a leader that
	// leaves.
	changeTransfer
)

// step is one change, and why.
type step struct {
	change change
	id     string
	why    string
}

// candidate is a node as the plan sees it.
type candidate struct {
	id string
	// eligible nodes may take part in raft.
	eligible bool
	// alive as gossip sees it; dead is failed for longer than the grace.
	alive, dead bool
	// gone has left, or is about to.
	gone bool
	// preferred nodes do nothing but orchestrate.
	preferred bool
}

// planInput is everything a plan depends on.
type planInput struct {
	self    string
	servers []consensus.Server
	// nodes by id; a server of the configuration that is missing counts as
	// failed, but not dead.
	nodes map[string]candidate
	// caughtUp reports whether a standby has nearly all of the log. It is asked
	// only if it matters, since the answer costs a request to the node.
	caughtUp func(id string) bool
}

// plan gives the next change that brings raft's configuration nearer to what
// the known nodes allow: 1, 3 or 5 voters and up to two standbys. Failure never
// lowers the number of voters, and a dead voter is removed only when another
// has taken its place. Every change it asks for can be committed by the nodes
// that are alive, as far as is known.
func plan(in planInput) step {
	p := newPlanner(in)
	for _, f := range []func() step{p.promote, p.removeVoter, p.demote, p.removeStandby, p.add} {
		if s := f(); s.change != changeNone {
			return s
		}
	}
	return step{}
}

// planner sorts the nodes by what they are to the plan.
type planner struct {
	planInput
	// voters and standbys of the configuration; good voters are neither gone
	// nor dead, and still take part in raft.
	voters, good, standbys []candidate
	target                 int
}

func newPlanner(in planInput) *planner {
	p := &planner{planInput: in}
	known := 0
	for _, s := range in.servers {
		n, ok := in.nodes[s.ID]
		if !ok {
			n = candidate{id: s.ID, eligible: true}
		}
		n.id = s.ID
		if !n.gone && n.eligible {
			known++
		}
		if s.Suffrage != consensus.Voter {
			p.standbys = append(p.standbys, n)
			continue
		}
		p.voters = append(p.voters, n)
		if !n.gone && !n.dead && n.eligible {
			p.good = append(p.good, n)
		}
	}
	for _, n := range in.nodes {
		if n.eligible && n.alive && !n.gone && !inServers(in.servers, n.id) {
			known++
		}
	}
	switch {
	case known >= 5:
		p.target = maxVoters
	case known >= 3:
		p.target = 3
	default:
		p.target = 1
	}
	return p
}

// commits reports whether the living are a majority of a set of voters. A node that
// was started again as a worker lives, and has no raft.
func (p *planner) commits(voters []candidate) bool {
	alive := 0
	for _, v := range voters {
		if v.alive && v.eligible || v.id == p.self {
			alive++
		}
	}
	return len(voters) > 0 && alive >= len(voters)/2+1
}

func without(list []candidate, id string) []candidate {
	return slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return c.id == id })
}

// byWorth puts the nodes first that should rather take part.
func byWorth(list []candidate) []candidate {
	return slices.SortedFunc(slices.Values(list), func(a, b candidate) int {
		if a.preferred != b.preferred {
			if a.preferred {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
}

// promote gives a vote to a standby that has caught up. To grow from one odd
// number to the next it waits until all that are missing have caught up, so
// that an even number is passed quickly.
func (p *planner) promote() step {
	need := p.target - len(p.good)
	if need <= 0 {
		return step{}
	}
	var able []candidate
	for _, s := range byWorth(p.standbys) {
		if s.alive && s.eligible && !s.gone {
			able = append(able, s)
		}
	}
	replacing := len(p.good) < len(p.voters)
	passing := len(p.voters)%2 == 0
	if len(able) == 0 || len(able) < need && !replacing && !passing {
		return step{}
	}
	var ready []candidate
	for _, s := range able {
		if p.caughtUp(s.id) {
			ready = append(ready, s)
		}
	}
	if len(ready) == 0 || len(ready) < need && !replacing && !passing {
		return step{}
	}
	if !p.commits(append(slices.Clone(p.voters), ready[0])) {
		return step{}
	}
	why := "the cluster has grown"
	if replacing {
		why = "a voter is gone"
	}
	return step{changePromote, ready[0].id, why}
}

// removeVoter takes out a voter that leaves, or one that is replaced: it is dead, or
// was started again as a worker.
func (p *planner) removeVoter() step {
	for _, v := range byWorth(p.voters) {
		if !v.gone && !v.dead && v.eligible {
			continue
		}
		rest := without(p.voters, v.id)
		if !p.commits(rest) {
			continue
		}
		switch {
		case v.gone && v.id == p.self:
			return step{changeTransfer, v.id, "it leaves"}
		case v.gone:
			return step{changeRemove, v.id, "it has left"}
		case v.id == p.self:
			// The leader is not dead, whatever gossip says.
		case len(p.good) >= p.target && !v.eligible:
			return step{changeRemove, v.id, "it takes no part in raft any more"}
		case len(p.good) >= p.target:
			return step{changeRemove, v.id, "it is dead and replaced"}
		}
	}
	return step{}
}

// demote takes a vote if nodes have left and too many voters stay.
func (p *planner) demote() step {
	if len(p.good) <= p.target {
		return step{}
	}
	worst := byWorth(p.good)
	slices.Reverse(worst)
	// A voter that does not answer goes before one that does.
	slices.SortStableFunc(worst, func(a, b candidate) int {
		if a.alive == b.alive {
			return 0
		}
		if a.alive {
			return 1
		}
		return -1
	})
	for _, v := range worst {
		if v.id != p.self && p.commits(without(p.voters, v.id)) {
			return step{changeDemote, v.id, "nodes have left"}
		}
	}
	return step{}
}

// spares is how many standbys there should be now: those that are to become
// voters, and some beside them.
func (p *planner) spares() int { return max(0, p.target-len(p.good)) + maxSpares }

// removeStandby takes out standbys that are gone, dead, or too many.
func (p *planner) removeStandby() step {
	for _, s := range p.standbys {
		switch {
		case s.gone:
			return step{changeRemove, s.id, "it has left"}
		case s.dead:
			return step{changeRemove, s.id, "it is dead"}
		case !s.eligible:
			return step{changeRemove, s.id, "it takes no part in raft any more"}
		}
	}
	if len(p.standbys) <= p.spares() {
		return step{}
	}
	worst := byWorth(p.standbys)
	return step{changeRemove, worst[len(worst)-1].id, "there are enough standbys"}
}

// add makes a node a standby.
func (p *planner) add() step {
	if len(p.standbys) >= p.spares() {
		return step{}
	}
	var able []candidate
	for _, n := range p.nodes {
		if n.eligible && n.alive && !n.gone && !inServers(p.servers, n.id) {
			able = append(able, n)
		}
	}
	if len(able) == 0 {
		return step{}
	}
	return step{changeAdd, byWorth(able)[0].id, "it is new"}
}
