package service

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// retainEvery is how often the leader compares what is kept with the limits.
	retainEvery = 30 * time.Second
	// retainStep is how many runs one entry of the log deletes. Each may have
	// thousands of records.
	retainStep = 20
	// ageKeysEvery is how often idempotency keys are aged, by elapsed time. They live
	// for keyLife steps, seven days: the first one is not a whole one.
	ageKeysEvery = 10 * time.Minute
	keyLife      = uint64(7*24*time.Hour/ageKeysEvery) + 1
)

// Retain says how much of finished runs and of cached results is kept. 0 is no
// limit, except for KeepRuns.
type Retain struct {
	// KeepRuns is how many finished runs are kept.
	KeepRuns int
	// KeepRunsFor, KeepArtifactsFor and KeepLogsFor count from a run's end,
	// KeepCacheFor from the last use of a result.
	KeepRunsFor, KeepArtifactsFor, KeepLogsFor, KeepCacheFor time.Duration
	// MaxArtifacts, MaxLogs and MaxCache bound all artifacts, logs and results
	// together, in bytes. The oldest go first.
	MaxArtifacts, MaxLogs, MaxCache int64
	// Quota bounds logs and artifacts of one pipeline together, in bytes, by name.
	Quota map[string]int64
}

// RetentionConfig says what a Retention is made of. All fields are needed.
type RetentionConfig struct {
	State *state.State
	Cache *Cache
	// Remote deletes entries of remote caches beyond their limits.
	Remote func(ctx context.Context, now time.Time) error
	Limits Retain
	Logger hclog.Logger
}

// Retention deletes what the limits of the leader do not keep. Bytes that nothing
// else needs go with each node's next collection.
type Retention struct {
	cfg RetentionConfig
}

// NewRetention makes a Retention.
func NewRetention(cfg RetentionConfig) *Retention { return &Retention{cfg: cfg} }

// Lead applies the limits again and again until ctx ends. It runs on the leader.
func (r *Retention) Lead(ctx context.Context) {
	ticker := time.NewTicker(retainEvery)
	defer ticker.Stop()
	aged := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := r.Apply(ctx, time.Now())
		if err == nil && time.Since(aged) > ageKeysEvery {
			aged = time.Now()
			err = r.propose(ctx, &fsm.Command{Forget: &fsm.Forget{KeyLife: keyLife}})
		}
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("retention failed", "error", err)
		}
	}
}

// Apply deletes what the limits do not keep at a time.
func (r *Retention) Apply(ctx context.Context, now time.Time) error {
	beyond, err := r.beyond(now)
	if err != nil {
		return err
	}

	for part := range slices.Chunk(beyond.runs, retainStep) {
		if err := r.propose(ctx, &fsm.Command{Forget: &fsm.Forget{Runs: part}}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(beyond.artifacts, retainStep) {
		if err := r.propose(ctx, &fsm.Command{Expire: &fsm.Expire{Artifacts: part}}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(beyond.logs, retainStep) {
		if err := r.propose(ctx, &fsm.Command{Expire: &fsm.Expire{Logs: part}}); err != nil {
			return err
		}
	}
	if len(beyond.runs)+len(beyond.artifacts)+len(beyond.logs) > 0 {
		r.cfg.Logger.Info("deleted by the retention limits", "runs", len(beyond.runs), "artifacts of", len(beyond.artifacts), "logs of", len(beyond.logs))
	}

	if err := r.applyCache(ctx); err != nil {
		return err
	}
	return r.cfg.Remote(ctx, now)
}

func (r *Retention) propose(ctx context.Context, command *fsm.Command) error {
	command.At = time.Now().UTC()
	_, err := r.cfg.State.Propose(ctx, command)
	return err
}

// applyCache deletes cached results beyond the limits.
func (r *Retention) applyCache(ctx context.Context) error {
	limits := &r.cfg.Limits
	if limits.KeepCacheFor == 0 && limits.MaxCache == 0 {
		return nil
	}

	in := wire.CachePrune{UnusedSeconds: limits.KeepCacheFor.Seconds()}
	if limits.MaxCache > 0 {
		in.MaxBytes = &limits.MaxCache
	}
	out, err := r.cfg.Cache.Evict(ctx, in)
	if err == nil && out.Removed > 0 {
		r.cfg.Logger.Info("cached results evicted by the retention limits", "results", out.Removed, "bytes", out.Bytes)
	}
	return err
}

// beyondLimits is what the limits do not keep.
type beyondLimits struct{ runs, artifacts, logs []pipeline.RunID }

// beyond walks the finished runs from the newest to the oldest. Bytes that several
// runs share count for the newest of them. Pinned runs count, and stay.
func (r *Retention) beyond(now time.Time) (beyondLimits, error) {
	var runs []pipeline.Run
	err := r.cfg.State.View(func(v *fsm.View) error {
		v.Runs(0, func(run pipeline.Run) bool {
			if run.State.Final() {
				runs = append(runs, run)
			}
			return true
		})
		return nil
	})
	if err != nil {
		return beyondLimits{}, err
	}

	c := newRetentionCount(&r.cfg.Limits, now)
	for i := range runs {
		run := &runs[i]
		var logs, artifacts int64
		if c.needsSizes() && !(run.ArtifactsGone && run.LogsGone) {
			// A view for each run: none is held for long.
			err := r.cfg.State.View(func(v *fsm.View) error {
				logs, artifacts = c.bytesOf(v.Modules(run.ID))
				return nil
			})
			if err != nil {
				return beyondLimits{}, err
			}
		}
		c.add(i, run, logs, artifacts)
	}
	return c.beyond, nil
}

// retentionCount compares runs with the limits, one after the other.
type retentionCount struct {
	limits          *Retain
	now             time.Time
	counted         map[pipeline.Digest]bool
	logs, artifacts int64 // kept so far, in bytes
	ofPipeline      map[string]int64
	beyond          beyondLimits
}

func newRetentionCount(limits *Retain, now time.Time) *retentionCount {
	return &retentionCount{limits: limits, now: now, counted: map[pipeline.Digest]bool{}, ofPipeline: map[string]int64{}}
}

// needsSizes reports whether any limit is one of bytes.
func (c *retentionCount) needsSizes() bool {
	return c.limits.MaxLogs > 0 || c.limits.MaxArtifacts > 0 || len(c.limits.Quota) > 0
}

// first reports whether a blob is counted for the first time. What is no digest
// names no blob.
func (c *retentionCount) first(d pipeline.Digest) bool {
	if len(d) != 64 || c.counted[d] {
		return false
	}
	c.counted[d] = true
	return true
}

func (c *retentionCount) bytesOf(modules map[string]*pipeline.ModuleRecord) (logs, artifacts int64) {
	for _, m := range modules {
		if c.first(m.Outputs) {
			artifacts += m.OutputBytes
		}
		for i := range m.Attempts {
			a := &m.Attempts[i]
			if c.first(a.Log) {
				logs += a.LogSize
			}
			if a.Tests != nil && c.first(a.Tests.Cases) {
				logs += a.Tests.Size
			}
		}
	}
	return logs, artifacts
}

// add compares the run that is the i-th newest.
func (c *retentionCount) add(i int, run *pipeline.Run, logs, artifacts int64) {
	limits := c.limits
	c.logs, c.artifacts = c.logs+logs, c.artifacts+artifacts
	c.ofPipeline[run.Pipeline] += logs + artifacts
	quota := limits.Quota[run.Pipeline]
	overQuota := quota > 0 && c.ofPipeline[run.Pipeline] > quota
	older := func(d time.Duration) bool { return d > 0 && c.now.Sub(run.FinishedAt) > d }

	if run.Pinned {
		return
	}
	if i >= limits.KeepRuns || older(limits.KeepRunsFor) {
		c.beyond.runs = append(c.beyond.runs, run.ID)
		return
	}
	if !run.ArtifactsGone && (overQuota || older(limits.KeepArtifactsFor) || limits.MaxArtifacts > 0 && c.artifacts > limits.MaxArtifacts) {
		c.beyond.artifacts = append(c.beyond.artifacts, run.ID)
		c.ofPipeline[run.Pipeline] -= artifacts
		c.artifacts -= artifacts
	}
	if !run.LogsGone && (overQuota || older(limits.KeepLogsFor) || limits.MaxLogs > 0 && c.logs > limits.MaxLogs) {
		c.beyond.logs = append(c.beyond.logs, run.ID)
		c.ofPipeline[run.Pipeline] -= logs
		c.logs -= logs
	}
}
