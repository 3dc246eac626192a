package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// Run takes part in the cluster until ctx is done, and then closes it without
// leaving: the others notice that the node has failed, and nothing is removed.
// It returns nil then. Any other return is an error that the process should end
// with, because raft cannot continue safely.
func (c *Cluster) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return errors.New("run the cluster: it runs already")
	}
	defer c.Close()
	if err := c.gossip.Start(); err != nil {
		return err
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.peers.serve(gctx) })
	g.Go(func() error { return c.loop.run(gctx) })
	g.Go(func() error { return c.joiner.run(gctx) })
	g.Go(func() error { return c.seeker.run(gctx) })
	if c.cfg.Mode != pipeline.ModeWorker {
		v := &voterManager{view: c.view, changes: c.changes, log: c.log, clusterID: c.ID, ask: c.peers.ask}
		g.Go(func() error { return c.Lead(gctx, v.manage) })
	}

	err := g.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, c.Close())
}

// Close stops everything that Open started and waits. It is idempotent; Run
// calls it at its end.
func (c *Cluster) Close() error { return c.closing() }

// Addresses are the bound ports.
func (c *Cluster) Addresses() Addresses {
	return Addresses{
		Gossip: net.JoinHostPort(c.cfg.advertise(), strconv.Itoa(c.gossip.Port())),
		Peer:   c.peers.advertised(),
	}
}

// Keys are the keys derived from the cluster key.
func (c *Cluster) Keys() *keys.Keys { return c.keys }

// Identity makes this node's certificates, also for the HTTP port.
func (c *Cluster) Identity() *keys.Identity { return c.identity }

// ID is the cluster's id, "" while the node has none.
func (c *Cluster) ID() string { return c.identity.Subject().Cluster }

// Ready is closed once the node has a cluster and knows its leader.
func (c *Cluster) Ready() <-chan struct{} { return c.loop.ready }

// Members are all nodes that this one knows of, itself included, by id. Members
// that failed or left stay for a while.
func (c *Cluster) Members() []Member { return c.view.all() }

// Member finds a node by id.
func (c *Cluster) Member(id pipeline.NodeID) (Member, bool) { return c.view.member(id) }

// Self is this node as the others see it.
func (c *Cluster) Self() Member {
	if m, ok := c.Member(c.cfg.NodeID); ok {
		return m
	}
	// Before gossip has started.
	self := gossip.Member{ID: string(c.cfg.NodeID), Addr: c.Addresses().Gossip, IP: c.cfg.advertise(), Meta: c.gossip.Meta()}
	return describeMember(self, c.view.roles())
}

// Leader is the member that leads, and its term, as far as this node knows. A
// node with a part in raft asks its own raft; the others go by what the leader
// reports through gossip and by what members answer.
func (c *Cluster) Leader() (m Member, term uint64, ok bool) {
	id, term, ok := c.view.leader()
	if !ok {
		return Member{}, 0, false
	}
	if m, ok = c.Member(id); !ok {
		m = Member{ID: id, RaftRole: RoleLeader}
	}
	return m, term, true
}

// IsLeader reports whether this node believes to lead.
func (c *Cluster) IsLeader() bool { return c.replica.leads() }

// Changes returns a channel, with room for one poke, that is poked whenever
// members or leader may have changed, and a function that ends it.
func (c *Cluster) Changes() (<-chan struct{}, func()) { return c.changes.add() }

// Refresh makes the cluster ask Config.Meta again and inform the others: at once
// if draining, incarnation or address changed, within about a second if it is
// only the load. It returns at once and may be called at every change.
func (c *Cluster) Refresh() { c.announcer.refresh() }

// Lead runs f whenever this node leads; see consensus.Node.Lead. It returns
// when ctx is done or the cluster closed.
func (c *Cluster) Lead(ctx context.Context, f LeadFunc) error {
	return c.replica.lead(ctx, c.closed, f)
}

// RaftInfo is this node's view of raft; on a node without raft only the leader
// and the cluster are filled in.
func (c *Cluster) RaftInfo() RaftInfo {
	info := RaftInfo{ClusterID: c.ID()}
	if node := c.replica.get(); node != nil && !c.replica.isRemoved(node) {
		info.Status = node.Status()
	}
	if info.Leader == "" {
		id, term, _ := c.view.leader()
		info.Leader, info.Term = string(id), max(term, info.Term)
	}
	return info
}

// GossipHealth is 0 for a node that gossip finds healthy; larger values mean that it
// answers late.
func (c *Cluster) GossipHealth() int { return c.gossip.Health() }

// StepDown leaves leadership to another voter for a while, if this node has it
// and another voter is alive. It returns at once.
func (c *Cluster) StepDown() { c.replica.stepDown(c.view) }

// Leave takes this node out of the cluster permanently. It returns once the
// leader has removed the node from raft, which it does only if a quorum stays,
// and gossip has spread it. The node's id must not be used again; Open refuses
// the directory with ErrLeft. The only node of a cluster cannot leave (kind
// Conflict). If ctx ends first the node stays (kind Timeout).
func (c *Cluster) Leave(ctx context.Context) error {
	l := &leaver{cfg: &c.cfg, announcer: c.announcer, view: c.view, seeker: c.seeker, leaveGossip: c.gossip.Leave}
	return l.leave(ctx)
}

// Client reaches another node over the peer port: requests go to the returned
// base URL, over one shared connection, to no other node than this one. It is
// an error if the node's address is not known. The client is shared and has no
// timeout of its own: bound each request by its context.
func (c *Cluster) Client(id pipeline.NodeID) (client *http.Client, baseURL string, err error) {
	if len(c.directory.addrs(string(id))) == 0 {
		return nil, "", pipeline.Errorf(pipeline.NotFound, "node %s: its address is not known", id)
	}
	return c.peers.client, "https://" + string(id), nil
}

// BulkClient is Client for what takes long: files. Its connections carry
// nothing else, so that heartbeats and assignments do not queue behind them.
func (c *Cluster) BulkClient(id pipeline.NodeID) (client *http.Client, baseURL string, err error) {
	_, baseURL, err = c.Client(id)
	return c.peers.bulk, baseURL, err
}
