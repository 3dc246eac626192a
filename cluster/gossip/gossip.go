// Package gossip keeps the list of the nodes that are reachable. It wraps
// memberlist, carries each node's description, refuses nodes of other clusters,
// and joins.
//
// The list is a hint and authorizes nothing. The package does not depend on
// raft. Everything exported is safe for concurrent use; callbacks run on
// memberlist's goroutines and must not block.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/pipelined/pipelined/internal/metrics"
)

const (
	// updateWait bounds the wait for a description to be sent on.
	updateWait = 500 * time.Millisecond
	// calmUpdates is how often a description goes out that is not urgent.
	calmUpdates = time.Second
	// probeInterval is how often one other node is probed (settled.md, 3).
	probeInterval = 500 * time.Millisecond
)

// Config is what gossip needs.
type Config struct {
	// ID is the node's and serves as its name among the members.
	ID string
	// BindAddr and AdvertiseAddr are IPs; AdvertiseAddr "" means BindAddr.
	BindAddr, AdvertiseAddr string
	// Port of both TCP and UDP; 0 chooses a free one.
	Port int
	// Key encrypts, Label marks this cluster's packets. KeyName is the origin
	// of the cluster key, for messages; it may be "".
	Key            []byte
	Label, KeyName string
	// Meta is the node's first description.
	Meta Meta
	// Admit may refuse a node of another cluster, with the reason. self is
	// our description of the moment. nil admits all.
	Admit func(self Meta, other Member) error
	// Conflict is called if another address uses our id.
	Conflict func(other Member)
	Logger   hclog.Logger
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Gossip
}

// Status is the state of a member as gossip sees it.
type Status int

// The states of a member.
const (
	Alive Status = iota
	Failed
	Left
)

// Member is a node as the others know it.
type Member struct {
	ID string
	// Addr is host:port of gossip, IP its host.
	Addr   string
	IP     string
	Meta   Meta
	Status Status
	// Elsewhere are other addresses, host:port of gossip and the newest first, where
	// the node said that it is while it did not count as dead at Addr for long enough.
	// They are nil once it is alive at Addr.
	Elsewhere []string
	// Since is when Status began, by this node's clock.
	Since time.Time
	// ClockAhead is by how much its clock is ahead of this node's, negative if it
	// is behind; 0 while that is not known.
	ClockAhead time.Duration
}

// PeerAddr is host:port of the member's peer port, "" if it has none.
func (m Member) PeerAddr() string {
	if m.Meta.PeerPort == 0 {
		return ""
	}
	return net.JoinHostPort(m.IP, strconv.Itoa(m.Meta.PeerPort))
}

// Gossip is this node's part in the membership. Open binds its port, Start
// begins to gossip, Close ends it.
type Gossip struct {
	cfg   Config
	log   hclog.Logger
	trans *streams
	port  int
	// urgent and calm ask the updater to send our description.
	urgent, calm chan struct{}
	stop         chan struct{}
	wg           sync.WaitGroup
	once         sync.Once

	// sending is held while our description is sent: a newer one replaces an
	// older one, and the notice of leaving replaces both.
	sending sync.Mutex

	// metaMu is separate from mu: memberlist asks for the description while it
	// holds its own lock.
	metaMu sync.RWMutex // guards following
	meta   Meta

	roster   *roster
	clocks   *clocks
	contacts *contacts

	mu sync.Mutex // guards following
	ml *memberlist.Memberlist
}

// Open binds the port for TCP and UDP.
func Open(cfg Config) (*Gossip, error) {
	g := &Gossip{cfg: cfg, log: cfg.Logger, meta: cfg.Meta, roster: newRoster(), clocks: newClocks(), contacts: newContacts(),
		urgent: make(chan struct{}, 1), calm: make(chan struct{}, 1),
		stop: make(chan struct{})}
	if g.log == nil {
		g.log = hclog.NewNullLogger()
	}

	if _, err := cfg.Meta.encode(); err != nil {
		return nil, err
	}

	var err error
	for range 10 {
		// The free port of TCP may be taken for UDP: try another.
		var t *memberlist.NetTransport
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{cfg.BindAddr}, BindPort: cfg.Port, Logger: bridge(g.log, cfg.KeyName)})
		if err == nil {
			g.trans = newStreams(t, g.contacts.hear, g.log)
		}
		if err == nil || cfg.Port != 0 {
			break
		}
	}

	if err != nil {
		return nil, fmt.Errorf("bind the gossip port: %w (if another agent has it, choose another -bind or -gossip-port; port 0 takes a free one)", err)
	}

	g.port = g.trans.GetAutoBindPort()

	return g, nil
}

// Port is the one that is bound.
func (g *Gossip) Port() int { return g.port }

// Start begins to gossip, alone until Join.
func (g *Gossip) Start() error {
	c := memberlist.DefaultLANConfig()
	c.Name = g.cfg.ID
	c.Transport = g.trans
	c.BindAddr, c.BindPort = g.cfg.BindAddr, g.port
	c.AdvertiseAddr, c.AdvertisePort = g.cfg.AdvertiseAddr, g.port

	if c.AdvertiseAddr == "" {
		c.AdvertiseAddr = g.cfg.BindAddr
	}

	c.SecretKey, c.Label = g.cfg.Key, g.cfg.Label
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	c.EnableCompression = false
	c.MsgpackUseNewTimeFormat = true
	c.TCPTimeout = 3 * time.Second
	c.SuspicionMult = 4
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeInterval/2
	c.GossipInterval = 100 * time.Millisecond

	// Descriptions that a node has missed come with the next exchange; memberlist
	// lengthens the interval itself in large clusters.
	c.PushPullInterval = 5 * time.Second
	c.DeadNodeReclaimTime = 10 * time.Second
	c.DelegateProtocolMin, c.DelegateProtocolMax, c.DelegateProtocolVersion = metaVersion, metaVersion, metaVersion
	c.Logger = bridge(g.log, g.cfg.KeyName)
	d := &delegate{g}
	c.Delegate, c.Events, c.Alive, c.Merge, c.Conflict, c.Ping = d, d, d, d, d, d

	ml, err := memberlist.Create(c)
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}

	g.mu.Lock()
	g.ml = ml
	g.mu.Unlock()
	g.wg.Go(g.update)

	return nil
}

func (g *Gossip) list() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ml
}

// Health is memberlist's health score of this node: 0 is healthy, larger values mean
// that its probes and answers are late.
func (g *Gossip) Health() int {
	if ml := g.list(); ml != nil {
		return ml.GetHealthScore()
	}
	return 0
}

// Changed returns a channel with a buffer of one, which receives a value when
// the members may have changed.
func (g *Gossip) Changed() <-chan struct{} { return g.roster.poke }

// Members are all known nodes, this one included, by id.
func (g *Gossip) Members() []Member {
	all := g.roster.all()
	for i := range all {
		all[i].ClockAhead = g.clocks.ahead(all[i].ID)
	}
	return all
}

// Member finds a node by id.
func (g *Gossip) Member(id string) (Member, bool) {
	m, ok := g.roster.get(id)
	m.ClockAhead = g.clocks.ahead(id)
	return m, ok
}

// Forget records that a node which is not alive has left: it is not waited for. It
// reports false for one that is alive. reported says that the leader has found it
// failed: then one that fails soon has left too.
func (g *Gossip) Forget(id string, reported bool) bool {
	return id != g.cfg.ID && g.roster.forget(id, reported)
}

// Meta is our own description.
func (g *Gossip) Meta() Meta {
	g.metaMu.RLock()
	defer g.metaMu.RUnlock()
	return g.meta
}

// UpdateMeta changes our description and sends it to the others: at once if it
// is urgent, within about a second otherwise. A change of nothing costs nothing.
// A description that does not fit when encoded is refused.
func (g *Gossip) UpdateMeta(urgent bool, change func(*Meta)) error {
	g.metaMu.Lock()
	m := g.meta
	change(&m)

	if m == g.meta {
		g.metaMu.Unlock()
		return nil
	}

	if _, err := m.encode(); err != nil {
		g.metaMu.Unlock()
		return err
	}

	g.meta = m
	g.metaMu.Unlock()
	ch := g.calm
	if urgent {
		ch = g.urgent
	}

	select {
	case ch <- struct{}{}:
	default:
	}

	return nil
}

// update sends this node's description, one update at a time: memberlist waits
// until it has been sent.
func (g *Gossip) update() {
	var last time.Time
	var later <-chan time.Time
	for {
		select {
		case <-g.stop:
			return
		case <-g.urgent:
		case <-g.calm:
			if wait := calmUpdates - time.Since(last); wait > 0 {
				if later == nil {
					later = time.After(wait)
				}
				continue
			}
		case <-later:
		}

		last, later = time.Now(), nil
		g.send(updateWait)
	}
}

// send sends our description and waits until it has been sent.
func (g *Gossip) send(wait time.Duration) {
	g.sending.Lock()
	defer g.sending.Unlock()
	if err := g.list().UpdateNode(wait); err != nil {
		g.log.Debug("sending the node's description takes long", "error", err)
	}
}

// Join exchanges members with the node at a gossip address, host:port with an
// IP as its host.
func (g *Gossip) Join(ctx context.Context, addr string) error {
	ml := g.list()
	if ml == nil {
		return errors.New("gossip has not started")
	}

	done := make(chan error, 1)
	go func() {
		_, err := ml.Join([]string{addr})
		done <- err
	}()

	select {
	case err := <-done:
		return g.explain(addr, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Leave informs the others that this node leaves permanently. memberlist's own
// notice does not reach its events, so the description says it first.
func (g *Gossip) Leave(timeout time.Duration) error {
	ml := g.list()
	if ml == nil {
		return nil
	}

	if err := g.UpdateMeta(true, func(m *Meta) { m.Leaving = true }); err != nil {
		return err
	}

	g.send(timeout)
	g.sending.Lock()
	defer g.sending.Unlock()

	if err := ml.Leave(timeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}

	return nil
}

// Close ends the node's part without informing the others. It is idempotent.
func (g *Gossip) Close() error {
	var err error
	g.once.Do(func() {
		close(g.stop)
		g.wg.Wait()
		if ml := g.list(); ml != nil {
			err = ml.Shutdown()
			return
		}
		err = g.shutdownUnstarted()
	})
	return err
}

// shutdownUnstarted closes the ports of a transport that nothing reads from.
// Packets that arrived meanwhile are dropped: the transport's listeners wait until
// what they have is taken, and its Shutdown waits for them.
func (g *Gossip) shutdownUnstarted() error {
	done := make(chan error, 1)
	go func() { done <- g.trans.Shutdown() }()
	for {
		select {
		case err := <-done:
			return err
		case <-g.trans.PacketCh():
		}
	}
}

// note records the state of a node.
func (g *Gossip) note(n *memberlist.Node, status Status) {
	if m, err := memberOf(n); err == nil { // else NotifyAlive has refused it
		g.roster.note(m, status)
	}
}

func memberOf(n *memberlist.Node) (Member, error) {
	if n.Name == "" || len(n.Name) > maxNodeID {
		return Member{}, fmt.Errorf("%w: id %.80q", errMeta, n.Name)
	}
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		return Member{}, err
	}
	if n.Addr.IsUnspecified() || n.Addr.IsMulticast() || n.Port == 0 {
		return Member{}, fmt.Errorf("%w: address %s:%d", errMeta, n.Addr, n.Port)
	}
	ip := n.Addr.String()
	return Member{ID: n.Name, IP: ip, Addr: net.JoinHostPort(ip, strconv.Itoa(int(n.Port))), Meta: meta}, nil
}
