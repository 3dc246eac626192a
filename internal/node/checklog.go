package node

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/pipeline"
)

// CheckLogCommand is the hidden command, the first argument of the program, that
// checks raft's log. Its second is raft's directory.
const CheckLogCommand = "__check-log"

// checkLogLimit bounds the look at a log. A disk that takes longer is one that
// the daemon cannot use either.
const checkLogLimit = 2 * time.Minute

// CheckLogMain is the whole life of a process with CheckLogCommand.
func CheckLogMain(args []string) error {
	if len(args) != 1 {
		return pipeline.Errorf(pipeline.Invalid, "expected raft's directory")
	}
	return consensus.CheckLog(args[0])
}

// checkLog runs CheckLogCommand. A process that could not be run says nothing
// about the log.
func checkLog(executable string, log hclog.Logger, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkLogLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, CheckLogCommand, dir)
	cmd.Env = []string{"GOTRACEBACK=none"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || !errors.As(err, &exit):
		log.Warn("could not check raft's log before it is opened", "error", err)
		return nil
	}
	said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	said = strings.TrimPrefix(said, "pipelined "+CheckLogCommand+": ")
	// The caller says that the log is damaged.
	said = strings.TrimPrefix(said, consensus.ErrCorrupt.Error()+": ")
	if exit.Exited() && said != "" {
		return errors.New(said)
	}
	return fmt.Errorf("%s (%w)", said, err)
}
