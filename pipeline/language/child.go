package language

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// childName and variablesName are the attributes of a module that runs a pipeline.
	childName     = "pipeline"
	variablesName = "variables"
	// maxChildChecks is how many children are compiled with their parent to find their
	// mistakes, of all levels together: a matrix can have very many.
	maxChildChecks = 32
)

// besideChild are the attributes and blocks of a module that runs a pipeline; the others
// are about a process, and it has none.
var besideChild = set(childName, variablesName, "description", "tags", "depends_on", "optional_depends_on", "when", "matrix", "for_each", "use",
	"always_run", "run_if", "ignore_failure", "retry", "max_parallel", "timeout")

// family is what a pipeline's file and those of its children have in common. Their paths
// are relative to the directory of the first one.
type family struct {
	read ReadImport
	// root is that of the workspace; free is set if files may lie anywhere, as they came
	// along.
	root string
	free bool
	// files are those of children; nil for one with mistakes. open are the files between
	// the first one and the one that is parsed.
	files map[string]*File
	open  []string
	// bytes counts what was read, imports included.
	bytes int
}

// child decodes the pipeline that a module runs, and its variables.
func (p *parser) child(m *module, a, variables *hclsyntax.Attribute, body *hclsyntax.Body, index int) {
	s := &m.static
	s.Grace, s.InputsAll = 0, false
	if body.Attributes["timeout"] == nil {
		s.Timeout = 0 // what bounds a process is no limit of a run
	}
	m.childAt = a.Expr.Range()

	for _, x := range attributes(body) {
		if slices.Contains(moduleNamesAll, x.Name) && !besideChild[x.Name] {
			p.add(x.NameRange, "write it in the pipeline that it runs, or in the modules of that", "module %q runs a pipeline: %s has no meaning in it", s.Name, x.Name)
		}
	}
	for _, b := range body.Blocks {
		if slices.Contains(moduleNamesAll, b.Type) && !besideChild[b.Type] {
			p.add(b.TypeRange, "write it in the pipeline that it runs, or in the modules of that", "module %q runs a pipeline: %s has no meaning in it", s.Name, b.Type)
		}
		if codes := b.Body.Attributes["exit_codes"]; b.Type == "retry" && codes != nil {
			p.add(codes.NameRange, "leave it out: any failure of the run is tried again", "module %q runs a pipeline, which has no exit code", s.Name)
		}
	}

	v, ok := p.constant(childName, a.Expr)
	if !ok {
		return
	}
	written, bad := textOf(v)
	if bad == nil {
		bad = checkImport(written)
	}
	if bad != nil {
		p.add(a.Expr.Range(), bad.detail, "%s: %s", childName, bad.summary)
		return
	}

	m.child = p.childFile(written, a.Expr.Range())
	if m.child == nil {
		return
	}
	s.Child = &pipeline.Child{Name: m.child.Name(), File: path.Clean(written), Modules: m.child.ModuleNames()}
	p.keepSources(path.Clean(written), m.child)
	if patterns := m.child.EnvFrom(); len(patterns) > 0 {
		p.add(a.Expr.Range(), "declare variables in it, and give them values here: variables = { NAME = … }",
			"%s takes variables from the environment (env_from), and a pipeline that a module runs cannot", quote(written))
	}
	p.childVariables(m, variables, index)
}

// childFile gives the file of a child, which is parsed once; nil if it has mistakes.
func (p *parser) childFile(written string, at hcl.Range) *File {
	f := p.family
	name := path.Join(p.dir, written)
	if n := slices.Index(f.open, name); n >= 0 {
		p.add(at, "", "a pipeline cannot run itself: %s", strings.Join(append(slices.Clone(f.open[n:]), name), " -> "))
		return nil
	}
	tooDeep := func(levels int) bool {
		if levels > pipeline.MaxChildDepth {
			p.add(at, "", "pipelines run pipelines more than %d levels deep: %s", pipeline.MaxChildDepth, strings.Join(append(slices.Clone(f.open), name), " -> "))
		}
		return levels > pipeline.MaxChildDepth
	}

	file, done := f.files[name]
	switch {
	case !done && !tooDeep(len(f.open)):
		file = p.readChild(name, written, at)
	case file != nil && tooDeep(len(f.open)+file.levels):
		return nil
	}
	if file != nil {
		p.file.levels = max(p.file.levels, file.levels+1)
		p.file.costly = p.file.costly || file.costly || len(file.expensive) > 0
	}
	return file
}

// readChild reads and parses the file of a child; nil if it has mistakes.
func (p *parser) readChild(name, written string, at hcl.Range) *File {
	f := p.family
	switch {
	case !f.free && !within(f.root, name):
		p.add(at, fmt.Sprintf("files below it may be run: move the file, or set root in the workspace block, which is %q here", f.root),
			"pipeline %s is outside of the workspace root", quote(written))
		return nil
	case len(f.files) == maxImports:
		p.add(at, "", "more than %d files of pipelines", maxImports)
		return nil
	case f.read == nil:
		p.add(at, "", "pipeline %s cannot be read here", quote(written))
		return nil
	}

	f.files[name] = nil
	shown := path.Join(path.Dir(p.src.name), written)
	text, err := f.read(f.root, name, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.add(at, "its path is relative to the file that names it", "pipeline %s: there is no file %s", quote(written), shown)
		return nil
	case err != nil:
		p.add(at, "", "pipeline %s: %v", quote(written), err)
		return nil
	}

	f.open = append(f.open, name)
	var diags Diagnostics
	if f.bytes+len(text) <= MaxSourceBytes {
		f.files[name], diags = f.parse(shown, text, path.Dir(name))
	} else {
		f.bytes += len(text)
	}
	f.open = f.open[:len(f.open)-1]
	if f.bytes > MaxSourceBytes {
		f.files[name] = nil
		p.add(at, "long scripts belong into files of the workspace, which a module can run",
			"with pipeline %s the source has %d KiB, more than the limit of %d KiB", quote(written), (f.bytes+1023)>>10, MaxSourceBytes>>10)
		return nil
	}

	p.broken = p.broken || len(diags) > 0
	for _, d := range diags {
		if p.full() {
			p.more++
			continue
		}
		p.list = append(p.list, d)
	}
	return f.files[name]
}

// workspaceRoot is the root of the workspace as the file that is parsed sees it.
func (p *parser) workspaceRoot() string {
	if len(p.family.open) == 1 {
		return path.Clean(p.file.workspace.Root)
	}
	root, err := filepath.Rel(p.dir, p.family.root)
	if err != nil {
		return "."
	}
	return filepath.ToSlash(root)
}

// keepSources keeps the texts that the file of a child consists of.
func (p *parser) keepSources(name string, child *File) {
	f := p.file
	if f.sources == nil {
		f.sources = map[string]string{}
	}
	f.sources[name] = string(child.original)
	for rel, text := range child.Imports() {
		f.sources[path.Join(path.Dir(name), rel)] = text
	}
}

// childVariables decodes the variables that a module gives to its pipeline.
func (p *parser) childVariables(m *module, a *hclsyntax.Attribute, index int) {
	given := map[string]bool{}
	if a != nil {
		object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
		if !ok {
			p.absent(a.Expr.Range(), "write variables = { NAME = value }", "variables is an object that is written out")
			return
		}
		for _, item := range object.Items {
			name, ok := literalKey(item.KeyExpr)
			at := item.KeyExpr.Range()
			i, declared := m.child.variableIndex[name]
			switch {
			case !ok:
				p.add(at, "", "a name in variables is written out")
				continue
			case given[name]:
				p.add(at, "", "second %q in variables", name)
				continue
			case !declared:
				p.missing(reference{name: name, at: at}, "variable", "the pipeline does not declare it", func() []string {
					return namesOf(m.child.variables, func(v *variable) string { return v.name })
				})
				continue
			}
			given[name] = true
			l, constant := p.deferredUse(variablesName+"."+name, item.ValueExpr, false, index)
			if !constant {
				m.variables = append(m.variables, l)
				continue
			}
			if v, ok := literal(p.report, item.ValueExpr); ok {
				if _, bad := m.child.variables[i].convert(v); bad != nil {
					p.add(item.ValueExpr.Range(), bad.detail, "variables.%s: %s", name, bad.summary)
					continue
				}
				if m.childStatic == nil {
					m.childStatic = map[string]cty.Value{}
				}
				m.childStatic[name] = v
			}
		}
	}

	for _, v := range m.child.variables {
		if v.value == cty.NilVal && !given[v.name] {
			p.absent(m.childAt, fmt.Sprintf("write variables = { %s = … }", v.name), "variable %q of pipeline %q has no value", v.name, m.child.Name())
		}
	}
}

// child determines the variables of one instance's pipeline, and compiles it to find
// its mistakes if all of them are known.
func (c *compilation) child(m *module, out *pipeline.Module) {
	own := *out.Child
	own.Variables = map[string]string{}
	for name, v := range m.childStatic {
		own.Variables[name] = c.encode(v, m.childAt)
	}
	known := true
	for _, l := range m.variables {
		known = known && !c.deferred(l)
		c.attribute(out, l, func(v cty.Value, keep bool) {
			if keep {
				own.Variables[strings.TrimPrefix(l.name, variablesName+".")] = c.encode(v, l.expr.Range())
			}
		})
	}
	out.Child = &own
	for name, text := range own.Variables {
		c.spend(2*overhead+len(name)+len(text), m.at)
	}

	if c.in.checks == nil {
		n := maxChildChecks
		c.in.checks = &n
	}
	if !known || len(c.list) > 0 || c.excused || len(c.outside) > 0 || *c.in.checks == 0 {
		return
	}
	*c.in.checks--
	in := Inputs{Variables: childInputs(out, own.Variables), Git: c.in.Git, RunID: c.in.RunID, Submitter: c.in.Submitter, checks: c.in.checks}
	_, diags := m.child.compile(in)
	c.outside = append(c.outside, diags...)
}

// childInputs are values for the variables of a module's pipeline.
func childInputs(m *pipeline.Module, values map[string]string) []VariableInput {
	list := make([]VariableInput, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, VariableInput{Name: name, Value: values[name], Origin: fmt.Sprintf("variables of module %q", m.Name)})
	}
	return list
}

// ParseChild parses the pipeline that a module runs, of the sources that its definition has.
// An error is of kind Invalid, and for the module's author.
func ParseChild(p *pipeline.Pipeline, m *pipeline.Module) (*File, error) {
	text, ok := p.Sources[m.Child.File]
	if !ok {
		return nil, pipeline.Errorf(pipeline.Invalid, "%s did not come along with the source", m.Child.File)
	}
	files := map[string]string{}
	dir := path.Dir(m.Child.File)
	for name, text := range p.Sources {
		if rel, err := filepath.Rel(dir, name); err == nil {
			files[filepath.ToSlash(rel)] = text
		}
	}

	f := newFamily(m.Child.File, Imported(files))
	f.free = true
	file, diags := f.parse(m.Child.File, []byte(text), ".")
	if len(diags) > 0 {
		return nil, deferredError(diags)
	}
	return file, nil
}

// CompileChild is Compile for the pipeline that a module runs. values are those of its
// variables that were deferred (pipeline.Evaluated). What in has for variables is ignored.
// An error of kind Invalid is permanent, and for the module's author. After an error of
// another kind, try again.
func (f *File) CompileChild(ctx context.Context, m *pipeline.Module, values map[string]string, in Inputs) (*pipeline.Pipeline, error) {
	all := maps.Clone(m.Child.Variables)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, values)
	in.Variables = childInputs(m, all)
	out, diags, err := f.compileWith(ctx, in)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, pipeline.Errorf(pipeline.Canceled, "compile %s: %w", m.Child.File, err)
	case err != nil:
		return nil, pipeline.Errorf(pipeline.Unavailable, "compile %s: %w", m.Child.File, err)
	case len(diags) > 0:
		return nil, deferredError(diags)
	}
	if m.Timeout > 0 && (out.Timeout == 0 || m.Timeout < out.Timeout) {
		out.Timeout = m.Timeout
	}
	return out, nil
}
