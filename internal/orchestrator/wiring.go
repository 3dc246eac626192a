package orchestrator

import (
	"github.com/pipelined/pipelined/internal/awake"
	"github.com/pipelined/pipelined/pipeline"
)

// newTerm wires the parts of a term. Parts know their neighbours by narrow
// interfaces or by what they call; those that call back are connected last.
func newTerm(cfg *Config, number uint64) *term {
	t := &term{cfg: cfg, number: number, inbox: newInbox(), tasks: &tasks{}, ended: make(chan struct{}), model: newModel()}
	replan := &flag{raised: true}
	log := cfg.Logger

	// What needs nothing but the model, the state and the consensus.
	t.proposals = &proposals{log: cfg.Log, logger: log, inbox: t.inbox, tasks: t.tasks, batch: &batch{}}
	t.schedules = &schedules{store: cfg.Store, proposals: t.proposals, logger: log, now: cfg.Now, alarm: never}
	t.backfills = &backfills{store: cfg.Store, schedules: t.schedules, proposals: t.proposals, logger: log}
	t.timeouts = &runTimeouts{model: t.model, proposals: t.proposals, logger: log}

	// Links to workers. The dispatcher finds them by the workers part, which opens
	// them through the courier.
	courier := &courier{transport: cfg.Transport, timing: cfg.Timing, self: cfg.Self, term: number, tasks: t.tasks,
		inbox: t.inbox, logger: log}
	t.workers = &workers{model: t.model, members: cfg.Members, timing: cfg.Timing, self: cfg.Self, nodeName: cfg.NodeName,
		courier: courier, clock: awake.New(), links: map[pipeline.NodeID]*link{}}
	send := &dispatcher{links: t.workers, vault: cfg.Vault, store: cfg.Store, term: number}

	// The lifecycle, and what it calls while it advances modules. These parts call it
	// back through steps.
	life := &lifecycle{model: t.model, store: cfg.Store, logger: log, proposals: t.proposals, replan: replan,
		attempts: send, slots: t.workers}
	t.lifecycle = life
	life.queues = &runQueues{model: t.model, store: cfg.Store, logger: log, resume: life.resume}
	t.parking = newParking(cfg.MaxLoaded, life, t.workers)
	life.queues.parked = t.parking
	life.backoffs = &backoffs{model: t.model, steps: life}
	life.deferred = &evaluator{evaluateFn: cfg.Evaluate, tasks: t.tasks, inbox: t.inbox, model: t.model, logger: log,
		steps: life, backoffs: life.backoffs}
	t.approvals = &approvals{model: t.model, proposals: t.proposals, steps: life}
	life.approvals = t.approvals
	t.children = &children{prepare: cfg.PrepareChild, model: t.model, tasks: t.tasks, inbox: t.inbox, proposals: t.proposals, logger: log,
		steps: life, backoffs: life.backoffs}
	life.children = t.children

	// The result cache. Its singleflight is also asked by the planner: a module whose
	// work another one began meanwhile must not be placed.
	work := newInFlightWork(t.model)
	work.steps = life
	t.cache = &cacheLookups{results: cfg.Results, vault: cfg.Vault, finder: &cacheFinder{results: cfg.Results, images: cfg.ImageDigests, store: cfg.Store},
		tasks: t.tasks, inbox: t.inbox, model: t.model, workers: t.workers, proposals: t.proposals, steps: life, work: work}
	life.cache, life.work = t.cache, work

	// The planner, and what explains its decisions.
	ahead := &queueAhead{workers: t.workers, proposals: t.proposals, work: work, lookups: t.cache}
	locks := &locks{model: t.model, workers: t.workers, nodeName: cfg.NodeName}
	t.planner = &planner{model: t.model, workers: t.workers, locks: locks, backoffs: life.backoffs, proposals: t.proposals,
		steps: life, work: work, lookups: t.cache, ahead: ahead, vault: cfg.Vault, replan: replan, metrics: cfg.Metrics}
	t.explainer = &explainer{model: t.model, workers: t.workers, locks: locks, planner: t.planner, parking: t.parking}

	if cfg.Alone {
		t.planner.hopeless = &hopeless{model: t.model, workers: t.workers, steps: life, why: t.explainer.noWorker}
	}

	// What comes back: reports of workers, comparisons, and the fate of proposals.
	t.outcomes = &outcomes{model: t.model, store: cfg.Store, logger: log, proposals: t.proposals, replan: replan, steps: life,
		work: work, workers: t.workers, parked: t.parking, slots: ahead}
	t.reconciler = &reconciler{model: t.model, workers: t.workers, send: send, replan: replan, logger: log, ends: t.outcomes}
	commits := &commits{model: t.model, proposals: t.proposals, logger: log, lifecycle: life, work: work, send: send, metrics: cfg.Metrics, ended: cfg.Ended}

	// What calls back from below.
	send.finish = t.outcomes.finish
	courier.compare = t.reconciler.compare
	t.proposals.committed = commits.committed
	t.children.commits = commits
	return t
}
