package language

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// Inputs is what a submission adds to a source.
type Inputs struct {
	// Variables in ascending precedence: of several for one variable the last
	// counts.
	Variables []VariableInput `json:"variables,omitempty"`
	// Git facts of the workspace; zero if there is no repository.
	Git pipeline.Git `json:"git"`
	// RunID is "" if it is not known yet: expressions that name run.id or run.tick are
	// deferred then, as those that name run.number always are. A run whose id is known
	// here is of no schedule, and its run.tick is null.
	RunID     string `json:"runId,omitempty"`
	RunNumber uint64 `json:"runNumber,omitempty"`
	Submitter string `json:"submitter,omitempty"`
	// Env holds variables of the environment in which the pipeline was
	// submitted; env_from selects from them.
	Env map[string]string `json:"env,omitempty"`
	// Targets are the modules that are wanted, Tags the tags of modules that are:
	// with either the run has these and what they need. Skip are modules that
	// are not to run. A name is a block's or an instance's.
	Targets []string `json:"targets,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Skip    []string `json:"skip,omitempty"`
	// Evaluator evaluates expensive expressions. Without one, a pipeline that
	// has any is refused.
	Evaluator Evaluator `json:"-"`
	// checks is how many children may still be compiled to find their mistakes.
	checks *int
}

// Compile sets and checks the values of variables, evaluates what is known at
// submission and keeps the source of the rest. It returns all mistakes at once;
// with any, the pipeline is nil. A pipeline with an expensive expression is
// compiled as a whole by the evaluator, in one call; any other needs none and
// ignores ctx.
func (f *File) Compile(ctx context.Context, in Inputs) (*pipeline.Pipeline, Diagnostics) {
	out, diags, err := f.compileWith(ctx, in)
	if err != nil {
		return nil, Diagnostics{{File: f.src.name, Summary: "evaluate the pipeline's expressions: " + err.Error()}}
	}
	return out, diags
}

// compileWith is Compile; an error says that the evaluator could not be asked.
func (f *File) compileWith(ctx context.Context, in Inputs) (*pipeline.Pipeline, Diagnostics, error) {
	if len(f.expensive) == 0 && !f.costly {
		def, diags := f.compile(in) // masks by itself
		return def, diags, nil
	}

	if in.Evaluator == nil {
		return nil, f.expensiveDiagnostics("expression cannot be evaluated here", "calls, conditions, operators and for are evaluated only where a bounded helper process is at hand"), nil
	}

	out, err := ask(ctx, in.Evaluator, request{Compile: &compileRequest{FileName: f.src.name, Source: f.src.text, Imports: f.Imports(), Inputs: in}})
	switch {
	case errors.Is(err, ErrTooExpensive):
		return nil, f.expensiveDiagnostics(tooExpensive, "the expressions of a pipeline may take 1 s and some memory, all together"), nil
	case err != nil:
		return nil, nil, err
	case len(out.Diagnostics) > 0:
		return nil, out.Diagnostics, nil
	case out.Pipeline == nil:
		return nil, nil, errors.New("the helper gave no answer")
	}

	return out.Pipeline, nil, nil
}

// expensiveDiagnostics is one mistake at the first expensive expression; the
// others are named in the detail.
func (f *File) expensiveDiagnostics(summary, detail string) Diagnostics {
	if len(f.expensive) == 0 { // it is in one that a module runs
		return Diagnostics{{File: f.src.name, Summary: summary, Detail: detail}}
	}
	first := f.expensive[0].Range()
	var lines []string
	for _, e := range f.expensive {
		file, _ := f.src.at(e.Range().Start.Byte)
		line, _ := f.src.position(e.Range().Start.Byte)
		text := fmt.Sprint(line)
		if file != f.src {
			text = fmt.Sprintf("%s:%d", file.name, line)
		}
		if !slices.Contains(lines, text) && len(lines) < 8 {
			lines = append(lines, text)
		}
		if e.Range().Start.Byte < first.Start.Byte {
			first = e.Range()
		}
	}

	if len(lines) > 1 {
		detail += "\nit may be one of those at lines " + strings.Join(lines, ", ")
	}

	return Diagnostics{f.src.diagnostic(first, summary, detail)}
}

// compilation is one call of Compile.
type compilation struct {
	evaluation
	file *File
	in   Inputs
	// variables and locals by name; a value that could not be had is unknown,
	// so that what names it is passed over in silence.
	variables map[string]cty.Value
	locals    map[string]cty.Value
	// credentials names the variables of in.Env that are treated as sensitive.
	credentials map[string]bool
	// roots are what all expressions see.
	roots map[string]cty.Value
	// excused is set if a variable has no value because of a mistake that is
	// not in the list.
	excused bool
	out     *pipeline.Pipeline
	// names are what the modules of the source became, by their index.
	names [][]string
	// unknownEach is set while a module is compiled whose for_each waits for
	// results.
	unknownEach bool
	// outside are mistakes that have no place in the source.
	outside Diagnostics
}

func (f *File) compile(in Inputs) (*pipeline.Pipeline, Diagnostics) {
	c := &compilation{evaluation: evaluation{report: &report{src: f.src}}, file: f, in: in,
		variables: map[string]cty.Value{}, locals: map[string]cty.Value{}}
	out := f.pipeline
	out.Sources = f.sources
	c.out = &out
	outside := c.inputs()
	c.excused = len(outside) > 0
	c.roots = rootValues(f.pipeline.Name, &pipeline.Scope{Git: in.Git, RunID: in.RunID, Submitter: in.Submitter})
	c.roots["var"] = cty.ObjectVal(c.variables)
	c.validate()

	for _, i := range f.localOrder {
		c.local(f.locals[i])
	}

	c.roots["local"] = cty.ObjectVal(c.locals)
	c.settings()
	c.runs()
	env, deferred := c.environment(&f.env, nil, nil)
	c.names = make([][]string, len(f.modules))

	for i, m := range f.modules {
		if c.total > maxTotal {
			break
		}
		c.module(i, m, env, deferred)
	}

	c.dependencies()
	c.require()
	c.scope()
	c.choose()
	env, deferred = withoutCache(env, deferred)
	c.hooks(env, deferred)
	c.notify(env, deferred)
	outside = append(outside, c.outside...)
	if d := append(outside, c.done()...); len(d) > 0 {
		return nil, f.masked(in, d)
	}

	return c.out, nil
}

// rootValues are the parts of the scope that are the same for all expressions.
// Of the run's number 0, and of its id "", is "not known". Its tick is known with its id.
func rootValues(name string, scope *pipeline.Scope) map[string]cty.Value {
	git := scope.Git
	run := map[string]cty.Value{"submitter": cty.StringVal(scope.Submitter), "id": cty.DynamicVal, "number": cty.DynamicVal,
		"tick": cty.UnknownVal(cty.String)}
	if scope.RunID != "" {
		run["id"], run["tick"] = cty.StringVal(scope.RunID), cty.NullVal(cty.String)
	}

	if scope.RunTick != "" {
		run["tick"] = cty.StringVal(scope.RunTick)
	}

	if scope.RunStatus != "" { // else it is refused
		run["status"] = cty.StringVal(scope.RunStatus)
	}

	if scope.RunNumber > 0 {
		run["number"] = cty.NumberUIntVal(scope.RunNumber)
	}

	return map[string]cty.Value{
		"run": cty.ObjectVal(run),
		"git": cty.ObjectVal(map[string]cty.Value{"sha": cty.StringVal(git.SHA), "branch": cty.StringVal(git.Branch),
			"tag": cty.StringVal(git.Tag), "dirty": cty.BoolVal(git.Dirty)}),
		"pipeline": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(name)}),
		"cache":    cty.ObjectVal(map[string]cty.Value{"dir": cty.StringVal(pipeline.CacheDir)}),
	}
}

// context is the scope of every expression but the locals'.
func (c *compilation) context() *hcl.EvalContext {
	return &hcl.EvalContext{Variables: c.roots, Functions: functions}
}

// eval evaluates an expression that is known at submission.
func (c *compilation) eval(expr hclsyntax.Expression) (cty.Value, bool) {
	return c.known(expr, c.context())
}

// known evaluates an expression. An unknown value is a mistake, unless it comes
// of one that was recorded.
func (c *compilation) known(expr hclsyntax.Expression, ctx *hcl.EvalContext) (cty.Value, bool) {
	v, ok := c.value(expr, ctx)
	if ok && !c.excused && len(c.list) == 0 && !v.IsWhollyKnown() {
		c.add(expr.Range(), "", "value is not known at submission")
		return v, false
	}
	return v, ok
}

// inputs sets the values of the variables. It returns the mistakes that have no
// position in the source.
func (c *compilation) inputs() (outside Diagnostics) {
	f := c.file
	given := map[string]VariableInput{}
	for _, x := range c.in.Variables {
		if _, ok := f.variableIndex[x.Name]; !ok {
			if !strings.HasPrefix(x.Origin, envOrigin) && len(outside) < maxDiagnostics {
				names := namesOf(f.variables, func(v *variable) string { return v.name })
				detail := didYouMean(x.Name, names)
				if detail == "" {
					detail = "the pipeline declares " + orNone(strings.Join(names, ", "))
				}
				outside = append(outside, Diagnostic{File: origin(x), Summary: "unknown variable " + quote(x.Name), Detail: detail})
			}
			continue
		}
		given[x.Name] = x
	}

	for _, v := range f.variables {
		value := v.value
		if x, ok := given[v.name]; ok {
			var bad *problem
			if value, bad = v.input(x); bad != nil {
				if v.sensitive { // a message may show a part of it
					bad = wrong("expected "+typeexpr.TypeString(v.typ), "the value that was given does not fit; it is sensitive, and not shown")
				}
				outside = append(outside, Diagnostic{File: origin(x), Summary: fmt.Sprintf("variable %q: %s", v.name, bad.summary), Detail: bad.detail})
				value = cty.DynamicVal
			}
		} else if value == cty.NilVal {
			c.add(v.at, fmt.Sprintf("give it: -var %s=…, or %s%s in the environment, or a default", v.name, envOrigin, v.name), "variable %q has no value", v.name)
			value = cty.DynamicVal
		}

		c.variables[v.name] = value
		c.spend(size(value, maxTotal), v.at)
	}

	return outside
}

func origin(x VariableInput) string {
	if x.Origin == "" {
		return "variable"
	}
	return x.Origin
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// validate evaluates the conditions of the variables.
func (c *compilation) validate() {
	for _, v := range c.file.variables {
		for _, x := range v.validations {
			ok, done := c.eval(x.condition)
			if !done || !ok.IsKnown() {
				continue
			}

			if ok.IsNull() || ok.Type() != cty.Bool {
				c.add(x.condition.Range(), unquoted("condition", x.condition), "condition: expected true or false, got %s", friendly(ok))
				continue
			}

			if ok.True() {
				continue
			}

			text := "the value does not meet the condition"
			if m, done := c.eval(x.message); done {
				if s, bad := textOf(m); bad == nil && s != "" {
					text = s
				}
			}

			detail := ""
			for _, in := range c.in.Variables {
				if in.Name == v.name {
					detail = "its value comes from " + origin(in)
				}
			}

			c.add(x.condition.Range(), detail, "variable %q: %s", v.name, text)
		}
	}
}

// deferred reports whether an expression is evaluated at dispatch.
func (c *compilation) deferred(l *deferrable) bool { return l.sensitive || c.unknown(l) }

// unknown reports whether an expression has no value yet.
func (c *compilation) unknown(l *deferrable) bool {
	return l.unknown(c.in.RunID != "") || c.unknownEach && l.refs.instance()
}

// attribute compiles an attribute that may be deferred. take gets its value if
// that is known. A deferred attribute that is known (since it is sensitive) is
// evaluated nevertheless, to find its mistakes.
func (c *compilation) attribute(m *pipeline.Module, l *deferrable, take func(v cty.Value, keep bool)) {
	if l == nil {
		return
	}
	if c.deferred(l) {
		c.wait(m, l)
	}
	if !c.unknown(l) {
		if v, ok := c.eval(l.expr); ok {
			take(v, !c.deferred(l))
		}
	}
}

// local evaluates one local; those it names are done.
func (c *compilation) local(l *local) {
	if c.unknown(&l.value) {
		return
	}

	roots := maps.Clone(c.roots)

	named := map[string]cty.Value{}
	for _, x := range l.value.refs.locals {
		if v, ok := c.locals[x.name]; ok {
			named[x.name] = v
		}
	}

	roots["local"] = cty.ObjectVal(named)
	v, _ := c.known(l.value.expr, &hcl.EvalContext{Variables: roots, Functions: functions})
	c.locals[l.name] = v
}

// settings evaluates the pipeline's own attributes.
func (c *compilation) settings() {
	for i := range c.file.pending {
		apply(c, c.out, &c.file.pending[i])
	}
}

// apply evaluates an attribute and stores its value.
func apply[T any](c *compilation, target *T, p *pending[T]) {
	if c.unknownEach && p.refs.instance() {
		c.add(p.expr.Range(), "where for_each waits for results, command, script, when, env and an approval's message may name each", "%s must be known at submission and cannot name each", p.name)
		return
	}
	if v, ok := c.eval(p.expr); ok {
		if x, ok := p.spec.read(c.report, p.name, p.expr, v); ok {
			p.spec.set(target, x)
		}
	}
}
