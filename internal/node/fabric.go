package node

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/inputs"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/runlog"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// fabricParts are the parts of a node that move and keep bytes.
type fabricParts struct {
	self    pipeline.NodeID
	stores  *stores
	state   *state.State
	peers   *peer.Client
	members func() []cluster.Member
	// storage is why log or state cannot be written; reserve keeps space for them;
	// stepDown leaves leadership to another node.
	storage  func() error
	reserve  func() error
	stepDown func()
	log      hclog.Logger
	metrics  *metrics.Fabric

	down       *fabric.Downloader
	up         *fabric.Uploader
	damage     *fabric.Damage
	suspects   *fabric.Suspects
	replicator *fabric.Replicator
	scrubber   *fabric.Scrubber
	collector  *fabric.Collector
	disk       *fabric.DiskWatch
}

// openSuspects comes before the stores: they report damage from their first read.
func (f *fabricParts) openSuspects() {
	f.damage = fabric.NewDamage(fabric.DamageConfig{Report: f.reportDamage, Logger: f.log.Named("fabric")})
	f.suspects = fabric.NewSuspects(fabric.SuspectsConfig{Report: f.reportSuspects, Damage: f.damage, Logger: f.log.Named("replicator"), Metrics: f.metrics})
}

// open builds the parts that need the cluster and the state. trim frees what is
// kept for reuse, before garbage is collected.
func (f *fabricParts) open(limits *Limits, trim func()) {
	s, log := f.stores, f.log.Named("fabric")
	f.down = fabric.NewDownloader(fabric.DownloaderConfig{Self: f.self, Blobs: s.blobs, Trees: s.trees, Peers: f.peers, Members: f.state,
		CopyRate: limits.RepairRate, Logger: log, Metrics: f.metrics})
	f.up = fabric.NewUploader(fabric.UploaderConfig{Self: f.self, Blobs: s.blobs, Trees: s.trees, Peers: f.peers, Members: f.state,
		Leader: f.leader, Logger: log, Metrics: f.metrics})
	f.disk = fabric.NewDiskWatch(fabric.DiskWatchConfig{Dir: s.dir.Path(), FreeBytes: s.blobs.FreeBytes, LowWater: s.blobs.LowWater,
		Probe: func() error { return errors.Join(f.storage(), s.probe()) }, Reserve: f.reserve, Filled: f.stepDown, Logger: log})
	f.scrubber = fabric.NewScrubber(fabric.ScrubberConfig{Blobs: s.blobs, Rate: limits.ScrubRate, Every: limits.ScrubEvery, Logger: log})
	f.replicator = fabric.NewReplicator(fabric.ReplicatorConfig{State: s.state, Trees: f.down, Alive: f.alive, Expected: f.expected, NodeName: f.state.NodeName,
		Locate: f.down.Locate, Copy: f.down.FetchAt, Record: f.record, Evacuated: f.evacuated, Logger: f.log.Named("replicator")})
	f.collector = fabric.NewCollector(fabric.CollectorConfig{State: s.state, Trees: f.down, Blobs: s.blobs, CatchUp: f.state.CatchUp,
		Unreported: s.unreported, NoneAway: f.noneAway, DiskLow: f.disk.Low, Trim: trim, Grace: limits.SweepGrace, Stamp: s.dir.CollectedPath(), Logger: log})
}

// run starts what the parts do by themselves, until ctx ends.
func (f *fabricParts) run(ctx context.Context, g *errgroup.Group) {
	for _, duty := range []func(context.Context){f.suspects.Run, f.scrubber.Run, f.collector.Run, f.disk.Run} {
		g.Go(func() error { duty(ctx); return nil })
	}
}

// openLog opens the log of a finished attempt, on whichever node it is.
func (f *fabricParts) openLog(ctx context.Context, a *pipeline.Attempt) (runlog.Text, error) {
	opened, err := f.down.Open(ctx, a.Holders, a.Log)
	if err != nil {
		return nil, err
	}

	text, err := blob.OpenLog(opened, a.LogSize)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return logText{text, opened}, nil
}

// logText is the plain text of a log's blob.
type logText struct {
	blob.LogReader
	io.Closer
}

// usage is how much the blobs took when the collector last counted them; nil if
// it did not.
func (f *fabricParts) usage() *wire.BlobUse {
	usage := f.collector.Usage()
	if usage == nil {
		return nil
	}
	return &wire.BlobUse{Blobs: usage.Blobs, Bytes: usage.Bytes, At: usage.At}
}

// diskSpace is that of the data directory's disk.
func (f *fabricParts) diskSpace() wire.DiskSpace {
	free, total := f.stores.blobs.FreeBytes() // 0 if the disk does not answer
	d := wire.DiskSpace{FreeBytes: free, TotalBytes: total}
	if use := f.collector.Usage(); use != nil {
		d.BlobBytes = use.Bytes
	}
	return d
}

// leader is the leader's id; "" if none is known.
func (f *fabricParts) leader() pipeline.NodeID {
	id, err := f.state.LeaderID()
	if err != nil {
		return ""
	}
	return id
}

// alive lists the nodes that are alive, this one included, in a fixed order.
func (f *fabricParts) alive() []pipeline.NodeID {
	list := append(f.state.Others(), f.self)
	slices.Sort(list)
	return list
}

// expected is how many nodes the cluster has, those that have failed included.
func (f *fabricParts) expected() int {
	n := 0
	for _, m := range f.members() {
		if m.Status != cluster.StatusLeft {
			n++
		}
	}
	return n
}

// noneAway reports whether no member is away that may come back.
func (f *fabricParts) noneAway() bool {
	return !slices.ContainsFunc(f.members(), func(m cluster.Member) bool {
		return m.Status != cluster.StatusAlive && m.Status != cluster.StatusLeft
	})
}

// record commits where logs and outputs are; only a leader does.
func (f *fabricParts) record(ctx context.Context, copies []fsm.Copies) error {
	return f.state.Commit(ctx, &fsm.Command{At: time.Now().UTC(), Batch: &fsm.Batch{Copies: copies}})
}

// evacuated commits that a node leaves and its copies count no more; only a leader does.
func (f *fabricParts) evacuated(ctx context.Context, node pipeline.NodeID) error {
	return f.state.Commit(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: node}, Only: "evacuated"}})
}

const pathSuspects = "/peer/suspects"

// suspectsReport is what a node reports to the leader's replicator.
type suspectsReport struct {
	Node  pipeline.NodeID   `cbor:"1,keyasint"`
	Blobs []pipeline.Digest `cbor:"2,keyasint"`
}

// reportSuspects brings suspect blobs to the leader's replicator.
func (f *fabricParts) reportSuspects(ctx context.Context, blobs []pipeline.Digest) (repaired []fabric.Repaired, err error) {
	in := suspectsReport{Node: f.self, Blobs: blobs}
	leader, err := f.state.LeaderID()
	if err != nil {
		return nil, err
	}
	if leader == f.self {
		return f.compareSuspects(ctx, in)
	}
	err = f.peers.Call(ctx, leader, pathSuspects, in, &repaired)
	return repaired, err
}

func (f *fabricParts) compareSuspects(ctx context.Context, in suspectsReport) ([]fabric.Repaired, error) {
	if !f.state.Leading() {
		return nil, pipeline.ErrNotLeader
	}
	return f.replicator.Compare(ctx, in.Node, in.Blobs)
}

const pathEvacuate = "/peer/evacuate"

// evacuation asks the leader to have copied what only a node has that leaves.
type evacuation struct {
	Node pipeline.NodeID `cbor:"1,keyasint"`
}

// evacuate returns when this node may leave: the others have enough copies of all.
func (f *fabricParts) evacuate(ctx context.Context) error {
	in := evacuation{Node: f.self}
	leader, err := f.state.LeaderID()
	if err != nil {
		return err
	}
	if leader == f.self {
		_, err = f.evacuateNode(ctx, in)
		return err
	}
	return f.peers.Call(ctx, leader, pathEvacuate, in, nil)
}

func (f *fabricParts) evacuateNode(ctx context.Context, in evacuation) (struct{}, error) {
	if !f.state.Leading() {
		return struct{}{}, pipeline.ErrNotLeader
	}
	return struct{}{}, f.replicator.Evacuate(ctx, in.Node)
}

// raftRepaired reports damage in raft's directory that the rest of it makes up for.
func (f *fabricParts) raftRepaired(found, how string) {
	f.damage.Found(pipeline.DamagedRaft, fsm.Damaged{Reason: found})
	f.damage.Repaired(pipeline.DamagedRaft, fsm.Damaged{Reason: how})
}

// reportDamage commits what this node found damaged and repaired.
func (f *fabricParts) reportDamage(ctx context.Context, found, repaired []fsm.Damaged, report uint64) error {
	_, err := f.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Damage: &fsm.Damage{Node: f.self, Report: report, Found: found, Repaired: repaired}})
	return err
}

// inputs answers what the result cache asks about files.
func (f *fabricParts) inputs(salt []byte) *inputs.Inputs {
	return inputs.New(inputs.Config{Salt: salt, Trees: f.down, Blobs: f.stores.blobs, Peers: inputPeers{f.state, f.down}})
}

// inputPeers are the other nodes and what their blobs are worth.
type inputPeers struct {
	*state.State
	*fabric.Downloader
}
