package node

import (
	"context"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/external"
	"github.com/pipelined/pipelined/internal/history"
	"github.com/pipelined/pipelined/internal/nodereport"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/outbox"
	"github.com/pipelined/pipelined/internal/remotecache"
	"github.com/pipelined/pipelined/internal/runlog"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/session"
	"github.com/pipelined/pipelined/internal/snapshots"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// services are what the API and the orchestrator ask about the replicated state.
type services struct {
	secrets    *service.Secrets
	vault      *service.Vault
	compiler   *service.Compiler
	workspaces *service.Securer
	runs       *service.Runs
	cache      *service.Cache
	tokens     *service.Tokens
	feeds      *service.Feeds
	workers    *external.Workers
	cluster    *service.Cluster
	nodes      *nodereport.Collector
	retention  *service.Retention
	logs       *runlog.Logs
	sessions   *session.Sessions
	remote     *remotecache.Cache
	departure  *service.Departure
	snapshots  *snapshots.Snapshots
	webhooks   *outbox.Webhooks
	roll       *service.Roll
	sender     *webhook.Client
}

// close ends what Run does not.
func (s *services) close() {
	if s.compiler != nil {
		s.compiler.Close()
	}
	if s.workers != nil {
		s.workers.Close()
	}
	if s.sender != nil {
		s.sender.Close()
	}
}

// openVault builds what the orchestrator needs to open what is sealed.
func (n *Node) openVault() {
	evaluator := bounded.New(n.cfg.Executable)
	s := &n.services
	s.secrets = service.NewSecrets(service.SecretsConfig{State: n.state, Peers: n.peers, Keys: n.identity.keys, Given: n.cfg.Secrets})
	s.vault = service.NewVault(n.identity.keys, s.secrets, evaluator)
	s.compiler = service.NewCompiler(evaluator, s.secrets)
}

// openServices builds the rest, which needs the orchestrator and the fabric.
func (n *Node) openServices() {
	s, f := &n.services, &n.fabric
	s.workspaces = service.NewSecurer(service.SecurerConfig{Self: n.id, State: n.state, Down: f.down, Sender: f.up, Missing: n.stores.trees.Missing})
	s.runs = service.NewRuns(service.RunsConfig{State: n.state, Planner: n.orch, Compiler: s.compiler, Vault: s.vault, Workspaces: s.workspaces,
		Full: f.disk.Reason, NoWebhooks: n.cfg.NoWebhooks, Logger: n.log.Named("runs")})
	s.remote = remotecache.New(remotecache.Config{Self: n.id, State: n.state, Blobs: n.stores.blobs, Peers: n.peers, Full: f.disk.Reason,
		Open:   func(ctx context.Context, d pipeline.Digest) (api.Blob, error) { return f.down.Open(ctx, nil, d) },
		Locate: f.down.Locate, SecondCopy: f.up.SecondCopy, UnderReplicated: f.suspects.Alone,
		KeepFor: n.cfg.Limits.KeepToolCacheFor, MaxBytes: n.cfg.Limits.MaxToolCache, Logger: n.log.Named("remotecache")})
	s.cache = service.NewCache(service.CacheConfig{State: n.state, Planner: n.orch, Compiler: s.compiler, Remote: s.remote, Logger: n.log.Named("cache")})
	s.tokens = service.NewTokens(service.TokensConfig{Self: n.id, State: n.state, Peers: n.peers, Keys: n.identity.keys})

	s.retention = service.NewRetention(service.RetentionConfig{State: n.state, Cache: s.cache, Remote: s.remote.Retain, Limits: n.cfg.Limits.retain(),
		Logger: n.log.Named("retention")})

	heartbeat := n.cfg.Timing.Heartbeat
	if heartbeat <= 0 {
		heartbeat = orchestrator.DefaultTiming().Heartbeat
	}
	s.workers = external.NewWorkers(external.WorkersConfig{Self: n.id, State: n.state, Orchestrator: n.orch, Down: f.down, Blobs: n.stores.blobs,
		SecondCopy: f.up.SecondCopy, RunMask: s.vault.RunMask, Members: n.cluster.Members, Heartbeat: heartbeat})
	s.nodes = nodereport.New(nodereport.Config{Self: n.id, Name: n.cfg.Name, Peers: n.peers, Members: n.cluster.Members,
		Sights: n.cluster.Sights, Lags: n.lags, Health: n.cluster.GossipHealth, Disk: n.fabric.diskSpace, StartedAt: time.Now(),
		Commits: n.commits, UnderReplicated: n.underReplicated})
	s.cluster = service.NewCluster(service.ClusterConfig{Self: n.id, Name: n.cfg.Name, Mode: n.cfg.Mode, Slots: n.cfg.Slots, Version: n.cfg.Version,
		State: n.state, Members: n.cluster, Keys: n.identity.keys, Load: func() int { return n.worker.Load() }, BlobUse: f.usage,
		Troubles:   func() []string { return []string{n.worker.Unfit(), f.replicator.Missing(), s.snapshots.Trouble()} },
		FindWorker: s.workers.Find, Leave: n.askToLeave,
		Leaving: func() (bool, string) { return s.departure.Leaving() },
		Reports: s.nodes.Collect})
	s.roll = service.NewRoll(service.RollConfig{State: n.state, Members: n.cluster.Members, Changes: n.cluster.Changes, Logger: n.log})
	n.openWebhooks()
	s.feeds = service.NewFeeds(service.FeedsConfig{State: n.state, Runs: s.runs, Cluster: s.cluster, Peers: n.peers})
}

// openWebhooks builds what sends events to receivers.
func (n *Node) openWebhooks() {
	s := &n.services
	rules, _ := webhook.ParseRules(n.cfg.WebhookAllow) // checked with the configuration
	s.sender = webhook.NewClient(rules, n.cfg.Version)
	s.webhooks = outbox.New(outbox.Config{State: n.state, Keys: n.identity.keys, Rules: rules, Send: s.sender.Send,
		Count: n.metrics.Leader.Delivered, Barrier: n.cluster.Barrier, ClusterID: s.cluster.ID, Addresses: s.cluster.Addresses,
		OpenLog: func(ctx context.Context, a *pipeline.Attempt) (outbox.LogText, error) {
			return n.fabric.openLog(ctx, a)
		},
		Evaluate: s.vault.Evaluate,
		Defined:  n.cfg.Webhooks, Logger: n.log.Named("webhooks")})
}

// openAPI builds the HTTP interface on top of the services, and what needs the
// worker.
func (n *Node) openAPI() {
	s := &n.services
	s.departure = service.NewDeparture(service.DepartureConfig{Self: n.id, Name: n.cfg.Name, Drain: n.cfg.DrainOnStop, State: n.state,
		Worker: n.worker, Cluster: n.cluster, Evacuate: n.fabric.evacuate, Logger: n.log})
	s.snapshots = snapshots.New(snapshots.Config{State: n.state, Store: n.stores.state, Cluster: n.cluster, Keys: n.identity.keys,
		Open: func(ctx context.Context, d pipeline.Digest) (api.Blob, error) { return n.fabric.down.Open(ctx, nil, d) },
		Dir:  n.stores.dir.BackupDir(), Version: n.cfg.Version, Schedule: n.cfg.Snapshots, Logger: n.log.Named("snapshots")})
	s.logs = runlog.New(runlog.Config{Self: n.id, State: n.state, Files: n.worker, Peers: n.peers, OpenLog: n.fabric.openLog})
	s.sessions = session.New(session.Config{Self: n.id, Name: n.cfg.Name, State: n.state, Dirs: n.worker, Peers: n.peers, Started: unpreferred,
		Logger: n.log})
	n.api = api.New(api.Config{NodeID: n.id, NodeName: n.cfg.Name,
		Router: service.NewRouter(service.RouterConfig{Self: n.id, State: n.state, Dialer: n.cluster, Members: n.cluster.Members}),
		Auth:   s.tokens, Tokens: s.tokens, SignIns: s.tokens, Feeds: s.feeds, ClusterID: s.cluster.ID, Addresses: s.cluster.Addresses, Runs: s.runs, Cache: s.cache, Secrets: s.secrets, Webhooks: s.webhooks, Workers: s.workers,
		Artifacts: service.NewArtifacts(n.state, n.fabric.down),
		Blobs:     service.NewBlobs(n.stores.blobs, n.stores.trees, n.fabric.down),
		Histories: history.New(history.Config{State: n.state, Files: n.fabric.inputs(n.identity.keys.ResultsKey()),
			Open: func(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (api.Blob, error) {
				return n.fabric.down.Open(ctx, hints, d)
			}, Summary: s.runs.RunSummary, NextTick: service.NextTick}),
		Schedules: service.NewSchedules(service.SchedulesConfig{State: n.state, Compiler: s.compiler, Vault: s.vault, Workspaces: s.workspaces}),
		Executions: external.NewExecutions(external.ExecutionsConfig{Self: n.id, Name: n.cfg.Name, Mode: n.cfg.Mode, Slots: n.cfg.Slots,
			State: n.state, Peers: n.peers, Runs: s.runs, Workspaces: s.workspaces}),
		Cluster: s.cluster, Snapshots: s.snapshots, Logs: s.logs, RemoteCache: s.remote, Sessions: s.sessions,
		Metrics: n.metrics.HTTP, MetricsPage: n.metrics.Handler(), MetricsOpen: n.cfg.MetricsOpen,
		PublicBadges: n.cfg.PublicBadges,
		Logger:       n.log.Named("api"), AllowedHosts: n.port.AllowedHost, MaxEntry: n.cfg.Limits.MaxToolEntry,
		PeerIdentity: func(r *http.Request) (id, name string, ok bool) {
			p, ok := cluster.PeerFrom(r.Context())
			return string(p.ID), p.Name, ok
		}})
}

// lags are how many entries each follower is behind this node; nil if it does not lead.
func (n *Node) lags() map[string]uint64 {
	if !n.cluster.IsLeader() {
		return nil
	}
	lags := n.cluster.RaftLag()
	out := map[string]uint64{}
	for _, server := range n.cluster.RaftInfo().Servers {
		if lag, known := lags[server.ID]; known && server.ID != string(n.id) {
			out[server.ID] = lag
		}
	}
	return out
}

// commits are how long the newest entries took that this node proposed.
func (n *Node) commits() *wire.CommitTimes {
	recent := n.metrics.Raft.Recent(time.Now())
	if recent.Count == 0 {
		return nil
	}
	return &wire.CommitTimes{Count: recent.Count, MedianSeconds: recent.Median.Seconds(), P99Seconds: recent.P99.Seconds()}
}

// underReplicated is how many blobs have fewer copies than wanted, as far as this node
// knows.
func (n *Node) underReplicated() int { return n.fabric.suspects.Len() + n.fabric.replicator.Short() }

// askToLeave makes Run leave the cluster. It returns at once.
func (n *Node) askToLeave() {
	if n.services.departure.Begin() {
		n.leaving <- struct{}{} // has room: one Leave follows each Begin that is new
	}
}

// children compiles the pipelines that modules run.
func (n *Node) children() *service.Children {
	return service.NewChildren(service.ChildrenConfig{State: n.state, Compiler: n.services.compiler, Vault: n.services.vault, NoWebhooks: n.cfg.NoWebhooks})
}
