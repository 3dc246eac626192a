package gossip

import (
	"fmt"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls, often with its locks held: nothing here
// blocks or calls back.
type delegate struct{ g *Gossip }

// NodeMeta returns our description.
func (d *delegate) NodeMeta(limit int) []byte {
	b, err := d.g.Meta().encode()
	if err != nil || len(b) > limit {
		return nil // UpdateMeta has refused it before
	}
	return b
}

// NotifyMsg ignores user messages: there are none.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts has none to send.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState adds nothing to the list of members.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores what should not exist.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive refuses nodes that are not of our cluster, whatever their
// source.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.g.cfg.ID {
		return nil
	}
	m, err := memberOf(n)
	if err != nil {
		return err
	}
	return d.admit(m)
}

// NotifyMerge refuses a whole exchange with another cluster. Dead nodes of the
// other side do not count.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.Name == d.g.cfg.ID || n.State == memberlist.StateDead || n.State == memberlist.StateLeft {
			continue
		}
		m, err := memberOf(n)
		if err != nil {
			return fmt.Errorf("%s (%s): %w", n.Name, n.Addr, err)
		}
		if err := d.admit(m); err != nil {
			return err
		}
	}

	return nil
}

func (d *delegate) admit(m Member) error {
	if d.g.cfg.Admit == nil {
		return nil
	}
	if err := d.g.cfg.Admit(d.g.Meta(), m); err != nil {
		return &RefusedError{Member: m, Reason: err}
	}
	return nil
}

// NotifyConflict reports another address that uses our id, and notes one at which
// another member says that it is. memberlist ignores the latter until the member has
// been dead at its former address for a while.
func (d *delegate) NotifyConflict(_, other *memberlist.Node) {
	m, err := memberOf(other)
	switch {
	case err != nil:
	case other.Name != d.g.cfg.ID:
		d.g.roster.moved(m.ID, m.Addr)
	case d.g.cfg.Conflict != nil:
		d.g.cfg.Conflict(m)
	}
}

// NotifyJoin notes a node that has come or come back.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.g.note(n, Alive) }

// NotifyUpdate notes a new description.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.g.note(n, Alive) }

// NotifyLeave notes a node that has failed or left.
func (d *delegate) NotifyLeave(n *memberlist.Node) { d.g.note(n, Failed) }

// RefusedError is the refusal of a node.
type RefusedError struct {
	Member Member
	Reason error
}

// Error names the node and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused %s at %s: %v", e.Member.Meta.Name, e.Member.Addr, e.Reason)
}

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Reason }
