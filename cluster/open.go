package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// ErrLeft is returned by Open if the node has left its cluster permanently: its
// id must not be used again.
var ErrLeft = errors.New("this node has left its cluster")

// Cluster is this node's part in the cluster. Its parts own the state; Cluster
// opens them, runs them and closes them in order.
type Cluster struct {
	*replica

	cfg       Config
	log       hclog.Logger
	keys      *keys.Keys
	identity  *keys.Identity
	gossip    *gossip.Gossip
	peers     *peerPort
	directory *directory
	view      *view
	seeker    *seeker
	founder   *founder
	announcer *announcer
	loop      *loop
	joiner    *joiner
	changes   *subscribers

	running atomic.Bool
	// closed is closed first of all by Close.
	closed  chan struct{}
	closing func() error
}

// Addresses are the ports that are bound, as host:port that others may use.
type Addresses struct {
	Gossip string
	Peer   string
}

// Open checks the configuration, binds the ports and starts raft from its
// directory. Nothing is sent to other nodes before Run. The caller must call Run
// or Close. The errors are ErrLeft, a *consensus.DamageError if the directory
// cannot be used, and kind Invalid for a configuration that cannot work.
func Open(cfg Config) (*Cluster, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if HasLeft(cfg.RaftDir) {
		return nil, ErrLeft
	}

	c := &Cluster{cfg: cfg, log: cfg.Logger, closed: make(chan struct{}), changes: &subscribers{}, replica: newReplica(cfg.NodeID)}
	c.closing = sync.OnceValue(func() error { return closeParts(c) })
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	var err error
	if c.keys, err = keys.New(cfg.Key); err != nil {
		return nil, err
	}
	ips := []net.IP{net.ParseIP(cfg.advertise())}
	if bind := net.ParseIP(cfg.BindAddr); !bind.IsUnspecified() && !bind.Equal(ips[0]) {
		ips = append(ips, bind)
	}
	c.identity = c.keys.Identity(keys.Subject{Cluster: cfg.ClusterID, Node: cfg.NodeID, Mode: cfg.Mode, Name: cfg.Name}, ips, cfg.HostNames)

	if err := openParts(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openParts binds the ports, connects the parts and starts raft. Nothing calls
// a part before all are there: the peer port and gossip take part only when Run
// starts them.
func openParts(c *Cluster) error {
	book, err := openAddressBook(PeersFile(c.cfg.RaftDir))
	if err != nil {
		return err
	}
	c.directory = &directory{identity: c.identity, book: book, gossiped: func(id string) string {
		m, _ := c.gossip.Member(id)
		return m.PeerAddr()
	}, named: func(id string) string {
		m, _ := c.gossip.Member(id)
		return m.Meta.Name
	}}
	c.view = &view{self: c.cfg.NodeID, replica: c.replica, remembered: book.get}
	c.seeker = &seeker{view: c.view, identity: c.identity, log: c.log, wake: make(chan struct{}, 1),
		found: func() { c.announcer.refresh() },
		ask:   func(ctx context.Context, id, path string, out any) error { return c.peers.ask(ctx, id, path, out) }}

	c.peers, err = listenPeers(peerConfig{
		bindAddr: c.cfg.BindAddr, advertise: c.cfg.advertise(), port: c.cfg.PeerPort, identity: c.identity, log: c.log,
		dial: c.directory.dial, reported: c.directory.report, admitRaft: c.seeker.admitRaft, leader: c.seeker.answer,
		raft: c.replica.get, handler: c.cfg.PeerHandler, forget: func(id string) { c.gossip.Forget(id, true) },
	})
	if err != nil {
		return err
	}

	c.founder = &founder{cfg: &c.cfg, log: c.log, identity: c.identity, replica: c.replica, view: c.view,
		openNode: func() (*consensus.Node, error) { return openReplica(c) }, yieldTo: make(chan string, 1),
		joined: func() { c.peers.reconnect(); c.seeker.soon() }}
	c.announcer = &announcer{cfg: &c.cfg, peerPort: c.peers.port(), replica: c.replica, yields: c.founder.yields, wake: make(chan struct{}, 1)}
	c.loop = &loop{founder: c.founder, announcer: c.announcer, seeker: c.seeker, view: c.view, directory: c.directory,
		changes: c.changes, log: c.log, ownPort: ownPort(c.cfg.advertise(), c.cfg.BindAddr, c.peers.port()), conflicts: make(chan gossip.Member, 1), ready: make(chan struct{})}
	if err := openGossip(c); err != nil {
		return err
	}
	return startReplica(c)
}

// openGossip binds gossip's port and gives it to the parts that use it.
func openGossip(c *Cluster) error {
	self := c.announcer.describe()
	self.Cluster = c.cfg.ClusterID
	g, err := gossip.Open(gossip.Config{
		ID: string(c.cfg.NodeID), BindAddr: c.cfg.BindAddr, AdvertiseAddr: c.cfg.AdvertiseAddr, Port: c.cfg.GossipPort,
		Key: c.keys.GossipKey(), Label: c.keys.GossipLabel(), KeyName: c.cfg.KeyName, Meta: self, Admit: c.founder.admit,
		Conflict: c.loop.conflict, Logger: c.log.Named("gossip"), Metrics: c.cfg.GossipMetrics,
	})
	if err != nil {
		return err
	}
	c.gossip, c.view.gossip, c.founder.gossip, c.announcer.gossip = g, g, g, g
	c.loop.gossipChanged = g.Changed()

	c.founder.targets = newTargets(c.cfg.Join, c.cfg.advertise(), c.cfg.BindAddr, g.Port())
	c.joiner = &joiner{cfg: &c.cfg, log: c.log, connect: g.Join, view: c.view, targets: c.founder.targets,
		remembered: newTargets(c.cfg.RememberedJoin, c.cfg.advertise(), c.cfg.BindAddr, g.Port()),
		changes:    c.changes, clusterID: c.ID, ownAddr: c.Addresses().Gossip}
	return nil
}

// startReplica starts raft, except on workers.
func startReplica(c *Cluster) error {
	if c.cfg.Mode == pipeline.ModeWorker {
		return nil
	}
	if c.cfg.Empty != nil {
		blank, err := consensus.Capture(c.cfg.FSM)
		if err != nil {
			return err
		}
		c.founder.blank = blank
	}
	node, err := openReplica(c)
	if err != nil {
		return err
	}
	c.replica.set(node)
	return nil
}

func openReplica(c *Cluster) (*consensus.Node, error) {
	return consensus.Open(consensus.Config{
		ID: string(c.cfg.NodeID), Dir: c.cfg.RaftDir, FSM: c.cfg.FSM, Logger: c.log.Named("raft"), Timings: c.cfg.Timings,
		Dial: c.directory.dialRaft, Gone: c.directory.ended, Check: c.cfg.CheckLog, Repaired: c.cfg.RaftRepaired, Metrics: c.cfg.RaftMetrics,
	})
}

// closeParts stops what openParts started, in order: gossip, so that no node
// counts on this one; the peer port; raft, whose last proposals are answered.
func closeParts(c *Cluster) error {
	close(c.closed)
	var errs []error
	if c.gossip != nil {
		errs = append(errs, c.gossip.Close())
	}
	if c.peers != nil {
		errs = append(errs, c.peers.close())
	}
	if node := c.replica.set(nil); node != nil {
		errs = append(errs, node.Close())
	}
	return errors.Join(errs...)
}

// check refuses configurations that cannot work.
func (c *Config) check() error {
	bind := net.ParseIP(c.BindAddr)
	switch {
	case c.NodeID == "" || len(c.NodeID) > 64:
		return pipeline.Errorf(pipeline.Invalid, "node id %.80q: expected 1 to 64 characters", c.NodeID)
	case !c.Mode.Valid():
		return pipeline.Errorf(pipeline.Invalid, "mode %q: expected auto, orchestrator, worker or standalone", c.Mode)
	case bind == nil:
		return pipeline.Errorf(pipeline.Invalid, "bind address %q is not an IP address", c.BindAddr)
	case c.AdvertiseAddr != "" && net.ParseIP(c.AdvertiseAddr) == nil:
		return pipeline.Errorf(pipeline.Invalid, "advertised address %q is not an IP address", c.AdvertiseAddr)
	case net.ParseIP(c.advertise()).IsUnspecified():
		return pipeline.Errorf(pipeline.Invalid, "others cannot reach %s: give an address they can reach with -advertise", c.advertise())
	case c.FSM == nil && c.Mode != pipeline.ModeWorker:
		return errors.New("open the cluster: no state machine given")
	case c.SaveIdentity == nil:
		return errors.New("open the cluster: no function given to save the identity")
	case c.RaftDir == "":
		return errors.New("open the cluster: no directory given")
	case c.Mode == pipeline.ModeStandalone && len(c.Join) > 0:
		return pipeline.Errorf(pipeline.Invalid, "a standalone node joins no other: leave out -join, or the mode")
	case c.Mode == pipeline.ModeWorker && c.ClusterID == "" && len(c.Join) == 0:
		return pipeline.Errorf(pipeline.Invalid, "a worker needs a cluster to work for: name a node of it with -join")
	}
	return nil
}

// advertise is the IP that others use.
func (c *Config) advertise() string {
	if c.AdvertiseAddr != "" {
		return c.AdvertiseAddr
	}
	return c.BindAddr
}
