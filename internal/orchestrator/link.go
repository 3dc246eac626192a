package orchestrator

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// link is the leader's side of one worker. Its fields belong to the loop, except
// outbox.
type link struct {
	id       pipeline.NodeID
	name     string
	external bool
	// alive is what gossip says; always true for an external worker.
	alive bool
	// heardAt is when the worker last answered or reported.
	heardAt time.Time
	// refused is set while its peer port refuses connections.
	refused     bool
	incarnation string
	// capabilities is nil until the worker has answered in this term.
	capabilities *pipeline.Capabilities
	// planned is the planner's view of the worker.
	planned scheduler.Worker
	// closed is set while the worker says that it takes nothing new. fullReason is
	// why it has no capacity; "" if it drains or stops.
	closed     bool
	fullReason string
	// rejected is what became of the last dispatches.
	rejected rejection
	load     load
	// reportedLoad is what an external worker says that it runs.
	reportedLoad int
	outbox       *outbox
	// cancel ends the goroutines of the link.
	cancel context.CancelFunc
}

// rejection is the dispatches to a worker that failed since the last one that did
// not. A worker may answer comparisons and take nothing, because of its disk for
// example: then it must not attract work by being idle.
type rejection struct {
	count int
	// at is when the last one failed, and reason why.
	at     time.Time
	reason string
}

func (r *rejection) add(now time.Time, err error) {
	r.count, r.at, r.reason = r.count+1, now, err.Error()
}

// load is what the attempts of a worker occupy, those in flight included.
type load struct {
	slots int
	// cpu is in thousandths of a processor, memory in bytes.
	cpu, memory int64
}

// take and give count an attempt that occupies a slot.
func (l *load) take(m *moduleState) { l.count(m, 1) }

func (l *load) give(m *moduleState) { l.count(m, -1) }

func (l *load) count(m *moduleState, n int) {
	l.slots += n
	l.cpu += int64(n) * scheduler.Thousandths(m.def.Resources.CPU)
	l.memory += int64(n) * m.def.Resources.Memory
}

// heard renews the worker's lease.
func (l *link) heard(now time.Time) { l.heardAt, l.refused = now, false }

func (l *link) setCapabilities(c pipeline.Capabilities) {
	l.capabilities = &c
	w := &l.planned
	w.Name, w.OS, w.Arch = l.name, c.OS, c.Arch
	w.Tools, w.Tags, w.Engine = lowerSet(c.InstalledTools), lowerSet(c.Tags), c.ContainerEngine != ""
	w.Slots, w.CPU, w.Memory = c.MaxParallelModules, scheduler.Thousandths(c.CPU), c.Memory
}

// fits reports whether the worker is known to have what a class requires, whatever
// its load.
func (l *link) fits(c scheduler.Class) bool {
	return l.capabilities != nil && scheduler.Fits(&l.planned, c)
}

func lowerSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

// outbox holds what is on its way to a worker. The loop fills it, the courier's
// goroutine empties it.
type outbox struct {
	// wake has an element if there may be something to send; hurry asks for a
	// comparison soon.
	wake, hurry chan struct{}

	mu       sync.Mutex // guards following
	attempts []*activeAttempt
	specs    []pipeline.Spec
	// stops has the attempts to stop, by reason.
	stops map[string][]pipeline.AttemptID
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stops: map[string][]pipeline.AttemptID{}}
}

func (o *outbox) dispatch(a *activeAttempt, s pipeline.Spec) {
	o.mu.Lock()
	o.attempts = append(o.attempts, a)
	o.specs = append(o.specs, s)
	o.mu.Unlock()

	poke(o.wake)
}

func (o *outbox) stop(id pipeline.AttemptID, reason string) {
	o.mu.Lock()
	o.stops[reason] = append(o.stops[reason], id)
	o.mu.Unlock()

	poke(o.wake)
}

// take removes and returns all that is to be sent.
func (o *outbox) take() (attempts []*activeAttempt, specs []pipeline.Spec, stops map[string][]pipeline.AttemptID) {
	o.mu.Lock()
	defer o.mu.Unlock()

	attempts, specs, stops = o.attempts, o.specs, o.stops
	o.attempts, o.specs, o.stops = nil, nil, map[string][]pipeline.AttemptID{}
	return attempts, specs, stops
}
