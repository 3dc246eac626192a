package executor

import (
	"context"
	"sync"
	"time"
)

// Local runs processes as children of this process. They end with Close; if
// this process is killed instead, the next runner of the data dir ends them.
type Local struct {
	e       *engine
	exits   *exitQueue
	running sync.WaitGroup
	once    sync.Once
	err     error
}

var _ Runner = (*Local)(nil)

// closeWait bounds how long Close waits for the dying. Only a process that the
// kernel holds (a dead network file system, say) takes longer than moments.
const closeWait = 30 * time.Second

// NewLocal opens a runner in this process, which it changes as the package
// comment says. What an earlier runner of the data dir left is killed first.
func NewLocal(cfg Config) (*Local, error) {
	l := &Local{exits: newExitQueue()}
	e, err := openEngine(cfg.withDefaults(), engineOptions{publish: l.exits.add})
	if err != nil {
		return nil, err
	}
	l.e = e
	l.running.Go(l.exits.run)
	return l, nil
}

// Incarnation implements Runner.
func (l *Local) Incarnation() string { return l.e.identity.incarnation }

// Start implements Runner.
func (l *Local) Start(ctx context.Context, ps []Process) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.e.start(ps)
}

// Stop implements Runner.
func (l *Local) Stop(_ context.Context, id, reason string, grace time.Duration) error {
	return l.e.stop(id, reason, grace)
}

// List implements Runner.
func (l *Local) List(context.Context) ([]Status, error) { return l.e.list(), nil }

// Exits implements Runner.
func (l *Local) Exits() <-chan Status { return l.exits.out }

// Forget implements Runner.
func (l *Local) Forget(_ context.Context, ids ...string) error {
	l.e.forget(ids)
	return nil
}

// Renew implements Runner.
func (l *Local) Renew(_ context.Context, until time.Duration) error {
	return l.e.lease.renew(until, l.e.lapse)
}

// Close kills all processes, waits until their trees are dead, and closes
// Exits.
func (l *Local) Close() error {
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		l.err = l.e.close(ctx)
		close(l.exits.quit)
		l.running.Wait()
	})
	return l.err
}
