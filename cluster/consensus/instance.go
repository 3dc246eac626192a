package consensus

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// instance is hashicorp/raft at work, and what the parts of a node read from
// it. It is safe for concurrent use.
type instance struct {
	id   string
	raft *raft.Raft
	// unfit is set while this node must not lead, whatever raft says.
	unfit atomic.Bool
}

// servers is the latest configuration, which may not be committed yet; empty
// while no cluster has this node.
func (i *instance) servers() []Server {
	f := i.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}

	return serversOf(f.Configuration())
}

// serversOf gives the servers of a configuration of raft.
func serversOf(c raft.Configuration) []Server {
	var out []Server
	for _, s := range c.Servers {
		sv := Server{ID: string(s.ID), Suffrage: Standby}
		if s.Suffrage == raft.Voter {
			sv.Suffrage = Voter
		}
		out = append(out, sv)
	}

	return out
}

// voter is the first voter of the latest configuration, "" for none.
func (i *instance) voter() raft.ServerID {
	for _, s := range i.servers() {
		if s.Suffrage == Voter {
			return raft.ServerID(s.ID)
		}
	}
	return ""
}

// otherVoters lists the voters besides a node, and reports whether it is one too.
func otherVoters(servers []Server, self string) (others []string, votes bool) {
	for _, s := range servers {
		switch {
		case s.Suffrage != Voter:
		case s.ID == self:
			votes = true
		default:
			others = append(others, s.ID)
		}
	}
	return others, votes
}

// leads reports whether this node believes to lead.
func (i *instance) leads() bool { return i.raft.State() == raft.Leader && !i.unfit.Load() }

// leader is the node that this one follows or is, "" for none.
func (i *instance) leader() string {
	_, id := i.raft.LeaderWithID()
	if string(id) == i.id && i.unfit.Load() {
		return ""
	}
	return string(id)
}

// term is the current one if this node leads it.
func (i *instance) term() (uint64, bool) {
	t := i.raft.CurrentTerm()
	return t, i.leads() && i.raft.CurrentTerm() == t
}
