package node

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// retainEvery is how often the leader looks what the limits let go.
	retainEvery = 30 * time.Second
	// retainStep is how many runs one entry of the log lets go of. Each may have
	// thousands of records.
	retainStep = 20
	// retainKeys is for how long a request can be repeated under its key.
	retainKeys = 7 * 24 * time.Hour
)

// retain lets go of what the limits say, on the leader, until ctx ends.
func (n *Node) retain(ctx context.Context) {
	for keys := time.Now(); sleep(ctx, retainEvery); {
		err := n.retainOnce(ctx, time.Now())
		if err == nil && time.Since(keys) > time.Hour {
			keys = time.Now()
			err = n.proposeKeeping(ctx, &fsm.Command{Forget: &fsm.Forget{KeysBefore: time.Now().Add(-retainKeys).UTC()}})
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("let go of what the limits say", "error", err)
		}
	}
}

func (n *Node) retainOnce(ctx context.Context, now time.Time) error {
	gone, err := n.pastLimits(now)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(gone.runs, retainStep) {
		if err := n.proposeKeeping(ctx, &fsm.Command{Forget: &fsm.Forget{Runs: part}}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(gone.artifacts, retainStep) {
		if err := n.proposeKeeping(ctx, &fsm.Command{Expire: &fsm.Expire{Artifacts: part}}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(gone.logs, retainStep) {
		if err := n.proposeKeeping(ctx, &fsm.Command{Expire: &fsm.Expire{Logs: part}}); err != nil {
			return err
		}
	}
	if k := len(gone.runs) + len(gone.artifacts) + len(gone.logs); k > 0 {
		n.log.Info("let go of what the limits say", "runs", len(gone.runs), "artifacts of", len(gone.artifacts), "logs of", len(gone.logs))
	}
	if err := n.retainCache(ctx); err != nil {
		return err
	}
	return n.retainTools(ctx, now)
}

func (n *Node) proposeKeeping(ctx context.Context, c *fsm.Command) error {
	c.At = time.Now().UTC()
	_, err := n.state.Propose(ctx, c)
	return err
}

// retainCache removes cached results beyond the limits.
func (n *Node) retainCache(ctx context.Context) error {
	l := &n.cfg.Limits
	if l.KeepCacheFor == 0 && l.MaxCache == 0 {
		return nil
	}
	in := wire.CachePrune{UnusedSeconds: l.KeepCacheFor.Seconds()}
	if l.MaxCache > 0 {
		in.MaxBytes = &l.MaxCache
	}
	out, err := n.services.cache.Evict(ctx, in)
	if err == nil && out.Removed > 0 {
		n.log.Info("cached results evicted by the limits", "results", out.Removed, "bytes", out.Bytes)
	}
	return err
}

// pastLimit is what the limits let go.
type pastLimit struct{ runs, artifacts, logs []pipeline.RunID }

// pastLimits walks the finished runs from the newest to the oldest, and counts.
// Bytes that several runs share count for the newest of them. Pinned runs count,
// and stay.
func (n *Node) pastLimits(now time.Time) (pastLimit, error) {
	var runs []pipeline.Run
	err := n.store.View(func(v *fsm.View) error {
		v.Runs(0, func(r pipeline.Run) bool {
			if r.State.Final() {
				runs = append(runs, r)
			}
			return true
		})
		return nil
	})
	c := counter{l: &n.cfg.Limits, now: now, seen: map[pipeline.Digest]bool{}, quota: map[string]int64{}}
	for i := range runs {
		if err != nil {
			break
		}
		var logs, artifacts int64
		if r := &runs[i]; c.sizes() && !(r.ArtifactsGone && r.LogsGone) {
			// A view for each run: none is held for long.
			err = n.store.View(func(v *fsm.View) error {
				logs, artifacts = c.bytesOf(v.Modules(r.ID))
				return nil
			})
		}
		c.look(i, &runs[i], logs, artifacts)
	}
	return c.gone, err
}

// counter holds runs to the limits, one after the other.
type counter struct {
	l               *Limits
	now             time.Time
	seen            map[pipeline.Digest]bool
	logs, artifacts int64
	quota           map[string]int64
	gone            pastLimit
}

// sizes reports whether bytes count at all.
func (c *counter) sizes() bool {
	return c.l.MaxLogs > 0 || c.l.MaxArtifacts > 0 || len(c.l.Quota) > 0
}

// first reports whether a blob is counted for the first time.
func (c *counter) first(d pipeline.Digest) bool {
	was := c.seen[d]
	c.seen[d] = true
	return !was
}

func (c *counter) bytesOf(mods map[string]*pipeline.ModuleRecord) (logs, artifacts int64) {
	for _, m := range mods {
		if len(m.Outputs) == 64 && c.first(m.Outputs) {
			artifacts += m.OutputBytes
		}
		for i := range m.Attempts {
			if a := &m.Attempts[i]; len(a.Log) == 64 && c.first(a.Log) {
				logs += a.LogSize
			}
		}
	}
	return logs, artifacts
}

func (c *counter) look(i int, r *pipeline.Run, logs, artifacts int64) {
	l := c.l
	c.logs, c.artifacts = c.logs+logs, c.artifacts+artifacts
	quota := l.Quota[r.Pipeline]
	c.quota[r.Pipeline] += logs + artifacts
	old := func(d time.Duration) bool { return d > 0 && c.now.Sub(r.FinishedAt) > d }
	full := quota > 0 && c.quota[r.Pipeline] > quota
	switch {
	case r.Pinned:
	case i >= l.KeepRuns || old(l.KeepRunsFor):
		c.gone.runs = append(c.gone.runs, r.ID)
	default:
		if !r.ArtifactsGone && (full || old(l.KeepArtifactsFor) || l.MaxArtifacts > 0 && c.artifacts > l.MaxArtifacts) {
			c.gone.artifacts = append(c.gone.artifacts, r.ID)
			c.quota[r.Pipeline], c.artifacts = c.quota[r.Pipeline]-artifacts, c.artifacts-artifacts
		}
		if !r.LogsGone && (full || old(l.KeepLogsFor) || l.MaxLogs > 0 && c.logs > l.MaxLogs) {
			c.gone.logs = append(c.gone.logs, r.ID)
			c.quota[r.Pipeline], c.logs = c.quota[r.Pipeline]-logs, c.logs-logs
		}
	}
}
