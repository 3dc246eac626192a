package service

import (
	"context"
	"maps"
	"slices"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// defaultFileName names a source that came without a name.
const defaultFileName = "pipeline.hcl"

// Compiler turns submitted sources into pipelines. A submission is compiled once,
// on the node that was asked; the leader gets the result.
type Compiler struct {
	evaluators Evaluators
	secrets    *Secrets
	parsed     parseCache
}

// Evaluators gives each submitter an evaluator, so that the expensive expressions of
// one do not hold up those of others.
type Evaluators interface {
	// For returns the evaluator of a submitter.
	For(submitter string) language.Evaluator
}

// evaluatorFor is the evaluator of a submitter; nil if there are none.
func evaluatorFor(e Evaluators, submitter string) language.Evaluator {
	if e == nil {
		return nil
	}
	return e.For(submitter)
}

// NewCompiler makes a compiler that evaluates expressions with evaluators and
// checks the names of secrets against secrets. Close it after use.
func NewCompiler(evaluators Evaluators, secrets *Secrets) *Compiler {
	return &Compiler{evaluators: evaluators, secrets: secrets}
}

// Close drops the sources that are kept. Idempotent.
func (c *Compiler) Close() { c.parsed.clear() }

// compile turns a source into a pipeline for the run id, or for "" into one that
// a schedule makes runs of: what depends on the run is evaluated in each. A
// *api.SourceError lists mistakes of the source.
func (c *Compiler) compile(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.SubmitRequest) (*pipeline.Pipeline, error) {
	name := in.FileName
	if name == "" {
		name = defaultFileName
	}
	file, diags := c.parsed.parse(name, in.Source, in.Imports)
	if len(diags) > 0 {
		return nil, sourceError(diags)
	}

	def, diags := file.Compile(ctx, c.inputs(by, id, in))
	if len(diags) > 0 {
		return nil, sourceError(diags)
	}
	def.Given = givenOf(&in, def)
	return def, c.secrets.check(ctx, file, def)
}

// givenOf is what a definition keeps of the submission that it was compiled of, without
// what must not show.
func givenOf(in *wire.SubmitRequest, def *pipeline.Pipeline) pipeline.Given {
	out := pipeline.Given{Targets: in.Targets, Tags: in.Tags, Skip: in.Skip}
	size := len(in.Source)
	for path, text := range in.Imports {
		size += len(path) + len(text)
	}
	if size <= pipeline.MaxGivenSource {
		out.Source, out.Imports = in.Source, in.Imports
	}

	for _, name := range slices.Sorted(maps.Keys(in.Variables)) {
		if slices.Contains(def.Scope.Sensitive, name) {
			out.Sensitive = append(out.Sensitive, name)
			continue
		}
		if out.Variables == nil {
			out.Variables = map[string]string{}
		}
		out.Variables[name] = in.Variables[name]
	}

	if len(in.Env) == 0 {
		return out
	}
	out.Env = map[string]string{}
	for i := range def.Modules {
		for name, value := range def.Modules[i].Env {
			if given, ok := in.Env[name]; ok && given == value && !pipeline.CredentialName(name) {
				out.Env[name] = value
			}
		}
	}
	return out
}

func (c *Compiler) inputs(by api.Subject, id pipeline.RunID, in wire.SubmitRequest) language.Inputs {
	out := language.Inputs{RunID: string(id), Submitter: by.Name, Env: in.Env, Targets: in.Targets, Tags: in.Tags, Skip: in.Skip,
		Evaluator: evaluatorFor(c.evaluators, by.Name)}
	if in.Git != nil {
		out.Git = *in.Git
	}

	// In order, so that the same submission has the same diagnostics.
	for _, name := range slices.Sorted(maps.Keys(in.Variables)) {
		out.Variables = append(out.Variables, language.VariableInput{Name: name, Text: in.Variables[name], Origin: "the submission"})
	}
	return out
}

func sourceError(diags language.Diagnostics) error {
	e := &api.SourceError{}
	for _, d := range diags {
		e.Diagnostics = append(e.Diagnostics, wire.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
			Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
	}
	return e
}
