// Package history reads what the runs that are kept show: figures of a pipeline and of
// its modules over many runs, what differs between two runs, and the tests that modules
// reported. It implements api.Histories on the state of this node, and changes nothing.
package history

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// WorkspaceDiffer compares workspaces: internal/inputs.
type WorkspaceDiffer interface {
	// Changed lists what differs between the files of two workspaces, in at most limit
	// lines.
	Changed(ctx context.Context, old, now orchestrator.Files, limit int) ([]string, error)
}

// Config says what a History is made of. All fields are needed.
type Config struct {
	State *state.State
	Files WorkspaceDiffer
	// Open opens a blob, from one of the nodes of hints or from any other.
	Open func(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (api.Blob, error)
	// Summary reads a run as lists show it.
	Summary func(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error)
	// NextTick is the next due time of a schedule; zero if there is none.
	NextTick func(rec *fsm.ScheduleRecord) time.Time
}

// History reads what the runs that are kept show. It may be used concurrently.
type History struct{ cfg Config }

// New makes a History.
func New(cfg Config) *History { return &History{cfg: cfg} }
