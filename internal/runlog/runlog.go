package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// State is the replicated state, which says what ran where.
type State interface {
	// Fresh waits until everything that was acknowledged is applied here, as far
	// as that is possible.
	Fresh(ctx context.Context) bool
	// View reads the state. fn must not keep the view.
	View(fn func(*fsm.View) error) error
	// Changed gives a channel that is closed at the next change of a run, or
	// earlier.
	Changed(id pipeline.RunID) <-chan struct{}
	// Debounce collects further changes of a run for a short time.
	Debounce(ctx context.Context, id pipeline.RunID)
}

// Files are the outputs of the attempts that this node has.
type Files interface {
	// LogFile gives the file of an attempt's output and that of its times; neither
	// exists before the first byte. live is false once the process has ended and
	// the file will not grow, ok is false if the attempt is not here.
	LogFile(id pipeline.AttemptID) (path, times string, live, ok bool)
}

// Peers sends messages to other nodes. *peer.Client implements it.
type Peers interface {
	Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error
	Request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error)
}

// Config says what Logs is made of. All fields are needed.
type Config struct {
	// Self is this node.
	Self  pipeline.NodeID
	State State
	Files Files
	Peers Peers
	// OpenLog opens the log of a finished attempt that has one.
	OpenLog OpenLog
}

// Text is the plain bytes of a finished attempt's log: the output, behind it the
// counts of its lines (pipeline.LogCountsSize), and the record of its times. One
// goroutine uses it.
type Text interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// OpenLog opens the log of a finished attempt, on whichever node it is.
type OpenLog func(ctx context.Context, a *pipeline.Attempt) (Text, error)

// Logs reads the output of modules. It implements api.Logs and is safe for
// concurrent use.
type Logs struct {
	state   State
	source  source
	openLog OpenLog
}

var _ api.Logs = (*Logs)(nil)

// New makes a Logs. It starts nothing.
func New(cfg Config) *Logs {
	return &Logs{
		state:   cfg.State,
		source:  source{self: cfg.Self, files: cfg.Files, peers: cfg.Peers},
		openLog: cfg.OpenLog,
	}
}

// Register adds the messages that other nodes send to a worker.
func (l *Logs) Register(mux *http.ServeMux) { l.source.register(mux) }

// Log opens the output of one attempt (0: the newest) at an offset, as far as it
// has been written.
func (l *Logs) Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, api.LogInfo, error) {
	l.state.Fresh(ctx)
	a, err := l.find(id, module, attempt)
	if err != nil {
		return nil, api.LogInfo{}, err
	}

	info := api.LogInfo{Attempt: a.Number, Size: a.LogSize, Final: a.State.Final()}
	if info.Final {
		r, err := l.openFinal(ctx, &a, offset)
		return r, info, err
	}

	attemptID := pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}
	at, err := l.source.position(ctx, a.Worker, peer.LogQuery{ID: attemptID, TimesFrom: noTimes})
	switch {
	case pipeline.KindOf(err) == pipeline.NotFound: // the worker has not started it yet
		return empty(), info, nil
	case err != nil:
		return nil, info, err
	}
	info.Size = at.Size
	return l.openLive(ctx, a.Worker, attemptID, offset), info, nil
}

// LineEnds gives how many lines end in each pipeline.LogChunk of an output but the
// last; nil if it has not ended.
func (l *Logs) LineEnds(ctx context.Context, id pipeline.RunID, module string, attempt int) ([]int64, error) {
	a, err := l.find(id, module, attempt)
	size := pipeline.LogCountsSize(a.LogSize)
	if err != nil || !a.State.Final() || a.Log == "" || size == 0 {
		return nil, err
	}

	text, err := l.openLog(ctx, &a)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	counts := make([]byte, size)
	if n, err := text.ReadAt(counts, a.LogSize); n < len(counts) {
		return nil, fmt.Errorf("read the line counts of %s: %w", module, err)
	}
	return pipeline.ReadLogCounts(counts), nil
}

// empty is an output without bytes.
func empty() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// openFinal opens the log of a finished attempt.
func (l *Logs) openFinal(ctx context.Context, a *pipeline.Attempt, offset int64) (io.ReadCloser, error) {
	if a.Log == "" || a.LogSize == 0 {
		return empty(), nil
	}

	offset = min(offset, a.LogSize)
	text, err := l.openLog(ctx, a)
	if err != nil {
		return nil, err
	}
	if _, err := text.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, text.Close())
	}

	// Counts and times are behind the output.
	return limited{io.LimitReader(text, a.LogSize-offset), text}, nil
}

// limited is a part of a log.
type limited struct {
	io.Reader
	io.Closer
}

// openLive reads the output of a running attempt, as far as it has been written.
func (l *Logs) openLive(ctx context.Context, worker pipeline.NodeID, id pipeline.AttemptID, offset int64) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { // ends when the reader closes the pipe or everything was read
		err := l.source.tail(ctx, worker, id, tailOptions{offset: offset}, func(p []byte) error {
			_, err := pw.Write(p)
			return err
		})
		if pipeline.KindOf(err) == pipeline.NotFound {
			err = nil // nothing was written yet
		}
		pw.CloseWithError(err)
	}()

	return pr
}

// find finds an attempt whose log is still kept.
func (l *Logs) find(id pipeline.RunID, module string, attempt int) (a pipeline.Attempt, err error) {
	err = l.state.View(func(v *fsm.View) error {
		if err := checkRetained(v, id); err != nil {
			return err
		}
		a, err = fsm.FindAttempt(v, id, module, attempt)
		return err
	})
	return a, err
}

// checkRetained returns an error if retention has deleted the logs of a run.
func checkRetained(v *fsm.View, id pipeline.RunID) error {
	if run, ok := v.Run(id); ok && run.LogsGone {
		return pipeline.Errorf(pipeline.NotFound,
			"the logs of run %s were deleted by a retention limit of the cluster (pipelined pin RUN exempts a run)", id)
	}

	return nil
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
