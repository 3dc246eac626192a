package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/session"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds every wait.
const deadline = 20 * time.Second

var ann = api.Subject{Name: "ann", Role: api.RoleAdmin}

// world is two nodes with a real state, of which n2 has the directory of the
// attempt r/m/1. Their messages go over HTTP in this process.
type world struct {
	tb      testing.TB
	store   *fsm.Store
	index   uint64
	dir     string
	gone    context.CancelFunc // removes the directory
	entered atomic.Int32       // sessions that have not left
	down    atomic.Bool        // n2 does not answer
	server  *httptest.Server

	n1, n2 *session.Sessions
	// hasState is what the nodes say of themselves.
	hasState bool
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, dir: tb.TempDir(), hasState: true}
	var err error
	if w.store, err = fsm.Open(tb.TempDir(), hclog.NewNullLogger()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.store.Close() })

	gone, cancel := context.WithCancel(context.Background())
	w.gone = cancel
	tb.Cleanup(cancel)
	open := func(id pipeline.AttemptID) (*worker.SessionDir, error) {
		if id.String() != "r/m/1" {
			return nil, pipeline.Errorf(pipeline.NotFound, "attempt %s is not on this node", id)
		}
		w.entered.Add(1)
		return &worker.SessionDir{Dir: w.dir, Env: []string{"PATH=/usr/bin:/bin", "COLOUR=green"}, Omitted: []string{"HIDDEN"},
			Gone: gone, Leave: func() { w.entered.Add(-1) }}, nil
	}
	cfg := session.Config{Name: "n1", Self: "n1", State: w, Peers: w, Dirs: dirs(func(id pipeline.AttemptID) (*worker.SessionDir, error) {
		return nil, pipeline.Errorf(pipeline.NotFound, "attempt %s is not on this node", id)
	}), Logger: hclog.NewNullLogger()}
	w.n1 = session.New(cfg)
	cfg.Name, cfg.Self, cfg.Dirs = "n2", "n2", dirs(open)
	w.n2 = session.New(cfg)

	mux := http.NewServeMux()
	w.n2.Register(mux)
	w.server = httptest.NewUnstartedServer(mux)
	w.server.EnableHTTP2 = true // both directions of a session share one request
	w.server.StartTLS()
	tb.Cleanup(w.server.Close)
	return w
}

type dirs func(pipeline.AttemptID) (*worker.SessionDir, error)

func (d dirs) OpenSession(id pipeline.AttemptID) (*worker.SessionDir, error) { return d(id) }

func (w *world) HasState() bool                      { return w.hasState }
func (w *world) Fresh(context.Context) bool          { return true }
func (w *world) View(fn func(*fsm.View) error) error { return w.store.View(fn) }
func (w *world) Request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	if to != "n2" || w.down.Load() {
		return nil, peer.Unreachable(string(to), errors.New("connection refused"))
	}
	req, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, body)
	if err != nil {
		return nil, err
	}
	res, err := w.server.Client().Do(req)
	if err != nil {
		return nil, peer.Unreachable(string(to), err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return nil, pipeline.Errorf(pipeline.ParseKind(res.Header.Get(wire.HeaderKind)), "%s", bytes.TrimSpace(text))
	}
	return res, nil
}

func (w *world) apply(c *fsm.Command) {
	w.tb.Helper()
	c.At = time.Unix(1_800_000_000, 0).UTC()
	raw, err := fsm.Encode(c)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.index++
	switch r := w.store.Apply(&raft.Log{Index: w.index, Term: 1, Type: raft.LogCommand, Data: raw}).(type) {
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

// run commits a run with the modules m, on worker, and later, which waits.
func (w *world) run(worker pipeline.NodeID) {
	w.tb.Helper()
	definition, err := fsm.EncodeDefinition(&pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "m"}, {Name: "later"}}})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.apply(&fsm.Command{Submit: &fsm.Submit{Definition: definition, Run: pipeline.Run{ID: "r", Pipeline: "p", Modules: 2, Key: "r"}}})
	w.apply(&fsm.Command{Batch: &fsm.Batch{Assigns: []fsm.Assign{{ID: pipeline.AttemptID{Run: "r", Module: "m", Attempt: 1},
		Worker: worker, WorkerName: string(worker), Incarnation: "i"}}}})
}

// client is the caller's side of a session. It collects what arrives.
type client struct {
	tb     testing.TB
	name   string
	stream io.ReadWriteCloser
	out    *wire.ExecWriter
	ended  chan struct{} // closed after the last frame, or the end of the stream

	mu     sync.Mutex // guards following
	text   strings.Builder
	errors strings.Builder
	status *wire.ExecStatus
}

// exec starts a session on r/m at a node.
func (w *world) exec(ctx context.Context, at *session.Sessions, in wire.ExecRequest) *client {
	w.tb.Helper()
	stream, err := at.Exec(ctx, ann, "r", "m", in)
	if err != nil {
		w.tb.Fatal(err)
	}
	c := &client{tb: w.tb, name: fmt.Sprint(in.Command), stream: stream, out: &wire.ExecWriter{W: stream}, ended: make(chan struct{})}
	w.tb.Cleanup(func() { stream.Close(); <-c.ended })
	go c.read() // ends with the stream, which the clean-up closes
	return c
}

func (c *client) read() {
	defer close(c.ended)
	for {
		kind, b, err := wire.ReadExecFrame(c.stream, nil)
		if err != nil {
			return
		}
		c.mu.Lock()
		switch kind {
		case wire.ExecOutput:
			c.text.Write(b)
		case wire.ExecError:
			c.errors.Write(b)
		case wire.ExecExit:
			c.status = &wire.ExecStatus{}
			if err := json.Unmarshal(b, c.status); err != nil {
				c.tb.Error(err)
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

func (c *client) send(kind wire.ExecFrame, b []byte) {
	c.tb.Helper()
	if err := c.out.Frame(kind, b); err != nil {
		c.tb.Errorf("send %q: %v", kind, err)
	}
}

// wait waits for the last frame.
func (c *client) wait() (text, errors string, status wire.ExecStatus) {
	c.tb.Helper()
	select {
	case <-c.ended:
	case <-time.After(deadline):
		c.tb.Fatalf("the session %s does not end", c.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == nil {
		c.tb.Fatalf("the session ended without a status, after %q, %q", c.text.String(), c.errors.String())
	}
	return c.text.String(), c.errors.String(), *c.status
}

// waitFor waits until the output holds a text.
func (c *client) waitFor(text string) {
	c.tb.Helper()
	testutil.Eventually(c.tb, deadline, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := c.text.String(); !strings.Contains(got, text) {
			return fmt.Errorf("the output is %q, without %q", got, text)
		}
		return nil
	})
}

// left waits until no session is open.
func (w *world) left() {
	w.tb.Helper()
	testutil.Eventually(w.tb, deadline, func() error {
		if n := w.entered.Load(); n != 0 {
			return fmt.Errorf("%d sessions are still in the directory", n)
		}
		return nil
	})
}

// TestExec runs a command with input in the module's directory and environment,
// at the node that has it and through another one.
func TestExec(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	if err := os.WriteFile(filepath.Join(w.dir, "file"), []byte("made "), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, at := range map[string]*session.Sessions{"here": w.n2, "elsewhere": w.n1} {
		c := w.exec(t.Context(), at, wire.ExecRequest{Command: []string{"sh", "-c", `cat file -; echo " $COLOUR"; echo oops >&2; exit 7`}})
		c.send(wire.ExecInput, []byte("from here"))
		c.send(wire.ExecEOF, nil)
		text, errors, status := c.wait()
		if text != "made from here green\n" || errors != "oops\n" || status != (wire.ExecStatus{ExitCode: 7}) {
			t.Errorf("%s: got %q, %q, %+v", name, text, errors, status)
		}
	}
	w.left()
}

// TestExec_exitCodes reports ends as a shell does.
func TestExec_exitCodes(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	if err := os.WriteFile(filepath.Join(w.dir, "not-executable"), []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		command string
		code    int
		message string
	}{
		{"true", 0, ""},
		{"false", 1, ""},
		{"sh -c kill${IFS}-9${IFS}$$", 128 + 9, ""},
		{"no-such-program", 127, `"no-such-program": not found in the module's PATH`},
		{"not-executable", 127, `"not-executable": not found in the module's PATH`},
		{"./not-executable", 126, "permission denied"},
		{"/no/such/file", 127, "no such file"},
	} {
		c := w.exec(t.Context(), w.n1, wire.ExecRequest{Command: strings.Fields(tc.command)})
		_, _, status := c.wait()
		if status.ExitCode != tc.code || !strings.Contains(status.Message, tc.message) {
			t.Errorf("%s: got %+v, want %d and %q", tc.command, status, tc.code, tc.message)
		}
	}
	w.left()
}

// TestExec_terminal uses a shell on a terminal, whose size follows the caller's.
func TestExec_terminal(t *testing.T) {
	w := newWorld(t)
	w.run("n2")

	c := w.exec(t.Context(), w.n1, wire.ExecRequest{TTY: true, Columns: 100, Rows: 40, Term: "dumb"})
	c.waitFor("[pipelined: not in this environment: HIDDEN]")
	c.send(wire.ExecInput, []byte("stty size; echo term=$TERM; echo in=$PWD\n"))
	c.waitFor("40 100")
	c.waitFor("term=dumb")
	c.waitFor("in=" + w.dir)
	c.send(wire.ExecSize, []byte(`{"columns": 90, "rows": 30}`))
	c.send(wire.ExecInput, []byte("stty size\n"))
	c.waitFor("30 90")
	c.send(wire.ExecInput, []byte("exit 3\n"))
	if _, _, status := c.wait(); status.ExitCode != 3 {
		t.Errorf("got %+v", status)
	}
	w.left()
}

// The end of input of a terminal is its end-of-file character.
func TestExec_terminalEOF(t *testing.T) {
	w := newWorld(t)
	w.run("n2")

	c := w.exec(t.Context(), w.n2, wire.ExecRequest{TTY: true, Columns: -1, Command: []string{"sh", "-c", "cat; stty size"}})
	c.send(wire.ExecInput, []byte("line\n"))
	c.waitFor("line")
	c.send(wire.ExecEOF, nil)
	if text, _, status := c.wait(); status.ExitCode != 0 || !strings.Contains(text, "24 80") {
		t.Errorf("got %q, %+v", text, status)
	}
}

// alive reports whether a process runs: one that has ended may wait for its
// parent to take notice.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

// child starts a command that prints the id of its background process, which
// ignores HUP if stubborn is set, and waits.
func (w *world) child(ctx context.Context, at *session.Sessions, stubborn bool) (*client, int) {
	w.tb.Helper()
	trap := ""
	if stubborn {
		trap = "trap '' HUP;"
	}
	c := w.exec(ctx, at, wire.ExecRequest{Command: []string{"sh", "-c", trap + " sleep 300 & echo pid=$!.; wait"}})
	c.waitFor(".")
	_, text, _ := strings.Cut(c.text.String(), "pid=")
	pid, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), "."))
	if err != nil {
		w.tb.Fatal(err)
	}
	return c, pid
}

func dead(tb testing.TB, pid int) {
	tb.Helper()
	testutil.Eventually(tb, deadline, func() error {
		if alive(pid) {
			return fmt.Errorf("process %d is alive", pid)
		}
		return nil
	})
}

// A caller that goes away ends the process and its children, those too that
// ignore HUP.
func TestExec_callerGone(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	for _, at := range []*session.Sessions{w.n2, w.n1} {
		for _, stubborn := range []bool{false, true} {
			c, pid := w.child(t.Context(), at, stubborn)
			c.stream.Close()
			dead(t, pid)
			w.left()
		}
	}
}

// The end of the context, as when the node stops, does the same.
func TestExec_canceled(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	ctx, cancel := context.WithCancel(t.Context())
	_, pid := w.child(ctx, w.n1, false)
	cancel()
	dead(t, pid)
	w.left()
}

// A directory that is removed ends its sessions first, and says why.
func TestExec_directoryGone(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	c, pid := w.child(t.Context(), w.n1, false)
	w.gone()
	_, _, status := c.wait()
	if status.ExitCode == 0 || status.Message != "the module has ended, and its directory is being removed" {
		t.Errorf("got %+v", status)
	}
	dead(t, pid)
	w.left()
}

// What a command leaves running ends with it, and does not delay its end.
func TestExec_leftRunning(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	c := w.exec(t.Context(), w.n2, wire.ExecRequest{Command: []string{"sh", "-c", "sleep 300 & echo $!"}})
	text, _, status := c.wait()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || status.ExitCode != 0 {
		t.Fatalf("got %q, %+v", text, status)
	}
	dead(t, pid)
}

func TestExec_refusals(t *testing.T) {
	w := newWorld(t)
	w.run("n2")
	for _, tc := range []struct {
		run     pipeline.RunID
		module  string
		attempt int
		kind    pipeline.Kind
	}{
		{"none", "m", 0, pipeline.NotFound},
		{"r", "none", 0, pipeline.NotFound},
		{"r", "m", 2, pipeline.NotFound},
		{"r", "later", 0, pipeline.Conflict},
	} {
		_, err := w.n1.Exec(t.Context(), ann, tc.run, tc.module, wire.ExecRequest{Attempt: tc.attempt})
		if pipeline.KindOf(err) != tc.kind {
			t.Errorf("%s/%s/%d: got %v", tc.run, tc.module, tc.attempt, err)
		}
	}

	w.down.Store(true)
	_, err := w.n1.Exec(t.Context(), ann, "r", "m", wire.ExecRequest{})
	if pipeline.KindOf(err) != pipeline.Unavailable || !strings.Contains(err.Error(), "worker n2, which has the directory of attempt r/m/1") {
		t.Errorf("the worker is down: got %v", err)
	}
	w.hasState = false
	if _, err := w.n1.Exec(t.Context(), ann, "r", "m", wire.ExecRequest{}); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("without state: got %v", err)
	}
}

// The worker's own refusal reaches the caller with its kind.
func TestExec_directoryNotThere(t *testing.T) {
	w := newWorld(t)
	w.run("n1")
	if _, err := w.n1.Exec(t.Context(), ann, "r", "m", wire.ExecRequest{}); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestExec_external(t *testing.T) {
	w := newWorld(t)
	w.run(pipeline.ExternalPrefix + "w")
	_, err := w.n1.Exec(t.Context(), ann, "r", "m", wire.ExecRequest{})
	if pipeline.KindOf(err) != pipeline.Conflict || !strings.Contains(err.Error(), "external worker") {
		t.Errorf("got %v", err)
	}
}

// A message that no node sends is refused before a directory is opened.
func TestRegister_refusals(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "x", "o\x00\x00\x00\x02{}", "b\x00\x00\x00\x01{"} {
		res, err := w.server.Client().Post(w.server.URL+"/peer/exec", "", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: got %d", body, res.StatusCode)
		}
	}
	if n := w.entered.Load(); n != 0 {
		t.Errorf("%d directories are open", n)
	}
}
