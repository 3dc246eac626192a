package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/journal"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// Node is one node of a cluster.
type Node struct {
	cfg Config
	log hclog.Logger
	id  pipeline.NodeID

	dir     *storage.DataDir
	blobs   *blob.Store
	trees   *tree.Cache
	journal *journal.Journal
	runner  executor.Runner
	key     []byte
	keys    *keys.Keys
	store   *fsm.Store
	cluster *cluster.Cluster
	peers   *peer.Client
	state   *state.State
	peerMux http.Handler // set before Run
	orch    *orchestrator.Orchestrator
	worker  *worker.Worker
	layouts *layout.Manager

	listener net.Listener
	server   *http.Server
	api      *api.Server
	https    bool

	ready     chan struct{}
	readyOnce sync.Once
	leaving   chan struct{} // has an element when the node was told to leave
	known     bool          // the data directory was used before
	fabric    fabricParts
	services  services
}

// Open builds a node: it locks the data directory, reads or makes its
// identity, and binds its ports. Nothing runs before Run. On an error
// everything is closed again.
func Open(ctx context.Context, cfg Config) (n *Node, err error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	n = &Node{cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), leaving: make(chan struct{}, 1)}
	n.openSuspects()
	defer func() {
		if err != nil {
			n.close()
			n = nil
		}
	}()
	if n.dir, err = storage.OpenDataDir(cfg.DataDir); err != nil {
		return n, err
	}
	for _, w := range n.dir.Warnings() {
		n.log.Warn(w)
	}
	identity, err := n.identify()
	if err != nil {
		return n, err
	}
	if err = n.openStores(); err != nil {
		return n, err
	}
	if !cfg.Embedded && !SetPriority(daemonNice) {
		n.log.Debug("this user may not raise the daemon's priority over its modules'")
	}
	if err = n.openHTTP(); err != nil {
		return n, err
	}
	if err = n.openCluster(identity); err != nil {
		return n, err
	}
	// Last of what may fail: a keeper outlives the daemon that started it.
	if err = n.openRunner(ctx); err != nil {
		return n, err
	}
	n.cluster.Refresh()
	n.peers = peer.NewClient(n.cluster)
	n.state = state.New(state.Config{Self: n.id, Store: n.store, Cluster: n.cluster, Peers: n.peers})
	n.openFabric()
	n.openVault()
	n.orch = orchestrator.New(orchestrator.Config{Self: n.id, Log: consensusLog{n.cluster}, Store: n.store,
		Transport: transport{n}, Members: members{n}, Evaluate: n.services.vault.Evaluate, Results: n.inputs(), Vault: n.services.vault,
		Logger: n.log.Named("orchestrator"), Timing: cfg.Timing, NodeName: n.state.NodeName})
	n.state.SetLeader(n.orch)
	n.openServices()
	n.worker, err = worker.Open(ctx, worker.Config{Self: n.id, Name: cfg.Name, Capabilities: n.capabilities(),
		Runner: n.runner, Blobs: n.blobs, Trees: n.trees, Journal: n.journal, WorkDir: n.dir.WorkDir(), CachesDir: n.dir.CachesDir(), Layouts: n.layouts,
		ModuleEnv: cfg.ModuleEnv, KeepWork: cfg.KeepWork, Fetch: n.fabric.down.Fetch, Copy: n.fabric.up.SecondCopy, Report: n.report,
		LogLimit: cfg.Limits.LogLimit, Full: n.fabric.disk.Reason, Filled: n.fabric.disk.Check,
		Logger: n.log.Named("worker")})
	if err != nil {
		return n, err
	}
	n.openAPI()
	n.peerMux = n.peerHandler()
	if !cfg.Embedded {
		// A run of this one process finds out when it needs to know.
		n.tellFolders()
	}
	return n, nil
}

// lead is the leader's duty, for one term.
func (n *Node) lead(ctx context.Context, term uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.orch.Lead(ctx, term) })
	g.Go(func() error { n.fabric.replicator.Lead(ctx); return nil })
	g.Go(func() error { n.services.retention.Lead(ctx); return nil })
	return g.Wait()
}

// tellFolders logs how large folders of modules are laid out.
func (n *Node) tellFolders() {
	way, why := n.layouts.Way()
	args := []any{"by", way}
	if why != nil {
		args = append(args, "since", why)
	}
	n.log.Info("folders of modules", args...)
}

// identify reads node.json and the cluster key, or makes them. With state
// there, another key than before is an error, never a new key.
func (n *Node) identify() (storage.NodeFile, error) {
	file, known, err := n.dir.ReadNode()
	if err != nil {
		return file, err
	}
	bound := known && file.KeyFingerprint != ""
	key := n.cfg.Key
	if key == nil {
		if key, err = n.loadKey(bound); err != nil {
			return file, err
		}
	}
	if n.keys, err = keys.New(key); err != nil {
		return file, err
	}
	fingerprint := n.keys.Fingerprint()
	if bound && file.KeyFingerprint != fingerprint {
		return file, pipeline.Errorf(pipeline.Invalid, "the state in %s was created with the cluster key %s, and the key given is %s: "+
			"give that key, or another -data-dir to start anew", n.dir.Path(), file.KeyFingerprint, fingerprint)
	}
	if !known {
		file = storage.NodeFile{ID: pipeline.NodeID(service.RandomHex(16))}
	}
	n.known = known
	file.KeyFingerprint, file.Name = fingerprint, n.cfg.Name
	if err := n.dir.WriteNode(file); err != nil {
		return file, err
	}
	n.id = file.ID
	n.key = key
	return file, nil
}

// loadKey reads the cluster key's file. It is created if it is missing, unless
// the data directory is bound to a key: then a new one could not open it.
func (n *Node) loadKey(bound bool) ([]byte, error) {
	path := n.cfg.KeyFile
	if path == "" {
		path = keys.DefaultFile(storage.DefaultRoot())
	}
	if !bound {
		key, _, err := keys.LoadOrCreate(path)
		return key, err
	}

	key, err := keys.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir := n.dir.Path()
		return nil, pipeline.Errorf(pipeline.Invalid, "cluster key %s is missing, but %s was created with it: "+
			"restore the key, or start over with: mv %s %s.old", path, dir, dir, dir)
	}
	return key, err
}

func (n *Node) openStores() (err error) {
	n.blobs, err = blob.Open(n.dir.BlobsDir(), blob.Options{
		OnCorrupt: n.fabric.suspects.Damaged, LowWater: n.cfg.Limits.LowWater})
	if err != nil {
		return err
	}
	n.trees = tree.NewCache(n.blobs)
	if err = disk.Mark(n.dir.WorkDir()); err != nil {
		return err
	}
	if n.layouts, err = layout.Open(layout.Config{Dir: n.dir.LayersDir(), WorkDir: n.dir.WorkDir(), Blobs: n.blobs, Way: n.cfg.Folders}); err != nil {
		return err
	}
	if n.journal, err = journal.Open(n.dir.JournalPath(), func(text string) { n.log.Warn(text) }); err != nil {
		return err
	}
	n.store, err = fsm.Open(n.dir.StateDir(), n.log.Named("fsm"))
	return err
}

// openRunner finds or starts the keeper; `pipelined run` needs none.
func (n *Node) openRunner(ctx context.Context) error {
	cfg := executor.Config{DataDir: n.dir.KeeperDir(), Executable: n.cfg.Executable, Logger: n.log.Named("keeper")}
	if n.cfg.Embedded {
		r, err := executor.NewLocal(cfg)
		if err != nil {
			return fmt.Errorf("open executor: %w", err)
		}
		n.runner = r
		return nil
	}
	r, err := executor.Connect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to the keeper: %w", err)
	}
	n.runner = r
	return nil
}

// openCluster opens the cluster from what raft's folder holds, or as a new node
// where that is damaged and others hold it.
func (n *Node) openCluster(file storage.NodeFile) error {
	err := n.openClusterAs(file)
	var damage *consensus.DamageError
	if !errors.As(err, &damage) {
		return err
	}
	if file, err = n.setRaftAside(file, damage); err != nil {
		return err
	}
	return n.openClusterAs(file)
}

func (n *Node) openClusterAs(file storage.NodeFile) (err error) {
	n.cluster, err = cluster.Open(cluster.Config{NodeID: n.id, Name: n.cfg.Name, Version: n.cfg.Version, ClusterID: file.ClusterID,
		Key: n.key, KeyName: n.cfg.KeyFile, Mode: n.cfg.Mode, BindAddr: n.cfg.Bind, AdvertiseAddr: n.cfg.Advertise,
		GossipPort: n.cfg.GossipPort, PeerPort: n.cfg.PeerPort, Join: n.cfg.Join, Expect: n.cfg.Expect,
		RaftDir: n.dir.RaftDir(), CheckLog: n.checkLog, RememberedPeers: file.Peers, FSM: n.store, Logger: n.log.Named("cluster"), Timings: n.cfg.Raft,
		Empty:        func() bool { return n.stateEmpty() },
		SaveIdentity: func(id string, peers []string) error { return n.saveIdentity(id, peers) },
		Meta:         n.meta,
		// Nothing is served before Run, when the parts that answer exist.
		PeerHandler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.peerMux.ServeHTTP(w, r) })})
	return err
}

func (n *Node) stateEmpty() bool {
	empty := true
	_ = n.store.View(func(v *fsm.View) error { empty = v.Empty(); return nil }) // closed: nothing to lose
	return empty
}

func (n *Node) saveIdentity(id string, peers []string) error {
	file, known, err := n.dir.ReadNode()
	if err != nil || !known {
		return errors.Join(err, errUnless(known, "node.json is gone"))
	}
	file.ClusterID, file.Peers = id, peers
	return n.dir.WriteNode(file)
}

func errUnless(ok bool, text string) error {
	if ok {
		return nil
	}
	return errors.New(text)
}

func (n *Node) meta() cluster.Meta {
	m := cluster.Meta{Slots: n.cfg.Slots, HTTPAddr: n.HTTPAddr(), HTTPS: n.https}
	if n.runner != nil {
		m.Incarnation = n.runner.Incarnation()
	}
	if w := n.worker; w != nil {
		m.Load = w.Load()
	}
	return m
}

func (n *Node) capabilities() pipeline.Capabilities {
	tags := n.cfg.Tags
	if tags == nil {
		tags = []string{}
	}
	return pipeline.Capabilities{OS: runtime.GOOS, Arch: runtime.GOARCH, InstalledTools: findTools(), MaxParallelModules: n.cfg.Slots, Tags: tags,
		CPU: n.cfg.CPU, Memory: n.cfg.Memory}
}

// Ready is closed when the node can serve: it belongs to a cluster and knows a
// leader.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// HTTPAddr is host:port of the HTTP port.
func (n *Node) HTTPAddr() string { return n.listener.Addr().String() }

// HTTPS reports whether the HTTP port speaks TLS.
func (n *Node) HTTPS() bool { return n.https }

// Health describes this node and what it knows of its cluster.
func (n *Node) Health(ctx context.Context) wire.Health { return n.services.cluster.Health(ctx) }

// ID is the node's.
func (n *Node) ID() pipeline.NodeID { return n.id }

// Name is the node's.
func (n *Node) Name() string { return n.cfg.Name }

// ClusterKey is the cluster's key, for the command line's own token.
func (n *Node) ClusterKey() []byte { return n.key }

// Run runs the node until ctx ends or it was told to leave, or something that
// it cannot go on without fails. It stops in order: no new work, no new calls,
// leadership handed over, gossip, raft, the state.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	core, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	g, core := errgroup.WithContext(core)
	g.Go(func() error { return wrap("cluster", n.cluster.Run(core)) })
	g.Go(func() error { return wrap("worker", n.worker.Run(core)) })
	g.Go(func() error { return wrap("journal", n.journal.Run(core)) })
	g.Go(func() error { return wrap("http", n.serve(core)) })
	g.Go(func() error {
		err := n.cluster.Lead(core, n.lead)
		if core.Err() != nil {
			return nil // its end belongs to the stop
		}
		return wrap("orchestrator", err)
	})
	g.Go(func() error { n.announce(core); return nil })
	g.Go(func() error { n.breathe(core); return nil })
	n.fabric.run(core, g)
	g.Go(func() error { n.services.remote.Run(core); return nil })
	for serving := true; serving; {
		select {
		case <-ctx.Done():
			n.stop()
			serving = false
		case <-n.leaving:
			err := n.departure().leave()
			if err == nil && n.cfg.OnStopped != nil {
				n.cfg.OnStopped()
			}
			serving = err != nil
			if err != nil {
				n.log.Error("leave the cluster; this node goes on", "error", err)
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

// departure is built when it is needed: by then all its parts are there.
func (n *Node) departure() *departure {
	return &departure{id: n.id, name: n.cfg.Name, drain: n.cfg.DrainOnStop, state: n.state, worker: n.worker, cluster: n.cluster, log: n.log}
}

// stop ends what this node does for its cluster. A run of this one process has
// no cluster.
func (n *Node) stop() {
	if n.cfg.Embedded {
		n.worker.Close()
		return
	}
	n.departure().markAway()
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
	n.readyOnce.Do(func() { close(n.ready) })
	if !n.cfg.Embedded && n.known {
		n.departure().markBack(ctx)
	}
}

func (n *Node) writeAgentFile() error {
	scheme := "http"
	if n.https {
		scheme = "https"
	}
	return n.dir.WriteAgent(storage.AgentFile{PID: os.Getpid(), Name: n.cfg.Name, ID: n.id, HTTP: n.HTTPAddr(),
		Peer: n.cluster.Addresses().Peer, Gossip: n.cluster.Addresses().Gossip, HTTPScheme: scheme, StartedAt: time.Now().UTC()})
}

// close releases what Open took, in reverse; safe on a half-built node.
func (n *Node) close() {
	if n.services.compiler != nil {
		n.services.compiler.Close()
	}
	if n.services.workers != nil {
		n.services.workers.Close()
	}
	if n.listener != nil {
		_ = n.listener.Close() // closed by the server before, usually
	}
	if n.cluster != nil {
		_ = n.cluster.Close() // idempotent; Run reported its error
	}
	for _, c := range n.closers() {
		if err := c(); err != nil {
			n.log.Warn("close", "error", err)
		}
	}
}

func (n *Node) closers() []func() error {
	var fs []func() error
	if n.runner != nil {
		fs = append(fs, n.runner.Close)
	}
	if n.worker != nil && n.cfg.Embedded {
		// Its processes are gone by now.
		fs = append(fs, func() error { n.worker.ReleaseDirectories(true); return nil })
	}
	if n.blobs != nil {
		fs = append(fs, n.blobs.Close)
	}
	if n.store != nil {
		fs = append(fs, n.store.Close)
	}
	if n.journal != nil {
		fs = append(fs, n.journal.Close)
	}
	if n.dir != nil {
		fs = append(fs, n.dir.RemoveAgent)
		fs = append(fs, n.dir.Close)
	}
	return fs
}
