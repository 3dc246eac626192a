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
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	logFile = "log.db"
	// retainSnapshots is how many snapshots stay, so that a damaged one is not
	// the end (H13).
	retainSnapshots = 3
	// maxBatch is how many entries travel and are applied together.
	maxBatch = 128
	// cachedEntries is how many entries are kept in memory for the followers.
	cachedEntries = 512
	// snapshotDir is where raft's file store keeps snapshots below its base.
	snapshotDir = "snapshots"
)

// ErrInUse is returned by Open where another process holds the folder.
var ErrInUse = errors.New("raft's folder is in use by another process")

// Config is what a raft node needs.
type Config struct {
	// ID is the node's, unique for ever; it serves as its address as well.
	ID string
	// Dir holds log and snapshots; it is made if missing.
	Dir string
	// FSM is empty; Open replays snapshots and log into it.
	FSM FSM
	// Logger takes what raft has to say.
	Logger hclog.Logger
	// Timings; zero fields mean DefaultTimings.
	Timings Timings
	// Dial connects to the node with an id, over a connection on which both
	// ends know each other. It ends with its context.
	Dial func(ctx context.Context, id string) (net.Conn, error)
	// Check looks at the log below the folder in a process of its own, where it
	// is not as it was closed: bbolt ends the process on pages it cannot read.
	// An error means that the log is damaged. nil leaves that check out.
	Check func(dir string) error
	// Gone reports that the process of a node has surely ended: its host
	// answers and nobody listens. nil means that this can never be told.
	Gone func(ctx context.Context, id string) bool
}

// Node is one raft node. Open starts it, Close ends it.
type Node struct {
	cfg     Config
	log     hclog.Logger
	timings Timings
	store   *logStore
	trans   *transport
	streams *streams
	snaps   *snapshots
	raft    *raft.Raft

	fatal    chan error
	stop     chan struct{}
	wg       sync.WaitGroup
	closing  sync.Once
	closeErr error
	// closed is set before anything is torn down: nothing new is proposed.
	closed atomic.Bool
	// waiting counts proposals that raft has not answered.
	waiting atomic.Int64
	// refusedSince is when the first of an unbroken row of proposals was
	// refused because of a transfer, in Unix nanoseconds (H2).
	refusedSince atomic.Int64
	// transferring is set while this node hands leadership over on purpose.
	transferring atomic.Bool

	lead epochs
	// changing serializes changes of the configuration.
	changing sync.Mutex

	noted        sync.Mutex // guards following
	notedServers []Server

	subMu sync.Mutex // guards following
	subs  map[chan struct{}]struct{}
}

// Open starts a node from what its folder holds. An empty folder gives a node
// without a cluster, which waits for Bootstrap or for a leader to take it in.
func Open(cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, log: cfg.Logger, timings: cfg.Timings.withDefaults(),
		fatal: make(chan error, 1), stop: make(chan struct{}), subs: map[chan struct{}]struct{}{}}
	if n.log == nil {
		n.log = hclog.NewNullLogger()
	}
	n.lead.init()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make raft's folder: %w", err)
	}
	store, err := n.openStore()
	if err != nil {
		return nil, err
	}
	n.store = store
	n.streams = newStreams(cfg.ID, n.timings, cfg.Dial)
	n.trans = newTransport(n.streams, n.timings.RPC, quiet(n.log.Named("transport")))
	if n.raft, err = n.startState(); err != nil {
		if damaged := store.damaged.Load(); damaged != nil {
			err = n.damage(*damaged)
		}
		n.trans.Close()
		store.Close()
		return nil, err
	}
	n.trans.own.Store(&ownState{term: n.raft.CurrentTerm, voter: n.someVoter})
	n.wg.Go(n.watchLeadership)
	n.wg.Go(n.watchHealth)
	n.wg.Go(func() { n.snaps.verifyRest(n.stop) })
	if cfg.Gone != nil {
		n.wg.Go(n.watchEnds)
	}
	n.elect()
	return n, nil
}

// newRaft builds the raft node proper. raft panics on entries it cannot read.
func (n *Node) newRaft(fsm FSM, snaps raft.SnapshotStore) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("start raft: %v", p)
			if e, ok := p.(error); ok {
				err = fmt.Errorf("start raft: %w", e)
			}
		}
	}()
	cache, err := raft.NewLogCache(cachedEntries, n.store)
	if err != nil {
		return nil, fmt.Errorf("make raft's cache: %w", err)
	}
	r, err = raft.NewRaft(n.config(), fsm, cache, n.store, snaps, n.trans)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return r, nil
}

func (n *Node) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.ID)
	c.HeartbeatTimeout, c.ElectionTimeout = n.timings.Heartbeat, n.timings.Heartbeat
	c.LeaderLeaseTimeout = min(n.timings.Lease, n.timings.Heartbeat)
	c.CommitTimeout = n.timings.Commit
	c.MaxAppendEntries = maxBatch
	c.BatchApplyCh = true
	// A removed node stays up and follows nobody: its certificate is refused
	// by the others, and it has more to do than raft.
	c.ShutdownOnRemove = false
	c.TrailingLogs = n.timings.Trailing
	c.SnapshotInterval = n.timings.SnapshotInterval
	c.SnapshotThreshold = n.timings.SnapshotThreshold
	c.NoLegacyTelemetry = true
	c.Logger = quiet(n.log)
	return c
}

// Serve hands over a connection from the node with an id, whose right to speak
// raft has been checked, and returns when it has ended.
func (n *Node) Serve(conn net.Conn, id string) { n.streams.serve(conn, id) }

// HasState reports whether the node has ever been part of a cluster.
func (n *Node) HasState() bool { return n.raft.LastIndex() > 0 || len(n.Servers()) > 0 }

// Bootstrap makes this node the only member of a new cluster. It is an error on
// a node that has state.
func (n *Node) Bootstrap(ctx context.Context) error {
	f := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{
		ID: raft.ServerID(n.cfg.ID), Address: raft.ServerAddress(n.cfg.ID)}}})
	if err := n.await(ctx, f.Error); err != nil {
		return fmt.Errorf("begin a cluster: %w", err)
	}
	n.elect()
	return nil
}

// elect makes the only voter of a cluster its leader at once: it need not wait
// for anybody's heartbeat. Where it goes wrong raft's own timers do the same.
func (n *Node) elect() {
	voters := 0
	for _, s := range n.Servers() {
		if s.Suffrage == Voter {
			if s.ID != n.cfg.ID {
				return
			}
			voters++
		}
	}
	if voters != 1 || n.raft.State() == raft.Leader {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	n.stand(ctx)
}

// Servers is the latest configuration; empty while no cluster has this node.
func (n *Node) Servers() []Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var out []Server
	for _, s := range f.Configuration().Servers {
		sv := Server{ID: string(s.ID), Suffrage: Standby}
		if s.Suffrage == raft.Voter {
			sv.Suffrage = Voter
		}
		out = append(out, sv)
	}
	return out
}

// someVoter is the first voter of the latest configuration.
func (n *Node) someVoter() raft.ServerID {
	for _, s := range n.Servers() {
		if s.Suffrage == Voter {
			return raft.ServerID(s.ID)
		}
	}
	return ""
}

// Status tells where the node stands.
func (n *Node) Status() Status {
	_, leader := n.raft.LeaderWithID()
	s := Status{State: "follower", Term: n.raft.CurrentTerm(), Leader: string(leader),
		LastIndex: n.raft.LastIndex(), Commit: n.raft.CommitIndex(), Applied: n.raft.AppliedIndex(),
		Configured: n.store.configured.Load(), Servers: n.Servers()}
	switch n.raft.State() {
	case raft.Leader:
		s.State = "leader"
	case raft.Candidate:
		s.State = "candidate"
	case raft.Shutdown:
		s.State = "shutdown"
	}
	return s
}

// Leader is the node that this one follows or is, and the term. ok is false
// while there is none.
func (n *Node) Leader() (id string, term uint64, ok bool) {
	_, leader := n.raft.LeaderWithID()
	return string(leader), n.raft.CurrentTerm(), leader != ""
}

// IsLeader reports whether this node believes to lead. Another may lead
// already; what matters is decided by Apply.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// LastContact is when this node last heard from a leader; zero for never.
func (n *Node) LastContact() time.Time { return n.raft.LastContact() }

// Fatal gives the error that the node cannot go on after. The process should
// end: raft has no safe way to continue.
func (n *Node) Fatal() <-chan error { return n.fatal }

func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// Changes pokes the returned channel, which has room for one poke, whenever the
// leader, the state or the configuration may have changed. The function ends it.
func (n *Node) Changes() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	n.subMu.Lock()
	n.subs[ch] = struct{}{}
	n.subMu.Unlock()
	return ch, func() {
		n.subMu.Lock()
		delete(n.subs, ch)
		n.subMu.Unlock()
	}
}

func (n *Node) notify() {
	n.subMu.Lock()
	defer n.subMu.Unlock()
	for ch := range n.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Close ends the node: proposals are refused, those under way are answered,
// connections end, the files are closed. It is idempotent and waits.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.closed.Store(true)
		// raft forgets what still waits in its queue when it shuts down, and
		// nobody would ever answer it: let the queue run dry first.
		for end := time.Now().Add(250 * time.Millisecond); n.waiting.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		n.noteServers()
		n.lead.close()
		close(n.stop)
		// The connections go first: raft waits for exchanges under way.
		n.streams.Close()
		down := make(chan error, 1)
		go func() { down <- n.raft.Shutdown().Error() }()
		select {
		case n.closeErr = <-down:
			n.trans.Close()
			if err := n.closeStore(); n.closeErr == nil {
				n.closeErr = err
			}
		case <-time.After(2 * n.timings.RPC):
			// A write that hangs holds the file: only the end of the process
			// lets go of it.
			n.trans.Close()
			n.closeErr = errors.New("stop raft: it hangs")
		}
		n.wg.Wait()
	})
	return n.closeErr
}

// closeStore closes the log and notes that it was.
func (n *Node) closeStore() error {
	if err := n.store.Close(); err != nil {
		return err
	}
	if n.store.damaged.Load() != nil || n.store.failing.Load() {
		return nil // the next start looks closely
	}
	stamp, err := stampLog(n.cfg.Dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(n.cfg.Dir, closedMark), []byte(stamp), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note that raft's log is closed: %w", err)
	}
	return nil
}

// Wipe removes log and snapshots below a folder that no node uses.
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

// memorySink takes a snapshot into memory.
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
