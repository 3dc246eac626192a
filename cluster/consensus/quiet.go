package consensus

import (
	"strings"

	"github.com/hashicorp/go-hclog"
)

// quiet lowers raft's messages about ordinary events: a peer that is down makes a
// line at every heartbeat.
func quiet(log hclog.Logger) hclog.Logger { return &quietLogger{Logger: log} }

type quietLogger struct{ hclog.Logger }

// lowered are the beginnings of messages about ordinary events.
var lowered = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC",
	"failed to contact", "unable to get address", "failed to decode incoming command",
	"failed to flush response", "appendEntries rejected", "previous log term mis-match",
	"failed to get previous log", "failed to get log", "rejecting pre-vote request", "rejecting vote request",
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

// Error logs ordinary events at debug level.
func (q *quietLogger) Error(msg string, args ...any) {
	if isLowered(msg) {
		q.Logger.Debug(msg, args...)
		return
	}
	q.Logger.Error(msg, args...)
}

// Warn logs ordinary events at debug level.
func (q *quietLogger) Warn(msg string, args ...any) {
	if isLowered(msg) {
		q.Logger.Debug(msg, args...)
		return
	}
	q.Logger.Warn(msg, args...)
}

// Info lowers raft's own messages to debug: the cluster logs leaders and members
// in its own words.
func (q *quietLogger) Info(msg string, args ...any) { q.Logger.Debug(msg, args...) }

// With keeps the lowering.
func (q *quietLogger) With(args ...any) hclog.Logger {
	return &quietLogger{q.Logger.With(args...)}
}

// Named keeps the lowering.
func (q *quietLogger) Named(name string) hclog.Logger { return &quietLogger{q.Logger.Named(name)} }
