package node

import (
	"cmp"
	"time"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// Limits say what is kept and how fast background work may go. Those of
// runs, logs and artifacts hold for the whole cluster, and the leader's are in
// force: give all nodes the same. 0 takes the default, or is no limit where
// there is none.
type Limits struct {
	// KeepRuns is how many finished runs are kept, KeepRunsFor for how long.
	// 0 keeps 10,000.
	KeepRuns    int
	KeepRunsFor time.Duration
	// Artifacts (with workspaces) and logs of finished runs go after so long, or
	// when all of them have so many bytes together, the oldest first.
	KeepArtifactsFor, KeepLogsFor time.Duration
	MaxArtifacts, MaxLogs         int64
	// Recorded results go when they were not taken for KeepCacheFor, or when all of
	// them have MaxCache bytes together, those that were taken longest ago first.
	KeepCacheFor time.Duration
	MaxCache     int64
	// What other tools keep goes when it was not taken for KeepToolCacheFor, or when
	// all of it has MaxToolCache bytes together, what was taken longest ago first; a
	// negative one is no limit. MaxToolEntry bounds one entry, in bytes.
	KeepToolCacheFor           time.Duration
	MaxToolCache, MaxToolEntry int64
	// KeepModuleCaches is the time without use after which this node deletes what a
	// pipeline keeps with caches; MaxModuleCaches bounds all of it, in bytes, and a
	// negative one is no limit.
	KeepModuleCaches time.Duration
	MaxModuleCaches  int64
	// LowWater is how many bytes must stay free on the disk of the data directory
	// for the node to take work and blobs.
	LowWater int64
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
	defaultKeepRuns   = 10_000
	defaultSweepGrace = time.Hour
	defaultLogLimit   = 256 << 20
	defaultRepairRate = 64 << 20
	defaultScrubRate  = 8 << 20
	defaultScrubEvery = 6 * time.Hour
	// Other tools fill whatever they are given: without a limit they would take the
	// disk that modules need.
	defaultMaxToolCache     = 10 << 30
	defaultMaxToolEntry     = 1 << 30
	defaultKeepModuleCaches = 30 * 24 * time.Hour
	defaultMaxModuleCaches  = 20 << 30
	// minSweepGrace must be longer than anything takes from asking whether a blob
	// is there to naming it in the state; the time of use is kept to the minute.
	minLogLimit   = 1 << 10
	minSweepGrace = fabric.MinCollectGrace
)

func (l *Limits) defaults() error {
	l.KeepRuns = cmp.Or(l.KeepRuns, defaultKeepRuns)
	l.LogLimit = cmp.Or(l.LogLimit, defaultLogLimit)
	l.SweepGrace = cmp.Or(l.SweepGrace, defaultSweepGrace)
	if l.SweepGrace < minSweepGrace {
		return pipeline.Errorf(pipeline.Invalid, "sweep_grace %v: expected at least %v", l.SweepGrace, minSweepGrace)
	}
	l.RepairRate = cmp.Or(l.RepairRate, defaultRepairRate)
	l.ScrubRate = cmp.Or(l.ScrubRate, defaultScrubRate)
	l.ScrubEvery = cmp.Or(l.ScrubEvery, defaultScrubEvery)
	l.MaxToolCache = cmp.Or(l.MaxToolCache, defaultMaxToolCache)
	l.KeepModuleCaches = cmp.Or(l.KeepModuleCaches, defaultKeepModuleCaches)
	l.MaxModuleCaches = cmp.Or(l.MaxModuleCaches, defaultMaxModuleCaches)
	l.MaxToolEntry = cmp.Or(l.MaxToolEntry, defaultMaxToolEntry)
	if l.LogLimit < minLogLimit {
		return pipeline.Errorf(pipeline.Invalid, "log_limit %d bytes: expected at least %d", l.LogLimit, minLogLimit)
	}
	for name, size := range l.Quota {
		if name == "" || size <= 0 {
			return pipeline.Errorf(pipeline.Invalid, "pipeline_quota %q=%d: expected NAME=SIZE", name, size)
		}
	}
	return nil
}

// retain gives the limits of runs and cached results.
func (l *Limits) retain() service.Retain {
	return service.Retain{KeepRuns: l.KeepRuns, KeepRunsFor: l.KeepRunsFor, KeepArtifactsFor: l.KeepArtifactsFor, KeepLogsFor: l.KeepLogsFor,
		KeepCacheFor: l.KeepCacheFor, MaxArtifacts: l.MaxArtifacts, MaxLogs: l.MaxLogs, MaxCache: l.MaxCache, Quota: l.Quota}
}
