package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Router is what the API needs of a node to decide which node serves a call and
// to reach that node. Apart from Verify the methods neither block nor do I/O.
type Router interface {
	// IsLeader reports whether this node may serve calls that need the leader now.
	IsLeader() bool
	// Verify proves that this node leads, so that what it answers from its state is
	// not behind, and gives the term. If two calls give the same term, it has led
	// all the time between them. The error is pipeline.ErrNotLeader or of kind
	// Unavailable.
	Verify(ctx context.Context) (term uint64, err error)
	// HasState reports whether this node holds the replicated state.
	HasState() bool
	// Leader gives a transport to the leader and the base URL to use with it;
	// pipeline.ErrNoLeader if none is known.
	Leader(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Relay gives a transport to another node that holds the state and may know a
	// leader if this one knows none.
	Relay(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Stateful gives a transport to a node that holds the state, for a node that
	// does not.
	Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Node gives a transport to a member by name or id.
	Node(ctx context.Context, name string) (http.RoundTripper, *url.URL, error)
}

// forwarder serves a call on the node where it belongs: here, or by passing the
// request on. It is the only place where API calls are forwarded to the leader,
// and where they are repeated. It is safe for concurrent use.
type forwarder struct {
	router  Router
	cluster Cluster
	runs    Runs
	nodeID  pipeline.NodeID
	node    string
	// wait is how long a call waits for a leader.
	wait time.Duration
	log  hclog.Logger
}

func newForwarder(cfg Config) *forwarder {
	return &forwarder{router: cfg.Router, cluster: cfg.Cluster, runs: cfg.Runs, nodeID: cfg.NodeID, node: cfg.NodeName,
		wait: cfg.LeaderWait, log: cfg.Logger}
}

// target is where a call is served.
type target struct {
	// local serves here; stale marks a local answer that may be behind, verify
	// requires that this node proves to lead.
	local, stale, verify bool
	// resolve finds the transport to another node.
	resolve func(context.Context) (http.RoundTripper, *url.URL, error)
	// leader is set if the other node is the leader, so that a change of
	// leadership ends the wait for its answer.
	leader bool
}

var (
	// errLeaderChanged ends the wait for the answer of a former leader.
	errLeaderChanged = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the leader changed while it had the request"}

	// errLostWithRequest is returned if the connection to the other node broke
	// after the request may have arrived.
	errLostWithRequest = &pipeline.Error{Kind: pipeline.Unknown, Message: "the node that serves this was lost while it had the request, which may have taken effect: repeat it with the same Idempotency-Key to find out"}

	// errLostReading is errLostWithRequest for a call that changes nothing.
	errLostReading = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the node that serves this was lost while it had the request"}
)

// reads reports whether a call changes nothing, so that it may be repeated.
func (c *call) reads() bool { return c.route.reads(c.r.Method) }

// place serves a call here or passes it on. It tries again until wait has
// passed, as long as there is no leader and the call cannot have had an effect.
func (f *forwarder) place(c *call) error {
	deadline := time.Now().Add(f.wait)
	pause := 10 * time.Millisecond

	// Reads are repeated once even after the other node may have had them.
	repeats := 0
	if c.reads() {
		repeats = 1
	}

	for {
		again, err := f.try(c, repeats > 0)
		if err == nil || !again || c.relayed || c.w.status != 0 {
			return err
		}
		if errors.Is(err, errLostReading) {
			repeats--
		}

		if !time.Now().Add(pause).Before(deadline) {
			if errors.Is(err, pipeline.ErrNotLeader) {
				return pipeline.ErrNoLeader
			}
			return err
		}

		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.r.Context().Done():
			timer.Stop()
			return context.Cause(c.r.Context())
		}
		pause = min(pause*2, 100*time.Millisecond)
	}
}

// try serves a call once. again says that trying it again does no harm.
func (f *forwarder) try(c *call, repeat bool) (again bool, err error) {
	t, err := f.where(c)
	if err != nil {
		return false, err
	}

	if !t.local {
		return f.pass(c, t, repeat)
	}
	if t.stale {
		f.markStale(c)
	}
	if t.verify {
		if err := f.verify(c); err != nil {
			return !c.forwarded, err
		}
	}

	if err = f.findRun(c); err == nil {
		err = c.route.serve(c)
	}
	switch {
	case err == nil || c.forwarded || c.w.status != 0:
		return false, err

	case c.route.Where == OnLeader && errors.Is(err, pipeline.ErrNotLeader):
		return true, err

	case c.route.Where == OnState && c.reads() && kindOf(err) == pipeline.NotFound && !staleAsked(c.r):
		return f.elsewhere(c, err, repeat)
	}
	return false, err
}

// findRun finds the run that the path names, on the node that serves the call.
func (f *forwarder) findRun(c *call) (err error) {
	if c.route.ofRun() {
		c.run, err = findRun(c.r.Context(), f.runs, c.r.PathValue("id"), staleAsked(c.r))
	}
	return err
}

// verify lets a read be served here only if this node proves to lead: one that
// was paused, and replaced meanwhile, does not know it. A call that waits
// verifies it again at the end of the wait, see call.current.
func (f *forwarder) verify(c *call) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), f.wait)
	defer cancel()
	term, err := f.router.Verify(ctx)
	switch {
	case c.r.Context().Err() != nil:
		return context.Cause(c.r.Context())
	case err != nil:
		return pipeline.ErrNotLeader
	}
	c.current = func() error {
		if now, err := f.router.Verify(c.r.Context()); err != nil || now != term {
			return pipeline.ErrNotLeader
		}
		return nil
	}
	return nil
}

// elsewhere decides what becomes of a read that has not found here what it
// names. The caller may have been given the id by the leader before this node
// applied the entry that created it, so only a leader may say that there is
// nothing, and only if it proves to lead.
func (f *forwarder) elsewhere(c *call, missing error, repeat bool) (again bool, err error) {
	if !f.router.IsLeader() {
		return f.pass(c, target{resolve: f.router.Leader, leader: true}, repeat)
	}
	if err := f.verify(c); err != nil {
		return true, err
	}
	return false, missing
}

// markStale says in the answer's headers how far this node may be behind.
func (f *forwarder) markStale(c *call) {
	health := f.cluster.Health(c.r.Context())
	lag := "unknown" // without a leader the newest index is not known
	if health.Quorum {
		lag = strconv.FormatUint(max(health.CommitIndex, health.AppliedIndex)-health.AppliedIndex, 10)
	}

	h := c.w.Header()
	h.Set(wire.HeaderStale, "true")
	h.Set(wire.HeaderIndex, strconv.FormatUint(health.AppliedIndex, 10))
	h.Set(wire.HeaderLag, lag)
}

// where decides which node serves the call. A request that was passed on once
// is not passed on again: it is refused, and the node that sent it decides. One
// that is marked, by a node that knows no leader, is passed on to the leader.
func (f *forwarder) where(c *call) (target, error) {
	switch c.route.Where {
	case OnState:
		return f.whereState(c, staleAsked(c.r))

	case OnLeader:
		switch {
		case c.route.Stale && staleAsked(c.r):
			return f.whereState(c, true)
		case f.router.IsLeader():
			return target{local: true, verify: c.reads()}, nil
		case c.forwarded && !c.relayed:
			return target{}, pipeline.ErrNotLeader
		}
		return target{resolve: f.router.Leader, leader: true}, nil

	case OnNode:
		return f.whereNode(c)
	}

	return target{local: true}, nil
}

func (f *forwarder) whereState(c *call, stale bool) (target, error) {
	if f.router.HasState() {
		if stale {
			_, err := f.router.Verify(c.r.Context())
			stale = err != nil
		}
		return target{local: true, stale: stale}, nil
	}

	if c.forwarded {
		c.w.Header().Set(wire.HeaderNotExecuted, "1")
		return target{}, pipeline.Errorf(pipeline.Unavailable, "node %s does not hold the cluster's state", f.node)
	}
	return target{resolve: f.router.Stateful}, nil
}

func (f *forwarder) whereNode(c *call) (target, error) {
	name, err := c.member()
	if err != nil {
		return target{}, err
	}
	if name == f.node || name == string(f.nodeID) {
		return target{local: true}, nil
	}

	if c.forwarded {
		return target{}, pipeline.Errorf(pipeline.NotFound, "node %s: this is node %s", name, f.node)
	}
	return target{resolve: func(ctx context.Context) (http.RoundTripper, *url.URL, error) {
		return f.router.Node(ctx, name)
	}}, nil
}

// staleAsked reports whether the caller accepts an answer that may be behind.
func staleAsked(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.RawQuery == "" {
		return false
	}

	on, err := flag(r.URL.Query(), "stale")
	return on && err == nil
}

// pass passes a call on and its answer back. again says that the call can be
// tried again: nothing was delivered, or it was refused unexecuted, or it is a
// read and repeat allows it.
func (f *forwarder) pass(c *call, t target, repeat bool) (again bool, err error) {
	rt, base, err := t.resolve(c.r.Context())
	relay := false
	if err != nil && t.leader && !c.forwarded {
		// The leader may be cut off from this node alone.
		if other, at, rerr := f.router.Relay(c.r.Context()); rerr == nil {
			rt, base, err, relay = other, at, nil, true
		}
	}
	if err != nil {
		return pipeline.KindOf(err) == pipeline.Unavailable, err
	}

	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	stop := func() {}
	switch {
	case relay && !c.route.Long:
		timer := time.AfterFunc(f.wait/2, func() { cancel(errLeaderChanged) })
		stop = func() { timer.Stop() }
	case t.leader && !relay:
		stop = f.watchLeader(ctx, cancel, base)
	}

	var sent sent
	out := f.outgoing(httptrace.WithClientTrace(ctx, sent.trace()), c, base)
	if relay {
		out.Header.Set(wire.HeaderRelay, "1")
	}
	resp, err := rt.RoundTrip(out)
	stop()

	if err != nil {
		if c.r.Context().Err() != nil {
			return false, context.Cause(c.r.Context())
		}
		f.log.Debug("forwarding failed", "request", c.id, "to", base.Host, "path", c.r.URL.Path, "error", err)
		switch {
		case !sent.maybe(err):
			return true, pipeline.Errorf(pipeline.Unavailable, "the node that serves this does not answer at %s: %w", base.Host, err)
		case c.reads():
			return repeat, errLostReading
		}
		return false, errLostWithRequest
	}
	defer resp.Body.Close()

	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(wire.HeaderNotExecuted) != "" {
		return true, pipeline.ErrNotLeader
	}
	return false, c.relay(resp)
}

// watchLeader ends the wait for an answer once the leader is lost: one that is
// stopped or cut off keeps its connections open and sends nothing.
func (f *forwarder) watchLeader(ctx context.Context, cancel context.CancelCauseFunc, base *url.URL) (stop func()) {
	const every = 250 * time.Millisecond
	was := base.String()

	var mu sync.Mutex // guards following
	var timer *time.Timer
	stopped := false

	mu.Lock() // the timer's function must not see timer unset
	defer mu.Unlock()
	timer = time.AfterFunc(every, func() {
		_, now, err := f.router.Leader(ctx)
		changed := f.router.IsLeader() || err != nil || now.String() != was

		mu.Lock()
		defer mu.Unlock()
		switch {
		case stopped:
		case changed:
			cancel(errLeaderChanged)
		default:
			timer.Reset(every)
		}
	})

	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}
