package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// lookup is a module that is looked up. The loop fills the first half, the
// goroutine of the lookup the second.
type lookup struct {
	module    *moduleState
	work      pipeline.CacheWork
	files     Files
	platforms []platform
	// container is that of the module, engines are workers that have an engine for it.
	container pipeline.Container
	engines   []pipeline.NodeID
	// bypass is why no cached result is used; "" if one is.
	bypass string
	// unknown is why the key cannot be computed; "" if it can.
	unknown string
	// sequence orders lookups against results that are stored meanwhile.
	sequence uint64

	result pipeline.CacheLookup
	entry  *pipeline.CacheEntry
}

// newLookup describes the work of a module.
func newLookup(m *moduleState, platforms []platform, vault Vault) *lookup {
	d, r := m.def, m.run
	j := &lookup{module: m, platforms: platforms, container: d.Container,
		files: Files{Workspace: r.head.Workspace, Holders: r.head.Holders, Globs: d.Inputs, All: d.InputsAll},
		work: pipeline.CacheWork{Command: d.Command, Script: d.Script, Env: d.Env, CacheKey: d.CacheKey, Secrets: d.Secrets,
			Outputs: d.Outputs, OutputsOptional: d.OutputsOptional, Reports: d.Reports.JUnit, WorkingDir: d.WorkingDir, Layout: d.Layout, Shell: d.Shell,
			HookBefore: d.Hooks.Before, HookAfter: d.Hooks.After, HookOK: d.Hooks.OnSuccess, HookFailed: d.Hooks.OnFailure, Services: d.Container.Services}}

	// The key is made of plain values: sealing the same value twice gives two texts.
	e := m.deferred.evaluated
	if d.Sensitive && e != nil && vault != nil {
		open, err := vault.Open(r.def, d, e)
		if err != nil {
			j.unknown = "the values of its expressions cannot be decrypted, so its result is not cached: " + err.Error()
			return j
		}
		e = open.Evaluated
	}

	applyEvaluated(&j.work, e)

	// Outputs of dependencies count by content, whatever run made them.
	for _, dep := range m.dependencies {
		if dep.product.outputs != "" {
			j.work.Upstream = append(j.work.Upstream, pipeline.Upstream{Module: dep.def.Name, Outputs: dep.product.outputs})
		}
	}

	// The key is still computed: the result is stored under it.
	switch {
	case r.head.Cache == pipeline.CacheRefresh:
		j.bypass = "the run uses no cached results, and caches its own (-refresh)"
	case m.cache.rerun:
		j.bypass = "it had succeeded and was started again"
	}
	return j
}

// applyEvaluated replaces what deferred expressions have values for.
func applyEvaluated(w *pipeline.CacheWork, e *pipeline.Evaluated) {
	if e == nil {
		return
	}

	if e.Command != nil {
		w.Command = e.Command
	}

	if e.Script != "" {
		w.Script = e.Script
	}

	if e.Env != nil {
		w.Env = merged(w.Env, e.Env)
	}

	if e.CacheKey != nil {
		w.CacheKey = e.CacheKey
	}
}

// cacheFinder looks up results. It has no state: it runs in goroutines of its own.
type cacheFinder struct {
	results Results
	images  ImageDigests
	store   stateReader
}

// find fills in the results of lookups.
func (f *cacheFinder) find(ctx context.Context, jobs []*lookup) {
	// Digests of files first, outside of the view: they may take long, and an open
	// view keeps pages of the state file from being used again.
	salt := f.results.Salt()
	for _, j := range jobs {
		f.key(ctx, j, salt)
	}

	candidates := make([][]*pipeline.CacheEntry, len(jobs))
	err := f.store.View(func(v *fsm.View) error {
		for i, j := range jobs {
			candidates[i] = read(v, j, salt)
		}
		return nil
	})
	if err != nil {
		return // the store is closed: the term ends
	}

	// A hit whose bytes are gone becomes a miss, so before misses are explained.
	f.checkWhole(ctx, jobs)

	for i, j := range jobs {
		switch {
		case j.entry != nil || len(j.result.Missed) > 0:
		case j.bypass != "":
			j.result.Missed = []string{j.bypass}
		default:
			j.result.Missed = f.missed(ctx, j, candidates[i])
		}
	}
}

// key computes the key of a lookup, without a platform.
func (f *cacheFinder) key(ctx context.Context, j *lookup, salt []byte) {
	if j.unknown != "" {
		j.result.Missed = []string{j.unknown}
		return
	}

	digest, err := f.results.Files(ctx, j.files)
	if err != nil {
		j.result.Missed = []string{"its input files cannot be read, so its result is not cached: " + err.Error()}
		return
	}

	if j.container.Image != "" {
		digests, err := f.imagesOf(ctx, j)
		if err != nil {
			j.result.Missed = []string{"the digest of its image is not known, so its result is not cached: " + err.Error()}
			return
		}
		j.withImages(digests)
	}

	// Parts are digests keyed by the salt: the state reveals no value.
	j.work.Files = digest
	j.result.Parts = j.work.Parts(salt)
	j.result.Work = pipeline.CacheKey(salt, j.result.Parts, "", "")

	// nil means all files, an empty list none.
	if !j.files.All {
		j.result.Inputs = append([]string{}, j.files.Globs...)
	}
}

// withImages makes the digests of a module's images part of its work.
func (j *lookup) withImages(digests []string) {
	j.work.Image, j.result.Image, j.result.ServiceImages = digests[0], digests[0], digests[1:]
	j.work.Services = slices.Clone(j.work.Services)
	for i := range j.work.Services {
		j.work.Services[i].Image = digests[1+i]
	}
}

// imagesOf asks the workers, one after another, for the digests of a module's images.
func (f *cacheFinder) imagesOf(ctx context.Context, j *lookup) (digests []string, err error) {
	err = errors.New("no worker has a container engine")
	for _, w := range j.engines {
		if f.images == nil || ctx.Err() != nil {
			break
		}
		digests, err = f.images(ctx, w, j.container)
		if err == nil && len(digests) == 1+len(j.container.Services) {
			return digests, nil
		}
	}
	return nil, err
}

// read finds the result for any platform that the module may run on. If there is
// none, it returns other results of the module, to say what changed.
func read(v *fsm.View, j *lookup, salt []byte) []*pipeline.CacheEntry {
	if j.result.Work == "" || j.bypass != "" {
		return nil
	}

	// Platforms are sorted: with several hits every leader takes the same.
	for _, p := range j.platforms {
		if e, ok := v.CacheEntry(pipeline.CacheKey(salt, j.result.Parts, p.os, p.arch)); ok {
			j.entry = e
			return nil
		}
	}
	return v.CacheOf(j.module.run.head.Pipeline, j.module.def.Name)
}

// checkWhole drops the hits whose bytes are not available any more.
func (f *cacheFinder) checkWhole(ctx context.Context, jobs []*lookup) {
	var hits []*lookup
	var entries []*pipeline.CacheEntry
	for _, j := range jobs {
		if j.entry != nil {
			hits, entries = append(hits, j), append(entries, j.entry)
		}
	}

	// The question costs calls to other nodes.
	if len(entries) == 0 {
		return
	}

	for i, ok := range f.results.Whole(ctx, entries) {
		if !ok {
			hits[i].result.Missed = []string{fmt.Sprintf("the outputs of run %s are damaged, or on no reachable node", entries[i].From.Run)}
			hits[i].entry = nil
		}
	}
}

// missed says what is different from the closest result of the same module.
func (f *cacheFinder) missed(ctx context.Context, j *lookup, candidates []*pipeline.CacheEntry) []string {
	// Candidates are results of the same module of the same pipeline.
	best, differences := closest(j, candidates)
	if best == nil {
		return []string{"it has no cached result yet"}
	}

	against := pipeline.MissedAgainst(best.From.Run)
	if differences == 0 {
		return []string{against + "the same work, for another platform or by another version of pipelined"}
	}

	changed, added, removed := pipeline.DiffParts(best.Parts, j.result.Parts)
	var lines []string
	for _, name := range changed {
		if name != pipeline.PartFiles {
			lines = append(lines, name+" changed")
			continue
		}
		lines = append(lines, f.changedFiles(ctx, j, best)...)
	}

	for _, name := range added {
		lines = append(lines, name+" is new")
	}

	for _, name := range removed {
		lines = append(lines, name+" is gone")
	}

	if len(lines) == 0 {
		lines = []string{"keys are computed differently now"}
	}

	// The lines go into the replicated state with the assignment.
	if len(lines) > maxMissed {
		lines = append(lines[:maxMissed-1], fmt.Sprintf("and %d more", len(lines)-maxMissed+1))
	}

	for i := range lines {
		lines[i] = against + lines[i]
	}
	return lines
}

func (f *cacheFinder) changedFiles(ctx context.Context, j *lookup, best *pipeline.CacheEntry) []string {
	// Holders of the present workspace are a good guess for the earlier one.
	old := Files{Workspace: best.Workspace, Holders: j.files.Holders, Globs: best.Inputs, All: best.Inputs == nil}
	files, err := f.results.Changed(ctx, old, j.files, maxMissed)
	if err != nil {
		return []string{"input files changed (the list of the earlier ones is not kept any more)"}
	}
	return files
}

// closest is the result with the fewest differences; nil if there is none.
func closest(j *lookup, candidates []*pipeline.CacheEntry) (best *pipeline.CacheEntry, differences int) {
	for _, e := range candidates {
		changed, added, removed := pipeline.DiffParts(e.Parts, j.result.Parts)
		if n := len(changed) + len(added) + len(removed); best == nil || n < differences {
			best, differences = e, n
		}
	}
	return best, differences
}
