package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	pathExec = "/peer/exec"
	// frameRequest is the first frame between nodes, which holds a request.
	frameRequest wire.ExecFrame = 'b'
	// writeTimeout is how long another node may not read what it is sent.
	writeTimeout = 30 * time.Second
)

// Register adds the message by which other nodes start processes here.
func (s *Sessions) Register(mux *http.ServeMux) { mux.HandleFunc("POST "+pathExec, s.serve) }

// execAt starts a process on another node. The request's body is one direction
// of the stream, the answer's the other.
func (s *Sessions) execAt(ctx context.Context, at pipeline.NodeID, req *request) (io.ReadWriteCloser, error) {
	var first bytes.Buffer
	if err := (&wire.ExecWriter{W: &first}).JSON(frameRequest, req); err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	// While HTTP/2 waits for more of the body it does not notice the end of ctx.
	context.AfterFunc(ctx, func() { pr.CloseWithError(context.Cause(ctx)) })

	res, err := s.cfg.Peers.Request(ctx, at, http.MethodPost, pathExec, requestBody{io.MultiReader(&first, pr), pr})
	if err != nil {
		cancel()
		return nil, err
	}

	return &stream{Reader: res.Body, Writer: pw, end: func() {
		pw.Close()
		cancel()
		res.Body.Close()
	}}, nil
}

// requestBody is a body whose Close also ends the writing side of the pipe, as a
// refusal does.
type requestBody struct {
	io.Reader
	io.Closer
}

// serve runs a process for another node.
func (s *Sessions) serve(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r.Body)
	if err != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "read the first frame: %w", err))
		return
	}
	dir, err := s.open(req)
	if err != nil {
		peer.WriteError(w, err)
		return
	}

	// The other node learns at once that the process is being started.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush() // the next write fails if the other node is gone

	s.run(r.Context(), dir, &req.Command, duplex{r.Body, flushWriter{w, rc}})
}

func readRequest(r io.Reader) (*request, error) {
	kind, b, err := wire.ReadExecFrame(r, nil)
	if err != nil {
		return nil, err
	}
	if kind != frameRequest {
		return nil, fmt.Errorf("expected type %q, got %q", frameRequest, kind)
	}

	var req request
	if err := json.Unmarshal(b, &req); err != nil {
		return nil, err
	}
	return &req, nil
}

// duplex is both directions of one HTTP exchange.
type duplex struct {
	io.Reader
	io.Writer
}

// flushWriter sends each piece at once, and fails if it is not read in time.
type flushWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f flushWriter) Write(b []byte) (int, error) {
	if err := f.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}

	n, err := f.w.Write(b)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
