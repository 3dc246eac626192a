package history

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxDifferences bounds the sentences about one module, and the files that are named.
	maxDifferences = 20
	// A module is slower or faster if its time differs by this factor and this much.
	slowFactor = 1.5
	slowLeast  = time.Second
)

// comparedRun is one of two runs that are compared.
type comparedRun struct {
	run     pipeline.Run
	def     *pipeline.Pipeline
	modules []pipeline.Module
	records map[string]*pipeline.ModuleRecord
}

// name is what sentences call the run.
func (c *comparedRun) name() string { return fmt.Sprintf("run %d", c.run.Number) }

// Compare compares a run with an earlier one, or with any other.
func (h *History) Compare(ctx context.Context, id, with pipeline.RunID) (wire.Comparison, error) {
	var a, b *comparedRun
	out := wire.Comparison{Different: []string{}, Modules: []wire.ModuleComparison{}}
	err := h.cfg.State.View(func(v *fsm.View) (err error) {
		if b, err = readCompared(v, id); err != nil {
			return err
		}
		if with == "" {
			if with, err = runBefore(v, &b.run); err != nil {
				return err
			}
		}
		a, err = readCompared(v, with)
		return err
	})
	if err != nil {
		return out, err
	}
	if out.A, err = h.cfg.Summary(ctx, with); err != nil {
		return out, err
	}
	if out.B, err = h.cfg.Summary(ctx, id); err != nil {
		return out, err
	}

	out.Different = append(out.Different, runDifferences(a, b)...)
	out.Different = append(out.Different, h.fileDifferences(ctx, a, b)...)
	out.Modules = append(out.Modules, moduleDifferences(a, b)...)
	return out, nil
}

func readCompared(v *fsm.View, id pipeline.RunID) (*comparedRun, error) {
	run, ok := v.Run(id)
	if !ok {
		return nil, pipeline.NoRun(id)
	}
	def, err := v.Definition(id)
	if err != nil {
		return nil, err
	}
	mods, err := v.RunModules(id)
	return &comparedRun{run: run, def: def, modules: mods, records: v.Modules(id)}, err
}

// runBefore is the newest run of the same pipeline before a run that succeeded, else the
// one before it.
func runBefore(v *fsm.View, r *pipeline.Run) (id pipeline.RunID, err error) {
	v.Runs(r.Number, func(x pipeline.Run) bool {
		if x.Pipeline != r.Pipeline {
			return true
		}
		good := x.State == pipeline.RunSucceeded || x.State == pipeline.RunWarnings
		if good || id == "" {
			id = x.ID
		}
		return !good
	})
	if id == "" {
		return "", pipeline.Errorf(pipeline.NotFound, "run %s is the first one of pipeline %s that is kept: name the run to compare it with", r.ID, r.Pipeline)
	}
	return id, nil
}

// runDifferences says what differs between what two runs were made of. Values of
// variables are not shown.
func runDifferences(a, b *comparedRun) (out []string) {
	if a.run.Pipeline != b.run.Pipeline {
		out = append(out, fmt.Sprintf("%s is of pipeline %s, %s of %s", a.name(), a.run.Pipeline, b.name(), b.run.Pipeline))
	}
	if was, is := a.def.Scope.Git, b.def.Scope.Git; was.SHA != is.SHA && was.SHA != "" && is.SHA != "" {
		out = append(out, fmt.Sprintf("commit %.12s, was %.12s", is.SHA, was.SHA))
	}
	if was, is := a.def.Scope.Git.Branch, b.def.Scope.Git.Branch; was != is && was != "" && is != "" {
		out = append(out, fmt.Sprintf("branch %s, was %s", is, was))
	}
	out = append(out, keyDifferences("variable ", a.def.Scope.Variables, b.def.Scope.Variables)...)
	if a.run.Cache != b.run.Cache {
		out = append(out, "the use of cached results differs (-refresh, -no-cache)")
	}
	return limited(out)
}

// fileDifferences lists what differs between the workspaces of two runs.
func (h *History) fileDifferences(ctx context.Context, a, b *comparedRun) []string {
	was, is := a.run.Workspace, b.run.Workspace
	switch {
	case was == is:
		return nil
	case a.run.ArtifactsGone || b.run.ArtifactsGone:
		return []string{"the files of a workspace are no longer kept"}
	case was == "" || is == "":
		return []string{"only one of them has a workspace"}
	}

	lines, err := h.cfg.Files.Changed(ctx, orchestrator.Files{Workspace: was, Holders: a.run.Holders, All: true},
		orchestrator.Files{Workspace: is, Holders: b.run.Holders, All: true}, maxDifferences)
	if err != nil {
		return []string{"the workspaces differ; their lists of files cannot be read now"}
	}
	return lines
}

// moduleDifferences compares modules in the order of b; those that only a has follow.
func moduleDifferences(a, b *comparedRun) (out []wire.ModuleComparison) {
	was := make(map[string]*pipeline.Module, len(a.modules))
	for i := range a.modules {
		was[a.modules[i].Name] = &a.modules[i]
	}
	for i := range b.modules {
		m := &b.modules[i]
		out = append(out, compareModule(m.Name, a, b, was[m.Name], m))
		delete(was, m.Name)
	}
	for i := range a.modules {
		if m := &a.modules[i]; was[m.Name] != nil {
			out = append(out, compareModule(m.Name, a, b, m, nil))
		}
	}
	return out
}

func compareModule(name string, a, b *comparedRun, was, is *pipeline.Module) wire.ModuleComparison {
	out := wire.ModuleComparison{Name: name, Different: []string{}}
	if was != nil {
		out.A = sideOf(a.records[name])
	}
	if is != nil {
		out.B = sideOf(b.records[name])
	}
	switch {
	case was == nil:
		out.Different = append(out.Different, "only in "+b.name())
	case is == nil:
		out.Different = append(out.Different, "only in "+a.name())
	default:
		lines := append(outcomeDifferences(a, b, out.A, out.B), definitionDifferences(was, is)...)
		lines = append(lines, missed(a, b.records[name])...)
		out.Different = append(out.Different, limited(lines)...)
	}
	return out
}

// sideOf is what a record shows of a module; nil is one that waits.
func sideOf(record *pipeline.ModuleRecord) *wire.ModuleSide {
	if record == nil {
		return &wire.ModuleSide{State: pipeline.ModuleWaiting}
	}
	s := &wire.ModuleSide{State: record.State, ExitCode: record.ExitCode, Reason: record.Reason}
	for i := range record.Attempts {
		a := &record.Attempts[i]
		if a.From == nil {
			s.Worker, s.Attempts = a.WorkerName, s.Attempts+1
		}
	}
	if !record.StartedAt.IsZero() && !record.FinishedAt.IsZero() && record.State != pipeline.ModuleCached {
		s.Seconds = seconds(max(0, record.FinishedAt.Sub(record.StartedAt)))
	}
	return s
}

// outcomeDifferences says how a module ended otherwise, or took longer or less.
func outcomeDifferences(a, b *comparedRun, was, is *wire.ModuleSide) (out []string) {
	if was.State != is.State {
		out = append(out, fmt.Sprintf("%s in %s, %s in %s", pipeline.Words(is.State), b.name(), pipeline.Words(was.State), a.name()))
	}
	if was.ExitCode != nil && is.ExitCode != nil && *was.ExitCode != *is.ExitCode {
		out = append(out, fmt.Sprintf("exit code %d, was %d", *is.ExitCode, *was.ExitCode))
	}
	if was.Seconds == nil || is.Seconds == nil {
		return out
	}
	less, more := min(*was.Seconds, *is.Seconds), max(*was.Seconds, *is.Seconds)
	if more-less >= slowLeast.Seconds() && more >= slowFactor*less {
		out = append(out, fmt.Sprintf("took %s, was %s", short(*is.Seconds), short(*was.Seconds)))
	}
	return out
}

func short(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// missed gives what the cache found different from the run a, if it looked at that.
func missed(a *comparedRun, record *pipeline.ModuleRecord) (out []string) {
	if record == nil || record.Last() == nil || record.Last().Cache == nil {
		return nil
	}
	for _, line := range record.Last().Cache.Missed {
		if text, ok := strings.CutPrefix(line, pipeline.MissedAgainst(a.run.ID)); ok {
			out = append(out, "cache miss: "+text)
		}
	}
	return out
}

// ignoredParts are parts of a definition that say nothing of what a module does.
var ignoredParts = map[string]bool{"line": true, "name": true, "of": true, "key": true, "description": true, "env": true, "deferred": true, "matrix": true, "each": true,
	"sensitive": true, "expensive": true, "wishes": true, "inputsAll": true}

// definitionDifferences names the attributes in which two definitions of a module differ.
func definitionDifferences(was, is *pipeline.Module) (out []string) {
	old, now := was.Fields(), is.Fields()
	for _, name := range allKeys(old, now) {
		if !ignoredParts[name] && !bytes.Equal(old[name], now[name]) {
			out = append(out, pipeline.AttributeOf(name)+" changed")
		}
	}
	out = append(out, keyDifferences("env.", was.Env, is.Env)...)
	return append(out, keyDifferences("", sources(was), sources(is))...)
}

// sources are the expressions of a module that are evaluated late, without where they
// are written.
func sources(m *pipeline.Module) map[string]string {
	out := make(map[string]string, len(m.Deferred))
	for name, d := range m.Deferred {
		out[name] = d.Source
	}
	return out
}

// keyDifferences names the keys whose values differ.
func keyDifferences(prefix string, was, is map[string]string) (out []string) {
	for _, key := range allKeys(was, is) {
		old, before := was[key]
		now, after := is[key]
		switch {
		case !before:
			out = append(out, prefix+key+" is new")
		case !after:
			out = append(out, prefix+key+" is gone")
		case old != now:
			out = append(out, prefix+key+" changed")
		}
	}
	return out
}

func allKeys[V any](a, b map[string]V) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}

// limited cuts a list of sentences; the last one says how many there are more.
func limited(list []string) []string {
	if len(list) <= maxDifferences {
		return list
	}
	return append(list[:maxDifferences-1:maxDifferences-1], fmt.Sprintf("and %d more", len(list)-maxDifferences+1))
}
