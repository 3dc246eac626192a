package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// leftMark is the file that marks a raft directory of a node that has left.
	leftMark = "left"
	// leaveWait bounds the wait for gossip to spread that the node leaves.
	leaveWait = 3 * time.Second
)

// HasLeft reports whether a raft directory is that of a node that has left its cluster
// permanently.
func HasLeft(raftDir string) bool {
	_, err := os.Stat(filepath.Join(raftDir, leftMark))
	return err == nil
}

// leaver takes this node out of its cluster permanently.
type leaver struct {
	cfg       *Config
	announcer *announcer
	view      *view
	seeker    *seeker
	// leaveGossip spreads that the node leaves, within the time given.
	leaveGossip func(time.Duration) error
}

// leave announces that the node leaves, waits until the leader has removed it
// from raft, and leaves gossip. The order keeps the quorum: the leader removes
// the node only if a majority stays.
func (l *leaver) leave(ctx context.Context) error {
	if !l.hasSuccessor() {
		return pipeline.Errorf(pipeline.Conflict,
			"this is the only node of its cluster, so it cannot leave: stop it instead, and remove its data directory")
	}

	l.announcer.setLeaving(true)
	err := l.waitRemoved(ctx)
	if err == nil {
		// The mark must be there before gossip spreads that the node has left: its
		// id must never be used again.
		err = l.mark()
	}
	if err != nil { // it stays, and the leader takes it in again
		l.announcer.setLeaving(false)
		return err
	}
	if err := l.leaveGossip(leaveWait); err != nil {
		l.seeker.log.Warn("left, but perhaps not all nodes know yet", "error", err)
	}
	return nil
}

// mark notes on disk that the node has left, or nothing if that cannot be written.
func (l *leaver) mark() error {
	path := filepath.Join(l.cfg.RaftDir, leftMark)
	if l.cfg.Mode != pipeline.ModeWorker {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return pipeline.Errorf(pipeline.Internal, "the node stays: note that it has left: %w", err)
		}
	}
	if err := l.cfg.SaveIdentity("", nil); err != nil {
		_ = os.Remove(path) // if that fails too, the next start finds that the node has left
		return pipeline.Errorf(pipeline.Internal, "the node stays: forget the cluster: %w", err)
	}
	return nil
}

// hasSuccessor reports whether another node of the cluster is alive and stays.
func (l *leaver) hasSuccessor() bool {
	id := l.seeker.clusterID()
	for _, m := range l.view.gossip.Members() {
		if m.ID != string(l.view.self) && m.Status == gossip.Alive && m.Meta.Cluster == id && !m.Meta.Leaving {
			return id != ""
		}
	}
	return false
}

// waitRemoved waits until the leader's configuration has no more of this node,
// and gossip has had time to spread that it leaves.
func (l *leaver) waitRemoved(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()

	for first := true; ; first = false {
		if !first {
			if removed, err := l.removed(ctx); err == nil && removed {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return pipeline.Errorf(pipeline.Timeout, "the node stays: the leader could not remove it yet, "+
				"perhaps because no quorum would stay: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// removed asks the leader whether this node is out of raft's configuration.
func (l *leaver) removed(ctx context.Context) (bool, error) {
	if l.cfg.Mode == pipeline.ModeWorker {
		return true, nil
	}
	id, _, ok := l.view.leader()
	if !ok {
		// A node that has been removed learns of no leader through raft.
		l.seeker.soon()
		return false, errors.New("no leader")
	}
	if id == l.view.self {
		return false, nil
	}

	var a leaderAnswer
	if err := l.seeker.ask(ctx, string(id), pathLeader, &a); err != nil {
		return false, err
	}
	return a.Leader == id && !inServers(a.Servers, string(l.view.self)), nil
}
