package runlog

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxSenders bounds the modules whose output one follower reads at a time.
	maxSenders = 64
	// retryEvery is how often a worker that could not be asked is asked again.
	retryEvery = time.Second
	// inlineLog is the size, in bytes, up to which the output of a finished attempt
	// is sent at once, in the order in which the attempts ended, instead of beside
	// the others.
	inlineLog = 256 << 10
)

// Follow sends the logs of a run: those of each module in the order of its
// attempts. It returns after the RunEnd event, when send fails, or when ctx ends.
// send is called by one goroutine at a time.
func (l *Logs) Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
	l.state.Fresh(ctx)
	if err := l.state.View(func(v *fsm.View) error { return checkRetained(v, id) }); err != nil {
		return err
	}

	f := &follower{logs: l, id: id, in: in, send: send, poke: make(chan struct{}, 1),
		progress: map[string]*progress{}, open: map[string]*pipeline.ModuleRecord{}}
	for module, p := range in.Positions {
		f.progress[module] = &progress{LogPosition: p, begun: p.Offset > 0 || p.Ended}
	}
	f.group.SetLimit(maxSenders)

	ctx, cancel := context.WithCancel(ctx)
	err := f.run(ctx)
	// The senders use send, which belongs to the caller: they end before the return.
	cancel()
	_ = f.group.Wait() // its functions return nil
	return err
}

// follower is one Follow call. One goroutine runs it, and starts one sender for
// each attempt whose output it reads.
type follower struct {
	logs  *Logs
	id    pipeline.RunID
	in    wire.FollowRequest
	group errgroup.Group
	// poke has an element when a sender has ended.
	poke chan struct{}

	sending sync.Mutex // guards following: one event at a time
	send    func(wire.LogEvent) error

	mu       sync.Mutex // guards following
	progress map[string]*progress
	err      error

	// The rest belongs to run alone. index is that of the last read; open holds the
	// modules that have, or may get, something to send.
	index uint64
	open  map[string]*pipeline.ModuleRecord
}

// emit sends one event.
func (f *follower) emit(e wire.LogEvent) error {
	f.sending.Lock()
	defer f.sending.Unlock()

	return f.send(e)
}

// run reads the state and starts senders until the run has ended and everything
// was sent. Before it reports the end it makes sure that the state here is not
// behind: after a pause of this process the run may have been resumed.
func (f *follower) run(ctx context.Context) error {
	verified := false
	for {
		// Before the read, so that a change after it is not missed.
		changed := f.logs.state.Changed(f.id)
		head, err := f.read()
		if err != nil {
			return err
		}

		if idle := f.start(ctx); idle && (head.State.Final() || !f.in.Follow) {
			if verified || !f.in.Follow {
				return f.finish(head)
			}
			f.logs.state.Fresh(ctx)
			verified = true
			continue
		}
		verified = false
		if err := f.wait(ctx, changed, head.State.Final()); err != nil {
			return err
		}
	}
}

// wait waits until it is worth to read the state again.
func (f *follower) wait(ctx context.Context, changed <-chan struct{}, final bool) error {
	retry := time.NewTimer(retryEvery)
	defer retry.Stop()

	select {
	case <-changed:
		if !final {
			f.logs.state.Debounce(ctx, f.id)
		}
	case <-f.poke:
	case <-retry.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	return f.failed()
}

// failed is the first error of a sender.
func (f *follower) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.err
}

func (f *follower) finish(head pipeline.Run) error {
	if err := f.failed(); err != nil {
		return err
	}

	return f.emit(wire.LogEvent{RunEnd: head.State.Final(), Run: head.State})
}

// read reads what changed since the last read into open.
func (f *follower) read() (head pipeline.Run, err error) {
	err = f.logs.state.View(func(v *fsm.View) error {
		var ok bool
		if head, ok = v.Run(f.id); !ok {
			return pipeline.NoRun(f.id)
		}

		if f.index == 0 {
			if err := f.checkModules(v); err != nil {
				return err
			}
		}
		for name, rec := range v.ModulesSince(f.id, f.index) {
			if f.wants(name) {
				f.open[name] = rec
			}
		}

		f.index = head.Index
		return nil
	})
	return head, err
}

// checkModules returns an error for a module that the run does not have.
func (f *follower) checkModules(v *fsm.View) error {
	mods, err := v.RunModules(f.id)
	if err != nil {
		return err
	}

	for _, name := range f.in.Modules {
		if !fsm.Selects(mods, name) {
			return pipeline.NoModule(f.id, name, mods)
		}
	}
	return nil
}

// wants reports whether a module's output is asked for.
func (f *follower) wants(name string) bool {
	return len(f.in.Modules) == 0 ||
		slices.ContainsFunc(f.in.Modules, func(given string) bool { return pipeline.Selects(given, name) })
}

// inOrder lists the open modules: ended ones in the order of their ends, then
// running ones in the order of their starts.
func (f *follower) inOrder() []*pipeline.ModuleRecord {
	list := make([]*pipeline.ModuleRecord, 0, len(f.open))
	for _, rec := range f.open {
		list = append(list, rec)
	}

	at := func(rec *pipeline.ModuleRecord) (ended bool, when time.Time) {
		a := rec.Last()
		switch {
		case a == nil:
			return true, rec.FinishedAt
		case a.State.Final():
			return true, a.FinishedAt
		}
		return false, a.AssignedAt
	}
	slices.SortFunc(list, func(x, y *pipeline.ModuleRecord) int {
		xEnded, xTime := at(x)
		yEnded, yTime := at(y)
		switch {
		case xEnded && !yEnded:
			return -1
		case yEnded && !xEnded:
			return 1
		case !xTime.Equal(yTime):
			return xTime.Compare(yTime)
		}
		return strings.Compare(x.Name, y.Name)
	})
	return list
}

// start starts senders for the modules that have something to send. idle is true
// if there is none and no sender is at work.
//
// Outputs of finished attempts are sent in the order of their ends: while one is
// being sent, later ones are held back, and the sender pokes when it is done.
func (f *follower) start(ctx context.Context) (idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()

	idle = true
	hold := false
	for _, rec := range f.inOrder() {
		p := f.progress[rec.Name]
		if p == nil {
			p = &progress{}
			f.progress[rec.Name] = p
		}
		if p.busy {
			idle = false
			last := rec.Last()
			hold = hold || last != nil && last.State.Final()
			continue
		}

		a, ok := f.nextLocked(p, rec)
		if !ok {
			continue
		}
		idle = false
		if hold && a.State.Final() {
			continue
		}
		f.launchLocked(ctx, rec.Name, p, a)
	}
	return idle
}

// nextLocked is the attempt of a module whose output comes next; ok is false if
// there is nothing to send at present. It closes modules that are done.
func (f *follower) nextLocked(p *progress, rec *pipeline.ModuleRecord) (a pipeline.Attempt, ok bool) {
	if p.Attempt == 0 {
		p.Attempt = firstAttempt(&f.in, rec)
	}
	if p.Ended {
		if p.Attempt >= len(rec.Attempts) {
			if rec.State.Final() {
				delete(f.open, rec.Name)
			}
			return a, false
		}
		p.LogPosition = wire.LogPosition{Attempt: p.Attempt + 1}
	}
	if p.Attempt > len(rec.Attempts) {
		return a, false
	}

	return rec.Attempts[p.Attempt-1], true
}

// launchLocked sends the output of an attempt: a short one of a finished attempt
// here, others in a goroutine. It leaves mu unlocked while it sends.
func (f *follower) launchLocked(ctx context.Context, module string, p *progress, a pipeline.Attempt) {
	p.busy = true
	s := &sender{follower: f, module: module, progress: p, attempt: a}

	if a.State.Final() && a.LogSize <= inlineLog {
		f.mu.Unlock()
		f.serve(ctx, s)
		f.mu.Lock()
		return
	}

	started := f.group.TryGo(func() error { // ends with the output or ctx; Follow waits for it
		f.serve(ctx, s)
		return nil
	})
	if !started {
		p.busy = false // too many are at work: the next one that ends pokes
	}
}

// serve runs a sender and notes how it ended.
func (f *follower) serve(ctx context.Context, s *sender) {
	err := s.run(ctx)

	f.mu.Lock()
	s.progress.busy = false
	if err != nil && f.err == nil && ctx.Err() == nil {
		f.err = err
	}
	f.mu.Unlock()

	select {
	case f.poke <- struct{}{}:
	default: // run has not taken the last one yet, and will read again
	}
}
