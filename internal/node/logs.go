package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// tailPause is how often a growing file is looked at.
const tailPause = 40 * time.Millisecond

// pieceSize bounds one piece of output that is sent.
const pieceSize = 64 << 10

// tailHere sends the output of an attempt of this node from offset on: as far
// as it is, or until its process has ended.
func (n *Node) tailHere(ctx context.Context, id pipeline.AttemptID, offset int64, follow bool, send func([]byte) error) error {
	buf := make([]byte, pieceSize)
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	for {
		path, _, live, ok := n.worker.LogFile(id)
		if f == nil {
			if !ok {
				return pipeline.Errorf(pipeline.NotFound, "attempt %s is not here", id)
			}
			var err error
			if f, err = os.Open(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("open output: %w", err)
			}
		}
		for f != nil {
			k, err := f.ReadAt(buf, offset)
			if k > 0 {
				if err := send(buf[:k]); err != nil {
					return err
				}
				offset += int64(k)
			}
			if err != nil {
				if err == io.EOF {
					break
				}
				return fmt.Errorf("read output: %w", err)
			}
		}
		// live was read before the file: what was written before the end is sent.
		if !follow || !live || !ok {
			return nil
		}
		if !sleep(ctx, tailPause) {
			return context.Cause(ctx)
		}
	}
}

// tail sends the output of a live attempt, wherever it runs.
func (n *Node) tail(ctx context.Context, worker pipeline.NodeID, id pipeline.AttemptID, offset int64, follow bool, send func([]byte) error) error {
	if worker == n.id {
		return n.tailHere(ctx, id, offset, follow, send)
	}
	if worker.External() {
		return pipeline.Errorf(pipeline.NotFound, "the output of an outside worker comes when the module has ended")
	}
	f := "0"
	if follow {
		f = "1"
	}
	q := url.Values{"id": {id.String()}, "offset": {fmt.Sprint(offset)}, "follow": {f}}
	res, err := n.peers.Request(ctx, worker, http.MethodGet, "/peer/log?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	buf := make([]byte, pieceSize)
	for {
		k, err := res.Body.Read(buf)
		if k > 0 {
			if err := send(buf[:k]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return peer.Unreachable(worker, err)
		}
	}
}

// Follow sends the logs of a run: of each module its attempts in order.
func (b *backend) Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
	n := b.node()
	n.state.Fresh(ctx)
	if err := n.logsGone(id); err != nil {
		return err
	}
	f := &follower{n: n, id: id, in: in, at: map[string]*place{}, poke: make(chan struct{}, 1),
		open: map[string]*pipeline.ModuleRecord{}}
	for m, p := range in.Positions {
		f.at[m] = &place{LogPosition: p, begun: p.Offset > 0 || p.Ended}
	}
	var cancel context.CancelFunc
	ctx, cancel = context.WithCancel(ctx)
	f.send = func(e wire.LogEvent) error {
		f.sending.Lock()
		defer f.sending.Unlock()
		return send(e)
	}
	f.group.SetLimit(64)
	err := f.run(ctx)
	cancel()
	_ = f.group.Wait() // its functions return nil
	return err
}

// follower is one Follow call.
type follower struct {
	n     *Node
	id    pipeline.RunID
	in    wire.FollowRequest
	send  func(wire.LogEvent) error
	group errgroup.Group
	poke  chan struct{}

	sending sync.Mutex // one event at a time

	mu  sync.Mutex // guards following
	at  map[string]*place
	err error

	// What was read so far belongs to run alone.
	index uint64
	open  map[string]*pipeline.ModuleRecord // modules that have or may get something to send
}

// place is how far one module's output was sent. busy while a goroutine works
// on it; the other fields are that goroutine's then.
type place struct {
	wire.LogPosition
	busy bool
	// begun is set once it is settled where in the first attempt to begin.
	begun bool
	// times is what is known of when the attempt with the number timed wrote, whole
	// where all of it is, and at the same, read.
	times []byte
	timed int
	whole bool
	dates pipeline.LogTimes
}

func (f *follower) run(ctx context.Context) error {
	for {
		changed := f.n.store.Changed(f.id)
		head, err := f.read()
		if err != nil {
			return err
		}
		idle := f.start(ctx)
		if idle && (head.State.Final() || !f.in.Follow) {
			return f.finish(head)
		}
		retry := time.NewTimer(time.Second) // a worker that could not be asked is asked again
		select {
		case <-changed:
			if !head.State.Final() {
				f.n.services.runs.Debounce(ctx, f.id)
			}
		case <-f.poke:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return context.Cause(ctx)
		}
		retry.Stop()
		if err := f.failed(); err != nil {
			return err
		}
	}
}

func (f *follower) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *follower) finish(head pipeline.Run) error {
	if err := f.failed(); err != nil {
		return err
	}
	return f.send(wire.LogEvent{RunEnd: head.State.Final(), Run: head.State})
}

// read takes what changed since the last read into open.
func (f *follower) read() (head pipeline.Run, err error) {
	err = f.n.store.View(func(v *fsm.View) error {
		var ok bool
		if head, ok = v.Run(f.id); !ok {
			return pipeline.NoRun(f.id)
		}
		if f.index == 0 {
			mods, err := v.RunModules(f.id)
			if err != nil {
				return err
			}
			for _, name := range f.in.Modules {
				if !selected(mods, name) {
					return pipeline.NoModule(f.id, name, mods)
				}
			}
		}
		for name, rec := range v.ModulesSince(f.id, f.index) {
			if len(f.in.Modules) == 0 || slices.ContainsFunc(f.in.Modules, func(given string) bool { return pipeline.Selects(given, name) }) {
				f.open[name] = rec
			}
		}
		f.index = head.Index
		return nil
	})
	return head, err
}

// inlineLog is how much of an attempt that is over is sent at once, in the
// order in which the attempts ended, rather than beside the others.
const inlineLog = 256 << 10

// inOrder lists what is open: what ended, in the order of the ends, then what
// runs, in the order of the beginnings.
func (f *follower) inOrder() []*pipeline.ModuleRecord {
	list := make([]*pipeline.ModuleRecord, 0, len(f.open))
	for _, rec := range f.open {
		list = append(list, rec)
	}
	at := func(r *pipeline.ModuleRecord) (bool, time.Time) {
		if a := r.Last(); a != nil {
			if a.State.Final() {
				return true, a.FinishedAt
			}
			return false, a.AssignedAt
		}
		return true, r.FinishedAt
	}
	slices.SortFunc(list, func(x, y *pipeline.ModuleRecord) int {
		xe, xt := at(x)
		ye, yt := at(y)
		switch {
		case xe != ye && xe:
			return -1
		case xe != ye:
			return 1
		case !xt.Equal(yt):
			return xt.Compare(yt)
		}
		return strings.Compare(x.Name, y.Name)
	})
	return list
}

// start sets goroutines on the modules that have something to send; idle when
// there is none and none is at work.
func (f *follower) start(ctx context.Context) (idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	idle = true
	hold := false // an attempt that ended before is still being sent
	for _, rec := range f.inOrder() {
		p := f.at[rec.Name]
		if p == nil {
			p = &place{}
			f.at[rec.Name] = p
		}
		if p.busy {
			idle = false
			last := rec.Last()
			hold = hold || last != nil && last.State.Final()
			continue
		}
		if p.Attempt == 0 {
			p.Attempt = f.firstAttempt(rec)
		}
		if p.Ended {
			if p.Attempt >= len(rec.Attempts) {
				if rec.State.Final() {
					delete(f.open, rec.Name)
				}
				continue
			}
			p.LogPosition = wire.LogPosition{Attempt: p.Attempt + 1}
		}
		if p.Attempt > len(rec.Attempts) {
			continue
		}
		a := rec.Attempts[p.Attempt-1]
		if !a.State.Final() && !f.in.Follow && p.Offset > 0 {
			continue // what was there is sent
		}
		idle = false
		if hold && a.State.Final() {
			continue // in its turn: the one at work pokes when it is through
		}
		p.busy = true
		if a.State.Final() && a.LogSize <= inlineLog {
			f.mu.Unlock()
			f.module(ctx, rec.Name, p, a)
			f.mu.Lock()
			continue
		}
		if !f.group.TryGo(func() error { f.module(ctx, rec.Name, p, a); return nil }) {
			p.busy = false // many at work: one that ends pokes
		}
	}
	return idle
}

// module sends one attempt's output from the place on.
func (f *follower) module(ctx context.Context, name string, p *place, a pipeline.Attempt) {
	err := f.attempt(ctx, name, p, a)
	f.mu.Lock()
	p.busy = false
	if err != nil && f.err == nil && ctx.Err() == nil {
		f.err = err
	}
	f.mu.Unlock()
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

func (f *follower) attempt(ctx context.Context, name string, p *place, a pipeline.Attempt) error {
	var sendErr error
	cut := &cutter{}
	piece := func(b []byte) error {
		for len(b) > 0 {
			e, part := f.dated(wire.LogEvent{Module: name, Attempt: a.Number, Offset: p.Offset}, p, b[:min(len(b), pieceSize)])
			b = b[len(part):]
			e.Text, e.Raw = textOf(part)
			if sendErr = f.send(e); sendErr != nil {
				return sendErr
			}
			p.Offset += int64(len(part))
		}
		return nil
	}
	if err := f.begin(ctx, name, p, &a); err != nil && !a.State.Final() {
		// Nothing is known yet, or its worker died: as below.
		p.Ended = !f.in.Follow
		if f.in.Follow {
			sleep(ctx, tailPause)
		}
		return nil
	}
	p.begun = true
	if !a.State.Final() {
		id := pipeline.AttemptID{Run: f.id, Module: name, Attempt: a.Number}
		// An error means that the worker forgot it or died: the state tells how it
		// goes on, and the next round reads on from the same byte.
		_ = f.n.tail(ctx, a.Worker, id, p.Offset, f.in.Follow, func(b []byte) error {
			if f.in.Times {
				_ = f.begin(ctx, name, p, &a) // where it fails the last known time counts
			}
			return piece(cut.add(b))
		})
		if sendErr == nil {
			_ = piece(cut.rest()) // sets sendErr
		}
		if !f.in.Follow {
			p.Ended = true
		} else if sendErr == nil {
			sleep(ctx, tailPause)
		}
		return sendErr
	}
	if err := f.logged(ctx, a, p, cut, piece); err != nil {
		if sendErr != nil || ctx.Err() != nil {
			return err
		}
		note := fmt.Sprintf("[the rest of this output cannot be had: %v]\n", err)
		if err := f.send(wire.LogEvent{Module: name, Attempt: a.Number, Offset: p.Offset, Text: note}); err != nil {
			return err
		}
	}
	p.Ended = true
	return f.send(wire.LogEvent{Module: name, Attempt: a.Number, Offset: p.Offset, End: true, State: a.State})
}

// logged sends what is left of the log of an attempt that is over.
func (f *follower) logged(ctx context.Context, a pipeline.Attempt, p *place, cut *cutter, piece func([]byte) error) error {
	if a.Log == "" || a.LogSize <= p.Offset {
		return nil
	}
	blob, err := f.n.fabric.down.Open(ctx, a.Holders, a.Log)
	if err != nil {
		return err
	}
	defer blob.Close()
	text, err := storage.OpenLog(blob, a.LogSize)
	if err != nil {
		return err
	}
	if _, err := text.Seek(p.Offset, io.SeekStart); err != nil {
		return err
	}
	in := io.LimitReader(text, a.LogSize-p.Offset) // behind it stand the times
	buf := make([]byte, pieceSize)
	for {
		k, err := in.Read(buf)
		if k > 0 {
			if err := piece(cut.add(buf[:k])); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return piece(cut.rest())
		}
		if err != nil {
			return err
		}
	}
}

// cutter keeps the beginning of a character back until its rest has come, so
// that pieces are whole UTF-8 where the output is.
type cutter struct{ kept []byte }

func (c *cutter) add(b []byte) []byte {
	b = append(c.kept, b...)
	c.kept = nil
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if t := b[len(b)-i:]; utf8.RuneStart(t[0]) {
			if !utf8.FullRune(t) {
				c.kept = append([]byte(nil), t...)
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

func (c *cutter) rest() []byte {
	b := c.kept
	c.kept = nil
	return b
}

func textOf(b []byte) (string, []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), append([]byte(nil), b...)
}
