package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// closure is why a worker takes nothing new.
type closure int

const (
	// notClosed workers take new attempts.
	notClosed closure = iota
	// closedAway: it has announced an absence.
	closedAway
	// closedFull: it says why it has no capacity, a full disk for example.
	closedFull
	// closedDraining: an operator drains it.
	closedDraining
	// closedStopping: it says that it takes nothing, and gives no reason.
	closedStopping
	// closedRefused: its peer port refuses connections.
	closedRefused
	// closedSilent: it has not answered for half a lease, or gossip does not see it.
	closedSilent
)

// availability says whether a worker takes something new, and if not, why.
type availability struct {
	closure closure
	// reason is what a full worker says.
	reason string
	// until is the end of an absence.
	until time.Time
	// offline is set if nothing is known of the worker: its lease has expired, or
	// gossip does not see it. An absent worker may be offline, or answer still.
	offline bool
}

// availability is all that the placement, the explanations and the list of workers
// say about whether a worker takes something new. Half a lease of silence closes a
// worker: what it gets should not be lost soon after.
func (l *link) availability(rec fsm.WorkerRecord, lease, silent time.Duration, now time.Time) availability {
	a := availability{offline: silent > lease || !l.alive}

	// An announced absence first: it explains why the worker does not answer. Then
	// what the worker or an operator has said, then what its silence says.
	switch {
	case rec.AwayUntil.After(now):
		a.closure, a.until = closedAway, rec.AwayUntil
	case l.closed && l.fullReason != "":
		a.closure, a.reason = closedFull, l.fullReason
	case rec.Draining:
		a.closure = closedDraining
	case l.closed:
		a.closure = closedStopping
	case l.refused:
		a.closure = closedRefused
	case l.rejected.count > 0 && now.Sub(l.rejected.at) < lease:
		a.closure, a.reason = closedFull, "it did not take a module: "+l.rejected.reason
	case a.offline || silent >= lease/2:
		a.closure = closedSilent
	}
	return a
}

// open reports whether the worker takes something new.
func (a availability) open() bool { return a.closure == notClosed }

// String says why the worker takes nothing new, to follow its name; "" if it is open.
func (a availability) String() string {
	switch a.closure {
	case closedAway:
		return "is away until " + a.until.UTC().Format(time.RFC3339)
	case closedFull:
		return "takes nothing new: " + a.reason
	case closedDraining:
		return "is draining"
	case closedStopping:
		return "is stopping"
	case closedRefused, closedSilent:
		return "is offline"
	}
	return ""
}

// status is the word of the protocol for it. Offline outweighs draining: it says
// that nothing is known. The protocol has no word of its own for the other reasons
// of a worker that answers and takes nothing new: they count as draining.
func (a availability) status() string {
	switch a.closure {
	case closedAway, closedFull, closedDraining, closedStopping:
		if !a.offline {
			return pipeline.WorkerDraining
		}
	}

	if a.offline {
		return pipeline.WorkerOffline
	}
	return pipeline.WorkerOnline
}
