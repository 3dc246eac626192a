package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/inputs"
	"github.com/pipelined/pipelined/internal/runlog"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// fabricParts are the parts of a node that move and keep bytes.
type fabricParts struct {
	down       *fabric.Downloader
	up         *fabric.Uploader
	suspects   *fabric.Suspects
	replicator *fabric.Replicator
	scrubber   *fabric.Scrubber
	collector  *fabric.Collector
	disk       *fabric.DiskWatch
}

// openSuspects comes before the stores: they report damage from their first read.
func (n *Node) openSuspects() {
	n.fabric.suspects = fabric.NewSuspects(fabric.SuspectsConfig{Report: n.reportSuspects, Logger: n.log.Named("replicator")})
}

// openFabric builds the parts that need the cluster and the state.
func (n *Node) openFabric() {
	f, limits := &n.fabric, &n.cfg.Limits
	log := n.log.Named("fabric")
	f.down = fabric.NewDownloader(fabric.DownloaderConfig{Self: n.id, Blobs: n.blobs, Trees: n.trees, Peers: n.peers, Members: n.state, CopyRate: limits.RepairRate, Logger: log})
	f.up = fabric.NewUploader(fabric.UploaderConfig{Self: n.id, Blobs: n.blobs, Trees: n.trees, Peers: n.peers, Members: n.state, Leader: n.knownLeader, Logger: log})
	f.disk = fabric.NewDiskWatch(fabric.DiskWatchConfig{Dir: n.dir.Path(), FreeBytes: n.blobs.FreeBytes, LowWater: n.blobs.LowWater, Probe: n.probeDisk, Logger: log})
	f.scrubber = fabric.NewScrubber(fabric.ScrubberConfig{Blobs: n.blobs, Rate: limits.ScrubRate, Every: limits.ScrubEvery, Logger: log})
	f.replicator = fabric.NewReplicator(fabric.ReplicatorConfig{State: n.store, Trees: f.down, Alive: n.aliveNodes, NodeName: n.state.NodeName,
		Locate: f.down.Locate, Copy: f.down.FetchAt, Record: n.recordCopies, Logger: n.log.Named("replicator")})
	f.collector = fabric.NewCollector(fabric.CollectorConfig{State: n.store, Trees: f.down, Blobs: n.blobs, CatchUp: n.state.CatchUp,
		Unreported: n.unreported, NoneAway: n.noneAway, DiskLow: f.disk.Low, Trim: func() { n.worker.TrimDirectories() }, Grace: limits.SweepGrace, Logger: log})
}

// openLog opens the log of a finished attempt, on whichever node it is.
func (n *Node) openLog(ctx context.Context, a *pipeline.Attempt) (runlog.Text, error) {
	opened, err := n.fabric.down.Open(ctx, a.Holders, a.Log)
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

// probeDisk reports why files or attempts cannot be written, if so.
func (n *Node) probeDisk() error {
	if err := n.blobs.Probe(); err != nil {
		return err
	}
	if err := n.journal.Err(); err != nil {
		return fmt.Errorf("attempts cannot be recorded: %w", err)
	}
	return nil
}

// run starts what the parts do by themselves, until ctx ends.
func (f *fabricParts) run(ctx context.Context, g *errgroup.Group) {
	for _, duty := range []func(context.Context){f.suspects.Run, f.scrubber.Run, f.collector.Run, f.disk.Run} {
		g.Go(func() error { duty(ctx); return nil })
	}
}

// knownLeader is the leader's id; "" if none is known.
func (n *Node) knownLeader() pipeline.NodeID {
	id, err := n.state.LeaderID()
	if err != nil {
		return ""
	}
	return id
}

// aliveNodes lists the nodes that are alive, this one included.
func (n *Node) aliveNodes() []pipeline.NodeID {
	list := append(n.state.Others(), n.id)
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list
}

// noneAway reports whether no member is away that may come back.
func (n *Node) noneAway() bool {
	for _, m := range n.cluster.Members() {
		if m.Status != cluster.StatusAlive && m.Status != cluster.StatusLeft {
			return false
		}
	}
	return true
}

// unreported lists outcomes that this node may still have to report.
func (n *Node) unreported() []pipeline.Outcome {
	var list []pipeline.Outcome
	for _, entry := range n.journal.All() {
		if entry.Outcome != nil {
			list = append(list, *entry.Outcome)
		}
	}
	return list
}

// recordCopies commits where logs and outputs are; only a leader does.
func (n *Node) recordCopies(ctx context.Context, copies []fsm.Copies) error {
	return n.state.Commit(ctx, &fsm.Command{At: time.Now().UTC(), Batch: &fsm.Batch{Copies: copies}})
}

const pathSuspects = "/peer/suspects"

// suspectsReport is what a node reports to the leader's replicator.
type suspectsReport struct {
	Node  pipeline.NodeID   `cbor:"1,keyasint"`
	Blobs []pipeline.Digest `cbor:"2,keyasint"`
}

// reportSuspects brings suspect blobs to the leader's replicator.
func (n *Node) reportSuspects(ctx context.Context, blobs []pipeline.Digest) (repaired []pipeline.Digest, err error) {
	in := suspectsReport{Node: n.id, Blobs: blobs}
	leader, err := n.state.LeaderID()
	if err != nil {
		return nil, err
	}
	if leader == n.id {
		return n.compareSuspects(ctx, in)
	}
	err = n.peers.Call(ctx, leader, pathSuspects, in, &repaired)
	return repaired, err
}

func (n *Node) compareSuspects(ctx context.Context, in suspectsReport) ([]pipeline.Digest, error) {
	if !n.orch.Leading() {
		return nil, pipeline.ErrNotLeader
	}
	return n.fabric.replicator.Compare(ctx, in.Node, in.Blobs)
}

// inputs answers what the result cache asks about files.
func (n *Node) inputs() *inputs.Inputs {
	return inputs.New(inputs.Config{Salt: n.keys.ResultsKey(), Trees: n.fabric.down, Blobs: n.blobs, Peers: inputPeers{n.state, n.fabric.down}})
}

// inputPeers are the other nodes and what their blobs are worth.
type inputPeers struct {
	*state.State
	*fabric.Downloader
}
