package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
)

// execFor is what one node asks of another: who wants which process where.
type execFor struct {
	ID      pipeline.AttemptID `json:"id"`
	By      string             `json:"by"`
	Request wire.ExecRequest   `json:"request"`
}

// execStart is the first frame between nodes, which holds an execFor.
const execStart wire.ExecFrame = 'b'

// Exec starts a process in the folder of an attempt, on whichever node has it,
// and gives the stream of its frames, which ends it when it is closed.
func (b *backend) Exec(ctx context.Context, by api.Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
	n := b.node()
	if !n.state.HasState() {
		return nil, pipeline.Errorf(pipeline.Unavailable, "node %s does not hold the state: ask another node", n.cfg.Name)
	}
	n.state.Fresh(ctx)
	var a pipeline.Attempt
	err := n.state.View(func(v *fsm.View) (err error) {
		a, err = fsm.FindAttempt(v, id, module, in.Attempt)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case a.Number == 0:
		return nil, pipeline.Errorf(pipeline.Conflict, "module %s of run %s has not been started: it has no folder yet", module, id)
	case a.Worker.External():
		return nil, pipeline.Errorf(pipeline.Conflict, "module %s of run %s is at the outside worker %s, into which nodes cannot look", module, id, a.WorkerName)
	}
	start := execFor{ID: pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}, By: by.Name, Request: in}
	if a.Worker == n.id {
		place, err := n.visit(start)
		if err != nil {
			return nil, err
		}
		here, there := net.Pipe()
		ctx, cancel := context.WithCancel(ctx)
		go func() { // ends with the process, which the closing of either end ends
			n.runShell(ctx, place, &start.Request, there)
			there.Close()
		}()
		return closing{here, cancel}, nil
	}
	stream, err := n.execAt(ctx, a.Worker, start)
	if pipeline.KindOf(err) == pipeline.Unknown {
		err = pipeline.Errorf(pipeline.Unavailable, "worker %s, which has the folder of attempt %s, does not answer", a.WorkerName, start.ID)
	}
	return stream, err
}

// closing is a stream that also ends something when it is closed.
type closing struct {
	io.ReadWriteCloser
	end func()
}

// Close closes both.
func (c closing) Close() error {
	c.end()
	return c.ReadWriteCloser.Close()
}

// execAt asks another node for a process. The request's body is one direction
// of the stream and the answer's the other.
func (n *Node) execAt(ctx context.Context, at pipeline.NodeID, start execFor) (io.ReadWriteCloser, error) {
	var first bytes.Buffer
	if err := (&wire.ExecWriter{W: &first}).JSON(execStart, start); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	res, err := n.peers.Request(ctx, at, http.MethodPost, "/peer/exec", struct {
		io.Reader
		io.Closer // a refusal ends the other direction, too
	}{io.MultiReader(&first, pr), pr})
	if err != nil {
		cancel()
		pr.CloseWithError(err)
		return nil, err
	}
	return &peerStream{Reader: res.Body, Writer: pw, end: func() {
		pw.Close()
		cancel()
		res.Body.Close()
	}}, nil
}

type peerStream struct {
	io.Reader
	io.Writer
	end func()
}

// Close ends both directions.
func (s *peerStream) Close() error {
	s.end()
	return nil
}

// visit opens the folder, and writes down who looks.
func (n *Node) visit(start execFor) (*worker.SessionDir, error) {
	place, err := n.worker.OpenSession(start.ID)
	if err != nil {
		return nil, err
	}
	n.log.Info("exec", "attempt", start.ID.String(), "by", start.By, "command", strings.Join(start.Request.Command, " "))
	return place, nil
}

// servePeerExec runs a process for another node.
func (n *Node) servePeerExec(w http.ResponseWriter, r *http.Request) {
	kind, b, err := wire.ReadExecFrame(r.Body, nil)
	var start execFor
	if err == nil && kind != execStart {
		err = fmt.Errorf("the first frame is %q", kind)
	}
	if err == nil {
		err = json.Unmarshal(b, &start)
	}
	if err != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "read what to run: %w", err))
		return
	}
	place, err := n.visit(start)
	if err != nil {
		peer.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush() // the next write tells whether anybody is there
	n.runShell(r.Context(), place, &start.Request, struct {
		io.Reader
		io.Writer
	}{r.Body, flushWriter{w, rc}})
}

// flushWriter sends each piece at once.
type flushWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f flushWriter) Write(b []byte) (int, error) {
	if err := f.rc.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	k, err := f.w.Write(b)
	if err == nil {
		err = f.rc.Flush()
	}
	return k, err
}
