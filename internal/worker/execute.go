package worker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/worker/environ"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
	"github.com/pipelined/pipelined/storage"
)

// execute takes an attempt from its files to its outcome.
func (w *Worker) execute(a *attempt) {
	if err := w.begin(a); err != nil {
		if w.life.Err() != nil {
			return // the daemon stops; the journal has the attempt
		}
		w.conclude(a, w.notStarted(a, err), nil)
		return
	}
	w.await(a)
}

// begin lays out the folder and starts the process.
func (w *Worker) begin(a *attempt) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if err := w.release(a); err != nil { // of a daemon that died before the start
		return err
	}
	if err := w.dirs.Prepare(a.dir); err != nil {
		return err
	}
	if err := w.layout(a.ctx, a); err != nil {
		return err
	}
	proc, err := w.process(a)
	if err != nil {
		return err
	}
	if a.turn != nil {
		select {
		case <-a.turn:
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
	w.mu.Lock()
	if a.stop != "" {
		w.mu.Unlock()
		return context.Canceled
	}
	a.running, a.keeper = true, w.cfg.Runner.Incarnation()
	w.mu.Unlock()
	err = w.cfg.Runner.Start(w.life, []executor.Process{proc})
	if errors.Is(err, executor.ErrSeen) {
		return nil // started before this daemon did; its exit comes or has come
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	now := time.Now().UTC()
	w.mu.Lock()
	a.startedAt = now
	stop := a.stop
	w.mu.Unlock()
	if stop != "" { // came between the two locks
		if err := w.cfg.Runner.Stop(w.life, a.key, stop, a.spec.Grace); err != nil && !errors.Is(err, executor.ErrNotFound) {
			w.log.Warn("stop attempt", "attempt", a.key, "error", err)
		}
	}
	return nil
}

// process says what to start.
func (w *Worker) process(a *attempt) (executor.Process, error) {
	s := &a.spec
	argv := s.Command
	if s.Script != "" {
		write, err := a.dir.WriteScript, error(nil)
		if shows(s, s.Script) {
			write = a.dir.WriteHiddenScript
		}
		if argv, err = write(s.Script); err != nil {
			return executor.Process{}, err
		}
	}
	env, err := w.environ(a)
	if err != nil {
		return executor.Process{}, err
	}
	dir := a.dir.Work()
	if s.WorkingDir != "" {
		dir = filepath.Join(dir, filepath.FromSlash(s.WorkingDir))
	}
	hooks, err := writeHooks(a.dir, &s.Hooks)
	if err != nil {
		return executor.Process{}, err
	}
	return executor.Process{ID: a.key, Dir: string(a.dir), Result: a.dir.Result(), WorkDir: dir, Argv: argv, Env: env,
		Timeout: s.Timeout, IdleTimeout: s.IdleTimeout, Grace: s.Grace,
		KillOnLapse: s.OnDisconnect == pipeline.DisconnectKill, Hooks: hooks, Mask: hidden(s), LogLimit: w.cfg.LogLimit,
		Memory: s.Resources.Memory, CPU: s.Resources.CPU}, nil
}

// traceParent is the W3C trace context of an attempt: one trace a run, one span
// an attempt, both known from their ids alone.
func traceParent(id pipeline.AttemptID) string {
	trace, span := sha256.Sum256([]byte(id.Run)), sha256.Sum256([]byte(id.String()))
	return fmt.Sprintf("00-%x-%x-01", trace[:16], span[:8])
}

func (w *Worker) environ(a *attempt) ([]string, error) {
	s := &a.spec
	cache := ""
	if len(s.Caches) > 0 {
		cache = filepath.Join(w.cfg.CachesDir)
		for _, c := range s.Caches {
			if err := os.MkdirAll(filepath.Join(cache, c), 0o755); err != nil {
				return nil, fmt.Errorf("make cache folder: %w", err)
			}
		}
	}
	return environ.Build(environ.Config{Dir: a.dir, Status: s.Status, Run: string(s.ID.Run), Pipeline: s.Pipeline, Module: s.ID.Module,
		Attempt: s.ID.Attempt, Worker: w.cfg.Name, TraceParent: traceParent(s.ID), Cache: cache, PassThrough: w.cfg.ModuleEnv, Declared: withSecrets(s)})
}

// lostOutputs says that outputs of dependencies are on no node that answers.
type lostOutputs struct {
	error
	modules []string
}

// Unwrap gives the cause.
func (e *lostOutputs) Unwrap() error { return e.error }

func (w *Worker) whoseAreLost(err error, from []storage.NamedTree) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	lost := &lostOutputs{error: err}
	for _, t := range from {
		if len(w.cfg.Blobs.Missing(t.Tree.Digests())) > 0 {
			lost.modules = append(lost.modules, t.Name)
		}
	}
	return lost
}

// fetchPatience is how long files are looked for before an attempt is given
// back: a node that restarts is there again by then.
const fetchPatience = 15 * time.Second

func (w *Worker) need(ctx context.Context, hints []pipeline.NodeID, want []pipeline.Digest) error {
	var err error
	for began := time.Now(); ; {
		missing := w.cfg.Blobs.Missing(want)
		if len(missing) == 0 {
			return nil
		}
		if err = w.cfg.Fetch(ctx, hints, missing); err == nil || time.Since(began) > fetchPatience {
			break
		}
		if k := pipeline.KindOf(err); k != pipeline.NotFound && k != pipeline.Unavailable && k != pipeline.Unknown {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
	return err
}

func (w *Worker) tree(ctx context.Context, d pipeline.Digest, hints []pipeline.NodeID) (storage.Tree, error) {
	for tries := 0; ; tries++ {
		if err := w.need(ctx, hints, []pipeline.Digest{d}); err != nil {
			return nil, err
		}
		t, err := w.cfg.Blobs.Tree(d)
		if err == nil || tries == 2 || pipeline.KindOf(err) != pipeline.NotFound {
			return t, err // NotFound: bad, and put aside
		}
	}
}

// notStarted is the outcome of an attempt whose process never ran.
func (w *Worker) notStarted(a *attempt, err error) *pipeline.Outcome {
	o := &pipeline.Outcome{State: pipeline.AttemptFailed, Reason: err.Error(), FinishedAt: time.Now().UTC()}
	w.mu.Lock()
	stop := a.stop
	w.mu.Unlock()
	var gone *lostOutputs
	switch k := pipeline.KindOf(err); {
	case errors.As(err, &gone) && stop == "":
		o.State, o.LostOutputs = pipeline.AttemptLost, gone.modules
	case stop != "":
		o.State, o.Reason = pipeline.AttemptCancelled, stop
	case k == pipeline.Unavailable || k == pipeline.NotFound || k == pipeline.Timeout || k == pipeline.Unknown:
		// Files could not be had, the disk is low, or the keeper died: not the
		// module's fault.
		o.State = pipeline.AttemptLost
	case w.filled(err):
		o.State, o.Reason = pipeline.AttemptLost, "disk full: "+o.Reason
	}
	return o
}

// filled reports whether an error comes of a disk that the node now knows to be
// full, so that nothing else is placed here. Where another file system is full
// the attempt fails like any other: it would be repeated without an end.
func (w *Worker) filled(err error) bool {
	if w.cfg.Filled == nil || w.cfg.Full == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	w.cfg.Filled()
	return w.cfg.Full() != ""
}

// await waits for the process to end, reports its start if it runs for a
// while, and captures what it left.
func (w *Worker) await(a *attempt) {
	started := time.NewTimer(w.cfg.StartReport)
	defer started.Stop()
	for {
		select {
		case <-w.life.Done():
			return
		case <-started.C:
			w.mu.Lock()
			if a.outcome == nil {
				w.reports = append(w.reports, peer.Report{ID: a.id, StartedAt: a.startedAt})
				w.wake()
			}
			w.mu.Unlock()
		case <-a.gone:
			w.conclude(a, w.lostWithKeeper(a), nil)
			return
		case st := <-a.exit:
			w.mu.Lock()
			if !st.StartedAt.IsZero() {
				a.startedAt = st.StartedAt.UTC()
			}
			w.mu.Unlock()
			o, blobs := w.capture(a, st)
			if o == nil {
				return // the daemon stops
			}
			w.conclude(a, o, blobs)
			return
		}
	}
}

// conclude writes the outcome into the journal and queues its report.
func (w *Worker) conclude(a *attempt, o *pipeline.Outcome, blobs []pipeline.Digest) {
	o.ID, o.Fence, o.Worker = a.id, a.spec.Fence, w.cfg.Self
	if o.Reason != "" { // the runner's part of it is masked already
		o.Reason = mask.New(hidden(&a.spec)).String(o.Reason)
	}
	w.mu.Lock()
	lazy := w.followLocked(a, o.State == pipeline.AttemptSucceeded)
	w.mu.Unlock()
	inline := w.secure(a.spec.ID, o, blobs)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.followLocked(a, o.State == pipeline.AttemptSucceeded) // who came meanwhile
	if o.StartedAt.IsZero() {
		o.StartedAt = a.startedAt
	}
	a.outcome = o
	if err := w.cfg.Journal.SetOutcome(*o); err != nil {
		w.log.Error("write outcome to the journal", "attempt", a.key, "error", err)
	}
	w.pendLocked(a, inline, lazy)
}

// secure sees to the second copy of log and outputs: small ones go with the
// report, larger ones to another node now.
func (w *Worker) secure(id pipeline.AttemptID, o *pipeline.Outcome, blobs []pipeline.Digest) [][]byte {
	o.Holders = []pipeline.NodeID{w.cfg.Self}
	var total int64
	for _, d := range blobs {
		n, err := w.cfg.Blobs.Size(d)
		if err != nil {
			w.log.Error("size of blob", "attempt", id.String(), "error", err)
			continue
		}
		total += n
	}
	if total > peer.MaxInlineBlob {
		if n := w.cfg.Copy(w.life, blobs); n != "" {
			o.Holders = append(o.Holders, n)
		}
		return nil
	}
	var inline [][]byte
	for _, d := range blobs {
		b, err := w.cfg.Blobs.ReadAll(d, peer.MaxInlineBlob)
		if err != nil {
			w.log.Error("read blob", "attempt", id.String(), "error", err)
			continue
		}
		inline = append(inline, b)
	}
	return inline
}

// recover takes up what an earlier daemon left: attempts whose outcome waits,
// that run, that ended meanwhile, or that had not begun.
func (w *Worker) recover(ctx context.Context) error {
	list, err := w.cfg.Runner.List(ctx)
	if err != nil {
		return fmt.Errorf("list attempts of the keeper: %w", err)
	}
	has := map[string]executor.Status{}
	for _, s := range list {
		has[s.ID] = s
	}
	inc := w.cfg.Runner.Incarnation()
	var begin []*attempt // taken, not begun
	for _, e := range w.cfg.Journal.All() {
		var spec pipeline.Spec
		if err := json.Unmarshal(e.Spec, &spec); err != nil {
			return fmt.Errorf("journal entry %s: %w", e.ID, err)
		}
		a := w.newAttempt(spec)
		st, known := has[a.key]
		delete(has, a.key)
		w.attempts[a.id] = a
		a.running, a.keeper = known, inc
		switch {
		case e.Outcome != nil:
			a.outcome = e.Outcome
			w.mu.Lock()
			w.pendLocked(a, nil, false)
			w.mu.Unlock()
		case known:
			a.startedAt = st.StartedAt.UTC()
			w.adopt(a)
			if st.State == executor.Exited {
				a.exit <- st
			}
			w.group.Go(func() error { w.await(a); return nil })
		case e.Incarnation == inc && spec.Sealed:
			// Not begun, and its secrets are not here any more: whoever assigned
			// it misses it at the next comparison, and sends all of it again.
			delete(w.attempts, a.id)
			if err := w.cfg.Journal.Delete(a.id); err != nil {
				return fmt.Errorf("forget %s: %w", a.key, err)
			}
		case e.Incarnation == inc:
			begin = append(begin, a)
		default:
			w.group.Go(func() error {
				w.conclude(a, w.lostWithKeeper(a), nil)
				return nil
			})
		}
	}
	w.sweepFolders()
	w.mu.Lock()
	for _, a := range begin {
		w.queueLocked(a)
	}
	w.mu.Unlock()
	for _, a := range begin {
		w.group.Go(func() error { w.execute(a); return nil })
	}
	return w.dropStrangers(ctx, has)
}

// lostWithKeeper is the outcome of an attempt whose keeper died. One whose
// exit reached the disk ended, whoever died after it.
func (w *Worker) lostWithKeeper(a *attempt) *pipeline.Outcome {
	return &pipeline.Outcome{State: pipeline.AttemptLost, FinishedAt: time.Now().UTC(),
		Reason: "the keeper of worker " + w.cfg.Name + " died, and its processes with it"}
}

// dropStrangers ends processes that no journal entry knows.
func (w *Worker) dropStrangers(ctx context.Context, has map[string]executor.Status) error {
	for key, s := range has {
		w.log.Warn("the keeper has an attempt that the journal does not know", "attempt", key)
		if s.State == executor.Running {
			if err := w.cfg.Runner.Stop(ctx, key, "unknown to this node", 0); err != nil {
				return fmt.Errorf("stop unknown attempt %s: %w", key, err)
			}
		}
	}
	return nil
}
