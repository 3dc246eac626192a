package service_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// elapse lets virtual time pass in a synctest bubble, and waits until every
// goroutine in it waits again. It panics outside of a bubble.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// at is when attempts began and ended.
var at = time.Unix(1_800_000_000, 0).UTC()

const two = `pipeline "p" {
  module "a" { command = ["true"] }
  module "b" {
    command    = ["true"]
    depends_on = [module.a]
  }
}`

var sam = api.Subject{Name: "sam", Role: api.RoleAdmin}

// fakeCluster is a cluster of which one node leads.
type fakeCluster struct {
	self    cluster.Member
	others  []cluster.Member
	leader  pipeline.NodeID
	raft    cluster.RaftInfo
	changes chan struct{}
	// removed are the nodes that were removed; refuse is what Remove returns.
	removed []pipeline.NodeID
	refuse  error
	// verified is what VerifyLeader returns.
	verified error
}

func (c *fakeCluster) Self() cluster.Member { return c.self }
func (c *fakeCluster) Members() []cluster.Member {
	return append([]cluster.Member{c.self}, c.others...)
}
func (c *fakeCluster) Leader() (cluster.Member, uint64, bool) {
	return cluster.Member{ID: c.leader}, 1, c.leader != ""
}
func (c *fakeCluster) VerifyLeader(context.Context) (uint64, error) { return 1, c.verified }
func (c *fakeCluster) Changes() (<-chan struct{}, func())           { return c.changes, func() {} }
func (c *fakeCluster) Remove(_ context.Context, id pipeline.NodeID) error {
	c.removed = append(c.removed, id)
	return c.refuse
}
func (c *fakeCluster) RaftInfo() cluster.RaftInfo { return c.raft }

// fakeLeader commits to a store at once.
type fakeLeader struct {
	store   *fsm.Store
	leading atomic.Bool
	// commits counts the commands that were applied.
	commits atomic.Int32
	// refuse, if it is not nil, is what proposals are answered with.
	refuse error
}

func (l *fakeLeader) Term() uint64 {
	if l.leading.Load() {
		return 1
	}
	return 0
}

func (l *fakeLeader) Propose(_ context.Context, command []byte) (any, error) {
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.commits.Add(1)
	return l.store.Apply(&raft.Log{Index: l.store.Index() + 1, Term: 1, Type: raft.LogCommand, Data: command}), nil
}

// fakePlanner answers what a test says.
type fakePlanner struct {
	mu       sync.Mutex // guards waiting for tests of feeds
	waiting  map[string]string
	able     []string
	of       int
	locks    []pipeline.Lock
	estimate func(*pipeline.Pipeline) pipeline.Estimate
	asked    []pipeline.Run // of Estimate and Forecast
	fail     error

	waitingEverywhere map[pipeline.RunID][]pipeline.Waiting
}

func (p *fakePlanner) Estimate(_ context.Context, run pipeline.Run, def *pipeline.Pipeline) (pipeline.Estimate, error) {
	p.asked = append(p.asked, run)
	if p.fail != nil {
		return pipeline.Estimate{}, p.fail
	}
	return p.estimate(def), nil
}

func (p *fakePlanner) Forecast(_ context.Context, run pipeline.Run, def *pipeline.Pipeline) ([]pipeline.ModuleForecast, error) {
	p.asked = append(p.asked, run)
	var out []pipeline.ModuleForecast
	for i := range def.Modules {
		out = append(out, pipeline.ModuleForecast{Name: def.Modules[i].Name, Unknown: "workspace " + string(run.Workspace)})
	}
	return out, p.fail
}

// wait sets why modules wait.
func (p *fakePlanner) wait(why map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = why
}

func (p *fakePlanner) WaitingEverywhere(context.Context, int) (map[pipeline.RunID][]pipeline.Waiting, map[string]int, error) {
	return p.waitingEverywhere, map[string]int{"lock": 2}, nil
}

func (p *fakePlanner) Waiting(context.Context, pipeline.RunID) (map[string]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil || p.fail != nil {
		return nil, pipeline.ErrNotLeader
	}
	return p.waiting, nil
}

func (p *fakePlanner) Able(context.Context, *pipeline.Module) ([]string, int, error) {
	return p.able, p.of, p.fail
}

func (p *fakePlanner) Locks(context.Context) ([]pipeline.Lock, error) { return p.locks, p.fail }

// fakeWorkspaces secures every workspace, unless it is to fail.
type fakeWorkspaces struct {
	asked []pipeline.Digest
	fail  error
}

func (w *fakeWorkspaces) Secure(_ context.Context, root pipeline.Digest) ([]pipeline.NodeID, error) {
	w.asked = append(w.asked, root)
	if w.fail != nil {
		return nil, w.fail
	}
	if root == "" {
		return nil, nil
	}
	return []pipeline.NodeID{"n1", "n2"}, nil
}

// fakeRemote prunes nothing and remembers what it was asked.
type fakeRemote struct{ asked []wire.CachePrune }

func (r *fakeRemote) Prune(_ context.Context, _ api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	r.asked = append(r.asked, in)
	return wire.CachePruned{Removed: 7}, nil
}

// dialer finds one other node, at a test server.
type dialer struct{ server *httptest.Server }

func (d *dialer) Client(id pipeline.NodeID) (*http.Client, string, error) {
	if d.server == nil {
		return nil, "", pipeline.Errorf(pipeline.Unavailable, "no node %s", id)
	}
	return d.server.Client(), d.server.URL, nil
}

func (d *dialer) BulkClient(id pipeline.NodeID) (*http.Client, string, error) { return d.Client(id) }

// rig is the service layer of the leading node n1.
type rig struct {
	tb         testing.TB
	store      *fsm.Store
	cluster    *fakeCluster
	leader     *fakeLeader
	planner    *fakePlanner
	workspaces *fakeWorkspaces
	remote     *fakeRemote
	dialer     *dialer
	keys       *keys.Keys
	state      *state.State
	peers      *peer.Client
	// full is why the node takes nothing new; "" if it does.
	full string
	log  strings.Builder // of Runs

	secrets   *service.Secrets
	vault     *service.Vault
	compiler  *service.Compiler
	runs      *service.Runs
	schedules *service.Schedules
	cache     *service.Cache
	tokens    *service.Tokens
}

func newRig(tb testing.TB) *rig { return newRigWith(tb, nil) }

// newRigWith gives a rig whose secrets are given by the environment, unless given
// is nil.
func newRigWith(tb testing.TB, given map[string]string) *rig {
	tb.Helper()
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	clusterKeys, err := keys.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, store: store, leader: &fakeLeader{store: store}, planner: &fakePlanner{}, workspaces: &fakeWorkspaces{}, remote: &fakeRemote{},
		dialer: &dialer{}, keys: clusterKeys,
		cluster: &fakeCluster{self: cluster.Member{ID: "n1", Name: "one", Status: cluster.StatusAlive, RaftRole: cluster.RoleVoter}, leader: "n1"}}
	r.leader.leading.Store(true)
	r.peers = peer.NewClient(r.dialer, nil)
	r.state = state.New(state.Config{Self: "n1", Store: store, Cluster: r.cluster, Peers: r.peers})
	r.state.SetLeader(r.leader)
	log := hclog.NewNullLogger()

	r.secrets = service.NewSecrets(service.SecretsConfig{State: r.state, Peers: r.peers, Keys: r.keys, Given: given})
	r.vault = service.NewVault(r.keys, r.secrets, nil)
	r.compiler = service.NewCompiler(nil, r.secrets)
	r.runs = service.NewRuns(service.RunsConfig{State: r.state, Planner: r.planner, Compiler: r.compiler, Vault: r.vault, Workspaces: r.workspaces,
		Full: func() string { return r.full }, Logger: hclog.New(&hclog.LoggerOptions{Output: &r.log})})
	r.schedules = service.NewSchedules(service.SchedulesConfig{State: r.state, Compiler: r.compiler, Vault: r.vault, Workspaces: r.workspaces})
	r.cache = service.NewCache(service.CacheConfig{State: r.state, Planner: r.planner, Compiler: r.compiler, Remote: r.remote, Logger: log})
	r.tokens = service.NewTokens(service.TokensConfig{Self: "n1", State: r.state, Peers: r.peers, Keys: r.keys})
	tb.Cleanup(func() {
		r.compiler.Close()
		if r.dialer.server != nil {
			r.dialer.server.Client().CloseIdleConnections()
			r.dialer.server.Close()
		}
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// follow makes n1 a follower of n2, whose peer port serves mux; nil is a leader
// that does not answer.
func (r *rig) follow(mux *http.ServeMux) {
	r.leader.leading.Store(false)
	r.cluster.leader = "n2"
	r.cluster.others = []cluster.Member{{ID: "n2", Name: "two", Status: cluster.StatusAlive, RaftRole: cluster.RoleLeader}}
	if mux != nil {
		r.dialer.server = httptest.NewServer(mux)
	}
}

// loseLeader makes n1 a follower that knows no leader.
func (r *rig) loseLeader() {
	r.leader.leading.Store(false)
	r.cluster.leader = ""
}

// submit makes a run of a source.
func (r *rig) submit(source string) wire.RunCreated {
	r.tb.Helper()
	made, err := r.runs.Submit(r.tb.Context(), sam, "", wire.SubmitRequest{Source: source, FileName: "test.hcl"})
	if err != nil {
		r.tb.Fatal(err)
	}
	return made
}

// commit applies decisions, as the orchestrator does.
func (r *rig) commit(b fsm.Batch) {
	r.tb.Helper()
	if err := r.state.Commit(r.tb.Context(), &fsm.Command{At: at, Batch: &b}); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) read(id pipeline.RunID) wire.Run {
	r.tb.Helper()
	run, err := r.runs.Run(r.tb.Context(), id, 0, 0, 0)
	if err != nil {
		r.tb.Fatal(err)
	}
	return run
}

// wantKind fails unless an error has a kind and says all of parts.
func wantKind(tb testing.TB, err error, kind pipeline.Kind, parts ...string) {
	tb.Helper()
	if err == nil || pipeline.KindOf(err) != kind {
		tb.Fatalf("got %v, want kind %s", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			tb.Errorf("%q does not say %q", err, part)
		}
	}
}

// wantError is wantKind for one row of a table: the test continues.
func wantError(tb testing.TB, what string, err error, kind pipeline.Kind, parts ...string) {
	tb.Helper()
	if err == nil || pipeline.KindOf(err) != kind {
		tb.Errorf("%s: got %v, want kind %s", what, err, kind)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			tb.Errorf("%s: %q does not say %q", what, err, part)
		}
	}
}
