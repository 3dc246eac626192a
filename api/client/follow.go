package client

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// FollowOptions say what of a run's output is wanted.
type FollowOptions struct {
	// Modules limits it to these; empty means all.
	Modules []string
	// Positions is what the caller has already.
	Positions map[string]wire.LogPosition
	// Once takes what is there now and ends.
	Once bool
	// Lines, Since and Times are those of wire.FollowRequest.
	Lines int
	Since time.Time
	Times bool
}

// Follow gives the output of a run to fn, in order for each module, until
// the run has ended and everything was given (the last event has RunEnd set),
// fn fails, or ctx ends. When a node goes away it continues at another one at the
// same byte: no byte is given twice or left out. fn is called from this
// goroutine; its error is returned as it is.
func (runs Runs) Follow(ctx context.Context, id pipeline.RunID, o FollowOptions, fn func(wire.LogEvent) error) error {
	if err := runs.calls.meet(ctx); err != nil {
		return err
	}

	f := &follower{id: id, positions: maps.Clone(o.Positions), fn: fn, begun: map[string]bool{},
		request: wire.FollowRequest{Modules: o.Modules, Follow: !o.Once, Lines: o.Lines, Since: o.Since, Times: o.Times}}
	if f.positions == nil {
		f.positions = map[string]wire.LogPosition{}
	}
	f.stream = &stream{calls: runs.calls, request: f.ask, silence: runs.calls.cfg.StreamIdle, ends: o.Once, take: f.take}
	return f.stream.follow(ctx)
}

// errGap is a stream that leaves bytes out: it is asked for again.
var errGap = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the stream left bytes out"}

// follower is the state of one Runs.Follow.
type follower struct {
	stream    *stream
	id        pipeline.RunID
	request   wire.FollowRequest // but for the positions
	positions map[string]wire.LogPosition
	fn        func(wire.LogEvent) error
	// begun are the modules of which something was given: only what comes first
	// may begin behind the beginning, if the request wants that.
	begun map[string]bool
	// gaps counts streams in a row that left bytes out.
	gaps int
}

// maxGaps is how often in a row a stream with a gap is asked for again.
const maxGaps = 5

// ask asks for what follows the positions.
func (f *follower) ask() (*request, error) {
	f.request.Positions = f.positions
	body, err := json.Marshal(f.request)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Internal, "encode positions: %w", err)
	}
	return &request{method: http.MethodPost, path: runsPath + path(string(f.id), "logs"), body: body}, nil
}

// take handles one event of the stream.
func (f *follower) take(ev event) (done bool, err error) {
	switch ev.kind {
	case wire.EventLog, wire.EventEnd, wire.EventRunEnd:
	default:
		return false, nil // of a newer node
	}

	var e wire.LogEvent
	if err := json.Unmarshal(ev.data, &e); err != nil {
		return false, pipeline.Errorf(pipeline.Unavailable, "read an event: %w", err)
	}

	if e.RunEnd {
		return true, f.give(e)
	}

	at := f.positions[e.Module]
	switch {
	case e.Attempt < at.Attempt, e.Attempt == at.Attempt && at.Ended:
		return false, nil // given before
	case e.Attempt > at.Attempt:
		at = wire.LogPosition{Attempt: e.Attempt}
	}

	if at.Offset == 0 && !f.begun[e.Module] && (f.request.Lines > 0 || !f.request.Since.IsZero()) {
		at.Offset = e.Offset
	}

	f.begun[e.Module] = true
	if e.Offset > at.Offset {
		f.positions[e.Module] = at
		if f.gaps++; f.gaps > maxGaps {
			return false, &stopError{pipeline.Errorf(pipeline.Internal, "follow %s: the nodes leave out its output from byte %d of attempt %d on", e.Module, at.Offset, at.Attempt)}
		}

		return false, errGap
	}

	if e.Offset+e.Len() < at.Offset {
		return false, nil // the whole piece was given before, and its end is not this one
	}

	if e = e.From(at.Offset); e.Len() == 0 && !e.End {
		return false, nil
	}

	if err := f.give(e); err != nil {
		return false, err
	}

	f.positions[e.Module] = e.Next()
	f.gaps = 0
	return false, nil
}

func (f *follower) give(e wire.LogEvent) error {
	if err := f.fn(e); err != nil {
		return &stopError{err}
	}

	f.stream.given++
	return nil
}

// Watch gives a run to fn, whole, now and whenever it changed, until it is
// over (that state is given too), fn fails, or ctx ends. fn is called from this
// goroutine; its error is returned as it is.
func (runs Runs) Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error {
	const wait = 30 * time.Second
	if err := runs.calls.meet(ctx); err != nil {
		return err
	}

	run, err := runs.Get(ctx, id)
	if err != nil {
		return err
	}

	last := time.Now()
	for {
		if err := fn(run); err != nil {
			return err
		}

		if run.State.Final() {
			return nil
		}

		for {
			var next wire.Run
			next, err = runs.Wait(ctx, id, run.Index, wait, run.Index)
			if err == nil && next.Index < run.Index {
				next, err = runs.Get(ctx, id) // another history: a restored state
			} else if err == nil && next.Index == run.Index && next.State == run.State {
				last = time.Now()
				continue
			} else if err == nil {
				next.Modules = merge(run.Modules, next.Modules)
			}

			runs.calls.learnSoon(ctx)
			if err == nil {
				run, last = next, time.Now()
				break
			}

			if ctx.Err() != nil {
				return contextError(ctx)
			}

			if !passing(err) || time.Since(last) > runs.calls.cfg.FollowFor {
				return err
			}

			if !sleep(ctx, 250*time.Millisecond) {
				return contextError(ctx)
			}
		}
	}
}

// merge puts changed modules over those that are known, in their places.
func merge(have, changed []wire.Module) []wire.Module {
	out := append(make([]wire.Module, 0, len(have)), have...)
	place := make(map[string]int, len(out))
	for i := range out {
		place[out[i].Name] = i
	}

	for _, m := range changed {
		if i, ok := place[m.Name]; ok {
			out[i] = m
		} else {
			out = append(out, m)
		}
	}

	return out
}
