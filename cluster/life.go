package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// lookEvery is how often everything is looked at although nothing was heard.
const lookEvery = time.Second

// maxRemembered is how many gossip addresses are remembered.
const maxRemembered = 32

// loop keeps this node's identity: it begins a cluster or adopts one, tells the
// others what it is, and notices when it is ready. Everything is looked at
// again at every change; nothing depends on having seen each one.
func (c *Cluster) loop(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var seen memory
	for heard := true; ; {
		node, nodeChanged := c.current()
		// Listening begins before looking, so that nothing is missed.
		pokes, stop, fatal := follow(node)
		if err := c.look(ctx, &seen, heard); err != nil {
			stop()
			return err
		}
		heard = true
		var err error
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-c.gossip.Changed():
		case <-pokes:
		case <-nodeChanged:
		case <-c.poke:
		case <-tick.C:
			heard = false
		case err = <-fatal:
		case other := <-c.conflicts:
			err = c.checkConflict(ctx, other)
		case id := <-c.giveWayTo:
			err = c.giveWay(ctx, id)
		}
		stop()
		if err != nil {
			return err
		}
	}
}

// follow listens to a node, or to nothing.
func follow(node *consensus.Node) (pokes <-chan struct{}, stop func(), fatal <-chan error) {
	if node == nil {
		return nil, func() {}, nil
	}
	pokes, stop = node.Changes()
	return pokes, stop, node.Fatal()
}

// memory is what the loop remembers from one look to the next.
type memory struct {
	leader     pipeline.NodeID
	term       uint64
	remembered []string
}

// begin settles what the node is at its start.
func (c *Cluster) begin(ctx context.Context) error {
	first := c.settle(ctx)
	node, _ := c.current()
	switch {
	case c.ID() != "":
		c.log.Info("going on in the cluster", "cluster", c.ID())
		return nil
	case node != nil && node.HasState():
		// It began a cluster and was stopped before it had written down the
		// id, so nobody has joined; or the id was lost.
		if s := node.Servers(); len(s) != 1 || s[0].ID != string(c.cfg.NodeID) {
			return errors.New("the cluster's id is lost although raft has state: restore node.json, or remove the data directory and join anew")
		}
		return c.name(ctx)
	case first:
		return c.found(ctx)
	case c.expect > 0:
		c.log.Info("waiting for the first nodes of the cluster", "expect", c.expect)
	default:
		c.log.Info("waiting for the cluster to join", "at", c.targets.hosts)
	}
	return c.gossip.UpdateMeta(true, func(m *gossip.Meta) { m.Expect = c.expect })
}

// found begins a cluster of one. raft comes first: state without an id is
// recognized at the next start, an id without state would wait for ever.
func (c *Cluster) found(ctx context.Context) error {
	node, _ := c.current()
	if err := node.Bootstrap(ctx); err != nil {
		return err
	}
	return c.name(ctx)
}

// name gives the cluster that this node began its id.
func (c *Cluster) name(ctx context.Context) error {
	id, err := newClusterID()
	if err != nil {
		return err
	}
	c.log.Info("beginning a new cluster", "cluster", id)
	return c.become(ctx, id)
}

// become makes this node one of the cluster.
func (c *Cluster) become(_ context.Context, id string) error {
	if err := c.cfg.SaveIdentity(id, c.gossipAddrs()); err != nil {
		return fmt.Errorf("save the cluster's id: %w", err)
	}
	// The certificate must name the cluster before anybody hears of it, else
	// the leader that comes for us is refused.
	c.identity.SetCluster(id)
	c.mu.Lock()
	if c.id != id {
		c.named = leaderAnswer{}
	}
	c.id = id
	c.mu.Unlock()
	c.peers.trans.CloseIdleConnections()
	c.peers.bulkTrans.CloseIdleConnections()
	c.askSoon()
	return c.gossip.UpdateMeta(true, func(m *gossip.Meta) {
		m.Cluster, m.Expect, m.Sees, m.Pledge, m.Yields = id, 0, 0, "", false
	})
}

// look does what is to be done now, and tells the listeners where anything was
// heard or has become of it.
func (c *Cluster) look(ctx context.Context, seen *memory, heard bool) error {
	if c.ID() == "" {
		if err := c.lookFresh(ctx); err != nil {
			return err
		}
	}
	if err := c.publish(); err != nil {
		return err
	}
	leader, term, ok := c.leader()
	if ok && (leader != seen.leader || term != seen.term) {
		m, _ := c.Member(leader)
		c.log.Info("the cluster has a leader", "leader", m.Name, "node", leader, "term", term)
		seen.leader, seen.term, heard = leader, term, true
	}
	if c.ID() != "" {
		if !ok && !c.IsLeader() || ok && c.mustHearOf(leader) {
			c.askSoon()
		}
		if ok {
			c.readyOnce.Do(func() { close(c.ready) })
		}
		c.remember(seen)
	}
	if heard {
		c.notify()
	}
	return nil
}

// mustHearOf reports whether raft waits for this leader to take it in: gossip's
// word is not enough to let the leader's connections in.
func (c *Cluster) mustHearOf(leader pipeline.NodeID) bool {
	if node, _ := c.current(); node == nil || c.inRaft() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.named.Leader != leader
}

// lookFresh adopts the first cluster that is met, or begins one where this node
// is the one to do it.
func (c *Cluster) lookFresh(ctx context.Context) error {
	var fresh []gossip.Member
	adopt := ""
	for _, m := range c.gossip.Members() {
		switch {
		case m.Status != gossip.Alive || m.Meta.Mode == pipeline.ModeStandalone:
		case m.Meta.Cluster == "":
			fresh = append(fresh, m)
		case adopt == "" || m.Meta.Cluster < adopt:
			adopt = m.Meta.Cluster
		}
	}
	if adopt != "" {
		c.log.Info("joining the cluster", "cluster", adopt)
		return c.become(ctx, adopt)
	}
	pledge, found := pledges(string(c.cfg.NodeID), c.expect, fresh)
	if found {
		return c.found(ctx)
	}
	return c.gossip.UpdateMeta(true, func(m *gossip.Meta) { m.Sees, m.Pledge = len(fresh), pledge })
}

// pledges decides among fresh nodes, members with their descriptions sorted by
// id, whom to leave the beginning to: the lowest id of those that would begin.
// found is true on that node once as many as it expects, itself included, have
// pledged themselves to it. No other can begin then as long as all the expected
// ones are needed; where more came than expected and two began nevertheless,
// one of two empty clusters gives way.
func pledges(self string, expect int, fresh []gossip.Member) (pledge string, found bool) {
	for _, m := range fresh {
		if wouldBegin := m.Meta.Expect > 0 || m.ID == self && expect > 0; wouldBegin && (pledge == "" || m.ID < pledge) {
			pledge = m.ID
		}
	}
	if pledge != self || expect == 0 {
		return pledge, false
	}
	mine := 0
	for _, m := range fresh {
		if m.ID == self || m.Meta.Pledge == self {
			mine++
		}
	}
	return pledge, mine >= expect
}

// describe is what the node says of itself, without what raft and the cluster
// add.
func (c *Cluster) describe() gossip.Meta {
	m := gossip.Meta{Name: c.cfg.Name, Version: c.cfg.Version, Mode: c.cfg.Mode, PeerPort: c.peers.port(), Role: RoleNone}
	if c.cfg.Meta != nil {
		d := c.cfg.Meta()
		m.Slots, m.Load, m.Incarnation, m.HTTPAddr, m.HTTPS, m.Draining = d.Slots, d.Load, d.Incarnation, d.HTTPAddr, d.HTTPS, d.Draining
	}
	return m
}

// publish brings our description up to date.
func (c *Cluster) publish() error {
	now := c.describe()
	if node, _ := c.current(); node != nil {
		servers := node.Servers()
		for _, s := range servers {
			if s.ID == string(c.cfg.NodeID) {
				now.Role = string(s.Suffrage)
			}
		}
		if id, term, ok := node.Leader(); ok && id == string(c.cfg.NodeID) && node.IsLeader() {
			now.Role, now.Term = RoleLeader, term
		}
		now.Yields = c.yields(node, servers)
	}
	now.Leaving = c.leaving.Load()
	old := c.gossip.Meta()
	old.Load = now.Load
	now.Cluster, now.Expect, now.Sees, now.Pledge = old.Cluster, old.Expect, old.Sees, old.Pledge
	return c.gossip.UpdateMeta(now != old, func(m *gossip.Meta) {
		now.Cluster, now.Expect, now.Sees, now.Pledge = m.Cluster, m.Expect, m.Sees, m.Pledge
		*m = now
	})
}

// yields reports whether this node is a cluster of one with nothing in it that
// was told to join another.
func (c *Cluster) yields(node *consensus.Node, servers []consensus.Server) bool {
	if c.blank == nil || len(servers) != 1 || c.cfg.Mode == pipeline.ModeStandalone ||
		len(c.targets.hosts) == 0 && c.cfg.Expect == 0 || c.knowsOthers() || !node.IsLeader() {
		return false
	}
	// Entries that the state machine has not seen yet could fill it.
	s := node.Status()
	return s.Applied == s.LastIndex && c.cfg.Empty()
}

// knowsOthers reports whether any other node has ever been part of this
// cluster and has not left; it could not follow to another one.
func (c *Cluster) knowsOthers() bool {
	for _, m := range c.gossip.Members() {
		if m.ID != string(c.cfg.NodeID) && m.Status != gossip.Left {
			return true
		}
	}
	return len(c.cfg.RememberedPeers) > 0
}

// giveWay ends a cluster of one that is empty, for the sake of the one that the
// node was told to join. The old id goes first: a crash between the steps
// leaves a node that begins alone again, and gives way again.
func (c *Cluster) giveWay(ctx context.Context, to string) error {
	node, _ := c.current()
	if node == nil || !c.gossip.Meta().Yields || !c.yields(node, node.Servers()) {
		return nil
	}
	c.log.Info("giving up this node's own empty cluster to join another", "own", c.ID(), "other", to)
	if err := c.cfg.SaveIdentity("", nil); err != nil {
		return fmt.Errorf("save the cluster's id: %w", err)
	}
	c.setNode(nil)
	if err := node.Close(); err != nil {
		return fmt.Errorf("give way: %w", err)
	}
	if err := consensus.Wipe(c.cfg.RaftDir); err != nil {
		return fmt.Errorf("give way: %w", err)
	}
	if err := consensus.ResetTo(c.cfg.FSM, c.blank); err != nil {
		return fmt.Errorf("give way: %w", err)
	}
	fresh, err := c.openNode()
	if err != nil {
		return fmt.Errorf("give way: %w", err)
	}
	c.setNode(fresh)
	return c.become(ctx, to)
}

// gossipAddrs are the addresses of the others, the voters' first.
func (c *Cluster) gossipAddrs() []string {
	members := c.gossip.Members()
	sort.SliceStable(members, func(i, j int) bool { return rank(members[i]) < rank(members[j]) })
	var out []string
	for _, m := range members {
		if m.ID != string(c.cfg.NodeID) && m.Status != gossip.Left && len(out) < maxRemembered {
			out = append(out, m.Addr)
		}
	}
	return out
}

func rank(m gossip.Member) int {
	switch m.Meta.Role {
	case RoleLeader, RoleVoter:
		return 0
	case RoleStandby:
		return 1
	}
	return 2
}

// remember keeps where the others are, for the next start.
func (c *Cluster) remember(seen *memory) {
	addrs := c.gossipAddrs()
	if len(addrs) > 0 && !slices.Equal(addrs, seen.remembered) {
		if err := c.cfg.SaveIdentity(c.ID(), addrs); err != nil {
			c.log.Warn("cannot remember the other nodes", "error", err)
		}
		seen.remembered = addrs
	}
	if node, _ := c.current(); node != nil {
		book := map[string]string{}
		for _, s := range node.Servers() {
			if a := c.peerAddrs(s.ID); len(a) > 0 && s.ID != string(c.cfg.NodeID) {
				book[s.ID] = a[0]
			}
		}
		if len(book) > 0 {
			if err := c.book.put(book); err != nil {
				c.log.Warn("cannot remember the other nodes", "error", err)
			}
		}
	}
}

// checkConflict finds out whether another process really uses our id, or only
// gossip remembers where we were before.
func (c *Cluster) checkConflict(ctx context.Context, other gossip.Member) error {
	if other.PeerAddr() == "" || c.ID() == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := c.dialAt(ctx, other.PeerAddr(), c.cfg.NodeID, keys.ProtoHTTP)
	if err != nil {
		return nil // nobody with our id is there
	}
	conn.Close()
	if other.PeerAddr() == c.Addresses().Peer {
		return nil
	}
	return fmt.Errorf("node %s at %s has the same id as this one: a data directory was copied; remove one and let the node join anew", other.Meta.Name, other.Addr)
}
