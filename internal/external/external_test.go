package external_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/external"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state/statetest"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is an external worker: it records what it is sent.
type program struct {
	*httptest.Server

	mu sync.Mutex
	// guards following
	calls  []call
	status int
}

type call struct {
	path, token string
	execute     wire.ExecuteRequest
	cancel      wire.CancelExecution
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{status: http.StatusAccepted}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a cut body is no JSON
		c := call{path: r.URL.Path, token: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
		into := any(&c.execute)
		if strings.HasSuffix(r.URL.Path, "/cancel") {
			into = &c.cancel
		}
		if err := json.Unmarshal(body, into); err != nil {
			t.Errorf("%s: %v in %s", r.URL.Path, err, body)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, c)
		w.WriteHeader(p.status)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *program) take() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = nil
	return calls
}

func (p *program) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// leader fakes the orchestrator.
type leader struct {
	mu sync.Mutex
	// guards following
	reports []peer.ReportRequest
	ack     peer.Ack
	beats   map[pipeline.NodeID]int
	drain   bool
	workers []pipeline.Worker
}

func (l *leader) Heartbeat(_ context.Context, id pipeline.NodeID, load int) (known, drain bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beats[id] = load
	return true, l.drain, nil
}

func (l *leader) Workers(context.Context) ([]pipeline.Worker, error) { return l.workers, nil }

func (l *leader) Report(_ context.Context, in peer.ReportRequest) (peer.ReportResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, in)
	return peer.ReportResponse{Acks: []peer.Ack{l.ack}}, nil
}

func (l *leader) outcome(t *testing.T) *pipeline.Outcome {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reports) != 1 {
		t.Fatalf("%d reports, want 1", len(l.reports))
	}
	return l.reports[0].Reports[0].Outcome
}

// local is a downloader that finds blobs here or nowhere.
type local struct{ blobs *blob.Store }

func (d local) Fetch(_ context.Context, _ []pipeline.NodeID, want []pipeline.Digest) error {
	if missing := d.blobs.Missing(want); len(missing) > 0 {
		return pipeline.Errorf(pipeline.NotFound, "%d blobs are on no node", len(missing))
	}
	return nil
}

func (d local) ReadTree(ctx context.Context, _ []pipeline.NodeID, root pipeline.Digest) (tree.Tree, error) {
	if err := d.Fetch(ctx, nil, []pipeline.Digest{root}); err != nil {
		return nil, err
	}
	return tree.NewCache(d.blobs).Read(root)
}

// rig is a Workers with fakes around it, and one registered program.
type rig struct {
	t *testing.T
	*external.Workers
	state   *statetest.State
	leader  *leader
	blobs   *blob.Store
	program *program
	secret  string
	hidden  []string // masked in what runs leave
}

var (
	admin = api.Subject{Name: "ann", Role: api.RoleAdmin, Loopback: true}
	own   = api.Subject{Name: "python", Role: api.RoleWorker, Worker: "t1", Loopback: true}
	other = api.Subject{Name: "perl", Role: api.RoleWorker, Worker: "t2", Loopback: true}
)

func newRig(t *testing.T) *rig {
	t.Helper()
	blobs, err := blob.Open(t.TempDir(), blob.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() }) // nothing is lost
	r := &rig{t: t, state: statetest.New(t), leader: &leader{ack: peer.Ack{Done: true}, beats: map[pipeline.NodeID]int{}}, blobs: blobs, program: newProgram(t)}
	r.Workers = external.NewWorkers(external.WorkersConfig{Self: statetest.Self, State: r.state.State, Orchestrator: r.leader, Down: local{blobs}, Blobs: blobs,
		SecondCopy: func(context.Context, []pipeline.Digest) pipeline.NodeID { return "n2" },
		RunMask:    func(pipeline.RunID) ([]string, error) { return r.hidden, nil },
		Members:    func() []cluster.Member { return []cluster.Member{r.state.Member} }, Heartbeat: 2 * time.Second})
	t.Cleanup(r.Workers.Close)

	r.token(fsm.TokenRecord{ID: "t1"})
	r.token(fsm.TokenRecord{ID: "t2"})
	res, err := r.Register(t.Context(), own, registration("w1", r.program.URL))
	if err != nil {
		t.Fatal(err)
	}
	r.secret = res.Secret
	r.assign(attempt(1), r.find())
	return r
}

// token adds a token of the role worker.
func (r *rig) token(rec fsm.TokenRecord) {
	r.t.Helper()
	rec.Role, rec.Hash, rec.CreatedAt = "worker", []byte(rec.ID), time.Now()
	r.state.Apply(&fsm.Command{Token: &fsm.Token{Record: rec}})
}

// revoke removes a token.
func (r *rig) revoke(id string) {
	r.t.Helper()
	r.state.Apply(&fsm.Command{Token: &fsm.Token{Record: fsm.TokenRecord{ID: id}, Delete: true}})
}

// assign makes a run of one module, whose first attempt is a worker's.
func (r *rig) assign(id pipeline.AttemptID, worker pipeline.NodeID) {
	r.t.Helper()
	definition, err := fsm.EncodeDefinition(&pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: id.Module, Command: []string{"x"}}}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.state.Apply(&fsm.Command{Submit: &fsm.Submit{Definition: definition, Run: pipeline.Run{ID: id.Run, Pipeline: "p", Modules: 1, Key: string(id.Run)}}})
	r.state.Apply(&fsm.Command{Batch: &fsm.Batch{Assigns: []fsm.Assign{{ID: id, Worker: worker, Incarnation: r.incarnation(worker)}}}})
}

func registration(id, endpoint string) wire.RegisterRequest {
	return wire.RegisterRequest{WorkerNode: wire.WorkerNode{ID: id, Endpoint: endpoint,
		Capabilities: pipeline.Capabilities{OS: "linux", MaxParallelModules: 2, Tags: []string{"python"}}}}
}

func (r *rig) put(text string) pipeline.Digest {
	r.t.Helper()
	d, err := r.blobs.PutBytes(r.t.Context(), []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) putTree(paths ...string) pipeline.Digest {
	r.t.Helper()
	var list tree.Tree
	for _, path := range slices.Sorted(slices.Values(paths)) {
		list = append(list, pipeline.TreeEntry{Path: path, Mode: 0o644, Size: int64(len(path)), Digest: r.put(path)})
	}
	raw, err := tree.Encode(list)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.put(string(raw))
}

// incarnation is that of an external worker; "" of a node.
func (r *rig) incarnation(worker pipeline.NodeID) string {
	rec, _ := r.Lookup(worker)
	return rec.Incarnation
}

func (r *rig) find() pipeline.NodeID {
	r.t.Helper()
	rec, ok := r.Lookup("ext-w1")
	if !ok {
		r.t.Fatal("w1 is not registered")
	}
	return rec.ID
}

func attempt(n int) pipeline.AttemptID {
	return pipeline.AttemptID{Run: "r1", Module: "m", Attempt: n}
}

// What is sent is the protocol: the attempt's id, the module, its files in one
// tree, and the secret by which the program knows the cluster.
func TestWorkers_Dispatch(t *testing.T) {
	r := newRig(t)
	spec := pipeline.Spec{ID: attempt(1), Pipeline: "p", Command: []string{"make"}, Env: map[string]string{"A": "b", "C": pipeline.CacheDir + "/go", "CI": pipeline.EnvUnset}, Workspace: r.putTree("src/a", "doc/b"),
		Inputs: []string{"src/**"}, Upstream: []pipeline.Upstream{{Module: "build", Outputs: r.putTree("bin/app")}}, Timeout: time.Minute}
	if err := r.Dispatch(t.Context(), r.find(), peer.DispatchRequest{Specs: []pipeline.Spec{spec}}); err != nil {
		t.Fatal(err)
	}

	calls := r.program.take()
	if len(calls) != 1 || calls[0].path != "/api/execution/execute" || calls[0].token != r.secret {
		t.Fatalf("calls %+v, want one with the secret of the registration", calls)
	}
	got := calls[0].execute
	if got.ExecutionID != attempt(1).String() || got.EnvironmentVariables["A"] != "b" || got.EnvironmentVariables["PIPELINED_MODULE"] != "m" {
		t.Errorf("request %+v", got)
	}
	if c, ok := got.EnvironmentVariables["C"]; ok {
		t.Errorf("the program got C=%q, and has no caches", c)
	}
	if c, ok := got.EnvironmentVariables["CI"]; ok {
		t.Errorf("the program got CI=%q, and the module unsets it", c)
	}
	var module wire.SerializedModule
	if err := json.Unmarshal(got.SerializedModule, &module); err != nil {
		t.Fatal(err)
	}
	tree, err := tree.NewCache(r.blobs).Read(module.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	if tree.Find("src/a") == nil || tree.Find("bin/app") == nil || tree.Find("doc/b") != nil {
		t.Errorf("files %v, want the inputs and what the dependency left", tree)
	}
}

// Secrets do not cross a network in the clear.
func TestWorkers_Dispatch_secrets(t *testing.T) {
	r := newRig(t)
	spec := pipeline.Spec{ID: attempt(1), Command: []string{"x"}, Private: true, Secrets: map[string]string{"KEY": "v"}}
	err := r.Dispatch(t.Context(), r.find(), peer.DispatchRequest{Specs: []pipeline.Spec{spec}})
	if pipeline.KindOf(err) != pipeline.Forbidden || len(r.program.take()) > 0 {
		t.Errorf("a module with secrets over plain http: %v", err)
	}
}

// A program that refuses or is gone is an error that may pass; one that was
// removed is none to stop.
func TestWorkers_Dispatch_fails(t *testing.T) {
	r := newRig(t)
	id := r.find()
	in := peer.DispatchRequest{Specs: []pipeline.Spec{{ID: attempt(1), Command: []string{"x"}}}}
	r.program.answer(http.StatusInternalServerError)
	if err := r.Dispatch(t.Context(), id, in); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("refused: %v", err)
	}
	r.program.answer(http.StatusTemporaryRedirect)
	if err := r.Dispatch(t.Context(), id, in); err == nil {
		t.Error("a redirect was followed, with the secret")
	}
	r.program.Close()
	if err := r.Dispatch(t.Context(), id, in); err == nil {
		t.Error("no error from a program that is gone")
	}
	if err := r.Dispatch(t.Context(), "external:none", in); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a worker that is not registered: %v", err)
	}
	if err := r.Stop(t.Context(), "external:none", peer.StopRequest{IDs: []pipeline.AttemptID{attempt(1)}}); err != nil {
		t.Errorf("stop at a worker that was removed: %v", err)
	}
}

func TestWorkers_Stop(t *testing.T) {
	r := newRig(t)
	in := peer.StopRequest{IDs: []pipeline.AttemptID{attempt(1), attempt(2)}, Reason: "canceled by ann"}
	if err := r.Stop(t.Context(), r.find(), in); err != nil {
		t.Fatal(err)
	}
	calls := r.program.take()
	if len(calls) != 2 || calls[1].cancel.ExecutionID != attempt(2).String() || calls[1].cancel.Reason != in.Reason || calls[0].token != r.secret {
		t.Errorf("calls %+v", calls)
	}
	// It has forgotten the execution: there is nothing to stop.
	r.program.answer(http.StatusNotFound)
	if err := r.Stop(t.Context(), r.find(), in); err != nil {
		t.Errorf("an execution that it does not know: %v", err)
	}
}

func result(change func(*wire.ExecuteResponse)) wire.ExecuteResponse {
	in := wire.ExecuteResponse{ExecutionID: attempt(1).String(), Success: true, WorkerID: "w1", StartTime: time.Unix(1000, 0), EndTime: time.Unix(1002, 0)}
	if change != nil {
		change(&in)
	}
	return in
}

func serialized(t *testing.T, res wire.SerializedResult) string {
	t.Helper()
	raw, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// An outcome names its blobs, which are fetched and counted, and their holders.
func TestWorkers_Result(t *testing.T) {
	r := newRig(t)
	log, outputs := r.put("a line of output\n"), r.putTree("bin/app", "bin/doc")
	in := result(func(in *wire.ExecuteResponse) {
		in.SerializedResult = serialized(t, wire.SerializedResult{Result: json.RawMessage(`{"n":1}`), Log: log, Outputs: outputs})
	})
	res, err := r.Result(t.Context(), own, in)
	if err != nil || !res.Committed {
		t.Fatalf("%+v, %v", res, err)
	}
	got := r.leader.outcome(t)
	if got.State != pipeline.AttemptSucceeded || got.LogSize != 17 || got.OutputCount != 2 || got.OutputBytes != 14 || string(got.Result) != `{"n":1}` {
		t.Errorf("outcome %+v", got)
	}
	if !slices.Equal(got.Holders, []pipeline.NodeID{statetest.Self, "n2"}) {
		t.Errorf("holders %v, want this node and the second copy's", got.Holders)
	}
	if !got.FinishedAt.Equal(time.Unix(1002, 0)) {
		t.Errorf("finished at %v", got.FinishedAt)
	}
}

// How it ended follows from success and exceptionType; a time in the future is
// the clock of the worker, and now is used.
func TestWorkers_Result_states(t *testing.T) {
	for kind, want := range map[string]pipeline.AttemptState{"Cancelled": pipeline.AttemptCancelled, "TimedOut": pipeline.AttemptTimedOut,
		"ModuleFailed": pipeline.AttemptFailed, "": pipeline.AttemptFailed, "SomethingElse": pipeline.AttemptFailed} {
		r := newRig(t)
		_, err := r.Result(t.Context(), own, result(func(in *wire.ExecuteResponse) {
			in.Success, in.ExceptionType, in.ErrorMessage, in.EndTime = false, kind, "why", time.Now().Add(time.Hour)
		}))
		if err != nil {
			t.Fatal(err)
		}
		got := r.leader.outcome(t)
		if got.State != want || got.Reason != "why" {
			t.Errorf("%q: state %s, reason %q; want %s", kind, got.State, got.Reason, want)
		}
		if got.FinishedAt.After(time.Now()) {
			t.Errorf("%q: finished at %v", kind, got.FinishedAt)
		}
	}
}

// A result that cannot be is refused, with what to do, and nothing is reported.
func TestWorkers_Result_refused(t *testing.T) {
	nowhere := blob.DigestOf([]byte("nowhere"))
	for name, tc := range map[string]struct {
		by     api.Subject
		change func(*wire.ExecuteResponse)
		kind   pipeline.Kind
		text   string
	}{
		"no id":           {own, func(in *wire.ExecuteResponse) { in.ExecutionID = "x" }, pipeline.Invalid, "executionId"},
		"unknown worker":  {own, func(in *wire.ExecuteResponse) { in.WorkerID = "w9" }, pipeline.NotFound, "register first"},
		"another's token": {other, nil, pipeline.Forbidden, "another token"},
		"no JSON":         {own, func(in *wire.ExecuteResponse) { in.SerializedResult = "{" }, pipeline.Invalid, "serializedResult"},
		"no digest":       {own, func(in *wire.ExecuteResponse) { in.SerializedResult = `{"log":"../../etc/passwd"}` }, pipeline.Invalid, "serializedResult"},
		"blob not sent":   {own, func(in *wire.ExecuteResponse) { in.SerializedResult = `{"log":"` + string(nowhere) + `"}` }, pipeline.Invalid, "send log and outputs first"},
		"outputs no tree": {own, nil, pipeline.Invalid, "outputs"},
		"another's attempt": {own, func(in *wire.ExecuteResponse) {
			in.ExecutionID = pipeline.AttemptID{Run: "r2", Module: "m", Attempt: 1}.String()
		}, pipeline.Forbidden, "was not given to worker w1"},
		"never assigned": {own, func(in *wire.ExecuteResponse) { in.ExecutionID = attempt(2).String() }, pipeline.Forbidden, "was not given to worker w1"},
		"no such run": {own, func(in *wire.ExecuteResponse) {
			in.ExecutionID = pipeline.AttemptID{Run: "r9", Module: "m", Attempt: 1}.String()
		}, pipeline.Forbidden, "was not given to worker w1"},
		"large result": {own, func(in *wire.ExecuteResponse) {
			in.SerializedResult = `{"result":"` + strings.Repeat("x", pipeline.MaxResultBytes) + `"}`
		}, pipeline.TooLarge, "result of"},
	} {
		r := newRig(t)
		r.assign(pipeline.AttemptID{Run: "r2", Module: "m", Attempt: 1}, "n2")
		if name == "outputs no tree" {
			file := r.put("no listing")
			tc.change = func(in *wire.ExecuteResponse) { in.SerializedResult = `{"outputs":"` + string(file) + `"}` }
		}
		_, err := r.Result(t.Context(), tc.by, result(tc.change))
		if pipeline.KindOf(err) != tc.kind || err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.kind, tc.text)
		}
		if len(r.leader.reports) > 0 {
			t.Errorf("%s: it was reported", name)
		}
	}
}

// A listing of outputs is what a worker says. Its sizes must be those of the blobs,
// because others' artifacts are deleted by them, and it must not be large, because it
// is in memory as a whole.
func TestWorkers_Result_falseListing(t *testing.T) {
	r := newRig(t)
	file := r.put("data")
	listing := func(size int64, pad int) pipeline.Digest {
		return r.put(fmt.Sprintf(`[{"path":"big","mode":420,"size":%d,"digest":"%s"}]%s`, size, file, strings.Repeat(" ", pad)))
	}
	for name, tc := range map[string]struct {
		outputs pipeline.Digest
		kind    pipeline.Kind
		text    string
	}{
		"larger than its file":  {listing(100<<20, 0), pipeline.Invalid, `"big" has 104857600 bytes by its listing, and 4 by its blob`},
		"smaller than its file": {listing(1, 0), pipeline.Invalid, "by its blob"},
		"too long":              {listing(4, 16<<20), pipeline.TooLarge, "at most 16777216 are accepted"},
	} {
		_, err := r.Result(t.Context(), own, result(func(in *wire.ExecuteResponse) {
			in.SerializedResult = serialized(t, wire.SerializedResult{Outputs: tc.outputs})
		}))
		if pipeline.KindOf(err) != tc.kind || err == nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.kind, tc.text)
		}
	}
	if len(r.leader.reports) > 0 {
		t.Errorf("reported: %+v", r.leader.reports)
	}
}

// What the leader refuses is no error: the worker reads that it is not awaited.
func TestWorkers_Result_superseded(t *testing.T) {
	r := newRig(t)
	r.leader.ack = peer.Ack{Refused: "attempt 2 has begun"}
	res, err := r.Result(t.Context(), admin, result(nil))
	if err != nil || res.Committed || res.Reason != "attempt 2 has begun" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestWorkers_Register_refused(t *testing.T) {
	r := newRig(t)
	for text, change := range map[string]func(*wire.WorkerNode){
		"workerNode.id":       func(w *wire.WorkerNode) { w.ID = "a b" },
		"endpoint":            func(w *wire.WorkerNode) { w.Endpoint = "ftp://x" },
		"endpoint \"http://u": func(w *wire.WorkerNode) { w.Endpoint = "http://user:password@host" },
		"maxParallelModules":  func(w *wire.WorkerNode) { w.Capabilities.MaxParallelModules = 0 },
		"tags is empty":       func(w *wire.WorkerNode) { w.Capabilities.Tags = nil },
		"cpu":                 func(w *wire.WorkerNode) { w.Capabilities.CPU = -1 },
		"at most 100 tags":    func(w *wire.WorkerNode) { w.Capabilities.Tags = slices.Repeat([]string{"t"}, 101) },
	} {
		in := registration("w2", r.program.URL)
		change(&in.WorkerNode)
		if _, err := r.Register(t.Context(), admin, in); pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// A worker's token cannot take over another's registration, as long as that
	// token is valid; an admin may.
	if _, err := r.Register(t.Context(), other, registration("w1", "http://elsewhere:1")); pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("another token: %v", err)
	}
	r.revoke("t1")
	if _, err := r.Register(t.Context(), other, registration("w1", r.program.URL)); err != nil {
		t.Errorf("the token was replaced: %v", err)
	}
	first, _ := r.Lookup("ext-w1")
	if _, err := r.Register(t.Context(), admin, registration("w1", r.program.URL)); err != nil {
		t.Error(err)
	}
	// A new registration is a new life: what it ran is lost, and the old secret ends.
	if again, _ := r.Lookup("ext-w1"); again.Incarnation == first.Incarnation || again.Secret == first.Secret {
		t.Errorf("incarnation and secret stayed: %+v", again)
	}
}

func TestWorkers_Heartbeat(t *testing.T) {
	r := newRig(t)
	r.leader.drain = true
	res, err := r.Heartbeat(t.Context(), own, wire.HeartbeatRequest{WorkerID: "w1", CurrentLoad: 1})
	if err != nil || !res.Acknowledged || !res.ShouldDrain || r.leader.beats[r.find()] != 1 {
		t.Errorf("%+v, %v, beats %v", res, err, r.leader.beats)
	}
	if res, err := r.Heartbeat(t.Context(), own, wire.HeartbeatRequest{WorkerID: "w9"}); err != nil || res.Acknowledged {
		t.Errorf("an unknown worker: %+v, %v; want to be registered again", res, err)
	}
	if _, err := r.Heartbeat(t.Context(), other, wire.HeartbeatRequest{WorkerID: "w1"}); pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("another token: %v", err)
	}
}

func TestWorkers_Workers(t *testing.T) {
	r := newRig(t)
	r.state.Member.HTTPAddr = "127.0.0.1:8080"
	r.leader.workers = []pipeline.Worker{{ID: r.find(), Name: "w1", Endpoint: r.program.URL, External: true}, {ID: statetest.Self, Name: "one"}}
	list, err := r.Workers.Workers(t.Context())
	if err != nil || len(list.Workers) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if w := list.Workers[0]; w.ID != "w1" || w.Endpoint != r.program.URL || !w.External {
		t.Errorf("external worker %+v", w)
	}
	if w := list.Workers[1]; w.Endpoint != "http://127.0.0.1:8080" {
		t.Errorf("node %+v", w)
	}
}

func TestWorkers_ForgetWorker(t *testing.T) {
	r := newRig(t)
	if err := r.ForgetWorker(t.Context(), other, "w1"); pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("another token: %v", err)
	}
	if err := r.ForgetWorker(t.Context(), own, "w1"); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Lookup("ext-w1"); ok {
		t.Error("it is still registered")
	}
	if err := r.ForgetWorker(t.Context(), admin, "one"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a node: %v", err)
	}
}
