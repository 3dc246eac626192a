package node

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/orchestrator"
)

// consensusLog makes the cluster the orchestrator's log.
type consensusLog struct{ c *cluster.Cluster }

// proposalTimeout bounds the wait for a commit; beyond it the outcome is
// unknown (reliability H1).
const proposalTimeout = 5 * time.Second

type pending struct {
	wait func(context.Context) (uint64, any, error)
}

// Propose hands a command to raft.
func (l consensusLog) Propose(cmd []byte) orchestrator.Pending {
	f := l.c.ApplyAsync(cmd)
	return pending{f.Wait}
}

// Barrier waits until everything committed before is applied here.
func (l consensusLog) Barrier(ctx context.Context) error { return l.c.Barrier(ctx) }

// Wait waits for the fate of the proposal.
func (p pending) Wait() (uint64, any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), proposalTimeout)
	defer cancel()
	return p.wait(ctx)
}
