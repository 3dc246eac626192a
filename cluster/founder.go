package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// founder decides which cluster this node belongs to: its own, one that it
// begins with other fresh nodes, or one that it joins. A node belongs to one
// cluster at a time, and its certificate names it. The loop alone uses it,
// except for admit, which memberlist calls.
type founder struct {
	cfg      *Config
	log      hclog.Logger
	identity *keys.Identity
	gossip   description
	replica  *replica
	view     *view
	targets  *targets
	// openNode starts raft from its directory.
	openNode func() (*consensus.Node, error)
	// joined is called when the node has become part of a cluster.
	joined func()

	// expect is how many fresh nodes must see each other before one of them
	// begins the cluster; 0 means that this node never begins one.
	expect int
	// blank is the empty state, to return to when yielding.
	blank []byte
	// yieldTo has room for the cluster that this node should yield to.
	yieldTo chan string
}

// clusterID is the id of this node's cluster, "" if it has none.
func (f *founder) clusterID() string { return f.identity.Subject().Cluster }

// decide says what a node without a cluster waits for: whether it is the first,
// and how many fresh nodes must see each other otherwise.
//
//   - with -join naming no other node, it is the first;
//   - with -expect, it waits for that many;
//   - with itself among others in -join, it waits for all of them, so that
//     several nodes started with one and the same list make one cluster;
//   - with others only, it waits for their cluster and never makes its own.
func (f *founder) decide(ctx context.Context) (first bool) {
	if f.cfg.Mode == pipeline.ModeWorker {
		return false
	}
	if f.cfg.Mode == pipeline.ModeStandalone {
		return true
	}

	others, namesOwn, _ := f.targets.resolve(ctx)
	// A name that cannot be looked up yet is not this node.
	alone := len(others) == 0 && (len(f.targets.hosts) == 0 || f.targets.onlyOwn(ctx))
	switch {
	case f.cfg.Expect > 0:
		f.expect = f.cfg.Expect
	case alone:
		return true
	case namesOwn:
		f.expect = len(others) + 1
	}
	return f.expect == 1
}

// begin decides at the start what the node is.
func (f *founder) begin(ctx context.Context) error {
	first := f.decide(ctx)
	node := f.replica.get()
	switch {
	case f.clusterID() != "":
		f.log.Info("resuming in the cluster", "cluster", f.clusterID())
		return nil
	case node != nil && node.HasState():
		// It began a cluster and was stopped before it had written down the id:
		// then no other node has joined. Or the id was lost.
		if s := node.Servers(); len(s) != 1 || s[0].ID != f.replica.self {
			return errors.New("the cluster's id is lost although raft has state: restore node.json, or remove the data directory and join anew")
		}
		return f.name(ctx)
	case first:
		return f.found(ctx)
	case f.expect > 0:
		f.log.Info("waiting for the first nodes of the cluster", "expect", f.expect)
	default:
		f.log.Info("waiting for the cluster to join", "at", f.targets.hosts)
	}
	return f.gossip.UpdateMeta(true, func(m *gossip.Meta) { m.Expect = f.expect })
}

// found begins a cluster of one. raft comes first: state without an id is
// recognized at the next start, an id without state would wait forever.
func (f *founder) found(ctx context.Context) error {
	if err := f.replica.get().Bootstrap(ctx); err != nil {
		return err
	}
	return f.name(ctx)
}

// name gives the cluster that this node began its id.
func (f *founder) name(ctx context.Context) error {
	id, err := NewID()
	if err != nil {
		return err
	}
	f.log.Info("started a new cluster", "cluster", id)
	return f.become(ctx, id)
}

// become makes this node one of the cluster.
func (f *founder) become(_ context.Context, id string) error {
	// The id must be durable before any other node may count on this one.
	if err := f.cfg.SaveIdentity(id, f.view.gossipAddrs()); err != nil {
		return fmt.Errorf("save the cluster's id: %w", err)
	}

	// The certificate must name the cluster before gossip does: the leader that
	// then connects to this node would be refused.
	moved := f.clusterID() != id
	f.identity.SetCluster(id)
	if moved {
		f.view.unname()
	}
	f.joined()
	return f.gossip.UpdateMeta(true, func(m *gossip.Meta) {
		m.Cluster, m.Expect, m.Sees, m.Pledge, m.Yields = id, 0, 0, "", false
	})
}

// adopt joins the first cluster that gossip knows, or begins one if this node
// is the one to do it.
func (f *founder) adopt(ctx context.Context) error {
	var fresh []gossip.Member
	cluster := ""
	for _, m := range f.view.gossip.Members() {
		switch {
		case m.Status != gossip.Alive || m.Meta.Mode == pipeline.ModeStandalone:
		case m.Meta.Cluster == "":
			fresh = append(fresh, m)
		case cluster == "" || m.Meta.Cluster < cluster:
			cluster = m.Meta.Cluster
		}
	}
	if cluster != "" {
		f.log.Info("joining the cluster", "cluster", cluster)
		return f.become(ctx, cluster)
	}

	pledge, found := pledges(f.replica.self, f.expect, fresh)
	if found {
		return f.found(ctx)
	}
	return f.gossip.UpdateMeta(true, func(m *gossip.Meta) { m.Sees, m.Pledge = len(fresh), pledge })
}

// pledges decides among fresh nodes, which are sorted by id, which one should
// begin the cluster: the lowest id of those that would. found is true on that
// node once as many as it expects, itself included, have pledged themselves to
// it. No other node can begin as long as all the expected ones are needed; if
// more came than expected and two began nevertheless, one of two empty clusters
// yields.
func pledges(self string, expect int, fresh []gossip.Member) (pledge string, found bool) {
	for _, m := range fresh {
		if wouldBegin := m.Meta.Expect > 0 || m.ID == self && expect > 0; wouldBegin && (pledge == "" || m.ID < pledge) {
			pledge = m.ID
		}
	}
	if pledge != self || expect == 0 {
		return pledge, false
	}

	pledged := 0
	for _, m := range fresh {
		if m.ID == self || m.Meta.Pledge == self {
			pledged++
		}
	}
	return pledge, pledged >= expect
}

// yields reports whether this node is an empty cluster of one that was started
// to join another.
func (f *founder) yields(node *consensus.Node, servers []consensus.Server) bool {
	if f.blank == nil || len(servers) != 1 || f.cfg.Mode == pipeline.ModeStandalone ||
		len(f.targets.hosts) == 0 && f.cfg.Expect == 0 || f.knowsOthers() || !node.IsLeader() {
		return false
	}
	// Entries that the state machine has not applied yet could fill it.
	s := node.Status()
	return s.Applied == s.LastIndex && f.cfg.Empty()
}

// knowsOthers reports whether any other node has ever been part of this
// cluster and has not left; it could not follow to another one.
func (f *founder) knowsOthers() bool {
	for _, m := range f.view.gossip.Members() {
		if m.ID != f.replica.self && m.Status != gossip.Left {
			return true
		}
	}
	return len(f.cfg.RememberedPeers) > 0
}

// yield ends this node's own empty cluster to join another. The old id is
// removed first: a crash between the steps leaves a node that begins alone
// again, and yields again.
func (f *founder) yield(ctx context.Context, to string) error {
	node := f.replica.get()
	if node == nil || !f.gossip.Meta().Yields || !f.yields(node, node.Servers()) {
		return nil
	}
	f.log.Info("giving up this node's own empty cluster to join another", "own", f.clusterID(), "other", to)
	if err := f.cfg.SaveIdentity("", nil); err != nil {
		return fmt.Errorf("save the cluster's id: %w", err)
	}

	f.replica.set(nil)
	if err := node.Close(); err != nil {
		return fmt.Errorf("give up the own cluster: %w", err)
	}
	if err := consensus.Wipe(f.cfg.RaftDir); err != nil {
		return fmt.Errorf("give up the own cluster: %w", err)
	}
	if err := consensus.ResetTo(f.cfg.FSM, f.blank); err != nil {
		return fmt.Errorf("give up the own cluster: %w", err)
	}

	fresh, err := f.openNode()
	if err != nil {
		return fmt.Errorf("give up the own cluster: %w", err)
	}
	f.replica.set(fresh)
	return f.become(ctx, to)
}

// givesUp ends the refusals that pass by themselves.
const givesUp = " gives up its own empty cluster first"

// admit refuses nodes of other clusters. memberlist calls it with its locks
// held, so it must neither block nor call gossip.
func (f *founder) admit(self gossip.Meta, other gossip.Member) error {
	o := other.Meta
	switch {
	case self.Mode == pipeline.ModeStandalone:
		return errors.New("this node is standalone and admits no other")
	case o.Mode == pipeline.ModeStandalone:
		return errors.New("it is standalone and admits no other")
	case self.Cluster == "" || o.Cluster == "" || self.Cluster == o.Cluster:
		return nil
	case self.Yields && (!o.Yields || o.Cluster < self.Cluster):
		select {
		case f.yieldTo <- o.Cluster:
		default:
		}
		return errors.New("this node" + givesUp)
	case o.Yields:
		return errors.New("it" + givesUp)
	}
	return &mismatchError{own: self.Cluster, other: o.Cluster}
}

// mismatchError is the refusal of a node of another cluster.
type mismatchError struct{ own, other string }

func (e *mismatchError) Error() string {
	return "it belongs to cluster " + e.other + ", this node to " + e.own +
		": to move a node, run \"pipelined leave\" on it, or start it with an empty -data-dir and -join"
}

// NewID is an id of a cluster: 128 random bits.
func NewID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a cluster id: %w", err)
	}
	return hex.EncodeToString(b), nil
}
