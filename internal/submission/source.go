package submission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
	"github.com/pipelined/pipelined/pipeline/mask"
	"github.com/pipelined/pipelined/storage/workspace"
)

// VariablePrefix begins the names of variables of the environment that give values to
// variables of a pipeline.
const VariablePrefix = "PIPELINED_VAR_"

// source is a pipeline's file as it was given on the command line.
type source struct {
	// name is the file's name, for messages; dir the directory it stands in.
	name, dir string
	text      []byte
	File      *language.File
	Inputs    []language.VariableInput
	// git waits for the facts of the work tree that the file lies in.
	git func() (pipeline.Git, error)
}

// inputsOf is what a submission from here adds to the source.
func (o *Options) inputsOf(s *source) (language.Inputs, error) {
	facts, err := o.GitFacts(s)
	if err != nil {
		return language.Inputs{}, err
	}

	in := language.Inputs{Git: facts, Targets: o.Targets, Tags: o.Tags, Skip: o.Skip}
	in.Env = o.envFrom(s.File.EnvFrom())
	in.Variables = s.Inputs
	o.warnUnmasked(s.File.Unmasked(in))
	return in, nil
}

// warnUnmasked names what is to be hidden in output and cannot be, secrets of the
// environment too.
func (o *Options) warnUnmasked(names []string) {
	for _, kv := range o.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if o.SecretPrefix != "" && strings.HasPrefix(name, o.SecretPrefix) && mask.TooShort(value) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		o.Warn(fmt.Sprintf("%s: its value, or a part of it, is shorter than %d bytes and will not be masked in output", name, mask.MinLength))
	}
}

// envFrom selects the variables of the environment that go along.
func (o *Options) envFrom(patterns []string) map[string]string {
	var env map[string]string
	var withheld []string
	for _, kv := range o.Environ {
		name, value, _ := strings.Cut(kv, "=")
		if language.MatchesEnv(patterns, name) {
			if env == nil {
				env = map[string]string{}
			}
			env[name] = value
		} else if language.WithholdsEnv(patterns, name) {
			withheld = append(withheld, name)
		}
	}

	if len(withheld) > 0 {
		slices.Sort(withheld)
		o.Warn("env_from: left out " + strings.Join(withheld, ", ") + ": what looks like a credential comes along, masked, only if env_from names it exactly")
	}

	return env
}

// GitFacts are the facts of the work tree that the pipeline's file lies in. If git
// does not read the repository, that is an error for a pipeline that names one of
// them, and a warning for any other.
func (o *Options) GitFacts(s *source) (pipeline.Git, error) {
	facts, err := s.git()
	var refused *workspace.GitError
	switch {
	case err == nil:
		return facts, nil
	case !errors.As(err, &refused):
		return facts, wrapped("read the facts of git", err)
	}

	if diags := s.File.MissingGit(refused.Error(), refused.Advice()); len(diags) > 0 {
		return facts, NewInvalidError(diags)
	}

	text := refused.Error() + ": git.sha, git.branch, git.tag and git.dirty have no value"
	if advice := refused.Advice(); advice != "" {
		text += "; " + advice
	}

	o.Warn(text)
	return facts, nil
}

// Read reads and decodes a pipeline and the values of its variables; "-"
// reads standard input. A pipeline with mistakes is a *wire.SourceError.
func (o *Options) Read(ctx context.Context) (_ *source, err error) {
	s := &source{name: o.File}
	if s.text, err = o.ReadFile(s.name); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "read pipeline: %w", err)
	}
	if form := foreignForm(s.text); form != "" {
		return nil, pipeline.Errorf(pipeline.Invalid, "read pipeline: %s is written in %s, and a pipeline in HCL: pipelined init writes one that works", s.name, form)
	}

	if s.name == "-" {
		s.name, s.dir = "stdin", "."
	} else {
		s.dir = filepath.Dir(s.name)
	}

	if s.Inputs, err = o.ReadInputs(); err != nil {
		return nil, err
	}

	// git takes about as long as the parser: they run side by side.
	ctx, cancel := context.WithCancel(ctx)
	facts, refused := make(chan pipeline.Git, 1), make(chan error, 1)
	go func() {
		g, err := workspace.GitFacts(ctx, s.dir, o.Environ)
		facts <- g
		refused <- err
	}()
	s.git = sync.OnceValues(func() (pipeline.Git, error) {
		defer cancel()
		return <-facts, <-refused
	})
	defer func() {
		if err != nil {
			cancel()
			_, _ = s.git() // it ends first
		}
	}()
	defer withRelaxedGC()()
	file, diags := language.ParseWith(s.name, s.text, readImport(s.dir))
	if len(diags) > 0 {
		return nil, NewInvalidError(diags)
	}

	s.File = file
	s.Inputs = o.matchEnvironment(s.Inputs, file.Variables())
	return s, nil
}

// matchEnvironment gives the values of the environment the names of the variables that
// they are for. PIPELINED_VAR_NAME is for the variable NAME, else for the one that is
// NAME in capitals with _ for -. It leaves out, with a warning, what is for none.
func (o *Options) matchEnvironment(inputs []language.VariableInput, declared []language.VariableInfo) []language.VariableInput {
	exact, capital, names := map[string]bool{}, map[string][]string{}, make([]string, len(declared))
	for i, v := range declared {
		key := environmentName(v.Name)
		exact[v.Name], capital[key], names[i] = true, append(capital[key], v.Name), v.Name
	}

	var loose, rest []language.VariableInput // an exact name wins
	for _, in := range inputs {
		if !strings.HasPrefix(in.Origin, VariablePrefix) || exact[in.Name] {
			rest = append(rest, in)
			continue
		}

		switch found := capital[in.Name]; len(found) {
		case 0:
			advice := "it declares none"
			if near := pipeline.Nearest(in.Name, names); near != "" {
				advice = "did you mean " + VariablePrefix + near + "?"
			} else if len(names) > 0 {
				advice = "it declares " + strings.Join(names, ", ")
			}
			o.Warn(fmt.Sprintf("%s: the pipeline has no variable %q: %s", in.Origin, in.Name, advice))
		case 1:
			in.Name = found[0]
			loose = append(loose, in)
		default:
			o.Warn(fmt.Sprintf("%s: left out: it may be for %s: write the name as the pipeline does", in.Origin, strings.Join(found, " or ")))
		}
	}

	return append(loose, rest...)
}

// environmentName is a variable's name as variables of the environment usually are.
func environmentName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// withRelaxedGC makes garbage collection rare until the returned function is
// called. A parser makes much garbage from a small text; at the usual rate the
// collector takes half of its time.
func withRelaxedGC() (restore func()) {
	before := debug.SetGCPercent(800)
	if 0 <= before && before < 800 {
		return func() { debug.SetGCPercent(before) }
	}

	debug.SetGCPercent(before) // the user's GOGC is rarer still
	return func() {}
}

// ReadInputs collects what was given for variables, in ascending precedence:
// the environment, files, flags.
func (o *Options) ReadInputs() ([]language.VariableInput, error) {
	var list []language.VariableInput
	environ := slices.Sorted(slices.Values(o.Environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if v, ok := strings.CutPrefix(name, VariablePrefix); ok && v != "" {
			list = append(list, language.VariableInput{Name: v, Text: value, Origin: name})
		}
	}

	for _, name := range o.VarFiles {
		text, err := o.ReadFile(name)
		if err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "-var-file: %w", err)
		}

		values, diags := language.ParseVarFile(name, text)
		if len(diags) > 0 {
			return nil, NewInvalidError(diags)
		}

		list = append(list, values...)
	}

	for _, kv := range o.Vars {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, pipeline.Errorf(pipeline.Invalid, "-var %q: expected NAME=VALUE", kv)
		}

		list = append(list, language.VariableInput{Name: name, Text: value, Origin: "-var"})
	}

	return list, nil
}

// Check compiles the pipeline as the cluster will, so that mistakes are reported
// before anything is sent.
func (s *source) Check(ctx context.Context, in language.Inputs) (*pipeline.Pipeline, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, wrapped("find own executable", err)
	}

	in.Variables, in.Evaluator = s.Inputs, bounded.New(exe).For("")
	defer withRelaxedGC()()
	def, diags := s.File.Compile(ctx, in)
	if len(diags) > 0 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, NewInvalidError(diags)
	}

	return def, nil
}

// variables are the values to send: those of variables that the pipeline
// declares.
func (s *source) variables() map[string]string {
	declared := map[string]bool{}
	for _, v := range s.File.Variables() {
		declared[v.Name] = true
	}

	values := map[string]string{}
	for _, in := range s.Inputs {
		if declared[in.Name] {
			values[in.Name] = in.Text
		}
	}

	return values
}

// yamlLine is a line as YAML begins and HCL never does.
var yamlLine = regexp.MustCompile(`^(---|- |[A-Za-z_][\w-]*:(\s|$))`)

// tomlLine is the header of a table of TOML.
var tomlLine = regexp.MustCompile(`^\[[A-Za-z_][\w.-]*\]$`)

// foreignForm names the form of a text that cannot be HCL by its first line; "" if it may
// be.
func foreignForm(text []byte) string {
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimSpace(line)
		switch {
		case len(trimmed) == 0 || trimmed[0] == '#':
			continue
		case tomlLine.Match(trimmed):
			return "TOML"
		case trimmed[0] == '{' || trimmed[0] == '[':
			return "JSON"
		case yamlLine.Match(line):
			return "YAML"
		}
		return ""
	}
	return ""
}
