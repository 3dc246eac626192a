package consensus

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// watchEvery is how often the watchdog looks.
const watchEvery = 500 * time.Millisecond

// watchHealth looks for what raft does not notice itself: a disk that hangs or
// fails, a leader that commits nothing, a follower that is stuck, a transfer
// that never ends.
func (n *Node) watchHealth() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var progress watchProgress
	for {
		select {
		case <-n.stop:
			return
		case now := <-tick.C:
			n.watchDisk()
			n.watchTransfer(now)
			n.watchCommits(&progress, now)
			n.watchFollowers(now)
			n.noteServers()
			if err := n.store.damaged.Load(); err != nil {
				n.fail(*err)
			}
		}
	}
}

// watchDisk silences a node whose log hangs, so that another takes over (H3),
// and keeps one whose log fails from being elected again (H4).
func (n *Node) watchDisk() {
	stalled := n.store.stalled()
	if stalled > 2*n.timings.Stall {
		n.fail(fmt.Errorf("%w: a write has taken %v", ErrStorageStalled, stalled.Round(time.Second)))
	}
	mute := stalled > n.timings.Stall
	if was := n.trans.muted.Swap(mute); mute && !was {
		n.log.Error("raft's log hangs: leaving leadership to others", "for", stalled.Round(time.Millisecond))
	}
	if stalled > 0 {
		return
	}
	if n.store.failing.Load() {
		n.trans.votesHeld.Store(true)
		if err := n.store.probe(); err != nil {
			return
		}
		n.log.Info("raft's log takes writes again")
	}
	n.trans.votesHeld.Store(false)
}

// watchTransfer ends a process whose raft refuses all writes for ever (H2).
func (n *Node) watchTransfer(now time.Time) {
	since := n.refusedSince.Load()
	if since == 0 || n.transferring.Load() || !n.IsLeader() {
		return
	}
	if d := now.Sub(time.Unix(0, since)); d > max(3*n.timings.Heartbeat, 2*time.Second) {
		n.fail(fmt.Errorf("raft's transfer of leadership does not end: writes refused for %v", d.Round(time.Second)))
	}
}

// watchProgress is what watchCommits remembers.
type watchProgress struct {
	term, commit uint64
	since        time.Time
	recycled     bool
}

// watchCommits looks for a leader that keeps its followers by heartbeats but
// commits nothing (H5): first its connections are made anew, then it ends.
func (n *Node) watchCommits(p *watchProgress, now time.Time) {
	term, commit := n.raft.CurrentTerm(), n.raft.CommitIndex()
	idle := !n.IsLeader() || n.raft.LastIndex() <= commit
	if idle || term != p.term || commit != p.commit {
		*p = watchProgress{term: term, commit: commit, since: now}
		return
	}
	switch d := now.Sub(p.since); {
	case d > 3*n.timings.Stall:
		n.fail(fmt.Errorf("this leader has committed nothing for %v although its followers answer", d.Round(time.Second)))
	case d > n.timings.Stall && !p.recycled:
		p.recycled = true
		n.log.Warn("nothing is committed: connecting to the followers anew", "for", d.Round(time.Second))
		n.trans.CloseStreams()
	}
}

// quiet lowers what raft reports of ordinary life: a peer that is down makes a
// line at every heartbeat.
func quiet(log hclog.Logger) hclog.Logger { return &quietLogger{Logger: log} }

type quietLogger struct{ hclog.Logger }

// lowered are the beginnings of messages that are no news to anybody.
var lowered = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC",
	"failed to contact", "unable to get address", "failed to decode incoming command",
	"failed to flush response", "appendEntries rejected", "previous log term mis-match",
	"failed to get previous log", "rejecting pre-vote request", "rejecting vote request",
	"no known peers, aborting election", "not part of stable configuration",
	"heartbeat timeout reached, not part", "failed to accept connection",
	"Election timeout reached", "peer has newer term",
}

func isLowered(msg string) bool {
	for _, p := range lowered {
		if strings.HasPrefix(msg, p) {
			return true
		}
	}
	return false
}

// Error lowers what is ordinary to debug.
func (q *quietLogger) Error(msg string, args ...any) {
	if isLowered(msg) {
		q.Logger.Debug(msg, args...)
		return
	}
	q.Logger.Error(msg, args...)
}

// Warn lowers what is ordinary to debug.
func (q *quietLogger) Warn(msg string, args ...any) {
	if isLowered(msg) {
		q.Logger.Debug(msg, args...)
		return
	}
	q.Logger.Warn(msg, args...)
}

// Info lowers raft's account of itself to debug; what the cluster says of
// leaders and members is for people.
func (q *quietLogger) Info(msg string, args ...any) { q.Logger.Debug(msg, args...) }

// With keeps the lowering.
func (q *quietLogger) With(args ...any) hclog.Logger {
	return &quietLogger{q.Logger.With(args...)}
}

// Named keeps the lowering.
func (q *quietLogger) Named(name string) hclog.Logger { return &quietLogger{q.Logger.Named(name)} }
