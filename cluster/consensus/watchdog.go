package consensus

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
)

// watchEvery is how often the watchdog looks.
const watchEvery = 500 * time.Millisecond

// watchdog looks for what raft does not notice itself: a disk that hangs or
// fails, a leader that commits nothing, a follower that is stuck, a transfer of
// leadership that never ends.
type watchdog struct {
	instance *instance
	timings  Timings
	trips    *roundTrips
	state    *stateDir
	storage  *storage
	trans    *transport
	proposer *proposer
	log      hclog.Logger
	// fail ends the node: the process should end with the error.
	fail func(error)
	stop <-chan struct{}
}

// run looks every watchEvery until stop is closed. It must not touch the disk: it
// is what notices a disk that hangs.
func (w *watchdog) run() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()

	var progress watchProgress
	for {
		select {
		case <-w.stop:
			return
		case <-w.storage.wake:
			w.storage.check()
		case <-tick.C:
			if missed := w.storage.clock.Beat(); missed > 0 {
				w.log.Warn("this process did not run for a while", "missed", missed.Round(time.Millisecond))
				w.trans.peers.reset() // what it measured of its followers says nothing
			}
			w.storage.check()
			w.trips.measure()
			w.checkTransfer()
			w.checkCommits(&progress)
			w.checkFollowers(time.Now())
			if err := w.state.store.damaged.Load(); err != nil {
				w.fail(*err)
			}
		}
	}
}

// writeNotes does every watchEvery what the watchdog must not: it writes.
func (w *watchdog) writeNotes() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()

	for {
		// First at once: the note may be damaged, and the log may be next.
		w.state.noteServers(w.instance.servers())
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.storage.repair()
	}
}

// checkTransfer ends a process whose raft refuses all writes forever (H2).
func (w *watchdog) checkTransfer() {
	since := w.proposer.refusedSince.Load()
	if since == 0 || w.proposer.transferring.Load() || !w.instance.leads() {
		return
	}
	if d := w.storage.clock.Since(time.Unix(0, since)); d > max(3*w.trips.election(), 2*time.Second) {
		w.fail(fmt.Errorf("raft's transfer of leadership does not end: writes refused for %v", d.Round(time.Second)))
	}
}

// watchProgress is what checkCommits remembers.
type watchProgress struct {
	term, commit uint64
	since        time.Time
	recycled     bool
}

// checkCommits looks for a leader that keeps its followers by heartbeats but
// commits nothing (H5): first its connections are made anew, then it ends.
func (w *watchdog) checkCommits(p *watchProgress) {
	term, commit := w.instance.raft.CurrentTerm(), w.instance.raft.CommitIndex()
	idle := !w.instance.leads() || w.instance.raft.LastIndex() <= commit
	if idle || term != p.term || commit != p.commit {
		*p = watchProgress{term: term, commit: commit, since: time.Now()}
		return
	}

	switch d := w.storage.clock.Since(p.since); {
	case d > 3*w.timings.Stuck:
		w.fail(fmt.Errorf("this leader has committed nothing for %v although its followers answer", d.Round(time.Second)))
	case d > w.timings.Stuck && !p.recycled:
		p.recycled = true
		w.log.Warn("nothing is committed: connecting to the followers anew", "for", d.Round(time.Second))
		w.trans.CloseStreams()
	}
}

// checkFollowers connects anew to followers that are stuck.
func (w *watchdog) checkFollowers(now time.Time) {
	if !w.instance.leads() {
		w.trans.peers.reset()
		return
	}
	w.trans.peers.keep(w.instance.servers())
	for _, id := range w.trans.peers.stuck(now, w.instance.raft.LastIndex(), 2*w.timings.Stuck) {
		w.log.Error("a follower answers heartbeats but takes no entries: connecting to it anew", "node", id, "for", 2*w.timings.Stuck)
		w.trans.streams.hangUp(string(id))
	}
}
