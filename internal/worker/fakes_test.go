package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/journal"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// events is what the fakes saw, in order: "put a", "start a", "report a".
type events struct {
	mu   sync.Mutex // guards following
	list []string
}

func (e *events) add(what string, id pipeline.AttemptID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, what+" "+id.Module)
}

// of gives what happened to a module.
func (e *events) of(module string) string {
	e.mu.Lock()
	defer e.mu.Unlock()

	var list []string
	for _, one := range e.list {
		if what, m, _ := strings.Cut(one, " "); m == module {
			list = append(list, what)
		}
	}
	return strings.Join(list, " ")
}

// fakeRunner is a keeper whose processes end when the test says so.
type fakeRunner struct {
	events *events
	exits  chan executor.Status

	mu          sync.Mutex // guards following
	incarnation string
	processes   map[string]executor.Process
	statuses    map[string]executor.Status
	stops       map[string]string // reasons by ID
	lease       time.Duration
	// startErr refuses starts; onStart runs before one is accepted.
	startErr error
	onStart  func(id string)
	listErr  error
}

func newFakeRunner(e *events) *fakeRunner {
	return &fakeRunner{events: e, exits: make(chan executor.Status, 64), incarnation: "life-1",
		processes: map[string]executor.Process{}, statuses: map[string]executor.Status{}, stops: map[string]string{}}
}

func (r *fakeRunner) Incarnation() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.incarnation
}

func (r *fakeRunner) Start(_ context.Context, ps []executor.Process) error {
	r.mu.Lock()
	hook, err := r.onStart, r.startErr
	r.mu.Unlock()
	if hook != nil {
		hook(ps[0].ID)
	}
	if err != nil {
		return err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	p := ps[0]
	if _, seen := r.statuses[p.ID]; seen {
		return &executor.RefusedError{ByID: map[string]error{p.ID: executor.ErrSeen}}
	}
	id, _ := pipeline.ParseAttemptID(p.ID)
	r.events.add("start", id)
	r.processes[p.ID] = p
	r.statuses[p.ID] = executor.Status{ID: p.ID, Dir: p.Dir, State: executor.Running, StartedAt: time.Now()}
	return nil
}

// exit ends the process of a module.
func (r *fakeRunner) exit(module string, change func(st *executor.Status)) {
	key := id(module).String()
	r.mu.Lock()
	st := r.statuses[key]
	st.ID, st.State, st.ExitedAt = key, executor.Exited, time.Now()
	if change != nil {
		change(&st)
	}
	r.statuses[key] = st
	r.mu.Unlock()
	r.exits <- st
}

func (r *fakeRunner) Stop(_ context.Context, key, reason string, _ time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.statuses[key]; !known {
		return executor.ErrNotFound
	}
	r.stops[key] = reason
	return nil
}

func (r *fakeRunner) stopped(module string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stops[id(module).String()]
}

func (r *fakeRunner) process(module string) (executor.Process, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.processes[id(module).String()]
	return p, ok
}

func (r *fakeRunner) List(context.Context) ([]executor.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []executor.Status
	for _, st := range r.statuses {
		list = append(list, st)
	}
	return list, r.listErr
}

func (r *fakeRunner) Exits() <-chan executor.Status { return r.exits }

func (r *fakeRunner) Forget(_ context.Context, keys ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		id, _ := pipeline.ParseAttemptID(key)
		r.events.add("forget", id)
		delete(r.statuses, key)
	}
	return nil
}

func (r *fakeRunner) Renew(_ context.Context, lease time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = lease
	return nil
}

func (r *fakeRunner) Close() error { return nil }

// replace is a keeper that died and another that was started.
func (r *fakeRunner) replace(incarnation string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.incarnation = incarnation
	for key, st := range r.statuses {
		if st.State == executor.Running {
			delete(r.statuses, key)
		}
	}
}

// fakeJournal is a journal in memory.
type fakeJournal struct {
	events *events

	mu      sync.Mutex // guards following
	entries []journal.Entry
	// putErr and outcomeErr are what the next writes give.
	putErr, outcomeErr error
}

func (j *fakeJournal) Put(e journal.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.putErr != nil {
		return j.putErr
	}
	j.events.add("put", e.ID)
	j.entries = append(j.entries, e)
	return nil
}

func (j *fakeJournal) SetOutcome(o pipeline.Outcome) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.outcomeErr != nil {
		return j.outcomeErr
	}
	j.events.add("outcome", o.ID)
	for i := range j.entries {
		if j.entries[i].ID == o.ID {
			j.entries[i].Outcome = &o
		}
	}
	return nil
}

func (j *fakeJournal) Delete(id pipeline.AttemptID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events.add("delete", id)
	j.entries = slices.DeleteFunc(j.entries, func(e journal.Entry) bool { return e.ID == id })
	return nil
}

func (j *fakeJournal) All() []journal.Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// fakeLeader takes reports.
type fakeLeader struct {
	events *events

	mu       sync.Mutex // guards following
	outcomes map[pipeline.AttemptID]*pipeline.Outcome
	inline   map[pipeline.AttemptID][][]byte
	started  map[pipeline.AttemptID]time.Time
	calls    [][]peer.Report
	// away refuses calls, answer decides about single reports; nil takes all.
	away   bool
	answer func(r *peer.Report) peer.Ack
}

func (l *fakeLeader) report(_ context.Context, reports []peer.Report) ([]peer.Ack, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, slices.Clone(reports))
	if l.away {
		return nil, pipeline.ErrNoLeader
	}

	acks := make([]peer.Ack, len(reports))
	for i := range reports {
		r := &reports[i]
		acks[i].Done = true
		if l.answer != nil {
			acks[i] = l.answer(r)
		}
		switch {
		case !acks[i].Done:
		case r.Outcome == nil:
			l.started[r.ID] = r.StartedAt
		default:
			l.events.add("commit", r.ID)
			l.outcomes[r.ID], l.inline[r.ID] = r.Outcome, r.Blobs
		}
	}
	return acks, nil
}

func (l *fakeLeader) set(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

// committed gives an outcome; nil if there is none.
func (l *fakeLeader) committed(module string) *pipeline.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomes[id(module)]
}

// callCount is how many calls came; last is the last one.
func (l *fakeLeader) callCount() (n int, last []peer.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = len(l.calls); n > 0 {
		last = l.calls[n-1]
	}
	return n, last
}

// rig is a worker with fakes, in a bubble of testing/synctest: its clock goes on
// only when every goroutine waits.
type rig struct {
	tb       testing.TB
	dir      string
	w        *Worker
	cfg      Config
	events   *events
	runner   *fakeRunner
	journal  *fakeJournal
	leader   *fakeLeader
	blobs    *blob.Store
	shutdown func()

	mu sync.Mutex // guards following
	// remote has blobs that other nodes have.
	remote   map[pipeline.Digest][]byte
	fetches  int
	fetchErr func(try int) error
	copies   [][]pipeline.Digest
}

// inRig runs a test with a rig whose worker is open.
func inRig(t *testing.T, change func(r *rig), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if change != nil {
			change(r)
		}
		r.open()
		t.Cleanup(func() {
			r.shutdown()
			if err := r.blobs.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, r)
	})
}

func newRig(tb testing.TB) *rig {
	ev := &events{}
	r := &rig{tb: tb, dir: tb.TempDir(), events: ev, runner: newFakeRunner(ev), journal: &fakeJournal{events: ev}, remote: map[pipeline.Digest][]byte{}}
	r.leader = &fakeLeader{events: ev, outcomes: map[pipeline.AttemptID]*pipeline.Outcome{},
		inline: map[pipeline.AttemptID][][]byte{}, started: map[pipeline.AttemptID]time.Time{}}

	for _, name := range []string{"work", "caches"} {
		if err := disk.Mark(filepath.Join(r.dir, name)); err != nil {
			tb.Fatal(err)
		}
	}
	r.openBlobs(-1)
	r.cfg = Config{
		Self: "w1", Name: "w1", Runner: r.runner, Journal: r.journal, Capabilities: pipeline.Capabilities{MaxParallelModules: 2},
		WorkDir: filepath.Join(r.dir, "work"), CachesDir: filepath.Join(r.dir, "caches"), Logger: hclog.NewNullLogger(),
		Report: r.leader.report, Fetch: r.fetch,
		Copy: func(_ context.Context, blobs []pipeline.Digest) pipeline.NodeID {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.copies = append(r.copies, blobs)
			return "w2"
		},
	}
	return r
}

// openBlobs opens the store; it refuses to write if lowWater bytes are not free.
func (r *rig) openBlobs(lowWater int64) {
	r.tb.Helper()
	if r.blobs != nil {
		if err := r.blobs.Close(); err != nil {
			r.tb.Fatal(err)
		}
	}
	var err error
	if r.blobs, err = blob.Open(filepath.Join(r.dir, "blobs"), blob.Options{NoSync: true, LowWater: lowWater}); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) fetch(ctx context.Context, _ []pipeline.NodeID, want []pipeline.Digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches++
	if r.fetchErr != nil {
		if err := r.fetchErr(r.fetches); err != nil {
			return err
		}
	}
	for _, d := range want {
		content, ok := r.remote[d]
		if !ok {
			return pipeline.Errorf(pipeline.NotFound, "blob %s is on no node", d)
		}
		if _, err := r.blobs.PutBytes(ctx, content); err != nil {
			return err
		}
	}
	return nil
}

// failFetch makes fetches fail; nil lets them succeed.
func (r *rig) failFetch(fail func(try int) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetchErr = fail
}

// tries is how often blobs were fetched.
func (r *rig) tries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetches
}

// open starts the worker, for the first time or again.
func (r *rig) open() {
	r.tb.Helper()
	layouts, err := layout.Open(layout.Config{Dir: filepath.Join(r.dir, "layers"), WorkDir: r.cfg.WorkDir, Blobs: r.blobs})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.cfg.Blobs, r.cfg.Trees, r.cfg.Layouts = r.blobs, tree.NewCache(r.blobs), layouts

	ctx, cancel := context.WithCancel(r.tb.Context())
	if r.w, err = Open(ctx, r.cfg); err != nil {
		r.tb.Fatal(err)
	}
	ended := make(chan error, 1)
	w := r.w
	go func() { ended <- w.Run(ctx) }()
	r.shutdown = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.tb.Error(err)
		}
	})
}

// restart ends the worker as a daemon ends, and starts it again.
func (r *rig) restart(meanwhile func()) {
	r.tb.Helper()
	r.shutdown()
	if meanwhile != nil {
		meanwhile()
	}
	r.open()
	synctest.Wait()
}

// spec is an attempt of a module.
func (r *rig) spec(module string, change func(s *pipeline.Spec)) pipeline.Spec {
	s := pipeline.Spec{ID: id(module), Pipeline: "p", Fence: 7, Incarnation: r.runner.Incarnation(), Script: "true", Grace: time.Second}
	if change != nil {
		change(&s)
	}
	return s
}

// behind queues an attempt behind another one.
func behind(module string) func(s *pipeline.Spec) {
	return func(s *pipeline.Spec) {
		predecessor := id(module)
		s.Predecessor = &predecessor
	}
}

// take dispatches attempts and waits until nothing more happens.
func (r *rig) take(specs ...pipeline.Spec) {
	r.tb.Helper()
	if _, err := r.w.Take(peer.DispatchRequest{Term: 1, Specs: specs}); err != nil {
		r.tb.Fatal(err)
	}
	synctest.Wait()
}

// run dispatches an attempt whose process ends with a code.
func (r *rig) run(s pipeline.Spec, code int) *pipeline.Outcome {
	r.tb.Helper()
	r.take(s)
	r.end(s.ID.Module, code)
	return r.outcome(s.ID.Module)
}

// end ends the process of a module and waits until its outcome is committed.
func (r *rig) end(module string, code int) {
	r.runner.exit(module, func(st *executor.Status) { st.ExitCode = code })
	r.quiesce()
}

// quiesce lets gathered reports go, and waits until nothing more happens.
func (r *rig) quiesce() { elapse(gatherTime) }

// elapse lets time pass in the bubble, and waits until nothing more happens.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// outcome gives the committed outcome of a module.
func (r *rig) outcome(module string) *pipeline.Outcome {
	r.tb.Helper()
	o := r.leader.committed(module)
	if o == nil {
		r.tb.Fatalf("no outcome of %s; it had: %s", module, r.events.of(module))
	}
	return o
}

// wants fails the test unless an outcome is as it should be.
func (r *rig) wants(module string, state pipeline.AttemptState, reason string) *pipeline.Outcome {
	r.tb.Helper()
	o := r.outcome(module)
	if o.State != state || !strings.Contains(o.Reason, reason) || reason == "" && o.Reason != "" {
		r.tb.Errorf("%s: %s, %q; want %s, %q", module, o.State, o.Reason, state, reason)
	}
	if o.Fence != 7 || o.Worker != "w1" {
		r.tb.Errorf("%s: fence %d of worker %s", module, o.Fence, o.Worker)
	}
	return o
}

// wantEvents fails the test unless a module had exactly these events.
func (r *rig) wantEvents(module, want string) {
	r.tb.Helper()
	if got := r.events.of(module); got != want {
		r.tb.Errorf("%s: %s; want %s", module, got, want)
	}
}

// put stores a blob on another node.
func (r *rig) put(content string) pipeline.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := blob.DigestOf([]byte(content))
	r.remote[d] = []byte(content)
	return d
}

// tree stores a tree of files, by path, on another node.
func (r *rig) tree(files map[string]string) pipeline.Digest {
	r.tb.Helper()
	var t tree.Tree
	for path, content := range files {
		t = append(t, pipeline.TreeEntry{Path: path, Mode: 0o644, Digest: r.put(content), Size: int64(len(content))})
	}
	slices.SortFunc(t, func(a, b pipeline.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
	raw, err := tree.Encode(t)
	if err != nil {
		r.tb.Fatal(err)
	}
	return r.put(string(raw))
}

// dirOf is the directory of a module's attempt.
func (r *rig) dirOf(module string) string { return string(attemptDir(r.cfg.WorkDir, id(module))) }

// write puts a file into the directory of a module's attempt, as its process
// would.
func (r *rig) write(module, path, content string) {
	r.tb.Helper()
	full := filepath.Join(r.dirOf(module), path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
		r.tb.Fatal(err)
	}
}

// files lists what is in the working directory of a module's attempt.
func (r *rig) files(module string) map[string]string {
	r.tb.Helper()
	root := filepath.Join(r.dirOf(module), "work")
	got := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		got[rel] = string(b)
		return err
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	return got
}
