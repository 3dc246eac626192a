package orchestrator

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// explainer says why modules wait. It only reads what the other parts own.
type explainer struct {
	model   *model
	workers *workers
	locks   *locks
	planner *planner
	parking *parking
}

// waiting returns why the waiting modules of a run wait, by name. A module without
// an entry is about to be placed, unless there is one for "": it holds for all.
func (e *explainer) waiting(id pipeline.RunID) map[string]string {
	r := e.model.runs[id]
	if r == nil {
		if x := e.parking.byID[id]; x != nil {
			_, reason := x.waits()
			return map[string]string{"": reason}
		}
		return nil
	}

	// Modules that are assigned or final do not wait.
	out := map[string]string{}
	now := time.Now()
	for _, m := range r.list {
		if m.state != pipeline.ModuleWaiting {
			continue
		}
		if reason := e.why(m, now); reason != "" {
			out[m.def.Name] = reason
		}
	}
	return out
}

// waits is why a parked run waits as a whole: the kind of reason, and its text.
func (x *parkedRun) waits() (kind, reason string) {
	if x.blocked {
		return waitsGroup, "another run of its concurrency group comes first"
	}
	return waitsTurn, "waits for its turn: more modules wait than are looked at together"
}

// why says why a module waits; "" if it is about to be placed.
func (e *explainer) why(m *moduleState, now time.Time) string {
	if reason := e.beforeReady(m, now); reason != "" {
		return reason
	}
	return e.ready(m)
}

// beforeReady is why a module is not ready for the planner; "" if it is. The order
// is that of lifecycle.advance.
func (e *explainer) beforeReady(m *moduleState, now time.Time) string {
	switch {
	case m.run.blockedBy != "":
		return "the run " + m.run.blockedBy
	case m.unfinished > 0:
		return "waits for " + unfinishedNames(m)
	case m.approval != nil:
		return pipeline.WaitsForApproval(m.approval.message)
	case m.cache.leader != nil:
		return leaderReason(m)
	case m.cache.looking && len(e.workers.platforms(m.class())) == 0:
		return e.noWorker(m)
	case m.cache.looking:
		return "the result cache is being searched"
	case m.ready.wantsLocks:
		if reason := e.locks.lockReason(m); reason != "" {
			return reason
		}
		return e.noWorker(m)
	case m.deferred.running:
		return "its expressions are being evaluated"
	case m.child.preparing:
		return "its pipeline is being compiled"
	case m.tries.notBefore.After(now):
		return retryReason(m, now)
	case m.full():
		return limitReason(m)
	}
	return ""
}

// limitReason is for an instance of a block that may have no more.
func limitReason(m *moduleState) string {
	return "as many instances of " + m.def.Block() + " are running as its max_parallel allows: " + strconv.Itoa(m.def.MaxParallel)
}

// ready is why the last plan did not place a module; "" if it did not say.
func (e *explainer) ready(m *moduleState) string {
	x := &m.run.explained
	if w := x.localityWaits[m.def.Name]; w.Worker != nil {
		return "waits for a slot of " + w.Worker.Name + ", which has " + pipeline.FormatBytes(w.Bytes) +
			" of its inputs: moving them would take longer"
	}

	// A run at its limit has one explanation, for no class in particular.
	if x.why[scheduler.Class{}] == scheduler.AtLimit {
		return "the run has as many modules running as max_parallel allows"
	}

	if x.full[m.limit] {
		return limitReason(m)
	}

	// The reasons of a plan are per class: modules of one class are interchangeable.
	switch x.why[m.class()] {
	case scheduler.NoWorker:
		return e.noWorker(m)
	case scheduler.NoSlot:
		return e.noSlot(m, time.Now())
	case scheduler.NoCapacity:
		return e.noCapacity(m)
	case scheduler.Reserved:
		return e.reserved()
	}
	return ""
}

// unfinishedNames lists the dependencies that are not final, at most three by name.
func unfinishedNames(m *moduleState) string {
	var names []string
	for _, d := range m.dependencies {
		if !d.state.Final() {
			names = append(names, d.def.Name)
		}
	}
	return strings.Join(shortened(names, 4), ", ")
}

// retryReason says when a module gets its next attempt.
func retryReason(m *moduleState, now time.Time) string {
	// Never "retrying in 0s": the loop may be about to start it.
	pause := max(m.tries.notBefore.Sub(now), time.Second/10).Round(time.Second / 10)
	text := "retrying in " + pause.String()

	// Losses have a budget of their own, which the language does not show.
	if budget := m.def.Retry.Attempts; budget > 1 && m.tries.failures > 0 {
		text += "; " + strconv.Itoa(m.tries.failures) + " of " + strconv.Itoa(budget) + " attempts failed"
	}
	return text
}

// noWorker is why a module fits no worker.
func (e *explainer) noWorker(m *moduleState) string {
	// If the module would fit without its secrets, or as a module of another pipeline,
	// that is the reason.
	c := m.class()
	if c.Private {
		c.Private = false
		if fitting := e.workers.fitting(c); len(fitting) > 0 {
			return e.noSecrets(fitting[0])
		}
		c.Private = true
	}
	if c.Pipeline != "" {
		c.Pipeline = ""
		if fitting := e.workers.fitting(c); len(fitting) > 0 {
			return "the token of worker " + fitting[0].name + " admits other pipelines only (token create -pipeline)"
		}
	}

	if reason := e.tooSmall(m); reason != "" {
		return reason
	}
	return e.unmet(m.def.Requires)
}

// noSecrets is why a worker gets no module that has secrets.
func (e *explainer) noSecrets(l *link) string {
	if e.workers.records[l.id].NoSecrets {
		return "it has secrets, and the token of worker " + l.name + " does not admit them (token create -secrets)"
	}
	return "its secrets are not sent over plain http, and worker " + l.name + " has no https endpoint"
}

// whyNone is why a module fits none of some workers; "" if it fits one.
func (e *explainer) whyNone(m *moduleState, workers []*scheduler.Worker) string {
	// The given workers may be copies with other slots than the present ones.
	c := m.class()
	for _, w := range workers {
		if scheduler.Fits(w, c) {
			return ""
		}
	}
	return e.noWorker(m)
}

// noSlot is why none of the workers that fit a module takes it.
func (e *explainer) noSlot(m *moduleState, now time.Time) string {
	// One worker that takes work is enough for another reason: it is busy.
	fitting := e.workers.fitting(m.class())
	var closed []string
	for _, l := range fitting {
		a := e.workers.availability(l, now)
		if a.open() {
			return busyReason(fitting)
		}
		closed = append(closed, l.name+" "+a.String())
	}

	// Naming the requirements tells which workers were considered.
	with := ""
	if len(demandsOf(m.def.Requires)) > 0 {
		with = " with " + requirementsText(m.def.Requires)
	}

	if len(fitting) == 1 {
		return "the only worker" + with + " (" + fitting[0].name + ") " + e.workers.availability(fitting[0], now).String()
	}
	return "no worker" + with + " is available: " + strings.Join(shortened(closed, 5), ", ")
}

// busyReason says how many slots of the fitting workers are in use.
func busyReason(fitting []*link) string {
	var parts []string
	for _, l := range fitting {
		// An external worker may run modules that this cluster did not give it.
		used := max(l.load.slots, l.reportedLoad)
		parts = append(parts, l.name+" has "+strconv.Itoa(used)+" of "+strconv.Itoa(l.capabilities.MaxParallelModules)+" in use")
	}

	slices.Sort(parts)
	return "waits for a free slot: " + strings.Join(shortened(parts, 5), ", ")
}

// shortened returns a list of fewer than n elements as it is. Of a longer one it
// returns the first n-1 and an ellipsis.
func shortened(list []string, n int) []string {
	if len(list) <= n-1 {
		return list
	}
	return append(list[:n-1:n-1], "…")
}
