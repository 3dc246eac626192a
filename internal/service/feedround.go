package service

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// roundAge is how long viewers may join a round: less than a person sees, and enough for
// all that one change wakes.
const roundAge = 50 * time.Millisecond

// round is one look at the state of all viewers that look at it at about the same time.
// What one of them reads for others that know the same is read and encoded once. It is
// safe for concurrent use.
type round struct {
	feeds *Feeds
	at    time.Time
	// index is that of the state before anything was read, so viewers that have what the
	// round gives know the state up to it. advanced is closed once there is more.
	index    uint64
	advanced <-chan struct{}

	mu   sync.Mutex // guards made
	made map[any]*roundPart
}

// roundPart is what a round has for one question. doc is nil if there is nothing to send.
type roundPart struct {
	once sync.Once
	doc  *api.SharedDoc
	err  error
	// waiting is why modules wait, in an answer about a run.
	waiting *waitingAnswer
	// text is what is compared to find out whether the cluster changed.
	text []byte
}

// look gives the round of this moment to a viewer that knows the state up to since and
// has had the round before; one has each round once.
func (f *Feeds) look(before *round, since uint64) (*round, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.round; r != nil && r != before && r.index >= since && time.Since(r.at) < roundAge {
		return r, nil
	}

	r := &round{feeds: f, at: time.Now(), advanced: f.cfg.State.Advanced(), made: map[any]*roundPart{}}
	err := f.cfg.State.View(func(view *fsm.View) error {
		r.index = view.Index()
		return nil
	})
	f.round = r
	return r, err
}

// part gives the answer to a question, which the first viewer that asks it finds out.
func (r *round) part(question any, answer func(*roundPart) (doc any, err error)) *roundPart {
	r.mu.Lock()
	p := r.made[question]
	if p == nil {
		p = &roundPart{}
		r.made[question] = p
	}
	r.mu.Unlock()

	p.once.Do(func() {
		var doc any
		if doc, p.err = answer(p); doc != nil {
			p.doc = api.Shared(doc)
		}
	})
	return p
}

// The questions. They differ if the answers may.
type (
	askedRuns     struct{ since uint64 }
	askedHappened struct{ since uint64 }
	askedRun      struct {
		id      pipeline.RunID
		since   uint64
		compare bool
		waiting *waitingAnswer
	}
	askedCluster struct{}
)

// runs gives the runs that changed after an index.
func (r *round) runs(since uint64) *roundPart {
	return r.part(askedRuns{since}, func(*roundPart) (doc any, err error) {
		err = r.feeds.cfg.State.View(func(view *fsm.View) error {
			out := &wire.StreamRuns{Index: r.index, Runs: []wire.RunSummary{}}
			ids, ok := view.RunsSince(since)
			if since == 0 || !ok || len(ids) > feedRuns {
				out.Reset = true
				view.Runs(0, func(run pipeline.Run) bool {
					out.Runs = append(out.Runs, summaryIn(view, run))
					return len(out.Runs) < feedRuns
				})
				doc = out
				return nil
			}
			for _, id := range ids {
				if run, ok := view.Run(id); ok {
					out.Runs = append(out.Runs, summaryIn(view, run))
				} else {
					out.Removed = append(out.Removed, id)
				}
			}
			if len(ids) > 0 {
				doc = out
			}
			return nil
		})
		return doc, err
	})
}

// happened gives the events after an index.
func (r *round) happened(since uint64) *roundPart {
	return r.part(askedHappened{since}, func(*roundPart) (doc any, err error) {
		err = r.feeds.cfg.State.View(func(view *fsm.View) error {
			if out := r.feeds.happened(view, since, r.index); out != nil {
				doc = out
			}
			return nil
		})
		return doc, err
	})
}

// run gives what changed of a run after an index; with compare, or if it changed, also
// why modules wait, unless that is as it was. The error is NotFound if the run does not
// exist.
func (r *round) run(ctx context.Context, id pipeline.RunID, since uint64, compare bool, waiting *waitingAnswer) *roundPart {
	return r.part(askedRun{id, since, compare, waiting}, func(p *roundPart) (any, error) {
		p.waiting = waiting
		changed, final, err := r.changed(id, since)
		if err != nil {
			return nil, err
		}
		news := map[string]string{}
		if changed || compare {
			news = r.waiting(ctx, id, final, p)
		}
		if !changed && len(news) == 0 {
			return nil, nil
		}

		from := since
		if !changed { // only why modules wait
			from = r.index
		}
		whole, err := r.feeds.cfg.Runs.read(id, from)
		if err != nil {
			return nil, err
		}
		for i := range whole.Modules {
			whole.Modules[i].DependsOn = nil
		}
		return wire.StreamRun{Index: r.index, Reset: since == 0, Run: whole.RunSummary, Variables: whole.Variables, Sensitive: whole.Sensitive,
			Modules: whole.Modules, Waiting: news}, nil
	})
}

// changed reports whether a run changed after an index, and whether it has ended.
func (r *round) changed(id pipeline.RunID, since uint64) (changed, final bool, err error) {
	err = r.feeds.cfg.State.View(func(view *fsm.View) error {
		run, ok := view.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		changed, final = run.Index > since, run.State.Final()
		return nil
	})
	return changed, final, err
}

// waiting gives why modules of a run wait, of those for which that changed, and sets
// p.waiting to all.
func (r *round) waiting(ctx context.Context, id pipeline.RunID, final bool, p *roundPart) map[string]string {
	now := nothingWaits
	if !final {
		if now = r.feeds.waiting(ctx, id); now.why == nil {
			return nil
		}
	}

	before := p.waiting.why
	p.waiting = now
	out := map[string]string{}
	for name, why := range now.why {
		if before[name] != why {
			out[name] = why
		}
	}
	for name := range before {
		if _, still := now.why[name]; !still {
			out[name] = ""
		}
	}
	return out
}

// cluster gives the members, and in text what of them is news.
func (r *round) cluster(ctx context.Context) *roundPart {
	ctx = context.WithoutCancel(ctx) // of one viewer; the others want the answer too
	return r.part(askedCluster{}, func(p *roundPart) (any, error) {
		c := r.feeds.cfg.Cluster
		members, err := c.Members(ctx)
		if err != nil {
			return nil, err
		}
		raft, err := c.Raft(ctx)
		if err != nil {
			return nil, err
		}
		health := c.Health(ctx)

		// What changes with every look is no news.
		health.Nonce, health.Timestamp = "", time.Time{}
		now := wire.StreamCluster{Health: health, Members: members, Raft: raft}
		if p.text, err = json.Marshal(now); err != nil {
			return nil, err
		}
		now.Index, now.Health.Timestamp = r.index, time.Now().UTC()
		return now, nil
	})
}

// isNews reports whether a viewer that knows text does not know p.
func (p *roundPart) isNews(text []byte) bool { return !bytes.Equal(text, p.text) }
