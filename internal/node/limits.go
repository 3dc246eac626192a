package node

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Limits say what is kept and how fast what nobody waits for may go. Those of
// runs, logs and artifacts hold for the whole cluster, and the leader's are in
// force: give all nodes the same. 0 takes the default, or is no limit where
// there is none.
type Limits struct {
	// KeepRuns is how many finished runs are kept, KeepRunsFor for how long.
	KeepRuns    int
	KeepRunsFor time.Duration
	// Artifacts (with workspaces) and logs of finished runs go after so long, or
	// when all of them have so many bytes together, the oldest first.
	KeepArtifactsFor, KeepLogsFor time.Duration
	MaxArtifacts, MaxLogs         int64
	// Quota bounds logs and artifacts of one pipeline together, by its name.
	Quota map[string]int64
	// SweepGrace is for how long a blob that nothing names is kept.
	SweepGrace time.Duration
	// LogLimit is how much of an attempt's output is kept, in bytes.
	LogLimit int64
	// RepairRate bounds second copies, ScrubRate the reading of blobs for damage,
	// in bytes a second on each node; negative means no copying bound, and no
	// scrubbing. ScrubEvery is the pause between two times through the store.
	RepairRate, ScrubRate int64
	ScrubEvery            time.Duration
}

// Defaults of Limits.
const (
	defaultSweepGrace = time.Hour
	defaultRepairRate = 64 << 20
	defaultScrubRate  = 8 << 20
	defaultScrubEvery = 6 * time.Hour
	// minSweepGrace must be longer than anything takes from asking whether a blob
	// is there to naming it in the state.
	minSweepGrace = time.Minute
)

func (l *Limits) defaults() error {
	if l.SweepGrace == 0 {
		l.SweepGrace = defaultSweepGrace
	}
	if l.SweepGrace < minSweepGrace {
		return pipeline.Errorf(pipeline.Invalid, "-sweep-grace %v: want at least %v", l.SweepGrace, minSweepGrace)
	}
	if l.RepairRate == 0 {
		l.RepairRate = defaultRepairRate
	}
	if l.ScrubRate == 0 {
		l.ScrubRate = defaultScrubRate
	}
	if l.ScrubEvery == 0 {
		l.ScrubEvery = defaultScrubEvery
	}
	for name, size := range l.Quota {
		if name == "" || size <= 0 {
			return pipeline.Errorf(pipeline.Invalid, "-pipeline-quota: %s", fmt.Sprintf("%q=%d: want NAME=SIZE", name, size))
		}
	}
	return nil
}
