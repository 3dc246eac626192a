package orchestrator

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// demand is one thing that a module requires of its worker.
type demand struct {
	kind, name string
	// offered returns what a worker has of that kind.
	offered func(*scheduler.Worker) []string
}

// String is the demand as messages name it, for example "tool go".
func (d *demand) String() string { return d.kind + " " + d.name }

// metBy reports whether a worker meets the demand. Names are compared in lower
// case, as the planner does.
func (d *demand) metBy(w *scheduler.Worker) bool {
	return slices.Contains(d.offered(w), strings.ToLower(d.name))
}

// demandContainer is the kind of the demand for a container engine.
const demandContainer = "a container"

// demandsOf lists what is required, in the order in which messages name it.
func demandsOf(r pipeline.Requires) []demand {
	var list []demand
	add := func(kind, name string, offered func(*scheduler.Worker) []string) {
		if name != "" {
			list = append(list, demand{kind, name, offered})
		}
	}

	add("os", r.OS, func(w *scheduler.Worker) []string { return []string{strings.ToLower(w.OS)} })
	add("arch", r.Arch, func(w *scheduler.Worker) []string { return []string{strings.ToLower(w.Arch)} })
	for _, x := range r.Tools {
		add("tool", x, func(w *scheduler.Worker) []string { return slices.Sorted(maps.Keys(w.Tools)) })
	}

	for _, x := range r.Tags {
		add("tag", x, func(w *scheduler.Worker) []string { return slices.Sorted(maps.Keys(w.Tags)) })
	}
	if r.Engine {
		list = append(list, demand{demandContainer, "engine", func(w *scheduler.Worker) []string {
			if w.Engine {
				return []string{"engine"}
			}
			return nil
		}})
	}
	return list
}

// requirementsText names what is required; "a slot" if it is nothing.
func requirementsText(r pipeline.Requires) string {
	var parts []string
	for _, d := range demandsOf(r) {
		parts = append(parts, d.String())
	}

	if len(parts) == 0 {
		return "a slot"
	}
	return strings.Join(parts, ", ")
}

// unmet says which requirement no worker meets.
func (e *explainer) unmet(r pipeline.Requires) string { return unmetBy(e.workers.known(), r) }

// unmetBy says which requirements none of the workers meets, with the closest that
// there is. If each is met by some worker, it says which worker lacks what.
func unmetBy(workers []*scheduler.Worker, r pipeline.Requires) string {
	if len(workers) == 0 {
		return "the cluster has no worker"
	}

	// Sorted, so that equal clusters give equal texts.
	slices.SortFunc(workers, func(a, b *scheduler.Worker) int { return strings.Compare(a.Name, b.Name) })

	// First what no worker has: only that can be fixed by one tag or one tool.
	all := demandsOf(r)
	var missing []string
	for i := range all {
		if d := &all[i]; !slices.ContainsFunc(workers, d.metBy) {
			missing = append(missing, d.String()+d.alternatives(workers))
		}
	}

	if len(missing) > 0 {
		return "no worker has " + strings.Join(missing, ", nor ")
	}
	return "no worker has " + requirementsText(r) + lacks(workers, all)
}

// lacks says what each worker lacks, the closest worker first, at most three.
func lacks(workers []*scheduler.Worker, all []demand) string {
	type shortage struct {
		worker  string
		missing []string
	}

	var list []shortage
	for _, w := range workers {
		s := shortage{worker: w.Name}
		for i := range all {
			if d := &all[i]; !d.metBy(w) {
				s.missing = append(s.missing, d.String())
			}
		}
		if len(s.missing) > 0 {
			list = append(list, s)
		}
	}

	if len(list) == 0 {
		return "" // something else is in the way, a pin for example
	}

	// The worker that lacks least is the one to change.
	slices.SortStableFunc(list, func(a, b shortage) int { return cmp.Compare(len(a.missing), len(b.missing)) })
	var parts []string
	for _, s := range list {
		parts = append(parts, s.worker+" lacks "+strings.Join(s.missing, " and "))
	}
	return " together: " + strings.Join(shortened(parts, 4), ", ")
}

// alternatives names what workers have in place of a thing that none has: the
// closest name, or all names if they are few.
func (d *demand) alternatives(workers []*scheduler.Worker) string {
	owners := map[string][]string{}
	for _, w := range workers {
		for _, x := range d.offered(w) {
			if x != "" {
				owners[x] = append(owners[x], w.Name)
			}
		}
	}

	// A spelling mistake is the most common cause.
	offered := slices.Sorted(maps.Keys(owners))
	if closest := pipeline.Nearest(d.name, offered); closest != "" {
		return " (the nearest is " + closest + ", on " + strings.Join(shortened(owners[closest], 4), ", ") + ")"
	}

	switch {
	case d.kind == "tool" || d.kind == demandContainer || len(offered) > 8:
		return "" // too many to be listed
	case len(offered) == 0:
		return " (there is none)"
	}
	return " (available: " + strings.Join(offered, ", ") + ")"
}

// Needs lists what a module requires of its worker, and reserves there; "" if that
// is nothing.
func Needs(def *pipeline.Module) string {
	var parts []string
	if len(demandsOf(def.Requires)) > 0 {
		parts = append(parts, requirementsText(def.Requires))
	}

	if text := def.Resources.String(); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// sorted sorts a list in place and returns it.
func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
