package service

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
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

// Feeds reports to viewers what changes. It implements api.Feeds. Each viewer reads the
// state of this node by itself: what changed is a few records.
type Feeds struct {
	cfg    FeedsConfig
	asking singleflight.Group // by run
	mu     sync.Mutex         // guards asked
	// asked are the last answers why modules wait, by run: all viewers share one.
	asked map[pipeline.RunID]waitingAnswer
}

type waitingAnswer struct {
	at  time.Time
	why map[string]string
}

// NewFeeds makes a Feeds.
func NewFeeds(cfg FeedsConfig) *Feeds {
	return &Feeds{cfg: cfg, asked: map[pipeline.RunID]waitingAnswer{}}
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
}

// viewedRun is what a viewer knows of a run besides its state.
type viewedRun struct {
	id      pipeline.RunID
	waiting map[string]string
	// gone is set once nothing more is reported: the run does not exist.
	gone bool
}

// Feed sends what has changed after an index, and then each change.
func (f *Feeds) Feed(ctx context.Context, in api.FeedRequest, send func(index uint64, kind string, doc any) error) error {
	if in.Since > 0 {
		wait, cancel := context.WithTimeout(ctx, feedCatchUp)
		err := f.cfg.State.WaitIndex(wait, in.Since)
		cancel()
		if err != nil {
			return err
		}
	}

	v := &viewer{feeds: f, in: in, send: send, since: in.Since}
	for _, id := range in.Run {
		v.runs = append(v.runs, &viewedRun{id: id, waiting: map[string]string{}})
	}
	tick := time.NewTicker(feedTick)
	defer tick.Stop()

	compare := true // what is not in the state too
	for {
		advanced := f.cfg.State.Advanced() // before the read, so that no change is missed
		if err := v.update(ctx, compare); err != nil {
			return err
		}

		select {
		case <-time.After(feedPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		compare = false
		select {
		case <-advanced:
		case <-tick.C:
			compare = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// update sends what has changed.
func (v *viewer) update(ctx context.Context, compare bool) error {
	if compare {
		if err := v.updateNode(); err != nil {
			return err
		}
	}

	// Read first: what changes while the rest is read is sent again, and harms nothing.
	index, list, happened, err := v.read()
	if err != nil {
		return err
	}
	if happened != nil {
		if err := v.send(index, wire.EventEvents, happened); err != nil {
			return err
		}
	}
	if list != nil {
		if err := v.send(index, wire.EventRuns, list); err != nil {
			return err
		}
	}
	for _, run := range v.runs {
		if err := v.updateRun(ctx, run, index, compare); err != nil {
			return err
		}
	}
	if v.in.Cluster && compare {
		if err := v.updateCluster(ctx, index); err != nil {
			return err
		}
	}
	v.since = index
	return nil
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

// read gives the index of the state, the runs that changed and what happened; nil if
// none did and nothing happened.
func (v *viewer) read() (index uint64, list *wire.StreamRuns, happened *wire.StreamHappened, err error) {
	err = v.feeds.cfg.State.View(func(view *fsm.View) error {
		index = view.Index()
		if v.in.Events && index != v.since {
			happened = v.happened(view)
		}
		if !v.in.Runs || index == v.since {
			return nil
		}

		out := &wire.StreamRuns{Index: index, Runs: []wire.RunSummary{}}
		ids, ok := view.RunsSince(v.since)
		if v.since == 0 || !ok || len(ids) > feedRuns {
			out.Reset = true
			view.Runs(0, func(r pipeline.Run) bool {
				out.Runs = append(out.Runs, summaryIn(view, r))
				return len(out.Runs) < feedRuns
			})
			list = out
			return nil
		}
		for _, id := range ids {
			if r, ok := view.Run(id); ok {
				out.Runs = append(out.Runs, summaryIn(view, r))
			} else {
				out.Removed = append(out.Removed, id)
			}
		}
		if len(ids) > 0 {
			list = out
		}
		return nil
	})
	return index, list, happened, err
}

// updateRun sends what changed of one run, or that it does not exist.
func (v *viewer) updateRun(ctx context.Context, run *viewedRun, index uint64, compare bool) error {
	if run.gone {
		return nil
	}
	err := v.updateKnown(ctx, run, index, compare)
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	run.gone = true // it may be deleted between two reads
	return v.send(index, wire.EventRun, wire.StreamRun{Index: index, Run: wire.RunSummary{ID: run.id}, Modules: []wire.Module{}, Gone: true})
}

// updateKnown sends what changed of a run. NotFound if it does not exist.
func (v *viewer) updateKnown(ctx context.Context, run *viewedRun, index uint64, compare bool) error {
	changed, final, err := v.changed(run.id)
	if err != nil {
		return err
	}
	var waiting map[string]string
	if changed || compare {
		waiting = v.newlyWaiting(ctx, run, final)
	}
	if !changed && len(waiting) == 0 {
		return nil
	}

	since := v.since
	if !changed { // only why modules wait
		since = index
	}
	whole, err := v.feeds.cfg.Runs.read(run.id, since)
	if err != nil {
		return err
	}
	for i := range whole.Modules {
		whole.Modules[i].DependsOn = nil
	}
	return v.send(index, wire.EventRun, wire.StreamRun{Index: index, Reset: v.since == 0, Run: whole.RunSummary, Modules: whole.Modules, Waiting: waiting})
}

// changed reports whether a run changed, and whether it has ended.
func (v *viewer) changed(id pipeline.RunID) (changed, final bool, err error) {
	err = v.feeds.cfg.State.View(func(view *fsm.View) error {
		r, ok := view.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		changed, final = r.Index > v.since, r.State.Final()
		return nil
	})
	return changed, final, err
}

// newlyWaiting gives why modules wait, of those for which that changed.
func (v *viewer) newlyWaiting(ctx context.Context, run *viewedRun, final bool) map[string]string {
	now := map[string]string{}
	if !final {
		var ok bool
		if now, ok = v.feeds.waiting(ctx, run.id); !ok {
			return nil
		}
	}

	out := map[string]string{}
	for name, why := range now {
		if run.waiting[name] != why {
			out[name] = why
		}
	}
	for name := range run.waiting {
		if _, still := now[name]; !still {
			out[name] = ""
		}
	}
	run.waiting = maps.Clone(now)
	return out
}

// waiting asks the leader why modules of a run wait. The answer of a moment ago will
// do; ok is false if there is none.
func (f *Feeds) waiting(ctx context.Context, id pipeline.RunID) (why map[string]string, ok bool) {
	if a, ok := f.answer(id); ok {
		return a, a != nil
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
		f.asked[id] = waitingAnswer{at: time.Now(), why: why}
		return why, nil
	})
	why, _ = v.(map[string]string)
	return why, why != nil
}

// answer gives a recent answer, and forgets those that are old.
func (f *Feeds) answer(id pipeline.RunID) (why map[string]string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for old, a := range f.asked {
		if time.Since(a.at) >= feedTick/2 {
			delete(f.asked, old)
		}
	}
	a, ok := f.asked[id]
	return a.why, ok
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

// updateCluster sends the members if something about them changed.
func (v *viewer) updateCluster(ctx context.Context, index uint64) error {
	c := v.feeds.cfg.Cluster
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	raft, err := c.Raft(ctx)
	if err != nil {
		return err
	}
	health := c.Health(ctx)

	// What changes with every look is no news.
	health.Nonce, health.Timestamp = "", time.Time{}
	now := wire.StreamCluster{Health: health, Members: members, Raft: raft}
	text, err := json.Marshal(now)
	if err != nil || bytes.Equal(text, v.cluster) {
		return err
	}
	v.cluster = text
	now.Index, now.Health.Timestamp = index, time.Now().UTC()
	return v.send(index, wire.EventCluster, now)
}
