package node

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// Log opens the output of one attempt.
func (b *backend) Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, api.LogInfo, error) {
	n := b.node()
	n.state.Fresh(ctx)
	if err := n.logsGone(id); err != nil {
		return nil, api.LogInfo{}, err
	}
	a, err := n.findAttempt(id, module, attempt)
	if err != nil {
		return nil, api.LogInfo{}, err
	}
	info := api.LogInfo{Attempt: a.Number, Size: a.LogSize, Final: a.State.Final()}
	if info.Final {
		if a.Log == "" || a.LogSize == 0 {
			return io.NopCloser(strings.NewReader("")), info, nil
		}
		blob, err := n.fabric.down.Open(ctx, a.Holders, a.Log)
		if err != nil {
			return nil, info, err
		}
		text, err := storage.OpenLog(blob, a.LogSize)
		if err == nil {
			_, err = text.Seek(min(offset, a.LogSize), io.SeekStart)
		}
		if err != nil {
			blob.Close()
			return nil, info, err
		}
		// Behind the output stands when it was written.
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(text, a.LogSize-min(offset, a.LogSize)), blob}, info, nil
	}
	at, err := n.logPlace(ctx, a.Worker, peer.LogQuery{ID: pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}, TimesFrom: -1})
	switch {
	case pipeline.KindOf(err) == pipeline.NotFound: // nothing yet
		return io.NopCloser(strings.NewReader("")), info, nil
	case err != nil:
		return nil, info, err
	}
	info.Size = at.Size
	pr, pw := io.Pipe()
	go func() { // ends when the reader closes or everything there is was read
		err := n.tail(ctx, a.Worker, pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}, offset, false,
			func(p []byte) error { _, err := pw.Write(p); return err })
		if pipeline.KindOf(err) == pipeline.NotFound {
			err = nil // nothing yet
		}
		pw.CloseWithError(err)
	}()
	return pr, info, nil
}

// logsGone says so where a limit let the logs of a run go.
func (n *Node) logsGone(id pipeline.RunID) error {
	return n.store.View(func(v *fsm.View) error {
		if r, ok := v.Run(id); ok && r.LogsGone {
			return pipeline.Errorf(pipeline.NotFound, "the logs of run %s are no longer kept: a limit of the cluster let them go (pipelined pin RUN keeps a run's)", id)
		}
		return nil
	})
}

// findAttempt finds an attempt of a module; 0 means the newest. One that has
// none yet gives the zero attempt.
func (n *Node) findAttempt(id pipeline.RunID, module string, attempt int) (a pipeline.Attempt, err error) {
	err = n.store.View(func(v *fsm.View) error {
		if _, ok := v.Run(id); !ok {
			return pipeline.NoRun(id)
		}
		mods, err := v.RunModules(id)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(mods, func(m pipeline.Module) bool { return m.Name == module }) {
			return pipeline.NoModule(id, module, mods)
		}
		rec := v.Module(id, module)
		switch {
		case attempt > len(rec.Attempts):
			return pipeline.Errorf(pipeline.NotFound, "module %s has %d attempts, not %d", module, len(rec.Attempts), attempt)
		case attempt > 0:
			a = rec.Attempts[attempt-1]
		case len(rec.Attempts) > 0:
			a = *rec.Last()
		default:
			a.State = pipeline.AttemptCancelled // nothing ran: an empty log that will not grow for this attempt
		}
		return nil
	})
	return a, err
}

// selected reports whether a name that was given means a module of the run.
func selected(mods []pipeline.Module, given string) bool {
	return slices.ContainsFunc(mods, func(m pipeline.Module) bool { return m.Of == given || pipeline.Selects(given, m.Name) })
}
