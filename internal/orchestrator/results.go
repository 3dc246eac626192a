package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// A module with cache = true is looked up before it is placed: off the loop, and
// as many at once as are ready. What was found ends the module; where nothing
// was, it is placed, and its key goes with the assignment, so that the state
// machine records the result with the outcome.
//
// Of modules that do the same work at the same time one is the first: it is
// placed, the others wait behind it and are looked up again when it has ended.
// Who that is follows from the live attempts, so every leader finds the same.

// Results is what recorded results need beyond the state. Calls end with ctx.
type Results interface {
	// Salt keys the digests of this cluster.
	Salt() []byte
	// Files gives a digest of the files that a module sees of a workspace.
	Files(ctx context.Context, f Files) (string, error)
	// Changed lists what differs between two of them, at most limit lines and
	// one that says how much more.
	Changed(ctx context.Context, old, now Files, limit int) ([]string, error)
	// Whole tells for each result whether all its bytes are on nodes that
	// answer, and undamaged.
	Whole(ctx context.Context, list []*pipeline.CacheEntry) []bool
}

// Files are those that globs name of a workspace; all of it where All is set.
type Files struct {
	Workspace pipeline.Digest
	Holders   []pipeline.NodeID
	Globs     []string
	All       bool
}

// Limits of looking for results.
const (
	// maxLookups is how many batches are looked for at once.
	maxLookups = 4
	// lookupTime bounds one batch: then its modules run unrecorded.
	lookupTime = 15 * time.Second
	// ownerPatience is how long others wait behind a module that is not placed.
	ownerPatience = 2 * time.Second
	// maxMissed bounds the lines that say what changed.
	maxMissed = 12
)

// results is the part of a term that has to do with recorded results.
type results struct {
	// wanted are the modules to look up next.
	wanted []*mod
	flying int
	seq    uint64
	// owners are the modules that do a work, by its key without a platform;
	// followers wait behind them.
	owners    map[pipeline.Digest]*mod
	followers map[pipeline.Digest][]*mod
	// stored says up to which lookup a result was recorded too late to be seen.
	stored map[pipeline.Digest]uint64
}

func newResults() results {
	return results{owners: map[pipeline.Digest]*mod{}, followers: map[pipeline.Digest][]*mod{}, stored: map[pipeline.Digest]uint64{}}
}

// platform is what results are good for.
type platform struct{ os, arch string }

// lookup is a module that is being looked up. The goroutine that does it fills
// in the second half.
type lookup struct {
	m         *mod
	work      pipeline.CacheWork
	files     Files
	platforms []platform
	// blind says why no recorded result is taken; "" where one is.
	blind string
	// unknown says why the work cannot be told; "" where it can.
	unknown string
	seq     uint64

	note  pipeline.CacheLookup
	entry *pipeline.CacheEntry
}

// cacheable reports whether results of the module are recorded.
func (t *term) cacheable(m *mod) bool {
	return m.def.Cache && t.cfg.Results != nil && m.run.head.Cache != pipeline.CacheOff
}

// lookFor asks for the recorded result of a module that is ready.
func (t *term) lookFor(m *mod) {
	m.looking = true
	t.results.wanted = append(t.results.wanted, m)
}

// lookUp starts looking for what is wanted. A module that no worker could run
// waits: for which platform a result must be is not known.
func (t *term) lookUp() {
	if len(t.results.wanted) == 0 || t.results.flying >= maxLookups {
		return
	}
	fits := map[scheduler.Class][]platform{}
	var jobs []*lookup
	var left []*mod
	t.results.seq++
	for _, m := range t.results.wanted {
		if t.runs[m.run.head.ID] != m.run || m.state.Final() || m.live != nil || m.run.stale {
			continue
		}
		class := m.class()
		class.Avoid = ""
		list, known := fits[class]
		if !known {
			list = t.platforms(class)
			fits[class] = list
		}
		if len(list) == 0 {
			left = append(left, m)
			continue
		}
		j := t.newLookup(m, list)
		j.seq = t.results.seq
		jobs = append(jobs, j)
	}
	t.results.wanted = left
	if len(jobs) == 0 {
		return
	}
	t.results.flying++
	t.group.Go(func() error {
		ctx, cancel := context.WithTimeout(t.ctx, lookupTime)
		defer cancel()
		t.find(ctx, jobs)
		t.post(func() { t.found(jobs) })
		return nil
	})
}

// platforms lists those of the workers that a class may go to.
func (t *term) platforms(c scheduler.Class) []platform {
	var list []platform
	for _, l := range t.links {
		if l.caps == nil || !scheduler.Fits(&l.sched, c) {
			continue
		}
		if p := (platform{l.caps.OS, l.caps.Arch}); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b platform) int { return strings.Compare(a.os+"/"+a.arch, b.os+"/"+b.arch) })
	return list
}

func (t *term) newLookup(m *mod, platforms []platform) *lookup {
	d, r := m.def, m.run
	j := &lookup{m: m, platforms: platforms,
		files: Files{Workspace: r.head.Workspace, Holders: r.head.Holders, Globs: d.Inputs, All: d.InputsAll},
		work: pipeline.CacheWork{Command: d.Command, Script: d.Script, Env: d.Env, CacheKey: d.CacheKey, Secrets: d.Secrets,
			Outputs: d.Outputs, OutputsOptional: d.OutputsOptional, WorkingDir: d.WorkingDir, Layout: d.Layout,
			HookBefore: d.Hooks.Before, HookAfter: d.Hooks.After, HookOK: d.Hooks.OnSuccess, HookFailed: d.Hooks.OnFailure}}
	e := m.evaluated
	if d.Sensitive && e != nil && t.cfg.Vault != nil {
		open, err := t.cfg.Vault.Open(r.def, d, e)
		if err != nil {
			j.unknown = "what its expressions came to cannot be opened, so nothing is recorded: " + err.Error()
			return j
		}
		e = open.Evaluated
	}
	if e != nil {
		if e.Command != nil {
			j.work.Command = e.Command
		}
		if e.Script != "" {
			j.work.Script = e.Script
		}
		if e.Env != nil {
			j.work.Env = merged(d.Env, e.Env)
		}
		if e.CacheKey != nil {
			j.work.CacheKey = e.CacheKey
		}
	}
	for _, dep := range m.deps {
		if dep.outputs != "" {
			j.work.Upstream = append(j.work.Upstream, pipeline.Upstream{Module: dep.def.Name, Outputs: dep.outputs})
		}
	}
	switch {
	case r.head.Cache == pipeline.CacheRefresh:
		j.blind = "the run takes no recorded results, it records them anew (-refresh)"
	case m.again:
		j.blind = "it had succeeded and was told to run again"
	}
	return j
}

// find looks for recorded results; in a goroutine of its own.
func (t *term) find(ctx context.Context, jobs []*lookup) {
	salt := t.cfg.Results.Salt()
	for _, j := range jobs {
		if j.unknown != "" {
			j.note.Missed = []string{j.unknown}
			continue
		}
		digest, err := t.cfg.Results.Files(ctx, j.files)
		if err != nil {
			j.note.Missed = []string{"its input files cannot be told, so nothing is recorded: " + err.Error()}
			continue
		}
		j.work.Files = digest
		j.note.Parts = j.work.Parts(salt)
		j.note.Work = pipeline.CacheKey(salt, j.note.Parts, "", "")
		if !j.files.All {
			j.note.Inputs = append([]string{}, j.files.Globs...)
		}
	}
	near := make([][]*pipeline.CacheEntry, len(jobs))
	err := t.cfg.Store.View(func(v *fsm.View) error {
		for i, j := range jobs {
			if j.note.Work == "" || j.blind != "" {
				continue
			}
			for _, p := range j.platforms {
				if e, ok := v.CacheEntry(pipeline.CacheKey(salt, j.note.Parts, p.os, p.arch)); ok {
					j.entry = e
					break
				}
			}
			if j.entry == nil {
				near[i] = v.CacheOf(j.m.run.head.Pipeline, j.m.def.Name)
			}
		}
		return nil
	})
	if err != nil {
		return // the state is closed: the term ends
	}
	t.checkWhole(ctx, jobs)
	for i, j := range jobs {
		switch {
		case j.entry != nil || len(j.note.Missed) > 0:
		case j.blind != "":
			j.note.Missed = []string{j.blind}
		default:
			j.note.Missed = t.missed(ctx, j, near[i])
		}
	}
}

// checkWhole drops what was found and cannot be had any more.
func (t *term) checkWhole(ctx context.Context, jobs []*lookup) {
	var hits []*lookup
	var entries []*pipeline.CacheEntry
	for _, j := range jobs {
		if j.entry != nil {
			hits, entries = append(hits, j), append(entries, j.entry)
		}
	}
	if len(entries) == 0 {
		return
	}
	for i, ok := range t.cfg.Results.Whole(ctx, entries) {
		if !ok {
			hits[i].note.Missed = []string{fmt.Sprintf("what run %s left is damaged, or on no node that answers", entries[i].From.Run)}
			hits[i].entry = nil
		}
	}
}

// missed says what is different from the nearest result of the same module.
func (t *term) missed(ctx context.Context, j *lookup, near []*pipeline.CacheEntry) []string {
	var best *pipeline.CacheEntry
	fewest := 0
	for _, e := range near {
		changed, added, removed := pipeline.DiffParts(e.Parts, j.note.Parts)
		if n := len(changed) + len(added) + len(removed); best == nil || n < fewest {
			best, fewest = e, n
		}
	}
	if best == nil {
		return []string{"no result of it is recorded yet"}
	}
	against := fmt.Sprintf("against run %s: ", best.From.Run)
	changed, added, removed := pipeline.DiffParts(best.Parts, j.note.Parts)
	if fewest == 0 {
		return []string{against + "the same work, for another platform or by another version of pipelined"}
	}
	var lines []string
	for _, name := range changed {
		if name != pipeline.PartFiles {
			lines = append(lines, name+" changed")
			continue
		}
		old := Files{Workspace: best.Workspace, Holders: j.files.Holders, Globs: best.Inputs, All: best.Inputs == nil}
		files, err := t.cfg.Results.Changed(ctx, old, j.files, maxMissed)
		if err != nil {
			files = []string{"input files changed (the earlier list of them is not kept any more)"}
		}
		lines = append(lines, files...)
	}
	for _, name := range added {
		lines = append(lines, name+" is new")
	}
	for _, name := range removed {
		lines = append(lines, name+" is gone")
	}
	if len(lines) == 0 {
		lines = []string{"keys are made otherwise by now"}
	}
	if len(lines) > maxMissed {
		lines = append(lines[:maxMissed-1], fmt.Sprintf("and %d more", len(lines)-maxMissed+1))
	}
	for i := range lines {
		lines[i] = against + lines[i]
	}
	return lines
}

// found takes what a batch of lookups came to.
func (t *term) found(jobs []*lookup) {
	t.results.flying--
	for _, j := range jobs {
		m := j.m
		if t.runs[m.run.head.ID] != m.run || !m.looking {
			continue
		}
		m.looking = false
		if m.state.Final() || m.live != nil || m.run.stale {
			continue
		}
		switch {
		case j.entry != nil:
			t.takeResult(m, j.entry)
		case j.blind == "" && t.results.stored[j.note.Work] >= j.seq:
			t.lookFor(m) // it was recorded meanwhile
		default:
			m.note, m.blind = &j.note, j.blind != ""
			if t.waitBehind(m, false) {
				continue
			}
			t.own(m)
			t.advance(m)
		}
		if t.batch.full() {
			t.flush()
		}
	}
}

// takeResult ends a module with a recorded result.
func (t *term) takeResult(m *mod, e *pipeline.CacheEntry) {
	if m.run.cancelling() && !m.spared() || m.run.stopping != "" && !m.def.AlwaysRun {
		t.advance(m)
		return
	}
	m.state, m.endedAt = pipeline.ModuleCached, time.Now().UTC()
	m.attempts++
	m.holders = e.Holders
	m.left(e.OutputBytes, e.Holders)
	m.keep(e.Outputs, e.OutputPaths, e.Result, e.ExitCode, e.Duration)
	reason := fmt.Sprintf("result of run %s", e.From.Run)
	if e.Pipeline != m.run.head.Pipeline || e.From.Module != m.def.Name {
		reason = fmt.Sprintf("result of %s of run %s", e.From.Module, e.From.Run)
	}
	t.batch.takeResult(m, reason, e)
	t.finish(m)
}

// takeResult adds the end of a module with a recorded result.
func (b *batch) takeResult(m *mod, reason string, e *pipeline.CacheEntry) {
	c := &fsm.CacheHit{Key: e.Key, From: e.From, Needs: m.unsettled()}
	b.Ends = append(b.Ends, fsm.End{Run: m.run.head.ID, Module: m.def.Name, State: m.state, Reason: reason, Cache: c})
	b.ends = append(b.ends, m)
	n := 300 + len(reason) + len(e.From.Module)
	for _, s := range c.Needs {
		n += len(s) + 2
	}
	b.touch(m.run, n)
}

// own makes a module the one that does its work, unless another is at it.
func (t *term) own(m *mod) {
	if m.note == nil || m.note.Work == "" {
		return
	}
	if o := t.results.owners[m.note.Work]; o == nil || o.live == nil {
		t.results.owners[m.note.Work] = m
		m.ownedAt = time.Now()
		for _, f := range t.results.followers[m.note.Work] {
			if f != m && f.behind != nil {
				f.behind = m
			}
		}
	}
}

// waitBehind lets a module wait for another that does the same work, and
// reports whether it does. Only one that runs counts where live is set.
func (t *term) waitBehind(m *mod, live bool) bool {
	if m.note == nil || m.note.Work == "" || m.blind {
		return false
	}
	o := t.results.owners[m.note.Work]
	if o == nil || o == m || live && o.live == nil {
		return false
	}
	m.behind = o
	m.queued, m.wants, m.granted = false, false, false
	t.results.followers[m.note.Work] = append(t.results.followers[m.note.Work], m)
	return true
}

// disown says that a module does its work no longer: those that waited for it
// are looked up again.
func (t *term) disown(m *mod) {
	if m.note == nil || m.note.Work == "" || t.results.owners[m.note.Work] != m {
		return
	}
	work := m.note.Work
	list := t.results.followers[work]
	delete(t.results.owners, work)
	delete(t.results.followers, work)
	for _, f := range list {
		if f.behind != m {
			continue
		}
		f.behind = nil
		if t.runs[f.run.head.ID] == f.run && !f.state.Final() && f.live == nil {
			f.note = nil
			t.advance(f)
		}
	}
}

// disownAll forgets a run's modules: it is read anew, or gone.
func (t *term) disownAll(r *run) {
	var list []*mod
	for _, m := range t.results.owners {
		if m.run == r {
			list = append(list, m)
		}
	}
	for _, m := range list {
		t.disown(m)
	}
}

// recorded notes that the outcome of a module is applied.
func (t *term) recorded(m *mod) {
	if m.note == nil || m.note.Work == "" {
		return
	}
	if len(t.results.stored) > 10_000 {
		clear(t.results.stored)
	}
	t.results.stored[m.note.Work] = t.results.seq
	t.disown(m)
}

// impatient lets others go ahead of a module that does not get a worker.
func (t *term) impatient(now time.Time) {
	for work, o := range t.results.owners {
		if o.live == nil && len(t.results.followers[work]) > 0 && now.Sub(o.ownedAt) > ownerPatience && o.state == pipeline.ModuleWaiting {
			t.disown(o)
			return // the map has changed; the next tick looks at the others
		}
	}
}

// noteFor is what goes with the assignment of a module to a worker.
func (t *term) noteFor(m *mod, link *link) *pipeline.CacheLookup {
	if m.note == nil {
		return nil
	}
	note := *m.note
	if note.Work != "" && link.caps != nil {
		note.Key = pipeline.CacheKey(t.cfg.Results.Salt(), note.Parts, link.caps.OS, link.caps.Arch)
	}
	return &note
}

// waitsForResult says how a module waits for a recorded result; "" where it
// does not.
func (t *term) waitsForResult(m *mod) string {
	switch {
	case m.behind != nil:
		return fmt.Sprintf("waits for %s of run %s, which does the same work", m.behind.def.Name, m.behind.run.head.ID)
	case m.looking && len(t.platforms(m.class())) == 0:
		return t.lacking(m.def.Requires)
	case m.looking:
		return "its recorded result is being looked for"
	}
	return ""
}
