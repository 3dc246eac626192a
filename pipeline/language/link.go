package language

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxNeeds bounds the dependencies of a pipeline, those through locals
	// included: short sources can name very many.
	maxNeeds = 200_000
	// oneBetween is what makes them few: n + m instead of n * m.
	oneBetween = "put one module between two large groups: it depends on all of the first, and all of the second on it"
	// maxLocalChain bounds how many locals may build on each other.
	maxLocalChain = 1000
)

// localsBlock decodes a locals block; there may be several.
func (p *parser) localsBlock(b *hclsyntax.Block) {
	p.noLabels(b)
	for _, inner := range b.Body.Blocks {
		p.add(inner.TypeRange, "write NAME = value", "locals has no blocks")
	}
	f := p.file
	for _, a := range attributes(b.Body) {
		if bad := checkIdentifier(a.Name); bad != nil {
			p.add(a.NameRange, bad.detail, "local: %s", bad.summary)
			continue
		}
		if first, twice := f.localIndex[a.Name]; twice {
			p.add(a.NameRange, "the first is at "+p.positionText(f.locals[first].at), "second local %q", a.Name)
			continue
		}
		f.localIndex[a.Name] = len(f.locals)
		refs := scan(p.report, a.Expr, false)
		l := &local{name: a.Name, at: a.NameRange, value: deferrable{name: "local." + a.Name, expr: a.Expr, refs: &refs, text: p.deferredExpr(a.Expr)}}
		p.use(use{name: "local." + a.Name, expr: a.Expr, refs: &refs, mode: useDeferred, module: -1, local: len(f.locals), deferrable: &l.value})
		f.locals = append(f.locals, l)
	}
}

// linker resolves the names of a decoded file: every expression that named
// something is one use.
type linker struct {
	*report
	file *File
	uses []use
}

// link resolves names, now that all of them are known: it finds what does not
// exist, the order of the locals, what has to wait for results, the
// dependencies of the modules, and cycles.
func (k *linker) link() {
	for i := range k.uses {
		k.resolve(&k.uses[i])
	}
	if !k.linkLocals() {
		return
	}
	needs := 0
	edges := make([][]edge[hcl.Range], len(k.file.modules))
	for i := range k.uses {
		k.linkUse(&k.uses[i], edges, &needs)
	}
	k.explicit(edges)
	if needs > maxNeeds {
		k.add(k.file.nameAt, oneBetween, "more than %d dependencies", maxNeeds)
		return
	}
	k.linkModules(edges)
	if w := k.file.env.whole; w != nil && (w.waits || w.waitsForID || w.sensitive) {
		k.add(w.expr.Range(), "write env = { NAME = value }", "the pipeline's env is known at submission only where its names are written out")
	}
}

// resolve records the names of one expression that do not exist.
func (k *linker) resolve(u *use) {
	f := k.file
	for _, x := range u.refs.variables {
		if _, ok := f.variableIndex[x.name]; !ok {
			k.missing(x, "variable", fmt.Sprintf("declare it: variable %q { type = string }", x.name), func() []string {
				return namesOf(f.variables, func(v *variable) string { return v.name })
			})
		}
	}
	for _, x := range u.refs.locals {
		if _, ok := f.localIndex[x.name]; !ok {
			k.missing(x, "local", fmt.Sprintf("declare it: locals { %s = … }", x.name), func() []string {
				return namesOf(f.locals, func(l *local) string { return l.name })
			})
		}
	}
	for _, x := range u.refs.modules {
		k.resolveModule(x)
	}
	f.git = append(f.git, u.refs.git...)
	k.resolveInstance(u)
	if u.local >= 0 && u.refs.allLocals {
		k.add(u.expr.Range(), "write local.NAME", "a local names other locals one by one")
	}
	if u.mode == useVariables {
		if r := u.refs; len(r.locals)+len(r.modules) > 0 || r.allLocals || r.runID || r.runNumber || r.runTick || r.other {
			k.add(u.expr.Range(), "variables are checked before anything else has a value", "a validation sees var only")
		}
	}
}

func (k *linker) resolveModule(x reference) (int, bool) {
	f := k.file
	i, ok := f.moduleIndex[x.name]
	if !ok {
		k.missing(x, "module", "", func() []string {
			return namesOf(f.modules, func(m *module) string { return m.static.Name })
		})
		return i, ok
	}
	// Behind a module with instances comes the key of one.
	if x.third != "" && f.modules[i].instances == nil && !slices.Contains(moduleNames, x.third) {
		detail := didYouMean(x.third, moduleNames)
		if detail == "" {
			detail = "a module has " + strings.Join(moduleNames, ", ") + "; what it wrote itself is in .result"
		}
		k.add(x.at, detail, "unknown attribute %q of module.%s", x.third, x.name)
	}
	return i, ok
}

func namesOf[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = name(x)
	}
	return out
}

// missing records a name that is not declared.
func (r *report) missing(x reference, what, detail string, candidates func() []string) {
	if !r.full() {
		names := candidates()
		if near := didYouMean(x.name, names); near != "" {
			detail = near
		} else if detail == "" && len(names) <= 10 {
			detail = "the pipeline has: " + strings.Join(names, ", ")
		}
	}
	r.absent(x.at, detail, "unknown %s %s", what, quote(x.name))
}

// linkLocals finds the locals' order, cycles, and what each has to wait for.
// It reports whether going on is bounded; cycles are no reason to stop.
func (k *linker) linkLocals() bool {
	f := k.file
	edges := make([][]edge[hcl.Range], len(f.locals))
	for i, l := range f.locals {
		for _, x := range l.value.refs.locals {
			if j, ok := f.localIndex[x.name]; ok {
				edges[i] = append(edges[i], edge[hcl.Range]{j, x.at})
			}
		}
	}

	needs := 0
	depth := make([]int, len(f.locals))
	for _, group := range components(edges) {
		i := group[0]
		if cycle := cycleIn(edges, group); cycle != nil {
			k.cycle(cycle, placeOf(edges, cycle[0], cycle[1]), "cycle of locals", func(i int) string { return "local." + f.locals[i].name })
			continue
		}
		f.localOrder = append(f.localOrder, i)
		l := f.locals[i]
		for _, e := range edges[i] {
			depth[i] = max(depth[i], depth[e.to]+1)
		}
		if depth[i] > maxLocalChain {
			k.add(l.at, "", "locals build on each other more than %d deep", maxLocalChain)
			return false
		}
		k.linkLocal(l)
		if needs += len(l.modules); needs > maxNeeds {
			k.add(l.at, "", "locals name modules more than %d times", maxNeeds)
			return false
		}
	}

	return true
}

// linkLocal determines what a local waits for; the locals it names are done.
func (k *linker) linkLocal(l *local) {
	l.expensive = Expensive(l.value.expr)
	k.inherit(&l.value)
	for _, x := range l.value.refs.modules {
		if i, ok := k.file.moduleIndex[x.name]; ok {
			l.modules = append(l.modules, i)
		}
	}
	for _, x := range l.value.refs.locals {
		if i, ok := k.file.localIndex[x.name]; ok {
			l.modules = append(l.modules, k.file.locals[i].modules...)
			l.expensive = l.expensive || k.file.locals[i].expensive
		}
	}
	slices.Sort(l.modules)
	l.modules = slices.Compact(l.modules)
}

// inherit works out what an expression waits for.
func (k *linker) inherit(l *deferrable) {
	r := l.refs
	l.waits = len(r.modules) > 0 || r.runNumber || len(r.runStatus) > 0
	l.waitsForID = r.runID || r.runTick
	for _, x := range k.file.named(r) {
		l.waits = l.waits || x.value.waits
		l.waitsForID = l.waitsForID || x.value.waitsForID
		l.sensitive = l.sensitive || x.value.sensitive
	}
	l.sensitive = l.sensitive || k.file.namesSensitive(r)
}

// named returns the locals that an expression names.
func (f *File) named(r *references) []*local {
	if r.allLocals {
		return f.locals
	}
	var list []*local
	for _, x := range r.locals {
		if i, ok := f.localIndex[x.name]; ok {
			list = append(list, f.locals[i])
		}
	}
	return list
}

// linkUse determines what one expression waits for, reports a mistake if it
// cannot wait, and adds the dependencies of its module.
func (k *linker) linkUse(u *use, edges [][]edge[hcl.Range], needs *int) {
	f := k.file
	l := u.deferrable
	if l == nil {
		l = &deferrable{refs: u.refs}
	}

	if u.local < 0 {
		k.inherit(l)
	}

	if Expensive(u.expr) && !l.waits {
		f.expensive = append(f.expensive, u.expr)
	}

	if at := u.refs.runStatus; len(at) > 0 && u.name != pipeline.DeferredNotify {
		k.add(at[0].at, `module.NAME.status is that of a module; hooks and commands of notify blocks see $PIPELINED_STATUS`, "only the message of a notify block sees run.status")
		return
	}

	named := f.named(u.refs)
	if u.notifies && u.mode == useDeferred && !k.notifyUse(u, named) {
		return
	}
	if u.mode == useSubmit && (l.waits || l.waitsForID) {
		k.add(u.expr.Range(), "an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message", "%s must be known at submission%s", u.name, k.because(u.refs, named))
		return
	}

	if l.sensitive && strings.HasPrefix(u.name, variablesName+".") {
		k.add(u.expr.Range(), "set it as a secret of the cluster, which modules of the other pipeline name in secrets", "%s cannot name %s", u.name, k.whichSensitive(u.refs, named))
		return
	}

	if l.sensitive && (u.mode == useSubmit || u.name == "for_each" || u.name == pipeline.DeferredMessage || u.name == pipeline.DeferredNotify) {
		k.add(u.expr.Range(), "its value is stored and shown: give it in env to the modules that need it", "%s cannot name %s", u.name, k.whichSensitive(u.refs, named))
		return
	}

	if u.local >= 0 || u.mode != useDeferred || *needs > maxNeeds {
		return
	}

	var places []edge[hcl.Range]
	for _, x := range u.refs.modules {
		if i, ok := f.moduleIndex[x.name]; ok {
			places = append(places, edge[hcl.Range]{to: i, place: x.at})
		}
	}

	for _, x := range named {
		if *needs += len(x.modules); *needs > maxNeeds {
			return
		}
		for _, i := range x.modules {
			places = append(places, edge[hcl.Range]{i, u.expr.Range()})
		}
	}

	if u.module >= 0 {
		*needs += len(places)
		edges[u.module] = append(edges[u.module], places...)
	} else if len(places) > 0 {
		k.add(u.expr.Range(), "set it in the modules that need it", "%s of the pipeline is for every module and can name none", u.name)
	}
}

// because says what an expression waits for.
func (k *linker) because(r *references, named []*local) string {
	switch {
	case len(r.modules) > 0:
		return " and cannot name module." + r.modules[0].name
	case r.runNumber:
		return " and cannot name run.number"
	case r.runID:
		return " and cannot name run.id"
	case r.runTick:
		return " and cannot name run.tick"
	}
	for _, l := range named {
		if l.value.waits || l.value.waitsForID {
			return fmt.Sprintf(" and cannot name local.%s, which waits for it", l.name)
		}
	}
	return ""
}

// explicit adds what depends_on says.
func (k *linker) explicit(edges [][]edge[hcl.Range]) {
	for i, m := range k.file.modules {
		m.only, m.onlyWished = map[int][]reference{}, map[int][]reference{}
		whole := map[int]bool{}
		for _, e := range edges[i] { // those of expressions, which see a module whole
			whole[e.to] = true
		}
		for _, x := range m.depends {
			if j, ok := k.resolveModule(x); ok {
				edges[i] = append(edges[i], edge[hcl.Range]{j, x.at})
				k.narrow(m.only, whole, j, x)
			}
		}
		wished := map[int]bool{}
		for _, x := range m.optional {
			if j, ok := k.resolveModule(x); ok {
				m.wishes = append(m.wishes, j)
				k.narrow(m.onlyWished, wished, j, x)
			}
		}
	}
}

// narrow notes whether a module is named whole, or one instance of it.
func (k *linker) narrow(only map[int][]reference, whole map[int]bool, j int, x reference) {
	switch {
	case x.key == "":
		whole[j] = true
	case k.file.modules[j].instances == nil:
		k.add(x.at, "write module."+x.name, "module %q has neither matrix nor for_each, and so no instance %s", x.name, quote(x.key))
	default:
		only[j] = append(only[j], x)
	}
	if whole[j] {
		delete(only, j)
	}
}

// linkModules records cycles and keeps the dependencies.
func (k *linker) linkModules(edges [][]edge[hcl.Range]) {
	f := k.file
	// Optional dependencies, which apply only if the run includes them, may
	// close a cycle too.
	all := make([][]edge[hcl.Range], len(edges))
	for i, m := range f.modules {
		all[i] = slices.Clip(edges[i])
		for k, j := range m.wishes {
			all[i] = append(all[i], edge[hcl.Range]{j, m.optional[min(k, len(m.optional)-1)].at})
		}
	}

	edges, required := all, edges
	for _, group := range components(edges) {
		cycle := cycleIn(edges, group)
		switch {
		case cycle == nil:
		case len(cycle) == 2:
			k.add(placeOf(edges, cycle[0], cycle[1]), "", "module %q depends on itself", f.modules[cycle[0]].static.Name)
		default:
			k.cycle(cycle, placeOf(edges, cycle[0], cycle[1]), "dependency cycle", func(i int) string { return f.modules[i].static.Name })
		}
	}

	for i, m := range f.modules {
		for _, e := range required[i] {
			m.needs = append(m.needs, e.to)
		}
		slices.Sort(m.needs)
		m.needs = slices.Compact(m.needs)
		slices.Sort(m.wishes)
		m.wishes = slices.Compact(m.wishes)
	}
}

// cycle records a cycle; long ones are cut in the middle.
func (k *linker) cycle(nodes []int, at hcl.Range, summary string, name func(int) string) {
	names := make([]string, 0, len(nodes))
	for i, n := range nodes {
		if len(nodes) > 24 && i == 12 {
			names = append(names, fmt.Sprintf("… (%d more)", len(nodes)-24))
		}
		if len(nodes) <= 24 || i < 12 || i >= len(nodes)-12 {
			names = append(names, name(n))
		}
	}
	k.add(at, "remove one of these", "%s: %s", summary, strings.Join(names, " -> "))
}
