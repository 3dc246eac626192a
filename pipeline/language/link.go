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
			p.add(a.NameRange, "the first is at "+p.placeText(f.locals[first].at), "second local %q", a.Name)
			continue
		}
		f.localIndex[a.Name] = len(f.locals)
		refs := scan(p.report, a.Expr, false)
		l := &local{name: a.Name, at: a.NameRange, value: lateable{name: "local." + a.Name, expr: a.Expr, refs: &refs, text: p.lateExpr(a.Expr)}}
		p.use(use{name: "local." + a.Name, expr: a.Expr, refs: &refs, mode: useLate, module: -1, local: len(f.locals), lateable: &l.value})
		f.locals = append(f.locals, l)
	}
}

// link resolves names, now that all of them are known: it finds what does not
// exist, the order of the locals, what has to wait for results, the
// dependencies of the modules, and cycles.
func (p *parser) link() {
	for i := range p.uses {
		p.resolve(&p.uses[i])
	}
	if !p.linkLocals() {
		return
	}
	needs := 0
	edges := make([][]edge[hcl.Range], len(p.file.modules))
	for i := range p.uses {
		p.linkUse(&p.uses[i], edges, &needs)
	}
	p.explicit(edges)
	if needs > maxNeeds {
		p.add(p.file.nameAt, "", "more than %d dependencies", maxNeeds)
		return
	}
	p.linkModules(edges)
	if w := p.file.env.whole; w != nil && (w.waits || w.waitsForID || w.sensitive) {
		p.add(w.expr.Range(), "write env = { NAME = value }", "the pipeline's env is known at submission only where its names are written out")
	}
}

// resolve records the names of one expression that do not exist.
func (p *parser) resolve(u *use) {
	f := p.file
	for _, x := range u.refs.variables {
		if _, ok := f.variableIndex[x.name]; !ok {
			p.missing(x, "variable", fmt.Sprintf("declare it: variable %q { type = string }", x.name), func() []string {
				return namesOf(f.variables, func(v *variable) string { return v.name })
			})
		}
	}
	for _, x := range u.refs.locals {
		if _, ok := f.localIndex[x.name]; !ok {
			p.missing(x, "local", fmt.Sprintf("declare it: locals { %s = … }", x.name), func() []string {
				return namesOf(f.locals, func(l *local) string { return l.name })
			})
		}
	}
	for _, x := range u.refs.modules {
		p.resolveModule(x)
	}
	p.resolveInstance(u)
	if u.local >= 0 && u.refs.allLocals {
		p.add(u.expr.Range(), "write local.NAME", "a local names other locals one by one")
	}
	if u.mode == useVariables {
		if r := u.refs; len(r.locals)+len(r.modules) > 0 || r.allLocals || r.runID || r.runNumber || r.other {
			p.add(u.expr.Range(), "variables are checked before anything else has a value", "a validation sees var only")
		}
	}
}

func (p *parser) resolveModule(x reference) (int, bool) {
	f := p.file
	i, ok := f.moduleIndex[x.name]
	if !ok {
		p.missing(x, "module", "", func() []string {
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
		p.add(x.at, detail, "unknown attribute %q of module.%s", x.third, x.name)
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
func (p *parser) missing(x reference, what, detail string, candidates func() []string) {
	if !p.full() {
		names := candidates()
		if near := didYouMean(x.name, names); near != "" {
			detail = near
		} else if detail == "" && len(names) <= 10 {
			detail = "there are " + strings.Join(names, ", ")
		}
	}
	p.absent(x.at, detail, "unknown %s %s", what, quote(x.name))
}

// linkLocals finds the locals' order, cycles, and what each has to wait for.
// It reports whether going on is bounded; cycles are no reason to stop.
func (p *parser) linkLocals() bool {
	f := p.file
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
			p.cycle(cycle, placeOf(edges, cycle[0], cycle[1]), "locals name each other in a circle", func(i int) string { return "local." + f.locals[i].name })
			continue
		}
		f.localOrder = append(f.localOrder, i)
		l := f.locals[i]
		for _, e := range edges[i] {
			depth[i] = max(depth[i], depth[e.to]+1)
		}
		if depth[i] > maxLocalChain {
			p.add(l.at, "", "locals build on each other more than %d deep", maxLocalChain)
			return false
		}
		p.settleLocal(l)
		if needs += len(l.modules); needs > maxNeeds {
			p.add(l.at, "", "locals name modules more than %d times", maxNeeds)
			return false
		}
	}
	return true
}

// settleLocal works out what a local waits for; the locals it names are done.
func (p *parser) settleLocal(l *local) {
	l.expensive = Expensive(l.value.expr)
	p.inherit(&l.value)
	for _, x := range l.value.refs.modules {
		if i, ok := p.file.moduleIndex[x.name]; ok {
			l.modules = append(l.modules, i)
		}
	}
	for _, x := range l.value.refs.locals {
		if i, ok := p.file.localIndex[x.name]; ok {
			l.modules = append(l.modules, p.file.locals[i].modules...)
			l.expensive = l.expensive || p.file.locals[i].expensive
		}
	}
	slices.Sort(l.modules)
	l.modules = slices.Compact(l.modules)
}

// inherit works out what an expression waits for.
func (p *parser) inherit(l *lateable) {
	r := l.refs
	l.waits = len(r.modules) > 0 || r.runNumber
	l.waitsForID = r.runID
	for _, x := range p.file.named(r) {
		l.waits = l.waits || x.value.waits
		l.waitsForID = l.waitsForID || x.value.waitsForID
		l.sensitive = l.sensitive || x.value.sensitive
	}
	l.sensitive = l.sensitive || p.file.namesSensitive(r)
}

// named gives the locals that an expression names.
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

// linkUse works out what one expression waits for, refuses to wait where that
// is not possible, and adds the dependencies of its module.
func (p *parser) linkUse(u *use, edges [][]edge[hcl.Range], needs *int) {
	f := p.file
	l := u.lateable
	if l == nil {
		l = &lateable{refs: u.refs}
	}
	if u.local < 0 {
		p.inherit(l)
	}
	if Expensive(u.expr) && !l.waits {
		f.expensive = append(f.expensive, u.expr)
	}
	named := f.named(u.refs)
	if u.mode == useSubmit && (l.waits || l.waitsForID) {
		p.add(u.expr.Range(), "what waits for results or for the run's id may stand in command, script, when, for_each, a module's env and an approval's message", "%s must be known at submission%s", u.name, p.because(u.refs, named))
		return
	}
	if l.sensitive && (u.mode == useSubmit || u.name == "for_each" || u.name == pipeline.LateMessage) {
		p.add(u.expr.Range(), "what it comes to is kept and shown: give the value in env to the modules that need it", "%s cannot name %s", u.name, p.whichSensitive(u.refs, named))
		return
	}
	if u.local >= 0 || u.mode != useLate || *needs > maxNeeds {
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
		p.add(u.expr.Range(), "set it in the modules that need it", "%s of the pipeline is for every module and can name none", u.name)
	}
}

// because says what an expression waits for.
func (p *parser) because(r *references, named []*local) string {
	switch {
	case len(r.modules) > 0:
		return " and cannot name module." + r.modules[0].name
	case r.runNumber:
		return " and cannot name run.number"
	case r.runID:
		return " and cannot name run.id"
	}
	for _, l := range named {
		if l.value.waits || l.value.waitsForID {
			return fmt.Sprintf(" and cannot name local.%s, which waits for it", l.name)
		}
	}
	return ""
}

// explicit adds what depends_on says.
func (p *parser) explicit(edges [][]edge[hcl.Range]) {
	for i, m := range p.file.modules {
		m.only, m.onlyWished = map[int][]reference{}, map[int][]reference{}
		whole := map[int]bool{}
		for _, e := range edges[i] { // those of expressions, which see a module whole
			whole[e.to] = true
		}
		for _, x := range m.depends {
			if j, ok := p.resolveModule(x); ok {
				edges[i] = append(edges[i], edge[hcl.Range]{j, x.at})
				p.narrow(m.only, whole, j, x)
			}
		}
		wished := map[int]bool{}
		for _, x := range m.optional {
			if j, ok := p.resolveModule(x); ok {
				m.wishes = append(m.wishes, j)
				p.narrow(m.onlyWished, wished, j, x)
			}
		}
	}
}

// narrow notes whether a module is named whole, or one instance of it.
func (p *parser) narrow(only map[int][]reference, whole map[int]bool, j int, x reference) {
	switch {
	case x.key == "":
		whole[j] = true
	case p.file.modules[j].instances == nil:
		p.add(x.at, "write module."+x.name, "module %q has neither matrix nor for_each, and so no instance %s", x.name, quote(x.key))
	default:
		only[j] = append(only[j], x)
	}
	if whole[j] {
		delete(only, j)
	}
}

// linkModules records cycles and keeps the dependencies.
func (p *parser) linkModules(edges [][]edge[hcl.Range]) {
	f := p.file
	// What a module waits for where the run includes it may close a circle too.
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
			p.add(placeOf(edges, cycle[0], cycle[1]), "", "module %q depends on itself", f.modules[cycle[0]].static.Name)
		default:
			p.cycle(cycle, placeOf(edges, cycle[0], cycle[1]), "modules depend on each other in a circle", func(i int) string { return f.modules[i].static.Name })
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

// cycle records a circle, long ones cut in the middle.
func (p *parser) cycle(nodes []int, at hcl.Range, summary string, name func(int) string) {
	names := make([]string, 0, len(nodes))
	for i, n := range nodes {
		if len(nodes) > 24 && i == 12 {
			names = append(names, fmt.Sprintf("… (%d more)", len(nodes)-24))
		}
		if len(nodes) <= 24 || i < 12 || i >= len(nodes)-12 {
			names = append(names, name(n))
		}
	}
	p.add(at, "take one of these away", "%s: %s", summary, strings.Join(names, " -> "))
}
