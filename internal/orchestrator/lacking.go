package orchestrator

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// demand is one thing that a module requires of its worker.
type demand struct {
	what, name string
	// of gives what a worker has of that kind.
	of func(*scheduler.Worker) []string
}

func (d *demand) String() string { return d.what + " " + d.name }

func (d *demand) met(w *scheduler.Worker) bool {
	return slices.Contains(d.of(w), strings.ToLower(d.name))
}

func demands(r pipeline.Requires) []demand {
	var list []demand
	one := func(what, name string, of func(*scheduler.Worker) []string) {
		if name != "" {
			list = append(list, demand{what, name, of})
		}
	}
	one("os", r.OS, func(w *scheduler.Worker) []string { return []string{strings.ToLower(w.OS)} })
	one("arch", r.Arch, func(w *scheduler.Worker) []string { return []string{strings.ToLower(w.Arch)} })
	for _, x := range r.Tools {
		one("tool", x, func(w *scheduler.Worker) []string { return slices.Sorted(maps.Keys(w.Tools)) })
	}
	for _, x := range r.Tags {
		one("tag", x, func(w *scheduler.Worker) []string { return slices.Sorted(maps.Keys(w.Tags)) })
	}
	return list
}

// lacking says what no worker here has of what is required, with the nearest
// that there is; or, where each thing is somewhere, who lacks what.
func (t *term) lacking(r pipeline.Requires) string {
	var workers []*scheduler.Worker
	for _, l := range t.links {
		if l.caps != nil {
			workers = append(workers, &l.sched)
		}
	}
	return noWorkerHas(workers, r)
}

func noWorkerHas(workers []*scheduler.Worker, r pipeline.Requires) string {
	if len(workers) == 0 {
		return "no worker is here"
	}
	slices.SortFunc(workers, func(a, b *scheduler.Worker) int { return strings.Compare(a.Name, b.Name) })
	all := demands(r)
	var nowhere []string
	for i := range all {
		if d := &all[i]; !slices.ContainsFunc(workers, d.met) {
			nowhere = append(nowhere, d.String()+d.nearest(workers))
		}
	}
	if len(nowhere) > 0 {
		return "no worker here has " + strings.Join(nowhere, ", nor ")
	}
	type short struct {
		name  string
		lacks []string
	}
	var list []short
	for _, w := range workers {
		s := short{name: w.Name}
		for i := range all {
			if d := &all[i]; !d.met(w) {
				s.lacks = append(s.lacks, d.String())
			}
		}
		if len(s.lacks) > 0 {
			list = append(list, s)
		}
	}
	text := "no worker here has " + needs(r)
	if len(list) == 0 {
		return text
	}
	slices.SortStableFunc(list, func(a, b short) int { return cmp.Compare(len(a.lacks), len(b.lacks)) })
	var parts []string
	for i, s := range list {
		if i == 3 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, s.name+" lacks "+strings.Join(s.lacks, " and "))
	}
	return text + " together: " + strings.Join(parts, ", ")
}

// nearest gives what there is in the place of a thing that nobody has.
func (d *demand) nearest(workers []*scheduler.Worker) string {
	where := map[string][]string{}
	for _, w := range workers {
		for _, x := range d.of(w) {
			if x != "" {
				where[x] = append(where[x], w.Name)
			}
		}
	}
	there := slices.Sorted(maps.Keys(where))
	if near := pipeline.Nearest(d.name, there); near != "" {
		on := where[near]
		if len(on) > 3 {
			on = append(on[:3:3], "…")
		}
		return " (the nearest is " + near + ", on " + strings.Join(on, ", ") + ")"
	}
	// Programs are too many to be listed.
	if d.what == "tool" || len(there) > 8 {
		return ""
	}
	if len(there) == 0 {
		return " (there is none)"
	}
	return " (there is " + strings.Join(there, ", ") + ")"
}

// busy says how full the workers are that could take a module.
func (t *term) busy(m *mod) string {
	var full []string
	for _, l := range t.links {
		if l.caps != nil && scheduler.Fits(&l.sched, m.class()) {
			full = append(full, l.name+" has "+strconv.Itoa(max(l.used, l.load))+" of "+strconv.Itoa(l.caps.MaxParallelModules)+" in use")
		}
	}
	slices.Sort(full)
	if len(full) > 4 {
		full = append(full[:4], "…")
	}
	return "waits for a free slot: " + strings.Join(full, ", ")
}

// nextAttempt says when a module that has failed is tried again.
func (m *mod) nextAttempt(now time.Time) string {
	text := "is tried again in " + max(m.notBefore.Sub(now), time.Second/10).Round(time.Second/10).String()
	if tries := m.def.Retry.Attempts; tries > 1 && m.failures > 0 {
		text += ", " + strconv.Itoa(m.failures) + " of " + strconv.Itoa(tries) + " tries have failed"
	}
	return text
}

// Needs lists what a module requires of its worker, and reserves there; ""
// where that is nothing.
func Needs(def *pipeline.Module) string {
	var parts []string
	if len(demands(def.Requires)) > 0 {
		parts = append(parts, needs(def.Requires))
	}
	if text := def.Resources.String(); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// Able gives the names of the workers that have what a module requires,
// whatever they have to do now, and of how many workers these are.
func (o *Orchestrator) Able(ctx context.Context, def *pipeline.Module) (names []string, of int, err error) {
	err = o.ask(ctx, func(t *term) {
		c := scheduler.ClassOf(def.Requires, def.Resources, "")
		for _, l := range t.links {
			if l.caps == nil {
				continue
			}
			of++
			if scheduler.Fits(&l.sched, c) {
				names = append(names, l.name)
			}
		}
	})
	slices.Sort(names)
	return names, of, err
}
