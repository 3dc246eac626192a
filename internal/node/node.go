package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/internal/traces"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// Node is one node of a cluster: it opens the parts, connects them, and starts and
// stops them in order.
type Node struct {
	cfg Config
	log hclog.Logger
	id  pipeline.NodeID

	identity identity
	stores   stores
	port     *api.Port
	runner   executor.Runner
	cluster  *cluster.Cluster
	peers    *peer.Client
	state    *state.State
	peerMux  http.Handler // set before Run
	orch     *orchestrator.Orchestrator
	worker   *worker.Worker
	reports  reports
	fabric   fabricParts
	services services
	api      *api.Server
	metrics  *metrics.Set
	traces   *traces.Exporter

	ready   chan struct{}
	leaving chan struct{} // has an element if the node was asked to leave
}

// Open builds a node: it locks the data directory, reads or makes its
// identity, and binds its ports. Nothing runs before Run. On an error
// everything is closed again.
func Open(ctx context.Context, cfg Config) (n *Node, err error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	n = &Node{cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), leaving: make(chan struct{}, 1), stores: stores{log: cfg.Logger}, metrics: &metrics.Set{}}
	if !cfg.Embedded { // what a run of this one process measures is not read
		n.metrics = metrics.New(cfg.Version)
	}
	defer func() {
		if err != nil {
			n.close()
			n = nil
		}
	}()

	if err = n.openData(); err != nil {
		return n, err
	}
	if !cfg.Embedded && !SetPriority(daemonNice) {
		n.log.Debug("this user may not raise the daemon's priority over its modules'")
	}
	if err = n.bindPort(); err != nil {
		return n, err
	}
	if err = n.openCluster(); err != nil {
		return n, err
	}
	// Last of what may fail: a keeper outlives the daemon that started it.
	if n.runner, err = openRunner(ctx, &n.cfg, n.stores.dir); err != nil {
		return n, err
	}

	n.cluster.Refresh()
	if err = n.openParts(ctx); err != nil {
		return n, err
	}
	if !cfg.Embedded { // a run of this one process finds out when it needs to know
		n.stores.logLayout()
	}
	return n, nil
}

// bindPort binds the HTTP port, and the socket for the user's own command line.
func (n *Node) bindPort() error {
	local, err := n.stores.dir.ListenSocket()
	if err != nil {
		n.log.Warn("no local socket; the command line of this machine uses the HTTP port", "error", err)
		local = nil
	}

	cfg := &n.cfg
	n.port, err = api.BindPort(api.PortConfig{Bind: cfg.Bind, Port: cfg.HTTPPort, Plain: cfg.HTTPPlain, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey,
		Names: cfg.hostNames(), Local: local})
	if err != nil && local != nil {
		_ = local.Close() // never served
	}
	return err
}

// openData opens the data directory and what it holds.
func (n *Node) openData() (err error) {
	if n.stores.dir, err = storage.OpenDataDir(n.cfg.DataDir); err != nil {
		return err
	}
	for _, w := range n.stores.dir.Warnings() {
		n.log.Warn(w)
	}

	n.identity = identity{cfg: &n.cfg, dir: n.stores.dir, log: n.log}
	if err = n.identity.read(); err != nil {
		return err
	}
	n.id = n.identity.file.ID

	n.fabric = fabricParts{stores: &n.stores, log: n.log, metrics: n.metrics.Fabric}
	n.fabric.openSuspects()
	if err = n.stores.open(&n.cfg, n.fabric.suspects.Damaged); err != nil {
		return err
	}
	if lost := n.stores.journal.Damage(); lost != "" {
		n.fabric.damage.Found(pipeline.DamagedJournal, fsm.Damaged{Reason: lost})
	}
	return nil
}

// openParts builds what runs on top of the cluster. The order is that of their
// needs: the orchestrator needs the state and the fabric, the services need both,
// the worker needs the fabric, and the API needs all.
func (n *Node) openParts(ctx context.Context) (err error) {
	s, limits := &n.stores, &n.cfg.Limits
	n.peers = peer.NewClient(n.cluster, func(id pipeline.NodeID) string {
		m, _ := n.cluster.Member(id)
		return m.Name
	})
	n.state = state.New(state.Config{Self: n.id, Store: s.state, Cluster: n.cluster, Peers: n.peers})
	n.fabric.self, n.fabric.state, n.fabric.peers, n.fabric.members = n.id, n.state, n.peers, n.cluster.Members
	n.fabric.storage, n.fabric.stepDown, n.fabric.reserve = n.cluster.Storage, n.cluster.StepDown, s.reserve
	if n.cfg.Embedded { // no other node depends on this process
		n.fabric.reserve = func() error { return nil }
	}
	n.fabric.open(limits, func() { n.worker.TrimDirectories() })
	if !n.cfg.Embedded {
		n.traces = openTraces(ctx, traces.Config{Store: s.state, Barrier: n.cluster.Barrier, Node: n.cfg.Name, Version: n.cfg.Version,
			URL: n.port.Scheme() + "://" + n.HTTPAddr()}, n.log)
	}
	n.openVault()
	n.orch = orchestrator.New(orchestrator.Config{Self: n.id, Alone: n.cfg.alone(), Log: consensusLog{n.cluster}, Store: s.state,
		Transport: transport{n}, ImageDigests: transport{n}.ImageDigests, Members: members{n}, Evaluate: n.services.vault.Evaluate, PrepareChild: n.children().Prepare, Results: n.fabric.inputs(n.identity.keys.ResultsKey()),
		Vault: n.services.vault, Logger: n.log.Named("orchestrator"), Timing: n.cfg.Timing, NodeName: n.state.NodeName, Metrics: n.metrics.Leader, LastContact: n.cluster.LastContact, Ended: n.traces.Ended})
	n.state.SetLeader(n.orch)
	n.openServices()

	n.reports = reports{self: n.id, runner: n.runner, orch: n.orch, fabric: &n.fabric, unfit: func() string { return n.worker.Unfit() }}
	n.worker, err = worker.Open(ctx, worker.Config{Self: n.id, Name: n.cfg.Name, Capabilities: capabilities(&n.cfg),
		Runner: n.runner, Blobs: s.blobs, Trees: s.trees, Journal: s.journal, WorkDir: s.dir.WorkDir(), CachesDir: s.dir.CachesDir(), Layouts: s.layouts,
		KeepCaches: limits.KeepModuleCaches, MaxCaches: limits.MaxModuleCaches,
		FindEngine: func(ctx context.Context) (*container.Engine, error) { return container.Find(ctx, n.cfg.ContainerHost) }, Program: n.cfg.Executable,
		ModuleEnv: n.cfg.ModuleEnv, KeepWork: n.cfg.KeepWork, Fetch: n.fabric.down.Fetch, Copy: n.fabric.up.SecondCopy, Report: n.reports.send,
		LogLimit: limits.LogLimit, Full: n.fabric.disk.Reason, Filled: n.fabric.disk.Check, Logger: n.log.Named("worker")})
	if err != nil {
		return err
	}
	n.openAPI()
	n.metrics.Watch(measured{n}.sources())
	n.peerMux = n.peerHandler()
	return nil
}

// lead is the leader's duty, for one term.
func (n *Node) lead(ctx context.Context, term uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.orch.Lead(ctx, term) })
	g.Go(func() error { n.fabric.replicator.Lead(ctx); return nil })
	g.Go(func() error { n.services.retention.Lead(ctx); return nil })
	g.Go(func() error { n.services.snapshots.Lead(ctx); return nil })
	g.Go(func() error { n.traces.Lead(ctx); return nil })
	if n.cfg.Secrets == nil { // a run of this one process has no webhooks and no other nodes
		g.Go(func() error { n.services.webhooks.Lead(ctx); return nil })
		g.Go(func() error { n.services.roll.Lead(ctx); return nil })
	}
	return g.Wait()
}

// openCluster opens the cluster with what raft's directory holds, or as a new node
// if that is damaged and others hold it.
func (n *Node) openCluster() error {
	err := n.identity.checkRaft()
	if err == nil {
		err = n.openClusterOnce()
	}
	if errors.Is(err, cluster.ErrLeft) {
		return leftError(n.stores.dir.Path())
	}
	var damage *consensus.DamageError
	if !errors.As(err, &damage) {
		return err
	}

	if err := n.identity.renew(damage); err != nil {
		return err
	}
	n.id = n.identity.file.ID
	n.fabric.damage.Found(pipeline.DamagedRaft, fsm.Damaged{Reason: damage.Err.Error()})
	if err := n.stores.reopenState(); err != nil {
		return err
	}
	n.fabric.damage.Repaired(pipeline.DamagedRaft, fsm.Damaged{Reason: "the node joined again as a new one, with the state of the others"})
	return n.openClusterOnce()
}

func (n *Node) openClusterOnce() (err error) {
	file := n.identity.file
	n.cluster, err = cluster.Open(cluster.Config{NodeID: n.id, Name: n.cfg.Name, HostNames: n.cfg.hostNames(), Version: n.cfg.Version, ClusterID: file.ClusterID,
		Key: n.identity.key, KeyName: n.identity.keyName(), Mode: n.cfg.Mode, BindAddr: n.cfg.Bind, AdvertiseAddr: n.cfg.Advertise,
		GossipPort: n.cfg.GossipPort, PeerPort: n.cfg.PeerPort, Join: n.cfg.Join, Expect: n.cfg.Expect,
		RaftDir: n.stores.dir.RaftDir(), RaftRepaired: n.fabric.raftRepaired, CheckLog: func(dir string) error { return checkLog(n.cfg.Executable, n.log, dir) },
		RememberedPeers: file.Peers, RememberedJoin: file.Join, FSM: n.stores.state, Logger: n.log.Named("cluster"), Timings: n.cfg.Raft,
		Empty: n.stores.empty, SaveIdentity: n.identity.save, Meta: n.meta, RaftMetrics: n.metrics.Raft, GossipMetrics: n.metrics.Gossip,
		// Nothing is served before Run, when the parts that answer exist.
		PeerHandler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.peerMux.ServeHTTP(w, r) })})
	return err
}

// meta is what gossip says of this node.
func (n *Node) meta() cluster.Meta {
	m := cluster.Meta{Slots: n.cfg.Slots, HTTPAddr: n.HTTPAddr(), HTTPS: n.port.TLS()}
	if n.runner != nil {
		m.Incarnation = n.runner.Incarnation()
	}
	if w := n.worker; w != nil {
		m.Load = w.Load()
	}
	return m
}

// Ready is closed when the node can serve: it belongs to a cluster and knows a
// leader.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// HTTPAddr is host:port of the HTTP port.
func (n *Node) HTTPAddr() string { return n.port.Addr() }

// HTTPS reports whether the HTTP port speaks TLS.
func (n *Node) HTTPS() bool { return n.port.TLS() }

// Health describes this node and what it knows of its cluster.
func (n *Node) Health(ctx context.Context) wire.Health { return n.services.cluster.Health(ctx) }

// Name is the node's.
func (n *Node) Name() string { return n.cfg.Name }

// Run runs the node until ctx ends, or it was asked to leave, or a part fails that it
// needs. It stops in order: no new work, no new calls,
// leadership handed over, gossip, raft, the state.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	core, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	g, core := errgroup.WithContext(core)
	g.Go(func() error { return wrap("cluster", n.cluster.Run(core)) })
	g.Go(func() error { return wrap("worker", n.worker.Run(core)) })
	g.Go(func() error { return wrap("journal", n.stores.journal.Run(core)) })
	g.Go(func() error { return wrap("http", n.port.Serve(core, n.api, n.cluster.Identity().HTTPServer)) })
	lead := n.lead
	if n.cfg.Embedded && n.cfg.Mode == pipeline.ModeStandalone { // of several nodes, the run of one that died continues
		lead = leftovers{n.cluster, n.stores.state}.before(lead)
	}
	if n.cfg.alone() {
		g.Go(func() error {
			return endOnFullDisk(core, n.fabric.disk.Reason, func() bool { return n.worker.Load() > 0 && n.cluster.IsLeader() })
		})
	}
	g.Go(func() error {
		err := n.cluster.Lead(core, lead)
		if core.Err() != nil {
			return nil // its end belongs to the stop
		}
		return wrap("orchestrator", err)
	})
	g.Go(func() error { n.announce(core); return nil })
	g.Go(func() error { releaseMemory(core, n.stores.state.Index, n.worker.Load); return nil })
	n.fabric.run(core, g)
	if n.cfg.Secrets == nil { // a run of this one process has no other nodes
		g.Go(func() error { n.fabric.damage.Run(core); return nil })
	}
	g.Go(func() error { n.services.remote.Run(core); return nil })
	for serving := true; serving; {
		select {
		case <-ctx.Done():
			n.stop()
			serving = false
		case <-n.leaving:
			err := n.leave(ctx, core)
			if err == nil && n.cfg.OnStopped != nil {
				n.cfg.OnStopped()
			}
			serving = err != nil
			if err != nil {
				n.log.Error("could not leave the cluster; this node stays", "error", err)
			}
		case <-core.Done(): // a part failed
			serving = false
		}
	}
	stopCore()
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// leave leaves the cluster, unless ctx ends or a part of this node fails before.
func (n *Node) leave(ctx, core context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(core, func() { cancel(context.Cause(core)) })()
	return n.services.departure.Leave(ctx)
}

func wrap(what string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// announce says when the node can serve, and takes back what it said when it
// went away.
func (n *Node) announce(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-n.cluster.Ready():
	}
	if err := n.writeAgentFile(); err != nil {
		n.log.Error("write agent.json", "error", err)
	}
	close(n.ready)
	if !n.cfg.Embedded && n.identity.known {
		n.services.departure.MarkBack(ctx)
	}
}

func (n *Node) writeAgentFile() error {
	file := storage.AgentFile{PID: os.Getpid(), Name: n.cfg.Name, ID: n.id, HTTP: n.HTTPAddr(),
		Peer: n.cluster.Addresses().Peer, Gossip: n.cluster.Addresses().Gossip, HTTPScheme: n.port.Scheme(), StartedAt: time.Now().UTC()}
	if n.port.HasLocal() {
		file.Socket = n.stores.dir.SocketPath()
	}
	return n.stores.dir.WriteAgent(file)
}

// close releases what Open took, in reverse; safe on a half-built node.
func (n *Node) close() {
	n.services.close()
	n.traces.Close()
	if n.port != nil {
		n.port.Close()
	}
	if n.cluster != nil {
		_ = n.cluster.Close() // idempotent; Run reported its error
	}

	var errs []error
	if n.runner != nil {
		errs = append(errs, n.runner.Close())
	}
	if n.worker != nil && n.cfg.Embedded {
		n.worker.ReleaseDirectories(true) // its processes have ended by now
	}
	if err := errors.Join(append(errs, n.stores.close())...); err != nil {
		n.log.Warn("could not close", "error", err)
	}
}
