package session

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
)

// State is the replicated state, which says where an attempt is.
type State interface {
	// HasState reports whether this node holds the state.
	HasState() bool
	// Fresh waits until everything that was acknowledged is applied here, as far
	// as that is possible.
	Fresh(ctx context.Context) bool
	// View reads the state. fn must not keep the view.
	View(fn func(*fsm.View) error) error
}

// Dirs are the directories of the attempts that this node has. *worker.Worker
// implements it.
type Dirs interface {
	// OpenSession opens the directory of an attempt that runs here, or whose
	// directory was kept. The caller calls Leave.
	OpenSession(id pipeline.AttemptID) (*worker.SessionDir, error)
}

// Peers sends requests to other nodes. *peer.Client implements it.
type Peers interface {
	Request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error)
}

// Config says what Sessions is made of. All fields but Started are needed.
type Config struct {
	// Self and Name say which node this is.
	Self  pipeline.NodeID
	Name  string
	State State
	Dirs  Dirs
	Peers Peers
	// Started is called with the id of each process right after its start. Nil: not
	// called.
	Started func(pid int)
	Logger  hclog.Logger
}

// Sessions starts interactive processes. It implements api.Sessions and is safe
// for concurrent use.
type Sessions struct{ cfg Config }

var _ api.Sessions = (*Sessions)(nil)

// New makes a Sessions. It starts nothing.
func New(cfg Config) *Sessions {
	if cfg.Started == nil {
		cfg.Started = func(int) {}
	}

	return &Sessions{cfg: cfg}
}

// request is what one node asks of another: which process in which directory,
// and for whom.
type request struct {
	ID      pipeline.AttemptID `json:"id"`
	By      string             `json:"by"`
	Command wire.ExecRequest   `json:"request"`
}

// Exec starts a process in the directory of an attempt, on whichever node has it,
// and gives the stream of its frames. The process ends when the stream is closed
// or ctx ends.
func (s *Sessions) Exec(ctx context.Context, by api.Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
	if !s.cfg.State.HasState() {
		return nil, pipeline.Errorf(pipeline.Unavailable, "node %s does not hold the cluster's state: ask another node", s.cfg.Name)
	}
	fresh := s.cfg.State.Fresh(ctx)
	a, err := s.find(id, module, in.Attempt)
	if pipeline.KindOf(err) == pipeline.NotFound && !fresh {
		err = pipeline.Errorf(pipeline.Unavailable, "%w, in the state of this node, which may be behind: no leader answers", err)
	}
	if err != nil {
		return nil, err
	}

	req := request{ID: pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}, By: by.Name, Command: in}
	if a.Worker == s.cfg.Self {
		return s.execHere(ctx, &req)
	}

	stream, err := s.execAt(ctx, a.Worker, &req)
	if pipeline.KindOf(err) == pipeline.Unknown {
		err = pipeline.Errorf(pipeline.Unavailable, "worker %s, which has the directory of attempt %s, does not answer", a.WorkerName, req.ID)
	}
	return stream, err
}

// find finds an attempt that has a directory on a node.
func (s *Sessions) find(id pipeline.RunID, module string, attempt int) (a pipeline.Attempt, err error) {
	err = s.cfg.State.View(func(v *fsm.View) (err error) {
		a, err = fsm.FindAttempt(v, id, module, attempt)
		return err
	})

	switch {
	case err != nil:
		return a, err
	case a.Number == 0:
		return a, pipeline.Errorf(pipeline.Conflict, "module %s of run %s has not been started: it has no directory yet", module, id)
	case a.Worker.External():
		return a, pipeline.Errorf(pipeline.Conflict,
			"module %s of run %s is on the external worker %s, whose directories nodes cannot open", module, id, a.WorkerName)
	}
	return a, nil
}

// execHere starts a process on this node.
func (s *Sessions) execHere(ctx context.Context, req *request) (io.ReadWriteCloser, error) {
	dir, err := s.open(req)
	if err != nil {
		return nil, err
	}

	here, there := net.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process, which the closing of either end ends
		s.run(ctx, dir, &req.Command, there)
		there.Close()
	}()
	return &stream{Reader: here, Writer: here, end: func() {
		cancel()
		here.Close()
	}}, nil
}

// stream is both directions of a session, and what its closing ends.
type stream struct {
	io.Reader
	io.Writer
	end func()
}

// Close ends both directions.
func (s *stream) Close() error {
	s.end()
	return nil
}

// open opens the directory, and logs who enters it.
func (s *Sessions) open(req *request) (*worker.SessionDir, error) {
	dir, err := s.cfg.Dirs.OpenSession(req.ID)
	if err != nil {
		return nil, err
	}

	s.cfg.Logger.Info("exec", "attempt", req.ID.String(), "by", req.By, "command", strings.Join(req.Command.Command, " "))
	return dir, nil
}
