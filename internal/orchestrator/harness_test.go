package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// directLog applies proposals to a store at once, in order.
type directLog struct {
	mu    sync.Mutex // guards following
	store *fsm.Store
	index uint64
	fail  error // of the next proposals
	// forget makes the fate of the next proposal of a tick unknown, although it is
	// applied.
	forget bool
	// lose is how many of the next batches get an unknown fate, loseApplied whether
	// they are applied.
	lose        int
	loseApplied bool
	// held is set while proposals are not applied.
	held chan struct{}
}

// loseBatches makes the fate of the next n batches unknown. They are applied or not.
func (l *directLog) loseBatches(n int, applied bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.loseApplied = n, applied
}

// setFail makes all proposals fail.
func (l *directLog) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// hold keeps proposals from being applied until release is called.
func (l *directLog) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
	ch := l.held
	return func() {
		l.mu.Lock()
		l.held = nil
		l.mu.Unlock()
		close(ch)
	}
}

// past applies a command at once, also while others are held, as one of another
// leader.
func (l *directLog) past(tb testing.TB, c *fsm.Command) any {
	tb.Helper()
	b, err := fsm.Encode(c)
	if err != nil {
		tb.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apply(b)
}

// apply applies a command as the next entry. l.mu is held.
func (l *directLog) apply(cmd []byte) any {
	l.index++
	return l.store.Apply(&raft.Log{Index: l.index, Term: 1, Type: raft.LogCommand, Data: cmd})
}

// later is a proposal that is applied when its channel is closed.
type later struct {
	log *directLog
	cmd []byte
	at  <-chan struct{}
}

func (p later) Wait() (uint64, any, error) {
	<-p.at
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	reply := p.log.apply(p.cmd)
	return p.log.index, reply, nil
}

type done struct {
	index uint64
	reply any
	err   error
}

func (d done) Wait() (uint64, any, error) { return d.index, d.reply, d.err }

func (l *directLog) Propose(cmd []byte) orchestrator.Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return done{err: l.fail}
	}
	if l.held != nil {
		return later{l, cmd, l.held}
	}
	c, err := fsm.Decode(cmd)
	switch {
	case err == nil && c.Fire != nil && l.forget:
		l.forget = false
		l.apply(cmd)
		return done{err: pipeline.ErrUnknownOutcome}
	case err == nil && (c.Batch != nil || c.Spawn != nil) && l.lose > 0:
		l.lose--
		if l.loseApplied {
			l.apply(cmd)
		}
		return done{err: pipeline.ErrUnknownOutcome}
	}
	reply := l.apply(cmd)
	return done{l.index, reply, nil}
}

func (l *directLog) Barrier(context.Context) error { return nil }

// fakeWorker executes attempts by a function; nil leaves them running.
type fakeWorker struct {
	id     pipeline.NodeID
	slots  int
	alive  bool
	silent bool
	// external workers are no members.
	external bool
	life     string // distinguishes its keepers
	closed   string // why it takes nothing new
	tags     []string
	cpu      float64
	memory   int64
	// deaf workers receive nothing, but answer comparisons; mute ones do not answer at
	// all.
	deaf, mute bool
	calls      int // of Dispatch
	began      map[pipeline.AttemptID]time.Time
	held       map[pipeline.AttemptID]pipeline.Spec
	started    []pipeline.AttemptID
	stopped    []pipeline.AttemptID
	ended      map[pipeline.AttemptID]pipeline.AttemptState
}

// strictStore refuses a view within a view, which fsm.Store does not allow.
type strictStore struct {
	*fsm.Store
	tb testing.TB
}

func (s strictStore) View(fn func(*fsm.View) error) error {
	pcs := make([]uintptr, 1000)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for f, more := frames.Next(); more; f, more = frames.Next() {
		if strings.HasSuffix(f.Function, "strictStore.View") {
			s.tb.Error("a view was opened within a view")
			break
		}
	}
	return s.Store.View(fn)
}

// cluster is an orchestrator with fake workers.
type cluster struct {
	tb      testing.TB
	log     *directLog
	store   *fsm.Store
	orch    atomic.Pointer[orchestrator.Orchestrator]
	changes chan struct{}
	execute func(w *fakeWorker, s pipeline.Spec) *pipeline.Outcome
	// now is the clock that schedules go by; nil means the real one.
	now func() time.Time
	// evaluate replaces the usual one if it is set.
	evaluate func(ctx context.Context, m *pipeline.Module) *pipeline.Evaluated
	// results and vault go to the orchestrator; nil if there are none.
	results orchestrator.Results
	vault   orchestrator.Vault
	// images are the digests that every worker gives.
	images orchestrator.ImageDigests
	// alone is set if no other worker can join.
	alone bool
	// loaded bounds the model of the leader; 0 means the default.
	loaded int

	mu      sync.Mutex // guards following, and the workers' fields
	workers map[pipeline.NodeID]*fakeWorker
	busy    int // attempts that execute
	most    int // of them at once
	// pause holds the leader's loop once, as a process that is stopped.
	pause time.Duration
	// prepared counts the children that were compiled; failPrepare is why none is.
	prepared    int
	failPrepare error

	group sync.WaitGroup
	ctx   context.Context
}

func newCluster(tb testing.TB, slots ...int) *cluster {
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	c := &cluster{tb: tb, store: store, log: &directLog{store: store}, changes: make(chan struct{}, 1), workers: map[pipeline.NodeID]*fakeWorker{}}
	for i, n := range slots {
		id := pipeline.NodeID(fmt.Sprintf("w%d", i+1))
		c.workers[id] = &fakeWorker{id: id, slots: n, alive: true, began: map[pipeline.AttemptID]time.Time{}, held: map[pipeline.AttemptID]pipeline.Spec{}, ended: map[pipeline.AttemptID]pipeline.AttemptState{}}
	}
	c.execute = func(_ *fakeWorker, _ pipeline.Spec) *pipeline.Outcome {
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	tb.Cleanup(func() {
		cancel()
		c.group.Wait()
		store.Close()
	})
	return c
}

// lead starts a term; the function it gives ends it and waits for its end.
func (c *cluster) lead(timing orchestrator.Timing) (end func()) {
	o := orchestrator.New(orchestrator.Config{Self: "w1", Alone: c.alone, Log: c.log, Store: strictStore{c.store, c.tb}, Transport: c, Members: c, Logger: hclog.NewNullLogger(), Timing: timing, Now: c.now, Results: c.results, Vault: c.vault, ImageDigests: c.images, MaxLoaded: c.loaded,
		NodeName: func(id pipeline.NodeID) string { return string(id) }, PrepareChild: c.prepareChild,
		Evaluate: func(ctx context.Context, _ *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
			if c.evaluate != nil {
				return c.evaluate(ctx, m), nil
			}
			if m.Name == "broken" {
				return nil, errors.New("no such attribute")
			}
			return &pipeline.Evaluated{Command: []string{"echo", string(deps["first"].Result)}}, nil
		}})
	c.orch.Store(o)
	ctx, cancel := context.WithCancel(c.ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := o.Lead(ctx, 1); err != nil {
			c.tb.Errorf("lead: %v", err)
		}
	}()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if !o.Leading() {
			return errors.New("not leading")
		}
		return nil
	})
	return func() { cancel(); <-over }
}

func (c *cluster) Workers() []pipeline.Member {
	c.mu.Lock()
	d := c.pause
	c.pause = 0
	c.mu.Unlock()
	if d > 0 {
		pass(d)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	var out []pipeline.Member
	for _, w := range c.workers {
		if w.external {
			continue
		}
		status := pipeline.MemberAlive
		if !w.alive {
			status = pipeline.MemberFailed
		}
		out = append(out, pipeline.Member{ID: w.id, Name: string(w.id), Status: status, Slots: w.slots})
	}
	return out
}

func (c *cluster) Changes() (<-chan struct{}, func()) { return c.changes, func() {} }

func (c *cluster) Dispatch(_ context.Context, id pipeline.NodeID, in peer.DispatchRequest) (peer.DispatchResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[id]
	if w != nil {
		w.calls++
	}
	if w == nil || w.silent {
		return peer.DispatchResponse{}, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	if w.deaf || w.mute {
		return peer.DispatchResponse{}, errors.New("no answer in time")
	}
	for _, s := range in.Specs {
		if slices.Contains(w.started, s.ID) {
			continue // a real worker remembers too
		}
		w.held[s.ID] = s
		w.started = append(w.started, s.ID)
		c.group.Go(func() { c.work(w, s) })
	}
	if w.external {
		return peer.DispatchResponse{}, nil
	}
	return peer.DispatchResponse{Incarnation: "i-" + string(id) + w.life}, nil
}

func (c *cluster) work(w *fakeWorker, s pipeline.Spec) {
	if s.Predecessor != nil && !c.turn(w, *s.Predecessor) {
		c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptCancelled, Reason: "not started"})
		return
	}
	c.mu.Lock()
	c.busy++
	c.most = max(c.most, c.busy)
	c.mu.Unlock()
	if o := c.execute(w, s); o != nil {
		c.mu.Lock()
		c.busy--
		c.mu.Unlock()
		c.finish(w, s.ID, o)
	}
}

// turn waits for the end of what an attempt is queued behind; false if it
// did not succeed.
func (c *cluster) turn(w *fakeWorker, after pipeline.AttemptID) bool {
	for c.ctx.Err() == nil {
		c.mu.Lock()
		state := w.ended[after]
		c.mu.Unlock()
		if state != "" {
			return state == pipeline.AttemptSucceeded
		}
		<-time.After(100 * time.Microsecond)
	}
	return false
}

// finish reports an outcome until it is acknowledged.
func (c *cluster) finish(w *fakeWorker, id pipeline.AttemptID, o *pipeline.Outcome) peer.Ack {
	o.ID = id
	c.mu.Lock()
	w.ended[id] = o.State
	in := peer.ReportRequest{Worker: w.id, Reports: []peer.Report{{ID: id, Outcome: o}}}
	if w.life != "" {
		in.Incarnation = "i-" + string(w.id) + w.life
	}
	c.mu.Unlock()
	for c.ctx.Err() == nil {
		res, err := c.orch.Load().Report(c.ctx, in)
		if err == nil && res.Acks[0].Done {
			c.mu.Lock()
			delete(w.held, id)
			c.mu.Unlock()
			return res.Acks[0]
		}
		pass(time.Millisecond) // no leader, or one that reads the run again
	}
	return peer.Ack{}
}

func (c *cluster) Stop(_ context.Context, id pipeline.NodeID, in peer.StopRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[id]
	if w == nil || w.silent {
		return fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	for _, a := range in.IDs {
		if _, ok := w.held[a]; !ok || w.ended[a] != "" {
			continue
		}
		w.stopped = append(w.stopped, a)
		c.group.Go(func() {
			c.finish(w, a, &pipeline.Outcome{State: pipeline.AttemptCancelled, Reason: in.Reason})
		})
	}
	return nil
}

func (c *cluster) Sync(_ context.Context, id pipeline.NodeID, _ peer.SyncRequest) (peer.SyncResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[id]
	if w != nil && w.mute {
		return peer.SyncResponse{}, context.DeadlineExceeded
	}
	if w == nil || w.silent {
		return peer.SyncResponse{}, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	res := peer.SyncResponse{Incarnation: "i-" + string(id) + w.life, Name: string(id),
		Closed: w.closed != "", Reason: w.closed,
		Capabilities: pipeline.Capabilities{OS: "linux", Arch: "amd64", MaxParallelModules: w.slots, Tags: w.tags, CPU: w.cpu, Memory: w.memory}}
	for a, s := range w.held {
		res.Attempts = append(res.Attempts, peer.Held{ID: a, Fence: s.Fence, Ended: w.ended[a] != "", StartedAt: w.began[a]})
	}
	return res, nil
}

// propose commits a command through the orchestrator that leads.
func (c *cluster) propose(command *fsm.Command) (any, error) {
	raw, err := fsm.Encode(command)
	if err != nil {
		return nil, err
	}
	return c.orch.Load().Propose(c.ctx, raw)
}

// submit commits a run of the modules.
func (c *cluster) submit(id string, p pipeline.Pipeline) pipeline.RunID {
	c.tb.Helper()
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		c.tb.Fatal(err)
	}
	v, err := c.propose(&fsm.Command{At: time.Now(), Submit: &fsm.Submit{Definition: raw,
		Run: pipeline.Run{ID: pipeline.RunID(id), Pipeline: p.Name, Modules: len(p.Modules)}}})
	if err != nil || v.(fsm.SubmitResult).Err != nil {
		c.tb.Fatal(err, v)
	}
	return pipeline.RunID(id)
}

func (c *cluster) run(id pipeline.RunID) (r pipeline.Run, mods map[string]*pipeline.ModuleRecord) {
	_ = c.store.View(func(v *fsm.View) error {
		r, _ = v.Run(id)
		mods = v.Modules(id)
		return nil
	})
	return r, mods
}

// ends waits for the end of a run.
func (c *cluster) ends(id pipeline.RunID, want pipeline.RunState) map[string]*pipeline.ModuleRecord {
	c.tb.Helper()
	var mods map[string]*pipeline.ModuleRecord
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		var r pipeline.Run
		r, mods = c.run(id)
		if !r.State.Final() {
			return fmt.Errorf("run is %s with %d of %d done", r.State, r.Done, r.Modules)
		}
		if r.State != want {
			c.tb.Fatalf("run is %s (%s), want %s", r.State, r.Reason, want)
		}
		return nil
	})
	return mods
}

// pass lets time pass, in a bubble that of its clock.
func pass(d time.Duration) { <-time.After(d) }
