package consensus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/raft"
)

// ErrEpochEnded is the cause of a leader's context that was cancelled because
// leadership was lost, even if it was won again at once.
var ErrEpochEnded = errors.New("leadership has ended")

// epochs counts the times that leadership was won. A second win in a row is a
// new epoch: the loss between them went by unseen (H6).
type epochs struct {
	mu      sync.Mutex // guards following
	leading bool
	n       uint64
	closed  bool
	changed chan struct{}
}

func (e *epochs) init() { e.changed = make(chan struct{}) }

// set notes what raft's LeaderCh said.
func (e *epochs) set(leading bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.setLocked(leading)
}

func (e *epochs) setLocked(leading bool) {
	if e.closed || !leading && !e.leading {
		return
	}
	e.leading = leading
	if leading {
		e.n++
	}
	close(e.changed)
	e.changed = make(chan struct{})
}

// renew ends an epoch of leadership and begins the next, as if it had been lost
// and won.
func (e *epochs) renew() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leading {
		e.setLocked(true)
	}
}

// close ends every epoch.
func (e *epochs) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed, e.leading = true, false
		close(e.changed)
	}
}

// now returns the epoch, whether it is one of leadership, whether it is closed,
// and a channel that is closed at the next change.
func (e *epochs) now() (n uint64, leading, closed bool, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n, e.leading, e.closed, e.changed
}

// follow cancels the context when epoch n has ended, and returns then or when
// ctx is done.
func (e *epochs) follow(ctx context.Context, n uint64, cancel context.CancelCauseFunc) {
	for {
		cur, leading, _, changed := e.now()
		if !leading || cur != n {
			cancel(ErrEpochEnded)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Lead runs f whenever this node leads, until ctx is done or the node closed.
// Each gain of leadership is one call with that term; its context ends with
// leadership, and the next call comes only when f has returned. If f
// returns an error in a term that continues, it is called again after a pause;
// if it returns nil, not before the next term. Several may lead at once.
func (n *Node) Lead(ctx context.Context, f func(ctx context.Context, term uint64) error) error {
	return n.lead.run(ctx, n.instance.term, f, func(err error) { n.log.Error("the leader's duty failed, trying again", "error", err) })
}

func (e *epochs) run(ctx context.Context, term func() (uint64, bool), f func(context.Context, uint64) error, failed func(error)) error {
	const minPause = 50 * time.Millisecond
	retry := &backoff.ExponentialBackOff{InitialInterval: minPause, Multiplier: 2, MaxInterval: 2 * time.Second}
	last := uint64(0)
	for {
		epoch, leading, closed, changed := e.now()
		if closed {
			return ErrEpochEnded
		}

		var again <-chan time.Time
		if t, ok := term(); leading && ok {
			if epoch != last {
				retry.Reset()
				last = epoch
			}

			err := e.once(ctx, epoch, t, f)

			// Look again: if the epoch has ended meanwhile the next begins now.
			if cur, still, _, _ := e.now(); ctx.Err() == nil && (cur != epoch || !still) {
				continue
			}

			if err != nil && ctx.Err() == nil {
				failed(err)
				again = time.After(retry.NextBackOff())
			}
		} else if leading {
			// Lost, but raft has not said so yet; it will.
			again = time.After(minPause)
		}

		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// once runs f for one epoch and returns when both f and the watch have ended.
func (e *epochs) once(ctx context.Context, epoch, term uint64, f func(context.Context, uint64) error) error {
	lctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		e.follow(lctx, epoch, cancel)
	}()
	err := f(lctx, term)
	cancel(nil)
	<-watched
	return err
}

// watchLeadership turns raft's signals into epochs, and everything that may
// have changed into pokes.
func (n *Node) watchLeadership() {
	// Only pokes pass here; one that does not fit is no loss as more follow.
	seen := make(chan raft.Observation, 16)
	obs := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState, raft.PeerObservation:
			return true
		}
		return false
	})

	n.instance.raft.RegisterObserver(obs)
	defer n.instance.raft.DeregisterObserver(obs)

	for {
		select {
		case leading := <-n.instance.raft.LeaderCh():
			n.storage.leadership(leading)
			if leading {
				n.proposer.refusedSince.Store(0)
			}
			n.trips.reload()
			n.changes.notify()
		case <-seen:
			n.trips.reload()
			n.changes.notify()
		case <-n.stop:
			return
		}
	}
}
