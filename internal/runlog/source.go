package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// pollEvery is how often a growing file is read.
	pollEvery = 40 * time.Millisecond
	// pieceSize bounds one piece of output, in bytes.
	pieceSize = 64 << 10
	// writeTimeout is how long another node may not read what it is sent.
	writeTimeout = 30 * time.Second
	// maxLogTimes bounds the record of the times of one output, in bytes: a day of
	// steady output has less than a twentieth of it.
	maxLogTimes = 4 << 20
	// noTimes in a peer.LogQuery asks for no times.
	noTimes = -1

	pathLog      = "/peer/log"
	pathPosition = "/peer/log/position"
)

// errExternal is why the output of an external worker cannot be read while its
// module runs: such a worker sends it with the outcome.
var errExternal = &pipeline.Error{Kind: pipeline.NotFound, Message: "the output of an external worker arrives when the module has ended"}

// source reads the outputs of running attempts, of this node or others.
type source struct {
	self  pipeline.NodeID
	files Files
	peers Peers
}

// tailOptions say which part of an output is read: from offset, and with follow
// until the process has ended instead of up to the present end.
type tailOptions struct {
	offset int64
	follow bool
}

// register adds the messages that other nodes send to a worker.
func (s *source) register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathLog, s.serveLog)
	mux.Handle("POST "+pathPosition, peer.Handle(func(_ context.Context, in peer.LogQuery) (peer.LogPosition, error) {
		return s.positionHere(in)
	}))
}

// tail sends the output of a running attempt, wherever it runs. Kind NotFound if
// its worker does not have it. The slice that send gets is reused.
func (s *source) tail(ctx context.Context, worker pipeline.NodeID, id pipeline.AttemptID, o tailOptions, send func([]byte) error) error {
	switch {
	case worker == s.self:
		return s.tailHere(ctx, id, o, send)
	case worker.External():
		return errExternal
	}

	query := url.Values{"id": {id.String()}, "offset": {strconv.FormatInt(o.offset, 10)}, "follow": {strconv.FormatBool(o.follow)}}
	res, err := s.peers.Request(ctx, worker, http.MethodGet, pathLog+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()

	buf := make([]byte, pieceSize)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return peer.Unreachable(fmt.Sprintf("%.8s", worker), err)
		}
	}
}

// tailHere sends the output of an attempt of this node.
func (s *source) tailHere(ctx context.Context, id pipeline.AttemptID, o tailOptions, send func([]byte) error) error {
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()

	buf := make([]byte, pieceSize)
	for {
		// live is read before the file: what was written before the end is sent.
		path, _, live, ok := s.files.LogFile(id)
		if f == nil {
			if !ok {
				return notHere(id)
			}
			var err error
			if f, err = os.Open(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("open output: %w", err)
			}
		}

		if f != nil {
			n, err := copyFrom(f, o.offset, buf, send)
			if err != nil {
				return err
			}
			o.offset += n
		}
		if !o.follow || !live || !ok {
			return nil
		}
		if !pause(ctx, pollEvery) {
			return context.Cause(ctx)
		}
	}
}

// copyFrom sends a file from an offset to its end, and gives the number of bytes.
func copyFrom(f *os.File, offset int64, buf []byte, send func([]byte) error) (sent int64, err error) {
	for {
		n, err := f.ReadAt(buf, offset+sent)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return sent, err
			}
			sent += int64(n)
		}

		switch {
		case err == io.EOF:
			return sent, nil
		case err != nil:
			return sent, fmt.Errorf("read output: %w", err)
		}
	}
}

func notHere(id pipeline.AttemptID) error {
	return pipeline.Errorf(pipeline.NotFound, "attempt %s is not on this node", id)
}

// serveLog streams the output of an attempt to another node, until its process
// has ended (follow) or up to its present end.
func (s *source) serveLog(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id, err := pipeline.ParseAttemptID(q.Get("id"))
	if err != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "%w", err))
		return
	}
	offset, err := strconv.ParseInt(q.Get("offset"), 10, 64)
	if err != nil || offset < 0 {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "offset %q: expected a number from 0", q.Get("offset")))
		return
	}
	if _, _, _, ok := s.files.LogFile(id); !ok {
		peer.WriteError(w, notHere(id))
		return
	}

	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush() // the other node learns at once that the attempt is here

	// An error breaks the stream, and the other node reads on from its offset.
	_ = s.tailHere(r.Context(), id, tailOptions{offset: offset, follow: q.Get("follow") == "true"}, func(b []byte) error {
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// position asks the worker of an attempt about its output.
func (s *source) position(ctx context.Context, worker pipeline.NodeID, in peer.LogQuery) (out peer.LogPosition, err error) {
	switch {
	case worker == s.self:
		return s.positionHere(in)
	case worker.External():
		return out, errExternal
	}

	return out, s.peers.Call(ctx, worker, pathPosition, in, &out)
}

// positionHere answers about the output of an attempt of this node.
func (s *source) positionHere(in peer.LogQuery) (out peer.LogPosition, err error) {
	path, times, _, ok := s.files.LogFile(in.ID)
	if !ok {
		return out, notHere(in.ID)
	}

	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out, nil // nothing was written yet
	case err != nil:
		return out, fmt.Errorf("open output: %w", err)
	}
	defer f.Close()

	st, err := f.Stat()
	if err != nil {
		return out, fmt.Errorf("stat output: %w", err)
	}
	out.Size = st.Size()
	if in.Lines > 0 {
		if out.Tail, err = lastLines(f, out.Size, in.Lines); err != nil {
			return out, err
		}
	}
	if in.TimesFrom != noTimes {
		out.Times, err = readTimes(times, in.TimesFrom)
	}
	return out, err
}

// readTimes reads the record of times from an offset. There is no record if all
// output was written at once.
func readTimes(path string, from int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer f.Close()

	times, err := io.ReadAll(io.NewSectionReader(f, from, maxLogTimes))
	if err != nil {
		return nil, fmt.Errorf("read the times of output: %w", err)
	}
	return times, nil
}
