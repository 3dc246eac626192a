package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/awake"
	"github.com/pipelined/pipelined/internal/metrics"
)

const (
	logFile = "log.db"
	// retainSnapshots is how many snapshots stay, so that one may be damaged
	// (H13).
	retainSnapshots = 3
	// maxBatch is how many entries travel and are applied together.
	maxBatch = 128
	// cachedEntries is how many entries are kept in memory for the followers.
	cachedEntries = 512
	// snapshotDir is the directory of snapshots below the base of raft's file
	// store.
	snapshotDir = "snapshots"
)

// ErrInUse is returned by Open if another process holds the directory.
var ErrInUse = errors.New("raft's directory is in use by another process")

// Config is what a raft node needs.
type Config struct {
	// ID is the node's, never used again for another; it serves as its address as well.
	ID string
	// Dir holds log and snapshots; it is made if missing.
	Dir string
	// FSM is empty; Open replays snapshots and log into it.
	FSM FSM
	// Logger receives the messages of raft and of this package.
	Logger hclog.Logger
	// Timings; zero fields mean DefaultTimings.
	Timings Timings
	// Dial connects to the node with an id, over a connection on which both
	// ends know each other. It ends with its context.
	Dial func(ctx context.Context, id string) (net.Conn, error)
	// Check examines the log below the directory in a process of its own, if it
	// is not as it was closed: bbolt ends the process on pages it cannot read.
	// An error means that the log is damaged. nil leaves that check out.
	Check func(dir string) error
	// Repaired is called when something below the directory was found damaged and the
	// rest of it makes up for that: what, and how. It must return at once; nil leaves
	// it out.
	Repaired func(found, how string)
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Raft
	// Gone reports that the process of a node has surely ended: its host
	// answers and refuses connections. nil means that this is never known.
	Gone func(ctx context.Context, id string) bool
}

// Node is one raft node. Open starts it, Close ends it.
type Node struct {
	instance *instance
	timings  Timings
	log      hclog.Logger

	*proposer

	state    *stateDir
	trans    *transport
	trips    *roundTrips
	failover *failover
	verifier *verifier
	lead     epochs
	changes  subscribers
	storage  *storage

	fatal   chan error
	stop    chan struct{}
	wg      sync.WaitGroup
	closing func() error
}

// Open starts a node from the state in its directory. With an empty directory
// the node has no cluster, and waits for Bootstrap or for a leader to add it.
// The errors are ErrInUse and *DamageError.
func Open(cfg Config) (*Node, error) {
	log := cfg.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}

	n := &Node{instance: &instance{id: cfg.ID}, timings: cfg.Timings.withDefaults(), log: log,
		fatal: make(chan error, 1), stop: make(chan struct{})}
	n.lead.init()
	n.closing = sync.OnceValue(func() error { return closeNode(n) })

	n.state = &stateDir{dir: cfg.Dir, log: log, check: cfg.Check, repaired: cfg.Repaired}

	if err := n.state.open(); err != nil {
		return nil, err
	}
	n.state.store.metrics = cfg.Metrics // before raft writes

	n.trips = &roundTrips{instance: n.instance, timings: n.timings}
	n.trans = newTransport(newStreams(cfg.ID, n.timings, cfg.Dial), n.timings.RPC, n.trips, quiet(log.Named("transport")))
	n.storage = &storage{store: n.state.store, state: &fault{}, timings: n.timings, instance: n.instance, trans: n.trans, lead: &n.lead,
		changed: n.changes.notify, clock: awake.New(), log: log, wake: make(chan struct{}, 1)}
	n.storage.state.appeared = func(err error) {
		log.Error("the state cannot be written, trying again", "error", err)
		n.storage.poke()
	}
	n.state.store.failure.appeared = func(err error) {
		log.Error("raft's log cannot be written", "error", err)
		n.storage.poke()
	}
	n.proposer = &proposer{instance: n.instance, changed: n.changes.notify, metrics: cfg.Metrics}
	n.verifier = newVerifier(n.instance, n.trans, &n.lead, n.stop)
	n.failover = &failover{instance: n.instance, trans: n.trans, log: log, votes: n.state.store, trips: n.trips, gone: cfg.Gone, stop: n.stop}

	if err := n.start(cfg.FSM); err != nil {
		n.trans.Close()
		n.state.store.Close()
		return nil, err
	}

	if cfg.Gone != nil {
		n.wg.Go(n.failover.run)
	}

	n.failover.elect()

	return n, nil
}

// start starts raft and the goroutines that watch it.
func (n *Node) start(fsm FSM) error {
	s := &starter{id: n.instance.id, timings: n.timings, fsm: fsm, state: n.state, trans: n.trans, log: n.log, metrics: n.proposer.metrics, unwritten: n.storage.state, stop: n.stop, failed: func(err error) {
		if !n.proposer.closed.Load() {
			n.fail(fmt.Errorf("the state of the leader cannot be restored here: %w", err))
		}
	}}

	r, err := s.start()
	if err != nil {
		if damaged := n.state.store.damaged.Load(); damaged != nil {
			err = n.state.damage(*damaged)
		}
		return err
	}

	n.instance.raft = r
	n.state.store.replaced.Store(new(n.replaced))
	n.trans.own.Store(&ownState{term: r.CurrentTerm, voter: n.instance.voter})
	w := &watchdog{instance: n.instance, timings: n.timings, trips: n.trips, state: n.state, storage: n.storage, trans: n.trans, proposer: n.proposer,
		log: n.log, fail: n.fail, stop: n.stop}
	n.wg.Go(n.watchLeadership)
	n.wg.Go(w.run)
	n.wg.Go(w.writeNotes)
	n.wg.Go(func() { n.state.snaps.verifyRest(n.stop) })

	return nil
}

// Serve passes raft a connection from the node with an id, which the caller has
// authorized, and returns when it has ended.
func (n *Node) Serve(conn net.Conn, id string) { n.trans.streams.serve(conn, id) }

// HasState reports whether the node has ever been part of a cluster.
func (n *Node) HasState() bool { return n.instance.raft.LastIndex() > 0 || len(n.Servers()) > 0 }

// Bootstrap makes this node the only member of a new cluster. It is an error on
// a node that has state.
func (n *Node) Bootstrap(ctx context.Context) error {
	f := n.instance.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{
		ID: raft.ServerID(n.instance.id), Address: raft.ServerAddress(n.instance.id)}}})
	if err := n.proposer.await(ctx, f.Error); err != nil {
		return fmt.Errorf("begin a cluster: %w", err)
	}
	n.failover.elect()
	return nil
}

// Servers is the latest configuration; empty while no cluster has this node.
func (n *Node) Servers() []Server { return n.instance.servers() }

// LastContact is when this node, as a follower, had the last message of a leader; zero
// if it never had one. A leader keeps the time of its predecessor.
func (n *Node) LastContact() time.Time { return n.instance.raft.LastContact() }

// Lag is how many entries each follower has not acknowledged, by id, as far as this
// node has led them.
func (n *Node) Lag() map[string]uint64 {
	n.trans.peers.keep(n.instance.servers())
	return n.trans.peers.lag(n.instance.raft.LastIndex())
}

// Status is the state of this moment.
func (n *Node) Status() Status {
	s := Status{State: "follower", Term: n.instance.raft.CurrentTerm(), Leader: n.instance.leader(),
		LastIndex: n.instance.raft.LastIndex(), Commit: n.instance.raft.CommitIndex(), Applied: n.instance.raft.AppliedIndex(),
		Configured: n.state.store.configured.Load(), Servers: n.Servers()}
	switch state := n.instance.raft.State(); {
	case n.instance.leads():
		s.State = "leader"
	case state == raft.Candidate:
		s.State = "candidate"
	case state == raft.Shutdown:
		s.State = "shutdown"
	}
	return s
}

// Leader is the node that this one follows or is, and the term. ok is false
// while there is none.
func (n *Node) Leader() (id string, term uint64, ok bool) {
	leader := n.instance.leader()
	return leader, n.instance.raft.CurrentTerm(), leader != ""
}

// IsLeader reports whether this node believes to lead. Another may lead
// already; what matters is decided by Apply.
func (n *Node) IsLeader() bool { return n.instance.leads() }

// Fatal returns the error after which the node cannot continue. The process
// should end: raft has no safe way to resume.
func (n *Node) Fatal() <-chan error { return n.fatal }

// replaced is called before another leader's entries replace those from lo to hi.
// If this node has applied some of them, they were committed: a majority of the
// voters has lost what it had acknowledged, as when its data directories are
// restored from older copies. The state here has what the others do not, so the
// node ends; its next start builds the state from the log.
func (n *Node) replaced(lo, hi uint64) {
	applied := n.instance.raft.AppliedIndex()
	if lo > applied {
		return
	}
	n.fail(fmt.Errorf("%d committed entries (%d to %d) were cut off from the log, because a majority of the voters has lost them (were data directories restored from older copies?): start this node again, it then rebuilds its state without them",
		min(hi, applied)-lo+1, lo, min(hi, applied)))
}

func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// Changes returns a channel with a buffer of one, which receives a value when
// the leader, the state or the configuration may have changed. The function
// removes it.
func (n *Node) Changes() (<-chan struct{}, func()) { return n.changes.add() }

// Close ends the node: proposals are refused, those in progress are answered,
// connections end, the files are closed. It is idempotent and waits.
func (n *Node) Close() error { return n.closing() }

func closeNode(n *Node) error {
	n.proposer.close()
	n.verifier.close()
	n.lead.close()
	close(n.stop)

	// The connections end before raft is stopped: it waits for exchanges that
	// are in progress.
	n.trans.streams.Close()
	n.state.store.abandon()
	down := make(chan error, 1)
	go func() { // ends with the process if the disk hangs
		n.state.noteServers(n.instance.servers())
		err := n.instance.raft.Shutdown().Error()
		n.verifier.wg.Wait()
		n.wg.Wait()
		down <- err
	}()

	select {
	case err := <-down:
		n.trans.Close()
		if cerr := n.state.close(); err == nil {
			err = cerr
		}
		return err
	case <-time.After(2 * n.timings.RPC):
		// A write that hangs holds the file until the process ends.
		n.trans.Close()
		return errors.New("stop raft: it hangs")
	}
}

// LogPath is the file of raft's log below its directory.
func LogPath(dir string) string { return filepath.Join(dir, logFile) }

// Exists reports whether a node has left a log, or notes about one, below a
// directory that no node uses.
func Exists(dir string) bool {
	for _, name := range []string{logFile, serversFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// Wipe removes log and snapshots below a directory that no node uses.
func Wipe(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, snapshotDir)); err != nil {
		return fmt.Errorf("remove raft's snapshots: %w", err)
	}
	for _, name := range []string{logFile, closedMark, serversFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove raft's log: %w", err)
		}
	}
	return nil
}

// memorySink stores a snapshot in memory.
type memorySink struct {
	bytes.Buffer
}

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

// Capture is the content of a state machine as its own snapshot has it. It is
// meant for one that is still empty, so that ResetTo can make it so again.
func Capture(fsm FSM) ([]byte, error) {
	snap, err := fsm.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("capture the state: %w", err)
	}
	defer snap.Release()
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		return nil, fmt.Errorf("capture the state: %w", err)
	}
	return sink.Bytes(), nil
}

// ResetTo puts a captured content into a state machine that no node uses.
func ResetTo(fsm FSM, content []byte) error {
	if err := fsm.Restore(io.NopCloser(bytes.NewReader(content))); err != nil {
		return fmt.Errorf("reset the state: %w", err)
	}
	return nil
}
