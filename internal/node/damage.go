package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// CheckLogCommand is the hidden command, the first argument of the program, that
// looks at raft's log. Its second is raft's folder.
const CheckLogCommand = "__check-log"

// checkLogLimit bounds the look at a log. A disk that takes longer is one that
// the daemon cannot use either.
const checkLogLimit = 2 * time.Minute

// CheckLogMain is the whole life of a process with CheckLogCommand.
func CheckLogMain(args []string) error {
	if len(args) != 1 {
		return pipeline.Errorf(pipeline.Invalid, "want raft's folder")
	}
	return consensus.CheckLog(args[0])
}

// checkLog runs CheckLogCommand. A process that could not be run says nothing
// about the log.
func (n *Node) checkLog(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkLogLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.cfg.Executable, CheckLogCommand, dir)
	cmd.Env = []string{"GOTRACEBACK=none"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || !errors.As(err, &exit):
		n.log.Warn("cannot look at raft's log before it is opened", "error", err)
		return nil
	}
	said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	return fmt.Errorf("%s (%w)", strings.TrimPrefix(said, "pipelined "+CheckLogCommand+": "), err)
}

// setRaftAside makes room for a new start where raft's folder is damaged. If the
// others can go on without this node it becomes a new one of their cluster: its
// id goes with the folder, as it has acknowledged what it no longer knows
// (reliability H13, H14). The id changes first: a crash between the steps leaves
// a damaged folder to a node that nobody knows.
func (n *Node) setRaftAside(file storage.NodeFile, damage *consensus.DamageError) (storage.NodeFile, error) {
	if file.ClusterID == "" || !damage.Replaceable(string(n.id)) {
		return file, pipeline.Errorf(pipeline.Internal, "%w; no other node can make up for it, so nothing was changed. "+
			"Put %s back from a backup of this data directory. To begin anew without the runs of this cluster, start with another -data-dir, or move %s away first",
			damage, damage.Dir, n.dir.Path())
	}
	old := n.id
	file.ID = pipeline.NodeID(service.RandomHex(16))
	if err := n.dir.WriteNode(file); err != nil {
		return file, err
	}
	n.id = file.ID
	aside, err := n.dir.SetRaftAside(time.Now())
	if err != nil {
		return file, err
	}
	n.log.Error("raft's folder is damaged; it is set aside, and this node joins its cluster again as a new one. Nothing is to be done; look at the disk, and remove the folder when nobody needs it",
		"why", damage.Err, "folder", aside, "old id", old, "new id", n.id)
	// The state machine may have taken a part of it.
	if err := n.store.Close(); err != nil {
		return file, fmt.Errorf("close the state: %w", err)
	}
	if n.store, err = fsm.Open(n.dir.StateDir(), n.log.Named("fsm")); err != nil {
		return file, err
	}
	return file, os.MkdirAll(n.dir.RaftDir(), 0o700)
}
