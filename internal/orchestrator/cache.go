package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// A module with cache = true is looked up in the result cache before it is placed:
// in a goroutine, together with all modules that are ready at that moment. A hit
// ends the module. After a miss it is placed, and its key goes with the assignment,
// so that the state machine stores the result with the outcome.

const (
	// maxLookups bounds the batches of lookups that run at once.
	maxLookups = 4
	// lookupTime bounds one batch: after it, its modules run and are not cached.
	lookupTime = 15 * time.Second
	// maxEngines bounds the workers that are asked for the digest of an image.
	maxEngines = 3
	// maxMissed bounds the lines that say what changed since a cached result.
	maxMissed = 12
)

// Results is what the result cache needs beyond the replicated state. Its methods
// are called from several goroutines and return soon after ctx has ended.
type Results interface {
	// Salt keys the digests of this cluster.
	Salt() []byte
	// Files returns a digest of the files that a module sees of a workspace.
	Files(ctx context.Context, f Files) (string, error)
	// Changed lists the differences between two of them: at most limit lines, and one
	// that says how many more there are.
	Changed(ctx context.Context, old, now Files, limit int) ([]string, error)
	// Whole reports for each result whether all its bytes are undamaged and on nodes
	// that answer.
	Whole(ctx context.Context, list []*pipeline.CacheEntry) []bool
}

// ImageDigests asks a worker for the digests of a module's image and of its services'
// there, in this order. It pulls them if the module says so.
type ImageDigests func(ctx context.Context, worker pipeline.NodeID, c pipeline.Container) ([]string, error)

// Files are the files of a workspace that the globs match; all of them if All is
// set.
type Files struct {
	Workspace pipeline.Digest
	Holders   []pipeline.NodeID
	Globs     []string
	All       bool
}

// cacheState is what the result cache knows of a module.
type cacheState struct {
	// lookup is set once no cached result was found; bypassed if none was looked for.
	lookup   *pipeline.CacheLookup
	bypassed bool
	// rerun is set if the module had succeeded and is to run once more.
	rerun bool
	// looking is set while a lookup is wanted or runs, asked while it runs.
	looking, asked bool
	// leader is the module that does the same work; this one waits behind it. nil if
	// it does not.
	leader *moduleState
	// leadingSince is when this module became the leader of its work.
	leadingSince time.Time
}

// platform is what a result is valid for.
type platform struct{ os, arch string }

// cacheLookups starts lookups and takes what they find. It owns the modules that
// wait for a lookup and the number of batches that run.
type cacheLookups struct {
	// results is nil if nothing is cached.
	results Results
	vault   Vault
	finder  *cacheFinder
	tasks   *tasks
	inbox   *inbox
	model   *model
	workers interface {
		platforms(scheduler.Class) []platform
		fitting(scheduler.Class) []*link
	}

	proposals *proposals
	steps     steps
	work      *inFlightWork

	wanted  []*moduleState
	running int
}

// isCacheable reports whether results of the module are cached.
func (c *cacheLookups) isCacheable(m *moduleState) bool {
	return m.def.Cache && c.results != nil && m.run.head.Cache != pipeline.CacheOff
}

// request asks for the cached result of a module that is ready.
func (c *cacheLookups) request(m *moduleState) {
	m.cache.looking = true
	c.wanted = append(c.wanted, m)
}

// start looks up what is wanted. A module that fits no worker stays wanted: it is
// not known for which platform its result must be.
func (c *cacheLookups) start() {
	if len(c.wanted) == 0 || c.running >= maxLookups {
		return
	}

	platforms := map[scheduler.Class][]platform{}
	sequence := c.work.nextLookup()
	var jobs []*lookup
	var left []*moduleState
	for _, m := range c.wanted {
		if !c.model.isCurrent(m.run) || m.state.Final() || m.active != nil || m.run.stale {
			continue
		}
		class := m.class()
		class.Avoid = ""
		list, known := platforms[class]
		if !known {
			list = c.workers.platforms(class)
			platforms[class] = list
		}
		if len(list) == 0 {
			left = append(left, m)
			continue
		}
		m.cache.asked = true
		j := newLookup(m, list, c.vault)
		j.sequence = sequence
		if m.def.Container.Image != "" {
			for _, l := range c.workers.fitting(class) {
				j.engines = append(j.engines, l.id)
			}
			j.engines = j.engines[:min(len(j.engines), maxEngines)]
		}
		jobs = append(jobs, j)
	}

	c.wanted = left
	if len(jobs) == 0 {
		return
	}

	c.running++
	c.tasks.start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		c.finder.find(ctx, jobs)
		c.inbox.post(func() { c.found(jobs) })
	})
}

// found takes what a batch of lookups found.
func (c *cacheLookups) found(jobs []*lookup) {
	c.running--

	for _, j := range jobs {
		m := j.module
		if !c.model.isCurrent(m.run) || !m.cache.looking {
			continue
		}
		m.cache.looking, m.cache.asked = false, false
		if m.state.Final() || m.active != nil || m.run.stale {
			continue
		}

		switch {
		case j.entry != nil:
			c.hit(m, j.entry)
		case j.bypass == "" && c.work.storedSince(j):
			c.request(m) // its result was stored while the lookup ran
		default:
			c.miss(m, j)
		}
		c.proposals.flushIfFull()
	}
}

// miss lets a module run, or wait for another that does the same work.
func (c *cacheLookups) miss(m *moduleState, j *lookup) {
	if m.run.head.Untrusted {
		// No run may use its result, those that do the same work meanwhile included.
		j.result = pipeline.CacheLookup{Missed: append(j.result.Missed, "its own result is not cached: the run was submitted with an untrusted token")}
	}

	m.cache.lookup, m.cache.bypassed = &j.result, j.bypass != ""
	if c.work.waitBehind(m, false) {
		return
	}

	c.work.lead(m)
	c.steps.advance(m)
}

// hit ends a module with a cached result.
func (c *cacheLookups) hit(m *moduleState, e *pipeline.CacheEntry) {
	if m.mustCancel() || m.run.tally.stopAfter != "" && !m.def.AlwaysRun {
		c.steps.advance(m)
		return
	}

	m.state, m.endedAt = pipeline.ModuleCached, time.Now().UTC()
	m.tries.attempts++
	m.setLocations(e.OutputBytes, e.Holders)
	m.keepProduct(product{outputs: e.Outputs, outputPaths: e.OutputPaths, result: e.Result, exitCode: e.ExitCode, duration: e.Duration})

	reason := fmt.Sprintf("result of run %s", e.From.Run)
	if e.Pipeline != m.run.head.Pipeline || e.From.Module != m.def.Name {
		reason = fmt.Sprintf("result of %s of run %s", e.From.Module, e.From.Run)
	}

	c.proposals.batch.endCached(m, reason, e)
	c.steps.finish(m)
}

// lookupFor is what goes with the assignment of a module to a worker: the lookup,
// with the key for the worker's platform. nil if the module is not cached.
func (c *cacheLookups) lookupFor(m *moduleState, l *link) *pipeline.CacheLookup {
	if m.cache.lookup == nil {
		return nil
	}

	lookup := *m.cache.lookup
	if lookup.Work != "" && l.capabilities != nil {
		lookup.Key = pipeline.CacheKey(c.results.Salt(), lookup.Parts, l.capabilities.OS, l.capabilities.Arch)
	}
	return &lookup
}
