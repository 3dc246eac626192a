package service

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	defaultPage = 100
	maxPage     = 1000
	// readTimeout bounds the read of a run beyond the time that the caller wants
	// to wait for a change.
	readTimeout = 10 * time.Second
)

// Planner answers questions about what the leader plans. The orchestrator
// implements it; each method returns pipeline.ErrNotLeader on other nodes.
type Planner interface {
	// Estimate predicts how long a run of a definition would take.
	Estimate(ctx context.Context, run pipeline.Run, def *pipeline.Pipeline) (pipeline.Estimate, error)
	// Forecast predicts which modules of a run would use a cached result.
	Forecast(ctx context.Context, run pipeline.Run, def *pipeline.Pipeline) ([]pipeline.ModuleForecast, error)
	// Waiting says why modules of a run that are ready were not placed.
	Waiting(ctx context.Context, id pipeline.RunID) (map[string]string, error)
	// WaitingEverywhere lists what waits in all runs, and counts it by kind.
	WaitingEverywhere(ctx context.Context, limit int) (list map[pipeline.RunID][]pipeline.Waiting, kinds map[string]int, err error)
	// Able names the workers that have what a module requires, and counts all.
	Able(ctx context.Context, def *pipeline.Module) (names []string, of int, err error)
	// Locks lists the locks that are held or waited for.
	Locks(ctx context.Context) ([]pipeline.Lock, error)
}

// Workspaces makes sure that the files of a run are in the cluster.
type Workspaces interface {
	// Secure makes sure that all blobs of a workspace are on this node and on a
	// second one, if there is a second one, and names the nodes. It is Invalid if
	// blobs are on no node.
	Secure(ctx context.Context, root pipeline.Digest) ([]pipeline.NodeID, error)
}

// RunsConfig says what Runs is made of. All fields are needed.
type RunsConfig struct {
	State      *state.State
	Planner    Planner
	Compiler   *Compiler
	Vault      *Vault
	Workspaces Workspaces
	// Full says why this node takes nothing new; "" if it does.
	Full func() string
	// NoWebhooks runs send no notifications to webhooks: this node has none.
	NoWebhooks bool
	Logger     hclog.Logger
}

// Runs creates, reads and changes runs. It implements api.Runs.
type Runs struct {
	state      *state.State
	planner    Planner
	compiler   *Compiler
	vault      *Vault
	workspaces Workspaces
	full       func() string
	noWebhooks bool
	log        hclog.Logger
}

// NewRuns makes a Runs.
func NewRuns(cfg RunsConfig) *Runs {
	return &Runs{state: cfg.State, planner: cfg.Planner, compiler: cfg.Compiler, vault: cfg.Vault, workspaces: cfg.Workspaces, full: cfg.Full, noWebhooks: cfg.NoWebhooks, log: cfg.Logger}
}

// FindRun finds the run that a caller names.
func (r *Runs) FindRun(ctx context.Context, ref pipeline.RunRef, stale bool) (id pipeline.RunID, err error) {
	if !r.state.HasState() {
		return "", pipeline.Errorf(pipeline.Unavailable, "run %s: this node does not hold the cluster's state: use the run's whole id, or ask another node", ref.Text)
	}
	// The newest run may have been submitted at another node a moment ago.
	fresh := stale || r.state.Fresh(ctx)
	if ref.Last && !fresh {
		return "", pipeline.Errorf(pipeline.Unavailable, "run %s: the state of this node may be behind: no leader answers", ref.Text)
	}
	err = r.state.View(func(v *fsm.View) (err error) {
		id, err = v.FindRun(ref)
		return err
	})
	return id, state.Missing(err, fresh)
}

// RunSummary reads a run without its modules.
func (r *Runs) RunSummary(_ context.Context, id pipeline.RunID) (out wire.RunSummary, err error) {
	err = r.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		out = summaryIn(v, run)
		return nil
	})
	return out, err
}

// Runs lists runs, newest first.
func (r *Runs) Runs(_ context.Context, q api.RunQuery) (wire.RunList, error) {
	out := wire.RunList{Runs: []wire.RunSummary{}}
	if q.Limit <= 0 || q.Limit > maxPage {
		q.Limit = defaultPage
	}
	before, err := parseCursor(q.Cursor)
	if err != nil {
		return out, err
	}

	err = r.state.View(func(v *fsm.View) error {
		seen, last := 0, uint64(0)
		v.Runs(before, func(run pipeline.Run) bool {
			fits := matches(v, &run, q)
			if fits && len(out.Runs) == q.Limit || len(q.Words) > 0 && seen == maxSearched { // there is one more, or may be
				out.Cursor = fmt.Sprintf("%x", last)
				return false
			}
			seen, last = seen+1, run.Number
			if fits {
				out.Runs = append(out.Runs, summaryIn(v, run))
			}
			return true
		})
		return nil
	})
	return out, err
}

// maxSearched bounds the runs that one search looks at: its answer has a cursor then,
// even if it has no run.
const maxSearched = 5000

// matches reports whether a run is what a list is asked for.
func matches(v *fsm.View, run *pipeline.Run, q api.RunQuery) bool {
	if q.State != "" && run.State != q.State || q.Pipeline != "" && run.Pipeline != q.Pipeline {
		return false
	}
	if len(q.Words) == 0 {
		return true
	}
	text := strings.ToLower(strings.Join([]string{run.Pipeline, strconv.FormatUint(run.Number, 10), string(run.ID), run.Submitter, run.Schedule,
		run.Reason, run.Git.Branch, run.Git.Tag, run.Git.SHA}, " "))
	return !slices.ContainsFunc(q.Words, func(word string) bool {
		return !strings.Contains(text, strings.ToLower(word)) && !v.HasModule(run.ID, word)
	})
}

// parseCursor reads the number of the last run of the page before.
func parseCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}

	var number uint64
	if _, err := fmt.Sscanf(s, "%x", &number); err != nil || number == 0 || fmt.Sprintf("%x", number) != s {
		return 0, pipeline.Errorf(pipeline.Invalid, "cursor %.40q: use the one of the page before", s)
	}
	return number, nil
}

// Run reads a run with its modules once its index is past afterIndex, or wait
// has passed, or the run has finished.
func (r *Runs) Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+readTimeout)
	defer cancel()
	var timeout <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		timeout = timer.C
	}

	for {
		changed := r.state.Changed(id) // before the read, so that no change is missed
		out, err := r.read(id, since)
		if err != nil {
			return out, err
		}
		if out.Index > afterIndex || wait == 0 || out.State.Final() {
			r.explainWaiting(ctx, &out)
			return out, nil
		}
		select {
		case <-changed:
			r.state.Debounce(ctx, id)
		case <-timeout:
			r.explainWaiting(ctx, &out)
			return out, nil
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

// explainWaiting fills in why modules wait. Only the leader knows; elsewhere the
// states are right, without reasons.
func (r *Runs) explainWaiting(ctx context.Context, run *wire.Run) {
	if run.State.Final() {
		return
	}
	why, err := r.planner.Waiting(ctx, run.ID)
	if err != nil {
		return
	}

	for i := range run.Modules {
		m := &run.Modules[i]
		switch now := cmp.Or(why[m.Name], why[""]); {
		case m.State != pipeline.ModuleWaiting || now == "" || now == m.Reason:
		case m.Reason == "":
			m.Reason = now
		default: // why it waits again, and for what
			m.Reason += "; " + now
		}
	}
}

// Estimate predicts how long a run of a submission would take.
func (r *Runs) Estimate(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.Estimate, error) {
	id := NewRunID()
	def, err := r.compiler.compile(ctx, by, id, in)
	if err != nil {
		return wire.Estimate{}, err
	}
	return r.planner.Estimate(ctx, pipeline.Run{ID: id, Pipeline: def.Name, Modules: len(def.Modules)}, def)
}

// Locks lists the locks that are held or waited for.
func (r *Runs) Locks(ctx context.Context) (wire.LockList, error) {
	list, err := r.planner.Locks(ctx)
	if list == nil {
		list = []pipeline.Lock{}
	}
	return wire.LockList{Locks: list}, err
}

// maxWaitingEntries bounds a WaitingList.
const maxWaitingEntries = 200

// Waiting lists what waits in all runs, the oldest first.
func (r *Runs) Waiting(ctx context.Context) (wire.WaitingList, error) {
	list, kinds, err := r.planner.WaitingEverywhere(ctx, maxWaitingEntries)
	out := wire.WaitingList{Waiting: []wire.Waiting{}, Modules: kinds}
	if err != nil {
		return out, err
	}

	err = r.state.View(func(v *fsm.View) error {
		for id, entries := range list {
			run, ok := v.Run(id)
			if !ok {
				continue // it was removed a moment ago
			}
			for _, w := range entries {
				if w.Since.IsZero() {
					w.Since = run.SubmittedAt.UTC()
				}
				out.Waiting = append(out.Waiting, wire.Waiting{Run: id, Number: run.Number, Pipeline: run.Pipeline, Waiting: w})
			}
		}
		return nil
	})
	slices.SortFunc(out.Waiting, func(a, b wire.Waiting) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Number, b.Number), strings.Compare(a.Reason, b.Reason))
	})
	return out, err
}

// Cancel cancels a run. It is a Conflict if the run had finished before.
func (r *Runs) Cancel(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error) {
	reason := in.Reason
	if reason == "" {
		reason = "by " + by.Name
	}

	reply, err := r.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Cancel: &fsm.Cancel{Run: id, Reason: reason, Request: in.Request}})
	if err != nil {
		return wire.RunSummary{}, err
	}
	if reply.Run.State.Final() {
		return summary(reply.Run), pipeline.Errorf(pipeline.Conflict, "run %s has finished: it %s", id, outcome(reply.Run.State))
	}
	return summary(reply.Run), nil
}

// outcome puts a final state in a sentence.
func outcome(s pipeline.RunState) string {
	switch s {
	case pipeline.RunCancelled:
		return "was cancelled"
	case pipeline.RunWarnings:
		return "succeeded with warnings"
	}
	return string(s)
}

// Pin exempts a run from retention, or ends the exemption.
func (r *Runs) Pin(ctx context.Context, by api.Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error) {
	reply, err := r.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Pin: &fsm.Pin{Run: id, Pinned: pinned}})
	if err != nil {
		return wire.RunSummary{}, err
	}
	r.log.Info("run pinned or unpinned", reply.Run.LogFields("pinned", pinned, "by", by.Name)...)
	return summary(reply.Run), nil
}
