package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// ErrLeft is returned by Open where the node has left its cluster for good: its
// id must not be used again.
var ErrLeft = errors.New("this node has left its cluster: start it with an empty data directory")

// leftMark is the file that tells so.
const leftMark = "left"

// Cluster is this node's part in the cluster.
type Cluster struct {
	cfg      Config
	log      hclog.Logger
	keys     *keys.Keys
	identity *keys.Identity
	gossip   *gossip.Gossip
	peers    *peerPort
	book     *addressBook
	// blank is the empty state, for giving way.
	blank []byte
	// targets are the join addresses; expect is settled when Run begins.
	targets *targets
	expect  int

	ready     chan struct{}
	readyOnce sync.Once
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
	running   atomic.Bool

	poke      chan struct{}
	giveWayTo chan string
	conflicts chan gossip.Member
	askNow    chan struct{}
	leaving   atomic.Bool

	mu sync.Mutex // guards following
	// id is the cluster's; "" while there is none.
	id string
	// node is raft's; nil on workers, and for a moment while giving way.
	node        *consensus.Node
	nodeChanged chan struct{}
	// named is the leader that a member named over the peer port.
	named leaderAnswer
	subs  map[chan struct{}]struct{}
	// told is where nodes have told us themselves, by id, that they are.
	told map[string]string
	// refusedSaid is when a refusal was told to people last.
	refusedSaid map[string]time.Time
	// unseen is since when a server of raft's configuration is unknown to
	// gossip.
	unseen map[string]time.Time
}

// Addresses are the ports that are bound, as host:port that others may use.
type Addresses struct {
	Gossip string
	Peer   string
}

// Open checks the configuration, binds the ports and starts raft from its
// folder. Nothing is told to others before Run. The caller must call Run or
// Close. A consensus.DamageError means that the folder cannot be used.
func Open(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, log: cfg.Logger, id: cfg.ClusterID,
		ready: make(chan struct{}), done: make(chan struct{}), nodeChanged: make(chan struct{}),
		poke: make(chan struct{}, 1), giveWayTo: make(chan string, 1), conflicts: make(chan gossip.Member, 1),
		askNow: make(chan struct{}, 1), subs: map[chan struct{}]struct{}{}, told: map[string]string{}, refusedSaid: map[string]time.Time{}, unseen: map[string]time.Time{}}
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(cfg.RaftDir, leftMark)); err == nil {
		return nil, ErrLeft
	}
	var err error
	if c.keys, err = keys.New(cfg.Key); err != nil {
		return nil, err
	}
	ips := []net.IP{net.ParseIP(c.advertise())}
	if bind := net.ParseIP(cfg.BindAddr); !bind.IsUnspecified() && !bind.Equal(ips[0]) {
		ips = append(ips, bind)
	}
	c.identity = c.keys.Identity(keys.Subject{Cluster: cfg.ClusterID, Node: cfg.NodeID, Mode: cfg.Mode, Name: cfg.Name}, ips, []string{cfg.Name})
	if c.book, err = openAddressBook(filepath.Join(cfg.RaftDir, "peers.json")); err != nil {
		return nil, err
	}
	if err := c.open(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// open binds the ports and starts raft.
func (c *Cluster) open() error {
	var err error
	if c.peers, err = listenPeers(c); err != nil {
		return err
	}
	self := c.describe()
	self.Cluster = c.cfg.ClusterID
	if c.gossip, err = gossip.Open(gossip.Config{
		ID: string(c.cfg.NodeID), BindAddr: c.cfg.BindAddr, AdvertiseAddr: c.cfg.AdvertiseAddr, Port: c.cfg.GossipPort,
		Key: c.keys.GossipKey(), Label: c.keys.GossipLabel(), Meta: self, Admit: c.admitMember,
		Conflict: c.noteConflict, Logger: c.log.Named("gossip"),
	}); err != nil {
		return err
	}
	c.targets = newTargets(c.cfg.Join, c.advertise(), c.cfg.BindAddr, c.gossip.Port())
	if c.cfg.Mode == pipeline.ModeWorker {
		return nil
	}
	if c.cfg.Empty != nil {
		if c.blank, err = consensus.Capture(c.cfg.FSM); err != nil {
			return err
		}
	}
	node, err := c.openNode()
	if err != nil {
		return err
	}
	c.setNode(node)
	return nil
}

func (c *Cluster) openNode() (*consensus.Node, error) {
	return consensus.Open(consensus.Config{ID: string(c.cfg.NodeID), Dir: c.cfg.RaftDir, FSM: c.cfg.FSM,
		Logger: c.log.Named("raft"), Timings: c.cfg.Timings, Dial: c.dialRaft, Gone: c.gone, Check: c.cfg.CheckLog})
}

// check refuses configurations that cannot work.
func (c *Cluster) check() error {
	bind := net.ParseIP(c.cfg.BindAddr)
	switch {
	case c.cfg.NodeID == "" || len(c.cfg.NodeID) > 64:
		return pipeline.Errorf(pipeline.Invalid, "node id %.80q: want 1 to 64 characters", c.cfg.NodeID)
	case !c.cfg.Mode.Valid():
		return pipeline.Errorf(pipeline.Invalid, "mode %q: want auto, orchestrator, worker or standalone", c.cfg.Mode)
	case bind == nil:
		return pipeline.Errorf(pipeline.Invalid, "bind address %q is not an IP address", c.cfg.BindAddr)
	case c.cfg.AdvertiseAddr != "" && net.ParseIP(c.cfg.AdvertiseAddr) == nil:
		return pipeline.Errorf(pipeline.Invalid, "advertised address %q is not an IP address", c.cfg.AdvertiseAddr)
	case net.ParseIP(c.advertise()).IsUnspecified():
		return pipeline.Errorf(pipeline.Invalid, "others cannot reach %s: say with -advertise where they can", c.advertise())
	case c.cfg.FSM == nil && c.cfg.Mode != pipeline.ModeWorker:
		return errors.New("open the cluster: no state machine given")
	case c.cfg.SaveIdentity == nil:
		return errors.New("open the cluster: nothing given to save the identity with")
	case c.cfg.RaftDir == "":
		return errors.New("open the cluster: no folder given")
	case c.cfg.Mode == pipeline.ModeStandalone && len(c.cfg.Join) > 0:
		return pipeline.Errorf(pipeline.Invalid, "a standalone node joins nobody: leave out -join, or the mode")
	case c.cfg.Mode == pipeline.ModeWorker && c.cfg.ClusterID == "" && len(c.cfg.Join) == 0:
		return pipeline.Errorf(pipeline.Invalid, "a worker needs a cluster to work for: name a node of it with -join")
	}
	return nil
}

func (c *Cluster) advertise() string {
	if c.cfg.AdvertiseAddr != "" {
		return c.cfg.AdvertiseAddr
	}
	return c.cfg.BindAddr
}

// Addresses tells what is bound, for agent.json and tests.
func (c *Cluster) Addresses() Addresses {
	return Addresses{
		Gossip: net.JoinHostPort(c.advertise(), strconv.Itoa(c.gossip.Port())),
		Peer:   net.JoinHostPort(c.advertise(), strconv.Itoa(c.peers.port())),
	}
}

// Keys are what follows from the cluster key.
func (c *Cluster) Keys() *keys.Keys { return c.keys }

// Identity makes this node's certificates, also for the HTTP port.
func (c *Cluster) Identity() *keys.Identity { return c.identity }

// ID is the cluster's id, "" while the node has none.
func (c *Cluster) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// Ready is closed once the node has a cluster and knows its leader.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Run takes part in the cluster until ctx is done, and then stops in order:
// gossip, without telling the others (they find out, and nothing is removed);
// the peer port; raft. It returns nil then. Any other return is an error that
// the process should end with: raft offers no safe way on.
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
	g.Go(func() error { return c.loop(gctx) })
	g.Go(func() error { return c.joinLoop(gctx) })
	g.Go(func() error { return c.askLoop(gctx) })
	if c.cfg.Mode != pipeline.ModeWorker {
		g.Go(func() error { return c.Lead(gctx, c.manage) })
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, c.Close())
}

// Close stops everything that Open started and waits. It is idempotent; Run
// calls it at its end.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		close(c.done)
		var errs []error
		if c.gossip != nil {
			errs = append(errs, c.gossip.Close())
		}
		if c.peers != nil {
			errs = append(errs, c.peers.close())
		}
		if node := c.setNode(nil); node != nil {
			errs = append(errs, node.Close())
		}
		c.closeErr = errors.Join(errs...)
	})
	return c.closeErr
}

// current is raft's node and a channel that is closed when it is another.
func (c *Cluster) current() (*consensus.Node, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node, c.nodeChanged
}

// setNode puts another node in place and gives the old one.
func (c *Cluster) setNode(n *consensus.Node) *consensus.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.node
	c.node = n
	close(c.nodeChanged)
	c.nodeChanged = make(chan struct{})
	return old
}

// newClusterID is 128 random bits.
func newClusterID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a cluster id: %w", err)
	}
	return hex.EncodeToString(b), nil
}
