package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// start is the time of every test.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) *time.Time {
	t := start.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}

func code(n int) *int { return &n }

// fakeCluster answers as a node does, from what the test put in.
type fakeCluster struct {
	*httptest.Server
	tb    testing.TB
	blobs *blob.Store

	mu sync.Mutex
	// guards following
	changed  chan struct{} // closed and replaced at every change
	runs     map[pipeline.RunID]*fakeRun
	order    []pipeline.RunID
	health   wire.Health
	members  []wire.Member
	workers  []wire.WorkerNode
	tokens   []wire.TokenInfo
	requests []string // method and path of every call
	removed  []string // nodes
	bodies   map[string]string
	auth     []string
	refuse   map[string]wire.Problem // by "METHOD path": answered instead
	submits  map[string]pipeline.RunID
	answers  map[string]any // by "METHOD path": what these calls answer with
	// onSubmit makes the run of a submission.
	onSubmit func(wire.SubmitRequest) *fakeRun
	// breakAfter cuts a stream of output after so many events, once.
	breakAfter int
}

// fakeRun is a run and its output.
type fakeRun struct {
	run       wire.Run
	events    []wire.LogEvent
	artifacts []wire.Artifact
	files     map[string]string // by module/path
	logs      map[string]string // by module/attempt
}

func newFakeCluster(tb testing.TB) *fakeCluster {
	tb.Helper()
	blobs, err := blob.Open(tb.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fakeCluster{tb: tb, blobs: blobs, changed: make(chan struct{}), runs: map[pipeline.RunID]*fakeRun{},
		bodies: map[string]string{}, refuse: map[string]wire.Problem{}, submits: map[string]pipeline.RunID{},
		health: wire.Health{Status: "healthy", NodeID: "n1", Node: "node-1", Mode: "auto", Role: "leader", Leader: "node-1", Term: 3,
			Quorum: true, Voters: []string{"node-1"}, AvailableWorkers: 1, MaxLoad: 4, Version: "1.0", Timestamp: start, Nonce: "nonce"},
	}
	f.Server = httptest.NewServer(f)
	tb.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
		blobs.Close()
	})
	f.members = []wire.Member{{ID: "n1", Name: "node-1", Addr: "127.0.0.1", HTTP: f.address(), Mode: "auto", Status: "alive", Role: "leader", Version: "1.0", MaxLoad: 4, CurrentLoad: 1}}
	return f
}

func (f *fakeCluster) address() string { return strings.TrimPrefix(f.URL, "http://") }

// update changes the cluster and wakes the one who waits.
func (f *fakeCluster) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeCluster) add(r *fakeRun) {
	f.update(func() {
		f.runs[r.run.ID] = r
		f.order = append([]pipeline.RunID{r.run.ID}, f.order...)
	})
}

func (f *fakeCluster) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeCluster) body(key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies[key]
}

func (f *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Path
	var body []byte
	if r.Header.Get("Content-Type") == "application/json" {
		body, _ = io.ReadAll(r.Body)
	}
	f.mu.Lock()
	f.requests = append(f.requests, key)
	f.bodies[key] = string(body)
	f.auth = append(f.auth, r.Header.Get("Authorization"))
	problem, refused := f.refuse[key]
	answer, answered := f.answers[key]
	f.mu.Unlock()
	if answered {
		f.json(w, answer)
		return
	}
	if refused {
		f.problem(w, problem)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case key == "GET /api/health":
		f.json(w, f.health)
	case key == "GET /api/workers":
		f.json(w, wire.WorkerList{Workers: f.workers})
	case key == "GET /api/v1/members":
		f.json(w, wire.MemberList{ClusterID: "c1", Leader: "node-1", Members: f.members})
	case strings.HasPrefix(key, "POST /api/v1/members/"), key == "POST /api/v1/leave":
		if key == "POST /api/v1/leave" {
			f.health.NodeID = "gone"
		}
		f.json(w, wire.Success{Success: true})
	case key == "GET /api/v1/tokens":
		f.json(w, wire.TokenList{Tokens: f.tokens})
	case key == "POST /api/v1/signin/codes":
		f.json(w, wire.SignInCode{Code: "pdc_1_2", URL: f.URL + "/#code=pdc_1_2"})
	case key == "POST /api/v1/tokens":
		f.json(w, wire.TokenCreated{TokenInfo: wire.TokenInfo{ID: "t9", Role: "read"}, Token: "pd_t9_secret"})
	case r.Method == "DELETE" && parts[2] == "members":
		f.removed = append(f.removed, parts[3])
		w.WriteHeader(http.StatusNoContent)
	case r.Method == "DELETE" && parts[2] == "tokens":
		f.deleteToken(w, parts[3])
	case parts[2] == "blobs":
		f.serveBlobs(w, r, parts[3:], body)
	case key == "POST /api/v1/runs":
		f.submit(w, r, body)
	case key == "GET /api/v1/runs":
		f.list(w, r)
	case len(parts) > 3 && parts[2] == "runs":
		f.serveRun(w, r, parts[3:], body)
	default:
		f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: "no such path " + key})
	}
}

func (f *fakeCluster) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	f.mu.Lock()
	b, err := json.Marshal(v)
	f.mu.Unlock()
	if err != nil {
		f.tb.Error(err)
	}
	w.Write(b)
}

func (f *fakeCluster) problem(w http.ResponseWriter, p wire.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set(wire.HeaderKind, p.Kind)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func (f *fakeCluster) deleteToken(w http.ResponseWriter, id string) {
	f.mu.Lock()
	n := len(f.tokens)
	f.tokens = slices.DeleteFunc(f.tokens, func(t wire.TokenInfo) bool { return t.ID == id })
	gone := len(f.tokens) < n
	f.mu.Unlock()
	if !gone {
		f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: "no token " + id})
		return
	}
	f.json(w, wire.Success{Success: true})
}

func (f *fakeCluster) serveBlobs(w http.ResponseWriter, r *http.Request, rest []string, body []byte) {
	switch {
	case r.Method == "POST" && len(rest) == 1 && rest[0] == "missing":
		var in wire.MissingRequest
		if err := json.Unmarshal(body, &in); err != nil {
			f.tb.Error(err)
		}
		missing := f.blobs.Missing(in.Digests)
		if in.Tree != "" {
			var err error
			if missing, err = tree.NewCache(f.blobs).Missing(in.Tree); err != nil {
				f.problem(w, wire.Problem{Status: 400, Kind: "invalid", Detail: "unknown field tree"})
				return
			}
		}
		f.json(w, wire.MissingResponse{Missing: missing})
	case r.Method == "POST" && len(rest) == 1 && rest[0] == "get":
		var in wire.BundleRequest
		if err := json.Unmarshal(body, &in); err != nil {
			f.tb.Error(err)
		}
		have := slices.DeleteFunc(in.Digests, func(d pipeline.Digest) bool { return !f.blobs.Has(d) })
		if err := blob.WriteBundle(r.Context(), w, f.blobs, have); err != nil {
			f.tb.Error(err)
		}
	case r.Method == "GET":
		b, err := f.blobs.Open(pipeline.Digest(rest[0]))
		if err != nil {
			f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: err.Error()})
			return
		}
		defer b.Close()
		w.Header().Set("Etag", `"`+rest[0]+`"`)
		http.ServeContent(w, r, "", time.Time{}, b)
	case r.Method == "POST":
		batch := f.blobs.NewBatch()
		defer batch.Discard()
		stored, err := blob.ReadBundle(r.Context(), r.Body, blob.BundleLimits{}, batch)
		if err == nil {
			err = batch.Commit(r.Context())
		}
		if err != nil {
			f.problem(w, wire.Problem{Status: 400, Kind: "invalid", Detail: err.Error()})
			return
		}
		f.json(w, wire.BundleResponse{Stored: len(stored)})
	case r.Method == "PUT":
		if _, err := f.blobs.PutExpect(r.Context(), pipeline.Digest(rest[0]), r.Body); err != nil {
			f.problem(w, wire.Problem{Status: 400, Kind: "invalid", Detail: err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fakeCluster) submit(w http.ResponseWriter, r *http.Request, body []byte) {
	var in wire.SubmitRequest
	if err := json.Unmarshal(body, &in); err != nil {
		f.tb.Error(err)
	}
	key := r.Header.Get(wire.HeaderIdempotencyKey)
	f.mu.Lock()
	id, again := f.submits[key]
	made := f.onSubmit
	f.mu.Unlock()
	if !again {
		run := made(in)
		id = run.run.ID
		f.add(run)
		f.update(func() { f.submits[key] = id })
	}
	f.json(w, wire.RunCreated{ID: id, Number: 7, Repeated: again})
}

func (f *fakeCluster) list(w http.ResponseWriter, r *http.Request) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	var out wire.RunList
	f.mu.Lock()
	for i, id := range f.order {
		run := f.runs[id].run.RunSummary
		if s := r.URL.Query().Get("state"); i < from || s != "" && string(run.State) != s {
			continue
		}
		if len(out.Runs) == limit {
			out.Cursor = strconv.Itoa(i)
			break
		}
		out.Runs = append(out.Runs, run)
	}
	f.mu.Unlock()
	f.json(w, out)
}

func (f *fakeCluster) serveRun(w http.ResponseWriter, r *http.Request, rest []string, body []byte) {
	f.mu.Lock()
	run := f.runs[pipeline.RunID(rest[0])]
	for _, other := range f.runs {
		if strconv.FormatUint(other.run.Number, 10) == rest[0] {
			run = other
		}
	}
	f.mu.Unlock()
	if run == nil {
		f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: fmt.Sprintf("no run %q", rest[0])})
		return
	}
	switch {
	case len(rest) == 1:
		f.getRun(w, r, run)
	case rest[1] == "cancel":
		f.cancel(w, run)
	case rest[1] == "logs":
		f.stream(w, r, run, body)
	case rest[1] == "modules":
		f.log(w, r, run, rest[2])
	case rest[1] == "artifacts" && len(rest) == 2:
		var out wire.ArtifactList
		for _, a := range run.artifacts {
			if m := r.URL.Query().Get("module"); m == "" || m == a.Module {
				out.Artifacts = append(out.Artifacts, a)
			}
		}
		f.json(w, out)
	case rest[1] == "artifacts":
		text, ok := run.files[strings.Join(rest[2:], "/")]
		if !ok {
			f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: "no such artifact"})
			return
		}
		io.WriteString(w, text)
	}
}

func (f *fakeCluster) getRun(w http.ResponseWriter, r *http.Request, run *fakeRun) {
	q := r.URL.Query()
	index, _ := strconv.ParseUint(q.Get("index"), 10, 64)
	wait, _ := time.ParseDuration(q.Get("wait"))
	timeout := time.After(wait)
	for {
		f.mu.Lock()
		out, changed := run.run, f.changed
		f.mu.Unlock()
		if out.Index > index || wait == 0 {
			f.json(w, out)
			return
		}
		select {
		case <-changed:
		case <-timeout:
			f.json(w, out)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fakeCluster) cancel(w http.ResponseWriter, run *fakeRun) {
	f.mu.Lock()
	over := run.run.State.Final()
	f.mu.Unlock()
	if over {
		f.problem(w, wire.Problem{Status: 409, Kind: "conflict", Detail: "the run is over"})
		return
	}
	f.update(func() { finish(&run.run, pipeline.RunCancelled, "cancelled") })
	f.json(w, run.run.RunSummary)
}

// stream sends the output that there is, and what comes, until the run is over.
func (f *fakeCluster) stream(w http.ResponseWriter, r *http.Request, run *fakeRun, body []byte) {
	var in wire.FollowRequest
	if err := json.Unmarshal(body, &in); err != nil {
		f.tb.Error(err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	send := func(kind string, e wire.LogEvent) {
		b, _ := json.Marshal(e)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, b)
		rc.Flush()
	}
	for n := 0; ; {
		f.mu.Lock()
		events, over, changed, cut := run.events, run.run.State.Final(), f.changed, f.breakAfter
		state := run.run.State
		f.mu.Unlock()
		for ; n < len(events); n++ {
			e := events[n]
			if len(in.Modules) > 0 && !slices.Contains(in.Modules, e.Module) {
				continue
			}
			p := in.Positions[e.Module]
			if e.Attempt < p.Attempt || e.Attempt == p.Attempt && (p.Ended || e.Offset+e.Len() <= p.Offset && !e.End && p.Offset > 0) {
				continue
			}
			send(wire.EventLog, e)
			if cut > 0 && n+1 == cut {
				f.update(func() { f.breakAfter = 0 })
				panic(http.ErrAbortHandler)
			}
		}
		if over || !in.Follow {
			send(wire.EventRunEnd, wire.LogEvent{RunEnd: true, Run: state})
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fakeCluster) log(w http.ResponseWriter, r *http.Request, run *fakeRun, module string) {
	attempt := r.URL.Query().Get("attempt")
	if attempt == "" {
		attempt = "0"
	}
	text, ok := run.logs[module+"/"+attempt]
	if !ok {
		f.problem(w, wire.Problem{Status: 404, Kind: "not_found", Detail: fmt.Sprintf("run %s has no module %q", run.run.ID, module)})
		return
	}
	w.Header().Set(wire.HeaderFinal, "true")
	w.Header().Set(wire.HeaderAttempt, "1")
	w.Header().Set(wire.HeaderSize, strconv.Itoa(len(text)))
	io.WriteString(w, text)
}

// finish ends a run.
func finish(r *wire.Run, s pipeline.RunState, reason string) {
	r.State, r.Reason, r.FinishedAt = s, reason, at(5)
	r.Index++
}

// finished gives a run of two modules that is over: build succeeded, test did
// as its run.
func finished(id pipeline.RunID, state pipeline.RunState) *fakeRun {
	moduleState, exitCode, reason := pipeline.ModuleSucceeded, 0, ""
	attempt := pipeline.AttemptSucceeded
	if state == pipeline.RunFailed {
		moduleState, exitCode, reason, attempt = pipeline.ModuleFailed, 3, "exit code 3", pipeline.AttemptFailed
	}
	if state == pipeline.RunCancelled {
		moduleState, exitCode, reason, attempt = pipeline.ModuleCancelled, 143, "cancelled", pipeline.AttemptCancelled
	}
	r := &fakeRun{run: wire.Run{
		RunSummary: wire.RunSummary{ID: id, Number: 7, Pipeline: "release", State: state, Submitter: "ada", SubmittedAt: start, StartedAt: at(0), FinishedAt: at(5), ModuleCount: 2, ModulesDone: 2},
		Index:      40,
		Modules: []wire.Module{
			{Name: "build", State: pipeline.ModuleSucceeded, Worker: "node-1", ExitCode: code(0), Outputs: []string{"bin/app"}, StartedAt: at(0), FinishedAt: at(2),
				Attempts: []wire.Attempt{{Number: 1, Worker: "node-1", State: pipeline.AttemptSucceeded, ExitCode: code(0), StartedAt: at(0), FinishedAt: at(2)}}},
			{Name: "test", State: moduleState, Reason: reason, Worker: "node-2", ExitCode: code(exitCode), DependsOn: []string{"build"}, StartedAt: at(2), FinishedAt: at(5),
				Attempts: []wire.Attempt{{Number: 1, Worker: "node-2", State: attempt, Reason: reason, ExitCode: code(exitCode), StartedAt: at(2), FinishedAt: at(5)}}},
		},
	}}
	r.events = []wire.LogEvent{
		{Module: "build", Attempt: 1, Text: "compiling\nli"},
		{Module: "test", Attempt: 1, Text: "ok 1\n"},
		{Module: "build", Attempt: 1, Offset: 12, Text: "nking\n"},
		{Module: "build", Attempt: 1, Offset: 18, End: true, State: pipeline.AttemptSucceeded},
		{Module: "test", Attempt: 1, Offset: 5, Text: "no newline", End: true, State: attempt},
	}
	r.logs = map[string]string{"build/0": "compiling\nlinking\n", "build/1": "compiling\nlinking\n", "test/0": "ok 1\nno newline"}
	return r
}

func digest(s string) pipeline.Digest {
	sum := sha256.Sum256([]byte(s))
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

// command is a command line under test.
type command struct {
	*environment
	out, err bytes.Buffer
	env      map[string]string
	signal   chan<- os.Signal // set once the command listens
	listens  chan struct{}
}

// newCommand makes a command line that talks to f (nil: to nobody), as a user
// with a token and with nothing else of this machine.
func newCommand(tb testing.TB, f *fakeCluster) *command {
	tb.Helper()
	c := &command{env: map[string]string{"PATH": os.Getenv("PATH"), "HOME": tb.TempDir()}, listens: make(chan struct{})}
	if f != nil {
		c.env["PIPELINED_ADDR"], c.env["PIPELINED_TOKEN"] = f.address(), "secret"
	}
	c.env["PIPELINED_KEY_FILE"] = filepath.Join(tb.TempDir(), "none.key")
	var once sync.Once
	c.environment = &environment{
		stdin:  strings.NewReader(""),
		stdout: terminal.NewStream(&c.out), stderr: terminal.NewStream(&c.err),
		getenv: func(name string) string { return c.env[name] },
		environ: func() []string {
			var list []string
			for _, k := range slices.Sorted(maps.Keys(c.env)) {
				list = append(list, k+"="+c.env[k])
			}
			return list
		},
		notify: func(s chan<- os.Signal, _ ...os.Signal) {
			c.signal = s
			once.Do(func() { close(c.listens) })
		},
		unnotify: func(chan<- os.Signal) {},
		now:      func() time.Time { return start.Add(10 * time.Second) },
		local:    "127.0.0.1:1", // nobody listens there
		agents:   func() []storage.AgentFile { return nil },
		open: func(context.Context, nodeConfig) (clusterNode, error) {
			tb.Error("a node was opened")
			return nil, io.EOF
		},
	}
	return c
}

// exec runs a command line and gives what it printed.
func (c *command) exec(args ...string) (code int, stdout, stderr string) {
	c.out.Reset()
	c.err.Reset()
	code = (&program{c.environment}).run(context.Background(), args)
	return code, c.out.String(), c.err.String()
}

// write puts a file into a directory and gives its path.
func write(tb testing.TB, dir, name, text string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}
