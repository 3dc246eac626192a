package worker

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// pendLocked queues the report of an attempt that ended; a lazy one may wait
// for others. w.mu is held.
func (w *Worker) pendLocked(a *attempt, blobs [][]byte, lazy bool) {
	w.pending[a.id] = a
	w.reports = append(w.reports, peer.Report{ID: a.id, StartedAt: a.outcome.StartedAt, Outcome: a.outcome, Blobs: blobs})
	if !lazy {
		w.wake()
	} else if len(w.reports) == 1 {
		time.AfterFunc(gatherTime, w.wake) // wake never blocks, so nobody need wait for it
	}
}

// gatherTime is for how long outcomes are gathered that nothing waits for: the
// next attempt has begun already.
const gatherTime = 4 * time.Millisecond

func (w *Worker) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// maxReportBytes bounds what travels in one call.
const maxReportBytes = 4 << 20

// takeReports takes what is queued, up to the bound.
func (w *Worker) takeReports() []peer.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for ; n < len(w.reports); n++ {
		for _, b := range w.reports[n].Blobs {
			size += len(b)
		}
		if n > 0 && size > maxReportBytes {
			break
		}
	}
	out := w.reports[:n:n]
	w.reports = w.reports[n:]
	if len(w.reports) > 0 {
		w.wake()
	}
	return out
}

// maxCalls is how many reports may wait for their commit at once: while one
// does, the next outcome need not.
const maxCalls = 4

// reporter sends what is queued, again and again until it is acknowledged.
func (w *Worker) reporter() {
	slots := make(chan struct{}, maxCalls)
	for {
		select {
		case <-w.life.Done():
			return
		case <-w.poke:
		}
		for batch := w.takeReports(); len(batch) > 0; batch = w.takeReports() {
			select {
			case slots <- struct{}{}:
			case <-w.life.Done():
				return
			}
			w.group.Go(func() error {
				defer func() { <-slots }()
				w.send(batch)
				return nil
			})
		}
	}
}

// send repeats a batch until every report in it is dealt with.
func (w *Worker) send(batch []peer.Report) {
	pause := 20 * time.Millisecond
	for tries := 0; len(batch) > 0; tries++ {
		ctx, cancel := context.WithTimeout(w.life, 10*time.Second)
		acks, err := w.cfg.Report(ctx, batch)
		cancel()
		if w.life.Err() != nil {
			return
		}
		var rest []peer.Report
		if err == nil && len(acks) == len(batch) {
			for i := range batch {
				if acks[i].Done {
					w.acknowledged(&batch[i], acks[i])
				} else {
					rest = append(rest, batch[i])
				}
			}
			batch = rest
			if len(rest) == 0 {
				return
			}
		} else if tries == 5 {
			w.log.Info("outcomes wait for a leader", "count", len(batch), "error", err)
		}
		select {
		case <-w.life.Done():
			return
		case <-time.After(pause):
		}
		pause = min(pause*2, 500*time.Millisecond)
	}
}

// acknowledged forgets an attempt whose outcome is dealt with.
func (w *Worker) acknowledged(rep *peer.Report, ack peer.Ack) {
	if rep.Outcome == nil {
		return
	}
	if ack.Refused != "" {
		w.log.Info("outcome had no effect", "attempt", rep.ID.String(), "reason", ack.Refused)
	}
	w.mu.Lock()
	a := w.attempts[rep.ID]
	delete(w.attempts, rep.ID)
	delete(w.pending, rep.ID)
	w.done.add(rep.ID, rep.Outcome.State == pipeline.AttemptSucceeded)
	w.mu.Unlock()
	if err := w.cfg.Journal.Delete(rep.ID); err != nil {
		w.log.Error("delete from the journal", "attempt", rep.ID.String(), "error", err)
	}
	if a == nil {
		return
	}
	a.cancel()
	if a.running {
		if err := w.cfg.Runner.Forget(w.life, a.key); err != nil && w.life.Err() == nil {
			w.log.Warn("forget attempt", "attempt", a.key, "error", err)
		}
	}
	w.removeDir(a)
}

func (w *Worker) removeDir(a *attempt) {
	overlay := w.cfg.Layouts.Attached(a.dir.Name())
	if overlay {
		if err := w.release(a); err != nil {
			w.log.Warn("take a folder's overlay away", "dir", a.dir, "error", err)
			return // the next start tries again; what is below must not go before
		}
		defer w.cfg.Layouts.Trim()
	}
	if w.cfg.KeepWork && a.outcome.State != pipeline.AttemptSucceeded {
		w.keep(a)
		return
	}
	if w.turnOut(a.id) || overlay || w.apart {
		// Somebody may be in it for a moment longer; or it is a mount still, where
		// modules see it, though not from here. No other attempt gets it: with the
		// folder such a mount goes, too.
		if err := a.dir.Remove(); err != nil {
			w.log.Warn("remove folder", "dir", a.dir, "error", err)
		}
		return
	}
	if err := w.dirs.Remove(a.dir); err != nil {
		w.log.Warn("remove folder", "dir", a.dir, "error", err)
	}
}
