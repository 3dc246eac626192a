package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// loopInterval is how often the loop looks at everything although nothing has
// changed.
const loopInterval = time.Second

// maxRemembered is how many gossip addresses are remembered.
const maxRemembered = 32

// loop is the one goroutine that keeps this node's identity: it begins a
// cluster or joins one, publishes what the node is, and notices when it is
// ready. It is level-triggered: it looks at everything at every change, so that
// nothing depends on having seen each one.
type loop struct {
	founder   *founder
	announcer *announcer
	seeker    *seeker
	view      *view
	directory *directory
	changes   *subscribers
	log       hclog.Logger
	// gossipChanged is poked when members may have changed.
	gossipChanged <-chan struct{}
	// ownPort reports whether the peer port there is this node's own.
	ownPort func(ip net.IP, port string) bool
	// conflicts has room for a node that uses this node's id.
	conflicts chan gossip.Member
	// ready is closed once the node has a cluster and knows its leader.
	ready   chan struct{}
	isReady bool

	// What the loop has seen and done last.
	leader     pipeline.NodeID
	term       uint64
	remembered []string
	skewed     map[pipeline.NodeID]bool
	namesakes  map[pipeline.NodeID]bool
}

func (l *loop) run(ctx context.Context) error {
	if err := l.founder.begin(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(loopInterval)
	defer tick.Stop()

	for changed := true; ; {
		node, nodeChanged := l.view.replica.current()
		// Subscribing comes before looking, so that no change is missed.
		pokes, stop, fatal := follow(node)
		if err := l.step(ctx, changed); err != nil {
			stop()
			return err
		}

		changed = true
		var err error
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-l.gossipChanged:
		case <-pokes:
		case <-nodeChanged:
		case <-l.announcer.wake:
		case <-tick.C:
			changed = false
		case err = <-fatal:
		case other := <-l.conflicts:
			err = l.checkConflict(ctx, other)
		case id := <-l.founder.yieldTo:
			err = l.founder.yield(ctx, id)
		}
		stop()
		if err != nil {
			return err
		}
	}
}

// follow subscribes to a raft node, or to nothing.
func follow(node *consensus.Node) (pokes <-chan struct{}, stop func(), fatal <-chan error) {
	if node == nil {
		return nil, func() {}, nil
	}
	pokes, stop = node.Changes()
	return pokes, stop, node.Fatal()
}

// step does what is to be done now. changed says that something may have
// changed since the last step: then subscribers are notified.
func (l *loop) step(ctx context.Context, changed bool) error {
	if l.founder.clusterID() == "" {
		if err := l.founder.adopt(ctx); err != nil {
			return err
		}
	}
	if err := l.announcer.publish(); err != nil {
		return err
	}

	leader, term, ok := l.view.leader()
	if ok && (leader != l.leader || term != l.term) {
		m, known := l.view.member(leader)
		if !known {
			m.Name = string(leader) // gossip does not know it yet
		}
		l.log.Info("the cluster has a leader", "leader", m.Name, "node", leader, "term", term)
		l.leader, l.term, changed = leader, term, true
	}
	l.watchClocks()
	l.watchNames()
	if l.founder.clusterID() != "" {
		if !ok && !l.view.replica.leads() || ok && l.seeker.unconfirmed(leader) {
			l.seeker.soon()
		}
		if ok && !l.isReady {
			l.isReady = true
			close(l.ready)
		}
		l.remember()
	}
	if changed {
		l.changes.notify()
	}
	return nil
}

// watchClocks logs when the clock of another node begins or ceases to differ
// from this node's: nothing that decides depends on it, but shown times,
// schedules and the expiry of tokens do.
func (l *loop) watchClocks() {
	skewed := map[pipeline.NodeID]bool{}
	for _, m := range l.view.all() {
		switch {
		case m.ClockAhead != 0:
			skewed[m.ID] = true
			if !l.skewed[m.ID] {
				l.log.Warn("the clock of another node differs from this node's: set both by NTP", "node", m.Name, "ahead", m.ClockAhead.Round(time.Millisecond))
			}
		case l.skewed[m.ID]:
			l.log.Info("the clock of another node agrees with this node's again", "node", m.Name)
		}
	}
	l.skewed = skewed
}

// watchNames warns of other nodes that live and have this node's name: a command that
// names a node cannot tell them apart.
func (l *loop) watchNames() {
	self, ok := l.view.member(l.view.self)
	if !ok {
		return
	}

	namesakes := map[pipeline.NodeID]bool{}
	for _, m := range l.view.all() {
		if m.ID == self.ID || m.Name != self.Name || m.Status != StatusAlive {
			continue
		}
		namesakes[m.ID] = true
		if !l.namesakes[m.ID] {
			l.log.Warn("another node has the name of this node, so that commands take neither by its name: start one of them with another -name",
				"name", self.Name, "node", self.ID, "address", self.Addr, "other_node", m.ID, "other_address", m.Addr)
		}
	}
	l.namesakes = namesakes
}

// remember writes down where the others are, for the next start. It is only a
// help then, so a failure does not matter much.
func (l *loop) remember() {
	addrs := l.view.gossipAddrs()
	if len(addrs) > 0 && !slices.Equal(addrs, l.remembered) {
		if err := l.founder.cfg.SaveIdentity(l.founder.clusterID(), addrs); err != nil {
			l.log.Warn("cannot remember the other nodes", "error", err)
		}
		l.remembered = addrs
	}
	if err := l.directory.remember(l.view.replica.servers(), l.view.replica.self); err != nil {
		l.log.Warn("cannot remember the other nodes", "error", err)
	}
}

// conflict is called by gossip if another address uses this node's id. It must
// not block.
func (l *loop) conflict(other gossip.Member) {
	select {
	case l.conflicts <- other:
	default:
	}
}

// checkConflict finds out whether another process really uses this node's id,
// or gossip only remembers where this node was before: it may still answer there, by
// another address of its machine.
func (l *loop) checkConflict(ctx context.Context, other gossip.Member) error {
	if other.PeerAddr() == "" || l.founder.clusterID() == "" || l.ownPort(net.ParseIP(other.IP), strconv.Itoa(other.Meta.PeerPort)) {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := l.directory.dialAt(ctx, other.PeerAddr(), l.view.self, keys.ProtoHTTP)
	if err != nil {
		return nil // no process with our id answers there
	}
	conn.Close()
	return fmt.Errorf("node %s at %s has the same id as this one: a data directory was copied; remove one and let the node join anew",
		other.Meta.Name, other.Addr)
}
