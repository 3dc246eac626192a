package runlog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/runlog"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time at which everything is assigned and started.
var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// world is a cluster in memory: a real replicated state, nodes that have output
// files, and blobs.
type world struct {
	tb    testing.TB
	store *fsm.Store
	nodes map[pipeline.NodeID]*node

	mu sync.Mutex // guards following
	// index is that of the last command.
	index uint64
	blobs map[pipeline.Digest]string
	// dead nodes do not answer.
	dead map[pipeline.NodeID]bool
}

// node is one node with its Logs and the attempts that it has.
type node struct {
	*runlog.Logs
	files *files
	mux   *http.ServeMux
}

func newWorld(tb testing.TB, ids ...pipeline.NodeID) *world {
	tb.Helper()
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})

	w := &world{tb: tb, store: store, nodes: map[pipeline.NodeID]*node{}, blobs: map[pipeline.Digest]string{}, dead: map[pipeline.NodeID]bool{}}
	for _, id := range ids {
		n := &node{files: &files{tb: tb, dir: tb.TempDir(), attempts: map[pipeline.AttemptID]bool{}}, mux: http.NewServeMux()}
		n.Logs = runlog.New(runlog.Config{Self: id, State: w, Files: n.files, Peers: w, OpenLog: w.openLog})
		n.Register(n.mux)
		w.nodes[id] = n
	}
	return w
}

// The replicated state, which every node has without delay.

func (w *world) Fresh(context.Context) bool                { return true }
func (w *world) View(fn func(*fsm.View) error) error       { return w.store.View(fn) }
func (w *world) Changed(id pipeline.RunID) <-chan struct{} { return w.store.Changed(id) }
func (w *world) Debounce(context.Context, pipeline.RunID)  {}

func (w *world) apply(c *fsm.Command) {
	w.tb.Helper()
	c.At = start
	raw, err := fsm.Encode(c)
	if err != nil {
		w.tb.Fatal(err)
	}

	w.mu.Lock()
	w.index++
	reply := w.store.Apply(&raft.Log{Index: w.index, Term: 1, Type: raft.LogCommand, Data: raw})
	w.mu.Unlock()
	switch r := reply.(type) {
	case fsm.SubmitResult:
		err = r.Err
	case fsm.BatchResult:
		if len(r.Refused) > 0 {
			err = errors.New(r.Refused[0].Reason)
		}
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

// submit commits a run with modules.
func (w *world) submit(run pipeline.RunID, modules ...string) {
	w.tb.Helper()
	p := &pipeline.Pipeline{Name: "p"}
	for _, name := range modules {
		p.Modules = append(p.Modules, pipeline.Module{Name: name})
	}
	definition, err := fsm.EncodeDefinition(p)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.apply(&fsm.Command{Submit: &fsm.Submit{Definition: definition,
		Run: pipeline.Run{ID: run, Pipeline: "p", Modules: len(modules), Key: string(run)}}})
}

// assign assigns attempts, "module/number" each, to a worker; they start at once.
func (w *world) assign(run pipeline.RunID, worker pipeline.NodeID, attempts ...string) {
	w.tb.Helper()
	var batch fsm.Batch
	for _, text := range attempts {
		id := w.id(run, text)
		batch.Assigns = append(batch.Assigns, fsm.Assign{ID: id, Worker: worker, WorkerName: string(worker), Incarnation: "i"})
	}
	w.apply(&fsm.Command{Batch: &batch})

	batch = fsm.Batch{}
	for _, text := range attempts {
		batch.Starts = append(batch.Starts, fsm.Start{ID: w.id(run, text), At: start})
	}
	w.apply(&fsm.Command{Batch: &batch})
}

func (w *world) id(run pipeline.RunID, text string) pipeline.AttemptID {
	w.tb.Helper()
	id, err := pipeline.ParseAttemptID(string(run) + "/" + text)
	if err != nil {
		w.tb.Fatal(err)
	}
	return id
}

// ended says how an attempt ended.
type ended struct {
	state pipeline.AttemptState
	next  pipeline.ModuleState
	// log is the whole output, times its record of times.
	log, times string
	// after the start is when it ended.
	after time.Duration
	// last ends the run too.
	last bool
}

// end commits the outcome of an attempt, with its log as a blob.
func (w *world) end(worker pipeline.NodeID, run pipeline.RunID, attempt string, e ended) {
	w.tb.Helper()
	if e.state == "" {
		e.state, e.next = pipeline.AttemptSucceeded, pipeline.ModuleSucceeded
	}
	o := pipeline.Outcome{ID: w.id(run, attempt), Worker: worker, State: e.state, StartedAt: start, FinishedAt: start.Add(e.after)}
	if e.log != "" {
		o.Log, o.LogSize, o.Holders = w.putBlob(e.log+counts(e.log)+e.times), int64(len(e.log)), []pipeline.NodeID{worker}
	}

	batch := fsm.Batch{Outcomes: []fsm.Outcome{{Outcome: o, Next: e.next}}}
	if e.last {
		batch.Runs = []fsm.RunEnd{{Run: run, State: pipeline.RunSucceeded}}
	}
	w.apply(&fsm.Command{Batch: &batch})
}

// counts are those of an output's lines.
func counts(log string) string {
	var c pipeline.LogCounts
	_, _ = c.Write([]byte(log))
	return string(c.Bytes())
}

// Blobs.

func (w *world) putBlob(text string) pipeline.Digest {
	sum := sha256.Sum256([]byte(text))
	d := pipeline.Digest(hex.EncodeToString(sum[:]))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blobs[d] = text
	return d
}

func (w *world) loseBlobs() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.blobs)
}

type blob struct{ *strings.Reader }

func (blob) Close() error { return nil }

func (w *world) openLog(_ context.Context, a *pipeline.Attempt) (runlog.Text, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, ok := w.blobs[a.Log]
	if !ok {
		return nil, pipeline.Errorf(pipeline.NotFound, "blob %.8s is on no node that answers", a.Log)
	}
	return blob{strings.NewReader(text)}, nil
}

// Messages between nodes: each goes to the mux of the other one.

func (w *world) kill(id pipeline.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[id] = true
}

func (w *world) Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error {
	raw, err := peer.Marshal(in)
	if err != nil {
		return err
	}
	res, err := w.Request(ctx, to, http.MethodPost, path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return peer.Unmarshal(body, out)
}

func (w *world) Request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	w.mu.Lock()
	n, dead := w.nodes[to], w.dead[to]
	w.mu.Unlock()
	if n == nil || dead {
		return nil, peer.Unreachable(string(to), errors.New("connection refused"))
	}

	pr, pw := io.Pipe()
	out := &pipeWriter{header: http.Header{}, status: make(chan int, 1), w: pw}
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the handler, which the closing of the answer's body ends
		n.mux.ServeHTTP(out, httptest.NewRequest(method, path, body).WithContext(ctx))
		out.WriteHeader(http.StatusOK)
		pw.Close()
		cancel()
	}()
	status := <-out.status
	if status != http.StatusOK {
		text, _ := io.ReadAll(pr)
		cancel()
		return nil, pipeline.Errorf(pipeline.ParseKind(out.header.Get(wire.HeaderKind)), "%s", bytes.TrimSpace(text))
	}
	return &http.Response{StatusCode: status, Body: &answer{pr, cancel}}, nil
}

// following is a Follow call under way.
type following struct {
	cancel context.CancelFunc
	result chan error

	mu     sync.Mutex // guards following
	events []wire.LogEvent
}

// follow follows a run at a node.
func (w *world) follow(at pipeline.NodeID, run pipeline.RunID, in wire.FollowRequest) *following {
	ctx, cancel := context.WithCancel(w.tb.Context())
	f := &following{cancel: cancel, result: make(chan error, 1)}
	go func() { // ends with the run or cancel, and wait takes the result
		f.result <- w.nodes[at].Follow(ctx, run, in, func(e wire.LogEvent) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
			return nil
		})
	}()
	return f
}

// wait waits for the end, and returns the error.
func (f *following) wait() error {
	defer f.cancel()
	return <-f.result
}

// text is the output of a module that has arrived, or with "" of all of them. It
// checks that each attempt's bytes are without gaps.
func (f *following) text(tb testing.TB, module string) string {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()

	var out strings.Builder
	next := map[string]wire.LogPosition{}
	for _, e := range f.events {
		if module != "" && e.Module != module {
			continue
		}
		if at, ok := next[e.Module]; ok && e.Module != "" && at.Attempt == e.Attempt && at.Offset != e.Offset {
			tb.Errorf("%s: an event at offset %d follows one that ends at %d", e.Module, e.Offset, at.Offset)
		}
		if !strings.HasPrefix(e.Text, "[the rest of this output") { // which is not part of it
			next[e.Module] = e.Next()
		}
		out.Write(e.Bytes())
	}
	return out.String()
}

// ends lists the attempts whose End has arrived, and "run" for the run's.
func (f *following) ends() string {
	f.mu.Lock()
	defer f.mu.Unlock()

	var list []string
	for _, e := range f.events {
		switch {
		case e.RunEnd:
			list = append(list, "run:"+string(e.Run))
		case e.End:
			list = append(list, fmt.Sprintf("%s/%d:%s", e.Module, e.Attempt, e.State))
		}
	}
	return strings.Join(list, " ")
}

// answer is a body whose Close also ends the handler.
type answer struct {
	*io.PipeReader
	cancel func()
}

func (a *answer) Close() error {
	a.cancel()
	return a.PipeReader.Close()
}

// pipeWriter is an http.ResponseWriter into a pipe.
type pipeWriter struct {
	header http.Header
	once   sync.Once
	status chan int
	w      *io.PipeWriter
}

func (p *pipeWriter) Header() http.Header                { return p.header }
func (p *pipeWriter) WriteHeader(status int)             { p.once.Do(func() { p.status <- status }) }
func (p *pipeWriter) FlushError() error                  { return nil }
func (p *pipeWriter) SetWriteDeadline(_ time.Time) error { return nil }

func (p *pipeWriter) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.w.Write(b)
}

// files are the outputs of the attempts that one node has.
type files struct {
	tb  testing.TB
	dir string

	mu sync.Mutex // guards following
	// attempts says whether each one is live.
	attempts map[pipeline.AttemptID]bool
}

func (f *files) path(id pipeline.AttemptID) string {
	return filepath.Join(f.dir, strings.ReplaceAll(id.String(), "/", "_"))
}

func (f *files) LogFile(id pipeline.AttemptID) (path, times string, live, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	live, ok = f.attempts[id]
	return f.path(id), f.path(id) + ".times", live, ok
}

// begin makes an attempt live on this node, without output.
func (f *files) begin(id pipeline.AttemptID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[id] = true
}

// write appends to the output of an attempt, which it begins if need be.
func (f *files) write(id pipeline.AttemptID, text string) {
	f.tb.Helper()
	f.begin(id)
	f.append(f.path(id), text)
}

// mark appends to the record of the times of an output.
func (f *files) mark(id pipeline.AttemptID, record []byte) {
	f.tb.Helper()
	f.append(f.path(id)+".times", string(record))
}

func (f *files) append(path, text string) {
	f.tb.Helper()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = out.WriteString(text)
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		f.tb.Error(err)
	}
}

// stop marks an attempt as ended, forget removes it.
func (f *files) stop(id pipeline.AttemptID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[id] = false
}

func (f *files) forget(id pipeline.AttemptID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attempts, id)
}
