package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/journal"
)

// recover resumes what an earlier daemon left. Each journal entry is one of:
// ended (its outcome is reported again), with the runner (it runs, or ended while
// no daemon was there), not begun (it is started, unless its secrets are gone),
// or of a keeper that died (it is lost).
//
// Attempts that begin do so after the mounts of unknown attempts are removed, and
// after every entry is in the table: their predecessor may be a later one.
func (w *Worker) recover(ctx context.Context) error {
	list, err := w.cfg.Runner.List(ctx)
	if err != nil {
		return fmt.Errorf("list attempts of the keeper: %w", err)
	}
	// What earlier daemons or keepers left goes before anything is reported lost.
	w.containers.look(ctx)
	w.containers.sweep(ctx, func(key string) bool {
		return slices.ContainsFunc(list, func(st executor.Status) bool { return st.ID == key && st.State == executor.Running })
	})

	orphans := map[string]executor.Status{}
	for _, st := range list {
		orphans[st.ID] = st
	}

	var begin []*attempt
	for _, e := range w.cfg.Journal.All() {
		var spec pipeline.Spec
		if err := json.Unmarshal(e.Spec, &spec); err != nil {
			return fmt.Errorf("journal entry %s: %w", e.ID, err)
		}
		a := newAttempt(w.life, w.cfg.WorkDir, spec)

		st, known := orphans[a.key]
		delete(orphans, a.key)
		w.table.put(a)
		if known {
			a.handOver(w.cfg.Runner.Incarnation())
		}

		switch {
		case e.Outcome != nil:
			w.reportAgain(a, e.Outcome)
		case known:
			w.adopt(a, st)
		case e.Incarnation != w.cfg.Runner.Incarnation():
			w.spawn(func() { w.lifecycle.conclude(a, &captured{outcome: w.lifecycle.lostWithKeeper()}) })
		case spec.Sealed:
			if err := w.returnSealed(a, e); err != nil {
				return err
			}
		default:
			begin = append(begin, a)
		}
	}

	w.sweepDirectories()
	for _, a := range begin {
		w.execute(a)
	}
	return w.stopOrphans(ctx, orphans)
}

// reportAgain queues the report of an outcome that was not acknowledged.
func (w *Worker) reportAgain(a *attempt, o *pipeline.Outcome) {
	a.finish(o, true)
	w.predecessors.ended(a.id, o.State == pipeline.AttemptSucceeded)
	w.outbox.add(outcomeReport(o, nil), false)
}

// adopt follows an attempt that the runner has. If it ended while no daemon was
// there, its exit is known already.
func (w *Worker) adopt(a *attempt, st executor.Status) {
	a.started(st.StartedAt)
	w.directories.adopt(a)
	if st.State == executor.Exited {
		a.exit <- st
	}
	w.spawn(func() { w.lifecycle.await(a) })
}

// returnSealed forgets an attempt that had not begun and whose secrets were only
// in the memory of the earlier daemon. The leader misses it at its next
// comparison, and sends all of it again.
func (w *Worker) returnSealed(a *attempt, e journal.Entry) error {
	w.table.remove(a.id)
	a.cancel()
	if err := w.cfg.Journal.Delete(e.ID); err != nil {
		return fmt.Errorf("delete %s from the journal: %w", a.key, err)
	}
	return nil
}

// sweepDirectories removes mounts of attempts that have ended or are unknown.
func (w *Worker) sweepDirectories() {
	var live []*attempt
	for _, a := range w.table.all() {
		if !a.ended() {
			live = append(live, a)
		}
	}
	w.directories.sweep(live)
}

// stopOrphans ends processes that no journal entry names. Their exits are
// forgotten when they come. Those that have ended are no news: after the death of
// a keeper the next one repeats exits that were forgotten long ago.
func (w *Worker) stopOrphans(ctx context.Context, orphans map[string]executor.Status) error {
	for key, st := range orphans {
		if st.State != executor.Running {
			continue
		}
		w.log.Warn("the keeper runs an attempt that the journal does not know: stopping it", "attempt", key)
		if err := w.cfg.Runner.Stop(ctx, key, "unknown to this node", 0); err != nil {
			return fmt.Errorf("stop unknown attempt %s: %w", key, err)
		}
	}
	return nil
}
