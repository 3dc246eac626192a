package state_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a cluster of nodes that share one fake raft: a command that the
// leader proposes is applied to every store.
type network struct {
	tb testing.TB

	mu sync.Mutex
	// guards following
	nodes    []*node
	leader   pipeline.NodeID // as all nodes see it; "" is none
	index    uint64
	changes  []chan struct{}
	verified error // what VerifyLeader answers
}

// node is one of them.
type node struct {
	id    pipeline.NodeID
	net   *network
	store *fsm.Store
	state *state.State
	url   string

	mu sync.Mutex
	// guards following
	member  cluster.Member
	ready   bool          // its orchestrator leads
	fail    []error       // answers of the next proposals
	applied int           // proposals that it committed
	block   chan struct{} // proposals wait for it
	lag     bool          // its store does not follow
	blind   bool          // it knows no leader
}

func newNetwork(t *testing.T, ids ...pipeline.NodeID) *network {
	t.Helper()
	net := &network{tb: t, leader: ids[0]}
	for _, id := range ids {
		store, err := fsm.Open(t.TempDir(), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		n := &node{id: id, net: net, store: store, ready: id == ids[0],
			member: cluster.Member{ID: id, Name: "name-" + string(id), Mode: pipeline.ModeAuto, Status: cluster.StatusAlive, RaftRole: cluster.RoleVoter}}
		n.state = state.New(state.Config{Self: id, Store: store, Cluster: n, Peers: peer.NewClient(net, nil)})
		n.state.SetLeader(n)
		mux := http.NewServeMux()
		n.state.Register(mux)
		server := httptest.NewServer(mux)
		n.url = server.URL
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
			http.DefaultClient.CloseIdleConnections()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		net.nodes = append(net.nodes, n)
	}
	return net
}

func (net *network) find(id pipeline.NodeID) *node {
	net.mu.Lock()
	defer net.mu.Unlock()
	for _, n := range net.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// Client and BulkClient are how nodes reach each other.
func (net *network) Client(id pipeline.NodeID) (*http.Client, string, error) {
	n := net.find(id)
	if n == nil {
		return nil, "", pipeline.Errorf(pipeline.Unavailable, "no member %s", id)
	}
	return http.DefaultClient, n.url, nil
}

func (net *network) BulkClient(id pipeline.NodeID) (*http.Client, string, error) {
	return net.Client(id)
}

// elect makes a node the leader for all, and ready to serve or not.
func (net *network) elect(id pipeline.NodeID, ready bool) {
	net.mu.Lock()
	net.leader = id
	for _, n := range net.nodes {
		n.mu.Lock()
		n.ready = ready && n.id == id
		n.mu.Unlock()
	}
	for _, ch := range net.changes {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	net.mu.Unlock()
}

// commit applies a command to every store that follows.
func (net *network) commit(raw []byte) any {
	net.mu.Lock()
	defer net.mu.Unlock()
	net.index++
	var reply any
	for _, n := range net.nodes {
		n.mu.Lock()
		lag := n.lag
		n.mu.Unlock()
		if !lag {
			reply = n.store.Apply(&raft.Log{Index: net.index, Term: 1, Type: raft.LogCommand, Data: raw})
		}
	}
	return reply
}

func (n *node) Self() cluster.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.member
}

func (n *node) Members() []cluster.Member {
	n.net.mu.Lock()
	nodes := n.net.nodes
	n.net.mu.Unlock()
	var list []cluster.Member
	for _, x := range nodes {
		list = append(list, x.Self())
	}
	return list
}

func (n *node) Leader() (cluster.Member, uint64, bool) {
	n.net.mu.Lock()
	id := n.net.leader
	n.net.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if id == "" || n.blind {
		return cluster.Member{}, 0, false
	}
	return cluster.Member{ID: id}, 1, true
}

func (n *node) VerifyLeader(context.Context) (uint64, error) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return 1, n.net.verified
}

func (n *node) Changes() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	n.net.mu.Lock()
	n.net.changes = append(n.net.changes, ch)
	n.net.mu.Unlock()
	return ch, func() {}
}

// Term and Propose are the orchestrator.
func (n *node) Term() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return 0
	}
	return 1
}

func (n *node) Propose(ctx context.Context, raw []byte) (any, error) {
	n.mu.Lock()
	block := n.block
	if len(n.fail) > 0 {
		err := n.fail[0]
		n.fail = n.fail[1:]
		n.mu.Unlock()
		return nil, err
	}
	n.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, pipeline.ErrUnknownOutcome
		}
	}
	reply := n.net.commit(raw)
	n.mu.Lock()
	n.applied++
	n.mu.Unlock()
	return reply, nil
}

func (n *node) proposals() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied
}

func (n *node) set(change func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// secret is a small command that any node may propose.
func secret(name string) *fsm.Command {
	return &fsm.Command{At: time.Unix(1_800_000_000, 0).UTC(), Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: name, Sealed: []byte("x"), SetAt: time.Unix(1_800_000_000, 0).UTC()}}}
}

// A command goes to the leader, from any node, once.
func TestState_Propose(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	for _, n := range net.nodes {
		if _, err := n.state.Propose(t.Context(), secret("A_"+string(n.id))); err != nil {
			t.Errorf("through %s: %v", n.id, err)
		}
	}
	if got := net.find("n1").proposals(); got != 2 {
		t.Errorf("the leader committed %d commands, want 2", got)
	}
	if got := net.find("n2").proposals(); got != 0 {
		t.Errorf("a follower committed %d commands", got)
	}
}

// A refusal keeps its kind over the network, and is not repeated.
func TestState_Propose_refused(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	for _, n := range net.nodes {
		before := net.find("n1").proposals()
		_, err := n.state.Propose(t.Context(), &fsm.Command{At: time.Now(), Cancel: &fsm.Cancel{Run: "none"}})
		if pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("through %s: %v", n.id, err)
		}
		if got := net.find("n1").proposals() - before; got != 1 {
			t.Errorf("through %s: proposed %d times", n.id, got)
		}
	}
}

// What was rejected, or whose outcome is unknown, is repeated.
func TestState_Propose_repeats(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	for _, n := range net.nodes {
		net.find("n1").set(func(l *node) { l.fail = []error{pipeline.ErrNotLeader, pipeline.ErrUnknownOutcome} })
		if _, err := n.state.Propose(t.Context(), secret("A_"+string(n.id))); err != nil {
			t.Errorf("through %s: %v", n.id, err)
		}
	}
}

// Without a leader it waits for the next one.
func TestState_Propose_election(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	net.elect("", false)
	done := make(chan error, 1)
	go func() {
		_, err := net.find("n2").state.Propose(t.Context(), secret("A"))
		done <- err
	}()
	net.elect("n1", false) // elected, and not ready yet
	net.elect("n1", true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A node that is cut off from the leader alone knows none: another node passes
// the command on.
func TestState_Propose_relay(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	net.find("n3").set(func(n *node) { n.blind = true })
	if _, err := net.find("n3").state.Propose(t.Context(), secret("A")); err != nil {
		t.Error(err)
	}
	if got := net.find("n1").proposals(); got == 0 {
		t.Error("the leader committed nothing")
	}

	// A refusal arrives as it is, and a node without a leader passes nothing on.
	_, err := net.find("n3").state.Propose(t.Context(), &fsm.Command{At: time.Now(), Cancel: &fsm.Cancel{Run: "none"}})
	if pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a refusal: %v", err)
	}
	net.find("n2").set(func(n *node) { n.blind = true })
	net.find("n1").set(func(n *node) { n.ready, n.blind = false, true })
	if _, err := net.find("n3").state.Propose(t.Context(), secret("B")); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("no node knows a leader: %v", err)
	}
	// Commits cannot be counted: what the second node passed on of the commands before may
	// arrive as late as now.
	err = net.find("n1").store.View(func(v *fsm.View) error {
		if _, ok := v.Secret("B"); ok {
			t.Error("it was committed without a leader")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A node that knows no leader any more does not turn to the one that led last: the
// others may count it as alive although the link to it is cut.
func TestState_Relays(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	n3 := net.find("n3")
	if got := n3.state.Relays(); !slices.Equal(got, []pipeline.NodeID{"n1", "n2"}) {
		t.Errorf("no leader was known yet: got %q", got)
	}
	if id, err := n3.state.LeaderID(); err != nil || id != "n1" {
		t.Fatalf("leader %q, %v", id, err)
	}
	n3.set(func(n *node) { n.blind = true })
	if got := n3.state.Relays(); !slices.Equal(got, []pipeline.NodeID{"n2"}) {
		t.Errorf("n1 was lost: got %q", got)
	}
	net.find("n2").set(func(n *node) { n.member.Status = cluster.StatusFailed })
	if got := n3.state.Relays(); !slices.Equal(got, []pipeline.NodeID{"n1"}) {
		t.Errorf("no other is alive: got %q", got)
	}
}

// While it waits for nodes that hang, it learns of a leader of its own.
func TestState_Propose_relayHangs(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	hold := make(chan struct{})
	defer close(hold)
	net.find("n1").set(func(l *node) { l.block = hold })
	net.find("n3").set(func(n *node) { n.blind = true })
	done := make(chan error, 1)
	go func() {
		_, err := net.find("n3").state.Propose(t.Context(), secret("A"))
		done <- err
	}()
	net.find("n3").set(func(n *node) { n.blind = false })
	net.elect("n2", true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Without a leader a caller gets an error after two seconds, also if the leader was
// lost while it had the command.
func TestState_Propose_minority(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	hold := make(chan struct{})
	defer close(hold)
	net.find("n1").set(func(l *node) { l.block = hold })
	done := make(chan error, 1)
	go func() {
		_, err := net.find("n2").state.Propose(t.Context(), secret("A"))
		done <- err
	}()
	net.elect("", false)
	select {
	case err := <-done:
		if kind := pipeline.KindOf(err); kind != pipeline.Unknown && kind != pipeline.Unavailable {
			t.Errorf("got %v", err)
		}
	case <-time.After(9 * time.Second):
		t.Error("it waits for a leader that is gone")
	}
}

// A leader that holds a command and leads no longer is not waited for: it may be
// cut off, with its connections open.
func TestState_Propose_leaderChanges(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	hold := make(chan struct{})
	defer close(hold)
	net.find("n1").set(func(l *node) { l.block = hold })
	done := make(chan error, 1)
	go func() {
		_, err := net.find("n2").state.Propose(t.Context(), secret("A"))
		done <- err
	}()
	net.elect("n3", true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := net.find("n3").proposals(); got != 1 {
		t.Errorf("the new leader committed %d commands, want 1", got)
	}
}

// When the caller gives up, the error is that of the last attempt, not of its
// context: it says whether something may have happened.
func TestState_Propose_givesUp(t *testing.T) {
	net := newNetwork(t, "n1")
	net.elect("", false)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := net.find("n1").state.Propose(ctx, secret("A")); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("error %v, want that there is no leader", err)
	}
}

// If one attempt may have been committed, a later rejection does not make it look
// as if nothing happened.
func TestState_Propose_staysUnknown(t *testing.T) {
	net := newNetwork(t, "n1")
	net.find("n1").set(func(l *node) {
		l.fail = []error{pipeline.ErrUnknownOutcome}
		for range 1000 {
			l.fail = append(l.fail, pipeline.ErrNotLeader)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := net.find("n1").state.Propose(ctx, secret("A")); pipeline.KindOf(err) != pipeline.Unknown {
		t.Errorf("error %v of kind %s, want unknown", err, pipeline.KindOf(err))
	}
}

// Only this node's orchestrator may commit decisions, and only while it leads.
func TestState_Commit(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	if err := net.find("n1").state.Commit(t.Context(), secret("A")); err != nil {
		t.Error(err)
	}
	if err := net.find("n2").state.Commit(t.Context(), secret("B")); !errors.Is(err, pipeline.ErrNotLeader) {
		t.Errorf("a follower: %v", err)
	}
	// A decision that another node sends is refused.
	_, err := net.find("n2").state.Propose(t.Context(), &fsm.Command{At: time.Now(), Batch: &fsm.Batch{}})
	if pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("a decision from a follower: %v", err)
	}
}

// After Fresh a follower has everything that was acknowledged before.
func TestState_Fresh(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	leader, follower := net.find("n1"), net.find("n2")
	if !leader.state.Fresh(t.Context()) {
		t.Error("a leader is not fresh")
	}
	if _, err := leader.state.Propose(t.Context(), secret("A")); err != nil {
		t.Fatal(err)
	}
	if !follower.state.Fresh(t.Context()) || follower.store.Index() < leader.store.Index() {
		t.Errorf("the follower is at %d, the leader at %d", follower.store.Index(), leader.store.Index())
	}

	// Behind, and without a leader, it says so.
	follower.set(func(n *node) { n.lag = true })
	if _, err := leader.state.Propose(t.Context(), secret("B")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if follower.state.Fresh(ctx) {
		t.Error("a follower that is behind calls itself fresh")
	}
	net.elect("", false)
	if follower.state.Fresh(ctx) {
		t.Error("fresh without a leader")
	}
}

// CatchUp asks a majority if this node leads: a deposed leader must not take its
// own state for the newest.
func TestState_CatchUp(t *testing.T) {
	net := newNetwork(t, "n1", "n2")
	for _, n := range net.nodes {
		if err := n.state.CatchUp(t.Context()); err != nil {
			t.Errorf("%s: %v", n.id, err)
		}
	}
	net.mu.Lock()
	net.verified = pipeline.ErrNotLeader
	net.mu.Unlock()
	for _, n := range net.nodes {
		if err := n.state.CatchUp(t.Context()); err == nil {
			t.Errorf("%s caught up with a deposed leader", n.id)
		}
	}
	net.elect("", false)
	if err := net.find("n2").state.CatchUp(t.Context()); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("without a leader: %v", err)
	}
}

func TestState_members(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	net.find("n2").set(func(n *node) { n.member.RaftRole, n.member.Mode = cluster.RoleNone, pipeline.ModeWorker })
	s := net.find("n1").state
	if got := s.Others("n3"); len(got) != 2 || got[0] != "n3" {
		t.Errorf("others %v, want n3 first", got)
	}
	if got := s.Replicas(); len(got) != 1 || got[0] != "n3" {
		t.Errorf("replicas %v, want n3", got)
	}
	if !s.HasState() || net.find("n2").state.HasState() {
		t.Error("a voter has the state, a worker has not")
	}
	if got := s.NodeName("n2"); got != "name-n2" {
		t.Errorf("name %q", got)
	}
	if got := s.NodeName("0123456789abcdef"); got != "0123456789ab" {
		t.Errorf("name of an unknown node %q", got)
	}
	net.find("n3").set(func(n *node) { n.member.Status = cluster.StatusFailed })
	if got := s.Others(); len(got) != 1 || got[0] != "n2" {
		t.Errorf("others %v after a death", got)
	}
}

// A node whose own clock is wrong gives times by the clocks of the others.
func TestState_Now(t *testing.T) {
	net := newNetwork(t, "n1", "n2", "n3")
	for _, id := range []pipeline.NodeID{"n2", "n3"} {
		net.find(id).set(func(n *node) { n.member.ClockAhead = -25 * time.Hour })
	}
	if d := time.Until(net.find("n1").state.Now()); d > -24*time.Hour {
		t.Errorf("a node that is 25 h ahead of the others gives a time %v from its own", d)
	}
	net.find("n3").set(func(n *node) { n.member.ClockAhead = 0 })
	if d := time.Until(net.find("n1").state.Now()); d.Abs() > time.Hour {
		t.Errorf("one other clock is wrong, and the time is %v from the right one", d)
	}
}
