package node

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// RecoverConfig says which stopped node is to become what.
type RecoverConfig struct {
	DataDir string
	// Rejoin makes the node a new one without a cluster, with its blobs, instead
	// of the only voter. DryRun changes nothing.
	Rejoin, DryRun bool
	// Executable is this binary.
	Executable string
	Logger     hclog.Logger
}

// Recovery is what Recover has found and made.
type Recovery struct {
	Node, Name string
	// OldCluster is the cluster that is lost, Cluster the one that this node is
	// the only voter of now; "" with Rejoin.
	OldCluster, Cluster string
	// Voters is how many voters the lost cluster had, as far as this node knows.
	Voters int
	// Index and Term are those of the last entry here.
	Index, Term uint64
	// Aside is where the replaced raft directory lies now.
	Aside string
}

// Recover makes a stopped node the only voter of a new cluster with the state of
// one that has lost its majority permanently, or prepares it to join that one.
func Recover(cfg RecoverConfig) (out Recovery, err error) {
	// Opening would make a directory that is not there.
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "node.json")); err != nil {
		return out, pipeline.Errorf(pipeline.Invalid, "%s is no data directory of a node: %w", cfg.DataDir, err)
	}
	dir, err := storage.OpenDataDir(cfg.DataDir)
	if err != nil {
		return out, err
	}
	defer dir.Close()
	file, known, err := dir.ReadNode()
	if err != nil {
		return out, err
	}
	if cluster.HasLeft(dir.RaftDir()) {
		return out, leftError(cfg.DataDir)
	}
	if !known || file.ClusterID == "" {
		return out, pipeline.Errorf(pipeline.Invalid, "%s belongs to no cluster: start its agent with -join", cfg.DataDir)
	}
	out.Node, out.Name, out.OldCluster = string(file.ID), file.Name, file.ClusterID
	// The call must end before its result is read, so they are two statements.
	if cfg.Rejoin {
		err = rejoin(cfg, dir, file, &out)
	} else {
		err = takeOver(cfg, dir, file, &out)
	}
	return out, err
}

// takeOver makes the node the only voter. The cluster's id changes first: after
// a crash between the steps the node belongs to no other, and has no leader until
// this is repeated.
func takeOver(cfg RecoverConfig, dir *storage.DataDir, file storage.NodeFile, out *Recovery) error {
	state, err := fsm.Open(dir.StateDir(), cfg.Logger.Named("fsm"))
	if err != nil {
		return err
	}
	defer state.Close()
	raft := consensus.Config{ID: string(file.ID), Dir: dir.RaftDir(), FSM: state, Logger: cfg.Logger,
		Check: func(dir string) error { return checkLog(cfg.Executable, cfg.Logger, dir) }}
	found, err := consensus.Recover(raft, true)
	if err != nil {
		return err
	}
	out.Index, out.Term = found.Index, found.Term
	for _, s := range found.Before {
		if s.Suffrage == consensus.Voter {
			out.Voters++
		}
	}
	if cfg.DryRun {
		return nil
	}

	if out.Aside, err = copyRaft(dir); err != nil {
		return err
	}
	if out.Cluster, err = cluster.NewID(); err != nil {
		return err
	}
	file.ClusterID, file.Peers, file.Join = out.Cluster, nil, nil
	if err := dir.WriteNode(file); err != nil {
		return err
	}
	// The addresses of the lost nodes are those of another cluster now.
	if err := os.RemoveAll(cluster.PeersFile(dir.RaftDir())); err != nil {
		return fmt.Errorf("forget the other nodes: %w", err)
	}
	_, err = consensus.Recover(raft, false)
	return err
}

// copyRaft copies raft's directory beside it.
func copyRaft(dir *storage.DataDir) (string, error) {
	to := dir.RaftDir() + ".before-recovery-" + time.Now().UTC().Format("20060102T150405")
	if err := os.CopyFS(to, os.DirFS(dir.RaftDir())); err != nil {
		return "", fmt.Errorf("copy raft's directory: %w", err)
	}
	return to, nil
}

// rejoin makes a new node of an old one. Its blobs stay, which may be the only
// copies.
func rejoin(cfg RecoverConfig, dir *storage.DataDir, file storage.NodeFile, out *Recovery) (err error) {
	if cfg.DryRun {
		return nil
	}
	file.ID, file.ClusterID, file.Peers, file.Join = newNodeID(), "", nil, nil
	out.Node = string(file.ID)
	if err := dir.WriteNode(file); err != nil {
		return err
	}
	out.Aside, err = dir.SetRaftAside(time.Now())
	return err
}
