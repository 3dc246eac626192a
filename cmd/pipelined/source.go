package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// maxSource bounds what is read of a pipeline or of a file of values; the
// language refuses far less.
const maxSource = 8 << 20

// varEnv begins the names of variables of the environment that give values to
// variables of a pipeline.
const varEnv = "PIPELINED_VAR_"

// source is a pipeline's file as it was given on the command line.
type source struct {
	// name is the file's name, for messages; dir the folder it stands in.
	name, dir string
	text      []byte
	file      *language.File
	inputs    []language.VariableInput
	// git waits for the facts of the working tree that the file stands in.
	git func() pipeline.Git
}

// inputsOf is what a submission from here adds to the source.
func (c preparation) inputsOf(cmd *cli.Command, s *source) language.Inputs {
	in := language.Inputs{Git: s.git(), Targets: cmd.StringSlice("target"), Tags: cmd.StringSlice("tag"), Skip: cmd.StringSlice("skip")}
	patterns := s.file.EnvFrom()
	for _, kv := range c.env.environ() {
		name, value, _ := strings.Cut(kv, "=")
		if language.MatchesEnv(patterns, name) {
			if in.Env == nil {
				in.Env = map[string]string{}
			}
			in.Env[name] = value
		}
	}
	return in
}

// readSource reads and decodes a pipeline and the values of its variables; "-"
// reads standard input. A pipeline with mistakes is a *wire.SourceError.
func (c preparation) readSource(ctx context.Context, cmd *cli.Command) (_ *source, err error) {
	s := &source{name: cmd.Args().First()}
	if s.text, err = c.env.readFile(s.name); err != nil {
		return nil, usagef("read pipeline: %w", err)
	}
	if s.name == "-" {
		s.name, s.dir = "stdin", "."
	} else {
		s.dir = filepath.Dir(s.name)
	}
	if s.inputs, err = c.readInputs(cmd); err != nil {
		return nil, err
	}
	// git takes about as long as the parser: they run side by side.
	ctx, cancel := context.WithCancel(ctx)
	facts := make(chan pipeline.Git, 1)
	go func() { facts <- gitFacts(ctx, s.dir, c.env.environ()) }()
	s.git = sync.OnceValue(func() pipeline.Git {
		defer cancel()
		return <-facts
	})
	defer func() {
		if err != nil {
			cancel()
			<-facts
		}
	}()
	defer sparingly()()
	file, diags := language.Parse(s.name, s.text)
	if len(diags) > 0 {
		return nil, sourceError(diags)
	}
	s.file = file
	return s, nil
}

// sparingly makes the collection of garbage rare until what it gives is
// called. A parser makes much garbage from a small text, and with the usual
// share the collector takes half of the time that it runs for.
func sparingly() (back func()) {
	before := debug.SetGCPercent(800)
	if 0 <= before && before < 800 {
		return func() { debug.SetGCPercent(before) }
	}
	debug.SetGCPercent(before) // the user's GOGC is rarer still
	return func() {}
}

// readInputs collects what was given for variables, in ascending precedence:
// the environment, files, flags.
func (c preparation) readInputs(cmd *cli.Command) ([]language.VariableInput, error) {
	var list []language.VariableInput
	environ := c.env.environ()
	slices.Sort(environ)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if v, ok := strings.CutPrefix(name, varEnv); ok && v != "" {
			list = append(list, language.VariableInput{Name: v, Text: value, Origin: name})
		}
	}
	for _, name := range cmd.StringSlice("var-file") {
		text, err := c.env.readFile(name)
		if err != nil {
			return nil, usagef("-var-file: %w", err)
		}
		values, diags := language.ParseVarFile(name, text)
		if len(diags) > 0 {
			return nil, sourceError(diags)
		}
		list = append(list, values...)
	}
	for _, kv := range cmd.StringSlice("var") {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, usagef("-var %q: expected NAME=VALUE", kv)
		}
		list = append(list, language.VariableInput{Name: name, Text: value, Origin: "-var"})
	}
	return list, nil
}

// check compiles the pipeline as the cluster will, so that mistakes are told
// before anything is sent.
func (s *source) check(ctx context.Context, in language.Inputs) error {
	exe, err := os.Executable()
	if err != nil {
		return wrap("find own executable", err)
	}
	in.Variables, in.Evaluator = s.inputs, bounded.New(exe)
	defer sparingly()()
	if _, diags := s.file.Compile(ctx, in); len(diags) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return sourceError(diags)
	}
	return nil
}

// variables are the values to send: those of variables that the pipeline
// declares.
func (s *source) variables() map[string]string {
	declared := map[string]bool{}
	for _, v := range s.file.Variables() {
		declared[v.Name] = true
	}
	values := map[string]string{}
	for _, in := range s.inputs {
		if declared[in.Name] {
			values[in.Name] = in.Text
		}
	}
	return values
}
