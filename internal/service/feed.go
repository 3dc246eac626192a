package service

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// feedPause is the time between two updates of a viewer: four a second look live,
	// and cost the node nothing that can be measured.
	feedPause = 250 * time.Millisecond
	// feedTick is how often what is not in the state is compared: members, and why
	// modules wait.
	feedTick = time.Second
	// feedRuns is how many runs a viewer gets who knows none.
	feedRuns = 100
	// feedCatchUp bounds the wait of a viewer who comes from a node that was ahead.
	feedCatchUp = 10 * time.Second
	// waitingTimeout bounds the question why modules wait.
	waitingTimeout = time.Second

	pathWaiting = "/peer/waiting"
)

// FeedsConfig says what Feeds is made of. All fields are needed.
type FeedsConfig struct {
	State   *state.State
	Runs    *Runs
	Cluster *Cluster
	Peers   *peer.Client
}

// Feeds reports to viewers what changes. It implements api.Feeds. Viewers read the state
// of this node, in rounds: what changed is read and encoded once for all of them.
type Feeds struct {
	cfg    FeedsConfig
	asking singleflight.Group // by run
	mu     sync.Mutex         // guards following
	// asked are the last answers why modules wait, by run: all viewers share one.
	asked map[pipeline.RunID]*waitingAnswer
	// round is the last one, viewers how many there are.
	round   *round
	viewers int
}

// waitingAnswer is why modules wait; nil if that could not be found out. It never changes.
type waitingAnswer struct {
	at  time.Time
	why map[string]string
}

var nothingWaits = &waitingAnswer{why: map[string]string{}}

// NewFeeds makes a Feeds.
func NewFeeds(cfg FeedsConfig) *Feeds {
	return &Feeds{cfg: cfg, asked: map[pipeline.RunID]*waitingAnswer{}}
}

// count adds n to the viewers. The last one that leaves takes the round with it.
func (f *Feeds) count(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.viewers += n; f.viewers == 0 {
		f.round = nil
	}
}

// Register adds the message with which other nodes ask why modules wait.
func (f *Feeds) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathWaiting, peer.Handle(func(ctx context.Context, id pipeline.RunID) (map[string]string, error) {
		return f.cfg.Runs.planner.Waiting(ctx, id)
	}))
}

// viewer is what one viewer knows.
type viewer struct {
	feeds *Feeds
	in    api.FeedRequest
	send  func(index uint64, kind string, doc any) error
	// since is the index up to which the viewer knows the state.
	since uint64
	// runs are the runs that are looked at.
	runs    []*viewedRun
	node    wire.StreamNode
	cluster []byte
	// found are the events of the present update.
	found []found
}

// found is an event that is to be sent.
type found struct {
	kind string
	doc  any
}

// viewedRun is what a viewer knows of a run besides its state.
type viewedRun struct {
	id      pipeline.RunID
	waiting *waitingAnswer
	// gone is set once nothing more is reported: the run does not exist.
	gone bool
}

// Feed sends what has changed after an index, and then each change. Viewers look at
// common times, so that they share what they find.
func (f *Feeds) Feed(ctx context.Context, in api.FeedRequest, send func(index uint64, kind string, doc any) error) error {
	if in.Since > 0 {
		wait, cancel := context.WithTimeout(ctx, feedCatchUp)
		err := f.cfg.State.WaitIndex(wait, in.Since)
		cancel()
		if err != nil {
			return err
		}
	}

	f.count(1)
	defer f.count(-1)
	v := &viewer{feeds: f, in: in, send: send, since: in.Since}
	for _, id := range in.Run {
		v.runs = append(v.runs, &viewedRun{id: id, waiting: nothingWaits})
	}
	var compared time.Time // what is not in the state too
	var r *round
	for {
		tick := time.Now().Truncate(feedTick)
		var err error
		if r, err = f.look(r, v.since); err != nil {
			return err
		}
		if err := v.update(ctx, r, tick.After(compared)); err != nil {
			return err
		}
		compared = tick

		select {
		case <-next(feedPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-r.advanced:
		case <-next(feedTick):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next sends when the present interval of the clock ends.
func next(interval time.Duration) <-chan time.Time {
	now := time.Now()
	return time.After(now.Truncate(interval).Add(interval).Sub(now))
}

// update sends what has changed. Only the last event has the round's index: a viewer
// whose stream ends between two of them asks for all of them again.
func (v *viewer) update(ctx context.Context, r *round, compare bool) error {
	if compare {
		if err := v.updateNode(); err != nil {
			return err
		}
	}

	v.found = v.found[:0]
	if err := v.find(ctx, r, compare); err != nil {
		return err
	}
	for i, e := range v.found {
		index := v.since
		if i == len(v.found)-1 {
			index = r.index
		}
		if err := v.send(index, e.kind, e.doc); err != nil {
			return err
		}
	}
	v.since = r.index
	return nil
}

// find sets v.found to the events that tell what has changed.
func (v *viewer) find(ctx context.Context, r *round, compare bool) error {
	// What changed since the round's index was read is sent again, and harms nothing.
	if v.in.Events && r.index != v.since {
		if err := v.take(wire.EventEvents, r.happened(v.since)); err != nil {
			return err
		}
	}
	if v.in.Runs && r.index != v.since {
		if err := v.take(wire.EventRuns, r.runs(v.since)); err != nil {
			return err
		}
	}
	for _, run := range v.runs {
		if err := v.updateRun(ctx, r, run, compare); err != nil {
			return err
		}
	}
	if v.in.Cluster && compare {
		if p := r.cluster(ctx); p.err != nil || p.isNews(v.cluster) {
			v.cluster = p.text
			if err := v.take(wire.EventCluster, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// take adds a part of a round to v.found, if there is something to send.
func (v *viewer) take(kind string, p *roundPart) error {
	if p.err == nil && p.doc != nil {
		v.found = append(v.found, found{kind, p.doc})
	}
	return p.err
}

// updateNode sends which node serves the stream, and which one leads.
func (v *viewer) updateNode() error {
	cluster := &v.feeds.cfg.Cluster.cfg
	now := wire.StreamNode{Node: cluster.Name}
	if leader, _, ok := cluster.Members.Leader(); ok {
		now.Leader = v.feeds.cfg.State.NodeName(leader.ID)
	}
	if now == v.node {
		return nil
	}
	v.node = now
	return v.send(v.since, wire.EventNode, now)
}

// updateRun finds what changed of one run, or that it does not exist.
func (v *viewer) updateRun(ctx context.Context, r *round, run *viewedRun, compare bool) error {
	if run.gone {
		return nil
	}
	p := r.run(ctx, run.id, v.since, compare, run.waiting)
	if pipeline.KindOf(p.err) != pipeline.NotFound {
		run.waiting = p.waiting
		return v.take(wire.EventRun, p)
	}
	run.gone = true // it may be deleted between two reads
	v.found = append(v.found, found{wire.EventRun, wire.StreamRun{Index: r.index, Run: wire.RunSummary{ID: run.id}, Modules: []wire.Module{}, Gone: true}})
	return nil
}

// waiting asks the leader why modules of a run wait. The answer of a moment ago will do.
func (f *Feeds) waiting(ctx context.Context, id pipeline.RunID) *waitingAnswer {
	if a := f.answer(id); a != nil {
		return a
	}
	// Viewers who ask at the same time share one question, which ends with none of them.
	ctx = context.WithoutCancel(ctx)
	v, _, _ := f.asking.Do(string(id), func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, waitingTimeout)
		defer cancel()
		why, err := f.ask(ctx, id)
		switch {
		case err != nil:
			why = nil
		case why == nil:
			why = map[string]string{}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		a := &waitingAnswer{at: time.Now(), why: why}
		f.asked[id] = a
		return a, nil
	})
	return v.(*waitingAnswer)
}

// answer gives a recent answer, nil if there is none, and forgets those that are old.
func (f *Feeds) answer(id pipeline.RunID) *waitingAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	for old, a := range f.asked {
		if time.Since(a.at) >= feedTick/2 {
			delete(f.asked, old)
		}
	}
	return f.asked[id]
}

func (f *Feeds) ask(ctx context.Context, id pipeline.RunID) (why map[string]string, err error) {
	if f.cfg.State.Leading() {
		return f.cfg.Runs.planner.Waiting(ctx, id)
	}
	leader, err := f.cfg.State.LeaderID()
	if err == nil {
		err = f.cfg.Peers.Call(ctx, leader, pathWaiting, id, &why)
	}
	return why, err
}
