package remotecache

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	pathFind = "/peer/remotecache"
	// leaderWait is how long a miss waits for a leader that may know better.
	leaderWait = 2 * time.Second
	// leaderless is for how long after a wait in vain no other miss waits.
	leaderless = 5 * time.Second
	// askEvery is how often a leader is asked for.
	askEvery = 20 * time.Millisecond
)

// finder looks entries up, in the state here or at other nodes.
type finder struct {
	self  pipeline.NodeID
	state State
	peers Peers

	mu sync.Mutex // guards following
	// gaveUpAt is when a miss waited for a leader in vain.
	gaveUpAt time.Time
}

// here looks entries up in the state of this node, which may be behind. The
// answer has an element for each key; nil if there is no such entry.
func (f *finder) here(keys []pipeline.ToolKey) []*pipeline.ToolEntry {
	out := make([]*pipeline.ToolEntry, len(keys))
	_ = f.state.View(func(v *fsm.View) error { // if it is closed there is nothing
		for i, k := range keys {
			out[i] = v.Tool(k)
		}
		return nil
	})
	return out
}

// find looks entries up in the state here. It asks the leader for missing ones:
// they may have been put through another node a moment ago, or this node may hold
// no state. A node with state that reaches no leader answers from what it has: a
// miss does no harm.
func (f *finder) find(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	out := make([]*pipeline.ToolEntry, len(keys))
	here := f.state.HasState()
	if here {
		out = f.here(keys)
	}

	var missing []pipeline.ToolKey
	var at []int
	for i, e := range out {
		if e == nil {
			missing, at = append(missing, keys[i]), append(at, i)
		}
	}
	if len(missing) == 0 || here && f.state.Leading() {
		return out, nil
	}

	found, err := f.askLeader(ctx, missing)
	if err != nil && !here {
		found, err = f.askReplicas(ctx, missing)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil:
		for i, e := range found {
			out[at[i]] = e
		}
	case !here:
		return nil, err
	}
	return out, nil
}

// question asks a node for entries; with Leading only while it leads, since a
// leader that was just elected may not have applied all that was acknowledged.
type question struct {
	Keys    []pipeline.ToolKey `cbor:"1,keyasint"`
	Leading bool               `cbor:"2,keyasint,omitempty"`
}

func (f *finder) answer(_ context.Context, q question) ([]*pipeline.ToolEntry, error) {
	if q.Leading && !f.state.Leading() {
		return nil, pipeline.ErrNotLeader
	}

	return f.here(q.Keys), nil
}

// askLeader asks the leader for entries. If there is none it waits for one, unless
// another call did so in vain a moment ago.
func (f *finder) askLeader(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()

	found, err := backoff.Retry(ctx, func() ([]*pipeline.ToolEntry, error) {
		leader, err := f.state.LeaderID()
		if err == nil && leader != f.self {
			var out []*pipeline.ToolEntry
			err := f.peers.Call(ctx, leader, pathFind, question{Keys: keys, Leading: true}, &out)
			if err == nil && len(out) == len(keys) {
				return out, nil
			}
		}
		if f.state.Leading() {
			return f.here(keys), nil
		}
		if !f.mayWait() {
			return nil, backoff.Permanent(pipeline.ErrNoLeader)
		}
		return nil, pipeline.ErrNoLeader
	}, backoff.WithBackOff(backoff.NewConstantBackOff(askEvery)))
	if err != nil {
		f.gaveUp()
		return nil, pipeline.ErrNoLeader
	}
	return found, nil
}

// mayWait reports whether a leader may appear soon.
func (f *finder) mayWait() bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	return time.Since(f.gaveUpAt) > leaderless
}

func (f *finder) gaveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()

	if time.Since(f.gaveUpAt) > leaderless {
		f.gaveUpAt = time.Now()
	}
}

// askReplicas asks nodes that hold the state, until one answers.
func (f *finder) askReplicas(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	for _, id := range f.state.Replicas() {
		call, cancel := context.WithTimeout(ctx, leaderWait)
		var out []*pipeline.ToolEntry
		err := f.peers.Call(call, id, pathFind, question{Keys: keys}, &out)
		cancel()
		if err == nil && len(out) == len(keys) {
			return out, nil
		}
	}

	return nil, pipeline.ErrNoLeader
}
