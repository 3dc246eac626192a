package language

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxModules is the most modules a pipeline may have.
const maxModules = 10_000

// Parse is ParseWith for a pipeline without imports.
func Parse(fileName string, src []byte) (*File, Diagnostics) { return ParseWith(fileName, src, nil) }

// ParseWith decodes a pipeline and checks everything that does not need the value
// of a variable. fileName is for messages; read reads the files that it imports, and
// may be nil. All mistakes come at once; with any the File is nil.
func ParseWith(fileName string, src []byte, read ReadImport) (*File, Diagnostics) {
	return newFamily(fileName, read).parse(fileName, src, ".")
}

func newFamily(fileName string, read ReadImport) *family {
	return &family{read: read, files: map[string]*File{}, open: []string{path.Base(fileName)}}
}

// parse is ParseWith for a file in a directory; "." is that of the first file.
func (f *family) parse(fileName string, src []byte, dir string) (*File, Diagnostics) {
	if d := checkSize(fileName, src); d != nil {
		return nil, d
	}

	r := &report{src: newSource(fileName, normalize(src))}
	if r.prescan(); len(r.list) > 0 {
		return nil, r.done()
	}

	body := parseBody(r)
	if body == nil {
		return nil, r.done()
	}

	p := &parser{report: r, family: f, dir: dir, file: &File{
		src: r.src, original: src, workspace: Workspace{Root: "."},
		templates: map[string]*template{}, variableIndex: map[string]int{}, localIndex: map[string]int{}, moduleIndex: map[string]int{},
	}}

	p.top(body)
	k := &linker{report: r, file: p.file, uses: p.uses}
	k.link()
	k.instanceTypes()

	if d := r.done(); len(d) > 0 {
		return nil, d
	}

	return p.file, nil
}

// parser decodes one file.
type parser struct {
	*report
	file *File
	uses []use
	// notifies is set while a notify block is decoded.
	notifies bool
	// family is what it shares with the pipelines that it runs, dir the directory of the
	// file.
	family *family
	dir    string
}

// use is an expression with what it may name.
type use struct {
	name string
	expr hclsyntax.Expression
	refs *references
	mode useMode
	// module and local are the index of its owner; -1 is none.
	module, local int
	deferrable    *deferrable
	// notifies marks what a notify block has.
	notifies bool
}

type useMode int

const (
	useSubmit    useMode = iota // known at submission
	useDeferred                 // may wait for results
	useVariables                // variables only (validation)
)

// top decodes the outermost level.
func (p *parser) top(body *hclsyntax.Body) {
	if importable(body) {
		p.add(body.Blocks[0].TypeRange, `write pipeline "NAME" { … }, or have a pipeline import the file`, "the file has no pipeline, only what one can import")
		return
	}

	for _, a := range attributes(body) {
		p.add(a.NameRange, `everything stands inside a block: pipeline "NAME" { … }`, "attribute %q outside the pipeline", a.Name)
	}

	var first *hclsyntax.Block
	for _, b := range body.Blocks {
		switch {
		case b.Type != "pipeline":
			detail := didYouMean(b.Type, []string{"pipeline"})
			if importBlocks[b.Type] {
				detail = `it stands inside pipeline "NAME" { … }, or in a file that a pipeline imports`
			} else if pipelineBlocks[b.Type] {
				detail = `it stands inside pipeline "NAME" { … }`
			} else if hint := foreignHint("pipeline", b.Type); hint != "" {
				detail = hint + ` inside pipeline "NAME" { … }`
			}
			p.add(b.TypeRange, detail, "block %q outside the pipeline", b.Type)
		case first != nil:
			p.add(b.TypeRange, "a file holds exactly one; the first is at "+p.positionText(first.TypeRange), "second pipeline in the file")
		default:
			first = b
			p.pipeline(b)
		}
	}

	if first == nil {
		p.absent(hcl.Range{}, `write pipeline "NAME" { … }`, "the file has no pipeline")
	}
}

var (
	pipelineBlocks = set("variable", "locals", "workspace", "module", "template", "requirement", hookBlock, notifyBlock, scheduleBlock, concurrencyBlock)
	pipelineNames  = append([]string{"module", "variable", "locals", "imports", "env", "env_from", "workspace", "template", "requirement", hookBlock, notifyBlock, scheduleBlock, concurrencyBlock}, slices.Sorted(maps.Keys(pipelineSpecs))...)
)

// pipeline decodes the pipeline block.
func (p *parser) pipeline(b *hclsyntax.Block) {
	f := p.file
	if name, at, ok := p.label(b, "pipeline", checkName); ok {
		f.pipeline.Name, f.nameAt = name, at
	}

	f.pipeline.File = p.src.name

	for _, a := range attributes(b.Body) {
		switch s, known := pipelineSpecs[a.Name]; {
		case known:
			f.pending = decodeInto(p, f.pending, &f.pipeline, a.Name, a.Expr, s, -1)
		case a.Name == "imports": // read below
		case a.Name == "env":
			f.env = p.environment(a, -1)
		case a.Name == "env_from":
			f.envFrom = p.envFrom(a)
		case pipelineBlocks[a.Name]:
			p.add(a.NameRange, fmt.Sprintf("write %s { … } without =", a.Name), "%s is a block", a.Name)
		case a.Name == "secrets":
			p.add(a.NameRange, `write secrets = ["NAME"] in the modules that need them, or in a template that they use`, "secrets are given to modules, not to a whole pipeline")
		default:
			p.unknown("attribute", a.Name, a.NameRange, "pipeline", pipelineNames)
		}
	}

	declared := map[string]*hclsyntax.Block{}
	for _, inner := range b.Body.Blocks {
		if inner.Type == "workspace" && p.once(declared, inner) {
			p.workspace(inner)
		}
	}

	imports := p.imports(b.Body)
	p.templates(b.Body)
	for _, body := range imports {
		p.templates(body)
	}

	for _, inner := range b.Body.Blocks {
		switch inner.Type {
		case "template", "workspace": // read before
		case "requirement":
			p.requirement(inner)
		case "variable":
			p.variable(inner)
		case "locals":
			p.localsBlock(inner)
		case hookBlock:
			if p.once(declared, inner) {
				p.ownHooks(inner)
			}
		case notifyBlock:
			p.notify(inner)
		case scheduleBlock:
			if p.once(declared, inner) {
				p.schedule(inner)
			}
		case concurrencyBlock:
			if p.once(declared, inner) {
				p.concurrency(inner)
			}
		case "module":
			p.module(inner)
		default:
			if _, attribute := pipelineSpecs[inner.Type]; attribute || inner.Type == "env" || inner.Type == "env_from" || inner.Type == "imports" {
				p.add(inner.TypeRange, writeAttribute(inner.Type), "%s is an attribute, not a block", inner.Type)
			} else {
				p.unknown("block", inner.Type, inner.TypeRange, "pipeline", pipelineNames)
			}
		}
	}

	for _, body := range imports {
		p.imported(body)
	}

	if len(f.modules) == 0 {
		p.absent(b.TypeRange, `write module "NAME" { command = […] }`, "the pipeline has no module")
	}

	if n := len(f.modules); n > maxModules {
		p.add(f.modules[maxModules].at, "", "%d modules are more than the limit of %d", n, maxModules)
	}
}

// once records a second block of a type that may occur only once.
func (r *report) once(seen map[string]*hclsyntax.Block, b *hclsyntax.Block) bool {
	if first := seen[b.Type]; first != nil {
		r.add(b.TypeRange, "the first is at "+r.positionText(first.TypeRange), "second %s block", b.Type)
		return false
	}
	seen[b.Type] = b
	r.noLabels(b)
	return true
}

func (r *report) noLabels(b *hclsyntax.Block) {
	if len(b.Labels) > 0 {
		r.add(b.LabelRanges[0], fmt.Sprintf("write %s { … }", b.Type), "%s has no name", b.Type)
	}
}

// label returns the one label of a block.
func (r *report) label(b *hclsyntax.Block, what string, check func(string) *problem) (string, hcl.Range, bool) {
	if line, _ := r.src.position(b.TypeRange.Start.Byte); r.syntaxLines[line] {
		return "", b.TypeRange, false // a consequence, perhaps
	}
	switch len(b.Labels) {
	case 0:
		r.add(b.TypeRange, fmt.Sprintf(`write %s "NAME" { … }`, what), "%s without a name", what)
		return "", b.TypeRange, false
	case 1:
	default:
		r.add(b.LabelRanges[1], fmt.Sprintf(`write %s "NAME" { … }`, what), "%s with more than one name", what)
	}

	name, at := b.Labels[0], b.LabelRanges[0]
	if bad := check(name); bad != nil {
		r.add(at, bad.detail, "%s: %s", what, bad.summary)
		return name, at, false
	}

	return name, at, true
}

// maxListed is how many names a message lists.
const maxListed = 20

// unknown records a name that the language does not have.
func (r *report) unknown(what, name string, at hcl.Range, where string, names []string) {
	if r.full() {
		r.more++
		return
	}
	detail := cmp.Or(foreignHint(where, name), elsewhere(where, name), didYouMean(name, names))
	switch {
	case detail != "":
	case len(names) > maxListed:
		detail = fmt.Sprintf("pipelined schema %s lists what %[1]s has", where)
	default:
		detail = where + " has " + strings.Join(names, ", ")
	}
	r.add(at, detail, "unknown %s %q in %s", what, name, where)
}

// writeAttribute says how an attribute is written that was written as a block.
func writeAttribute(name string) string {
	switch name {
	case "env", "requires", "resources", "matrix":
		return fmt.Sprintf("write %s = { … }", name)
	case "cache", "caches":
		return cachesHint
	}
	return fmt.Sprintf("write %s = …", name)
}

// noBlocks records the blocks of a body that has attributes only.
func (r *report) noBlocks(body *hclsyntax.Body, where string, names []string) {
	for _, b := range body.Blocks {
		if slices.Contains(names, b.Type) {
			r.add(b.TypeRange, writeAttribute(b.Type), "%s is an attribute, not a block", b.Type)
		} else {
			r.unknown("block", b.Type, b.TypeRange, where, names)
		}
	}
}

// workspace decodes the workspace block, which is needed before any variable
// has a value.
func (p *parser) workspace(b *hclsyntax.Block) {
	p.file.workspace.Declared = true
	names := slices.Sorted(maps.Keys(workspaceSpecs))
	p.noBlocks(b.Body, "workspace", names)

	for _, a := range attributes(b.Body) {
		s, known := workspaceSpecs[a.Name]
		if !known {
			p.unknown("attribute", a.Name, a.NameRange, "workspace", names)
			continue
		}
		if v, ok := p.constant("workspace."+a.Name, a.Expr); ok {
			if x, ok := s.read(p.report, a.Name, a.Expr, v); ok {
				s.set(&p.file.workspace, x)
			}
		}
	}
}

// constant evaluates an expression that must not name anything.
func (p *parser) constant(name string, expr hclsyntax.Expression) (cty.Value, bool) {
	refs := scan(p.report, expr, false)
	if !refs.none() || Expensive(expr) {
		p.add(expr.Range(), "write the value itself", "%s is read before variables have values and can name none", name)
		return cty.NilVal, false
	}
	return literal(p.report, expr)
}

// literal evaluates an expression that names nothing and is not expensive.
func literal(r *report, expr hclsyntax.Expression) (cty.Value, bool) {
	v, diags := value(expr, nil)
	r.addHCL(diags, nil)
	return v, !diags.HasErrors()
}

// decodeInto reads an attribute into target if it is a constant, else appends it
// to what Compile has to do.
func decodeInto[T any](p *parser, list []pending[T], target *T, name string, expr hclsyntax.Expression, s spec[T], owner int) []pending[T] {
	refs := scan(p.report, expr, s.script)
	_, object := expr.(*hclsyntax.ObjectConsExpr)
	if (s.kind == kindText || s.kind == kindTexts || s.kind == kindCounts && !object) && !strings.HasPrefix(name, "resources.") {
		p.takeText(name, expr, owner)
	} else {
		p.takeNumbers(&refs, owner)
	}
	if refs.none() && !Expensive(expr) {
		if v, ok := literal(p.report, expr); ok {
			if x, ok := s.read(p.report, name, expr, v); ok {
				s.set(target, x)
			}
		}
		return list
	}

	// What of a list can be checked now is.
	if t, ok := expr.(*hclsyntax.TupleConsExpr); ok && (s.kind == kindTexts || s.kind == kindNumbers || s.kind == kindCounts) {
		for i, e := range t.Exprs {
			if constantExpr(e) {
				if v, diags := value(e, nil); !diags.HasErrors() {
					s.one(p.report, fmt.Sprintf("%s[%d]", name, i), e.Range(), v)
				}
			}
		}
	}

	p.use(use{name: name, expr: expr, refs: &refs, mode: useSubmit, module: owner, local: -1})

	return append(list, pending[T]{name: name, spec: &s, expr: expr, refs: &refs})
}

// constantExpr reports an expression that is evaluated without any scope.
func constantExpr(e hclsyntax.Expression) bool {
	return len(e.Variables()) == 0 && !Expensive(e)
}

func (p *parser) use(u use) {
	if len(u.refs.cache) > 0 && !cacheUse(u.name, u.expr, u.refs) {
		p.add(u.refs.cache[0].at, cacheHint, "%s cannot name cache.dir", u.name)
	}
	u.notifies = p.notifies
	p.uses = append(p.uses, u)
}

// attributes returns those of a body in the order of the source.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	list := make([]*hclsyntax.Attribute, 0, len(body.Attributes))
	for _, a := range body.Attributes {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *hclsyntax.Attribute) int { return a.NameRange.Start.Byte - b.NameRange.Start.Byte })
	return list
}
