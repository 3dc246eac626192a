package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/pipeline"
)

// Client is a Runner whose processes belong to a keeper. It reconnects by
// itself; calls wait for that as long as their context allows.
type Client struct {
	cfg   Config
	exits *exitQueue
	wg    sync.WaitGroup
	life  context.Context
	end   context.CancelFunc
	once  sync.Once
	// child is the keeper that this process started, to be waited for; only the
	// goroutine that connects uses it.
	child keeperChild

	mu sync.Mutex // guards following
	// session is the connection now; nil while there is none.
	session *session
	// ready is closed when session is set or fatal is.
	ready       chan struct{}
	incarnation string
	// fatal is why this client is of no more use.
	fatal error
}

var _ Runner = (*Client)(nil)

// errSessionLost is why a call did not get its answer; the call is repeated.
var errSessionLost = errors.New("the connection to the keeper was lost")

// Connect finds the keeper of cfg.DataDir, or starts one as
// `cfg.Executable __keeper …`, in a session of its own, and returns when it
// answers. A new keeper first kills what a dead one left.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if cfg.Executable == "" {
		return nil, pipeline.Errorf(pipeline.Invalid, "connect to keeper: no executable to start it with")
	}
	c := &Client{cfg: cfg, exits: newExitQueue(), ready: make(chan struct{})}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	bounded, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	s, err := c.establish(bounded)
	if err != nil {
		c.end()
		return nil, fmt.Errorf("connect to keeper: %w", err)
	}
	c.incarnation = s.incarnation
	c.setSession(s)
	c.wg.Go(c.exits.run)
	c.wg.Go(func() { c.run(s) })
	return c, nil
}

// SameMounts reports whether the keeper, and with it the modules, see what this
// process mounts: not if a service manager gave either a mount namespace of its
// own. What cannot be found out counts as no.
func (c *Client) SameMounts() bool {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	keepers, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", s.pid))
	return err == nil && own == keepers
}

// run reads from one session after the other until the client is closed.
func (c *Client) run(s *session) {
	for {
		err := c.read(s)
		s.close()
		c.lose(s)
		if c.life.Err() != nil {
			return
		}
		if errors.Is(err, ErrReplaced) {
			c.cfg.Logger.Error("another daemon has taken over the keeper")
			c.giveUp(ErrReplaced)
			return
		}
		c.cfg.Logger.Warn("keeper connection lost; reconnecting", "error", err)
		if s = c.reconnect(); s == nil {
			return
		}
	}
}

// reconnect tries until it has a session; nil if the client was closed.
func (c *Client) reconnect() *session {
	pause := growingPause(10*time.Millisecond, time.Second)
	for {
		bounded, cancel := context.WithTimeout(c.life, c.cfg.ConnectTimeout)
		s, err := c.establish(bounded)
		cancel()
		if c.life.Err() != nil {
			if s != nil {
				s.close()
			}
			return nil
		}
		if err == nil {
			c.mu.Lock()
			changed := c.incarnation != s.incarnation
			c.incarnation = s.incarnation
			c.mu.Unlock()
			if changed {
				c.cfg.Logger.Warn("the keeper was restarted; what ran with the former one is lost", "incarnation", s.incarnation)
				if c.cfg.OnIncarnation != nil {
					c.wg.Go(func() { c.cfg.OnIncarnation(s.incarnation) })
				}
			}
			c.setSession(s)
			return s
		}
		c.cfg.Logger.Error("keeper connection failed", "error", err)
		select {
		case <-c.life.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// growingPause doubles from first to limit, with some chance in it.
func growingPause(first, limit time.Duration) backoff.BackOff {
	p := &backoff.ExponentialBackOff{InitialInterval: first, Multiplier: 2, RandomizationFactor: 0.2, MaxInterval: limit}
	p.Reset()
	return p
}

func (c *Client) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fatal != nil {
		s.conn.Close() // closed meanwhile: its reader ends at once
		return
	}
	c.session = s
	close(c.ready)
}

// giveUp makes all calls fail with err.
func (c *Client) giveUp(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fatal = err
	if !isClosed(c.ready) {
		close(c.ready)
	}
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// read takes messages in until the session ends.
func (c *Client) read(s *session) error {
	var scratch []byte
	for {
		m, buf, err := readFrame(s.r, scratch)
		if err != nil {
			return err
		}
		scratch = buf
		switch m.Kind {
		case kindExits:
			s.deliver(m)
			c.exits.add(m.Statuses)
		case kindReply:
			s.deliver(m)
		case kindReplaced:
			return ErrReplaced
		}
	}
}

// current waits for a session.
func (c *Client) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, ready, fatal := c.session, c.ready, c.fatal
		c.mu.Unlock()
		if fatal != nil {
			return nil, fatal
		}
		if s != nil {
			return s, nil
		}
		select {
		case <-ready:
		case <-c.life.Done():
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for keeper: %w", ctx.Err())
		}
	}
}

// call asks, and asks again after a reconnection: all calls may be repeated.
func (c *Client) call(ctx context.Context, m message) (*message, error) {
	for {
		s, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := s.call(ctx, &m)
		if !errors.Is(err, errSessionLost) {
			return reply, err
		}
		c.abandon(s)
	}
}

// lastWords is for how long a session that a call found dead is read on.
const lastWords = time.Second

// abandon drops a session that a call found dead, before run has noticed. What
// the keeper has still said is read first: that another daemon took over may be
// among it, and a client that missed it would take over in its turn.
func (c *Client) abandon(s *session) {
	_ = s.conn.SetReadDeadline(time.Now().Add(lastWords)) // closed: the reader has ended
	c.drop(s)
}

// lose ends a session.
func (c *Client) lose(s *session) {
	s.conn.Close()
	c.drop(s)
}

// drop lets calls wait for the next session.
func (c *Client) drop(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session = nil
		c.ready = make(chan struct{})
	}
}

// Incarnation implements Runner: that of the keeper connected last.
func (c *Client) Incarnation() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.incarnation
}

// Start implements Runner. If the connection is lost before the answer, it
// asks the same keeper again, which knows what it has accepted; a keeper of
// another incarnation is not asked.
func (c *Client) Start(ctx context.Context, ps []Process) error {
	var refused *RefusedError
	for len(ps) > 0 {
		n, size := 0, 0
		for n < len(ps) && (n == 0 || size < softFrame) {
			one := sizeOf(&ps[n])
			if one > maxProcess {
				if n > 0 {
					break
				}
				refused = refused.refuse(ps[0].ID, pipeline.Errorf(pipeline.TooLarge,
					"command and environment hold %d bytes: pass them in a file", one))
				ps = ps[1:]
				if len(ps) == 0 {
					return refused.orNil()
				}
				continue
			}
			size += one
			n++
		}
		var err error
		if refused, err = c.startSome(ctx, ps[:n], refused); err != nil {
			return err
		}
		ps = ps[n:]
	}
	return refused.orNil()
}

// startSome starts what fits into a message.
func (c *Client) startSome(ctx context.Context, ps []Process, refused *RefusedError) (*RefusedError, error) {
	m := message{Kind: kindStart, Processes: ps}
	for first := true; ; first = false {
		s, err := c.current(ctx)
		if err != nil {
			if !first {
				err = fmt.Errorf("%w: %w", ErrUnknownStart, err)
			}
			return refused, err
		}
		if first {
			m.Incarnation = s.incarnation
		}
		if s.incarnation != m.Incarnation {
			return refused, ErrUnknownStart
		}
		reply, err := s.exchange(ctx, &m)
		if errors.Is(err, errSessionLost) {
			c.abandon(s)
			continue
		}
		if err != nil {
			return refused, fmt.Errorf("%w: %w", ErrUnknownStart, err)
		}
		for _, w := range reply.Errors {
			if !w.Refusal {
				return refused, w.err()
			}
			if why := w.err(); first || !errors.Is(why, ErrSeen) {
				refused = refused.refuse(w.ID, why)
			}
		}
		return refused, nil
	}
}

// Stop implements Runner.
func (c *Client) Stop(ctx context.Context, id, reason string, grace time.Duration) error {
	_, err := c.call(ctx, message{Kind: kindStop, IDs: []string{id}, Reason: reason, Duration: grace})
	return err
}

// List implements Runner.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	reply, err := c.call(ctx, message{Kind: kindList})
	if err != nil {
		return nil, err
	}
	return reply.Statuses, nil
}

// Exits implements Runner.
func (c *Client) Exits() <-chan Status { return c.exits.out }

// forgetDelay is how long forgetting may wait for a request to go along with.
const forgetDelay = 20 * time.Millisecond

// Forget implements Runner. It does not wait for the keeper: what is not
// forgotten, because the connection was lost, comes again and is forgotten then.
func (c *Client) Forget(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	s, err := c.current(ctx)
	if err != nil {
		return err
	}
	s.forget(ids)
	return nil
}

// Renew implements Runner.
func (c *Client) Renew(ctx context.Context, until time.Duration) error {
	_, err := c.call(ctx, message{Kind: kindRenew, Duration: until})
	return err
}

// Close disconnects. The keeper and all that it runs stay.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.giveUp(ErrClosed)
		c.end()
		c.mu.Lock()
		if c.session != nil {
			c.session.sendForgets()
			c.session.conn.Close()
		}
		c.mu.Unlock()
		close(c.exits.quit)
		c.wg.Wait()
	})
	return nil
}
