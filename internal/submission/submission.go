package submission

import (
	"context"
	"fmt"
	"strings"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// Options is what a submission is made of.
type Options struct {
	// file is the pipeline's file; "-" is standard input.
	File string
	// vars are NAME=VALUE, varFiles files of them; the environment comes before
	// both. See ReadInputs.
	Vars, VarFiles []string
	// Unchecked leaves it to the cluster to compile the pipeline: it has the values of its
	// variables.
	Unchecked bool
	// targets, tags and skip select modules.
	Targets, Tags, Skip []string
	// cache is wire.SubmitRequest.Cache.
	Cache string
	// known is the directory that remembers earlier snapshots; "" remembers none.
	Known string
	// Private are paths of keys, tokens, state and configuration, which never go along;
	// Secrets the texts of keys and tokens, of which no copy does.
	Private, Secrets []string
	// environ is the environment, as os.Environ gives it. SecretPrefix begins the
	// variables in it that are secrets of the run; "" if none are.
	Environ      []string
	SecretPrefix string
	// readFile reads a file argument; warn reports what the user should know.
	ReadFile func(name string) ([]byte, error)
	Warn     func(text string)
}

// Job is a run that is ready to be submitted.
type Job struct {
	source *source
	// definition is what the source says with the values that were given.
	definition *pipeline.Pipeline
	workspace  *fileSet
	request    wire.SubmitRequest
	key        string
	options    *Options
}

// Check reads and checks the pipeline.
func (o *Options) Check(ctx context.Context) (*Job, error) {
	s, err := o.Read(ctx)
	if err != nil {
		return nil, err
	}

	in, err := o.inputsOf(s)
	if err != nil {
		return nil, err
	}

	var def *pipeline.Pipeline
	if !o.Unchecked {
		if def, err = s.Check(ctx, in); err != nil {
			return nil, err
		}
	}

	j := &Job{source: s, definition: def, workspace: &fileSet{}, key: client.NewKey(), options: o}
	j.request = wire.SubmitRequest{Source: string(s.text), FileName: s.name, Imports: s.File.Imports(), Variables: s.variables(),
		Env: in.Env, Targets: in.Targets, Tags: in.Tags, Skip: in.Skip, Cache: o.Cache}
	if in.Git != (pipeline.Git{}) {
		j.request.Git = &in.Git
	}
	j.request.Trace = o.trace()

	return j, nil
}

// trace is the trace that this process is part of, as OpenTelemetry says it by variables.
func (o *Options) trace() pipeline.TraceContext {
	values := map[string]string{}
	for _, kv := range o.Environ {
		name, value, _ := strings.Cut(kv, "=")
		values[name] = value
	}
	return pipeline.NewTraceContext(values["TRACEPARENT"], values["TRACESTATE"], values["BAGGAGE"])
}

// TakeFiles takes the snapshot of the files that go along, and warns of inputs that match
// none of them, and of numbers that lose a zero.
func (j *Job) TakeFiles(ctx context.Context) error {
	if err := j.takeFiles(ctx); err != nil {
		return err
	}

	if j.definition == nil {
		return nil
	}

	j.warn(j.LostZeros())
	j.warn(unmatchedInputs(j.source.name, j.definition, j.workspace.tree))
	return nil
}

// LostZeros warns of numbers that lose a zero where they become text.
func (j *Job) LostZeros() language.Diagnostics { return j.source.File.LostZeros() }

func (j *Job) warn(list language.Diagnostics) {
	for _, d := range list {
		j.options.Warn(fmt.Sprintf("%s:%d: %s: %s", d.File, d.Line, d.Summary, d.Detail))
	}
}

func (j *Job) takeFiles(ctx context.Context) error {
	w, err := j.options.takeWorkspace(ctx, j.source)
	if err != nil {
		return err
	}

	j.workspace, j.request.Workspace = w, w.digest
	return nil
}

// Submit sends the files and then asks for the run, both at one node; where
// that dies, at another one. The same key makes one run of it.
func (j *Job) Submit(ctx context.Context, api *client.Client) (wire.RunCreated, error) {
	return api.Runs().SubmitWith(ctx, j.key, &j.request, j.send)
}

// send sends the files; those that changed since the snapshot make another
// workspace.
func (j *Job) send(ctx context.Context, at *client.Client) error {
	err := j.workspace.send(ctx, at)
	j.request.Workspace = j.workspace.digest
	return err
}

// Register sends the files and registers the pipeline for its schedule.
func (j *Job) Register(ctx context.Context, api *client.Client) (wire.Schedule, error) {
	return api.Schedules().RegisterWith(ctx, j.key, &j.request, j.send)
}

// UpdateSchedule sends the files and takes them and the pipeline for a schedule, which
// keeps its variables.
func (j *Job) UpdateSchedule(ctx context.Context, api *client.Client, name string) (wire.Schedule, error) {
	return api.Schedules().UpdateWith(ctx, name, j.key, &j.request, j.send)
}

// Remember stores what is known of the files for the next snapshot.
func (j *Job) Remember() { j.workspace.remember() }

// Scheduled reports whether the pipeline has a schedule.
func (j *Job) Scheduled() bool { return j.source.File.Scheduled() }

// PipelineName and fileName are those of the pipeline.
func (j *Job) PipelineName() string { return j.source.File.Name() }
func (j *Job) FileName() string     { return j.source.name }

// WithImage names a module that runs in a container; "" if none surely does.
func (j *Job) WithImage() string {
	skipped := j.definition.Skipped()
	for i := range j.definition.Modules {
		m := &j.definition.Modules[i]
		if _, conditional := m.Deferred["when"]; m.Container.Image != "" && !conditional && !skipped[m.Name] {
			return m.Name
		}
	}
	return ""
}

// LookUp asks the cluster which modules would hit the cache. The listing of the
// files is sent, the files are not.
func (j *Job) LookUp(ctx context.Context, api *client.Client) (wire.CacheForecast, error) {
	if err := j.takeFiles(ctx); err != nil {
		return wire.CacheForecast{}, err
	}

	j.Remember()

	if w := j.workspace; w.digest != "" {
		listing, err := w.blobs.Open(w.digest)
		if err != nil {
			return wire.CacheForecast{}, wrapped("read the listing of the workspace", err)
		}

		defer listing.Close()

		if err := api.Blobs().Put(ctx, w.digest, listing); err != nil {
			return wire.CacheForecast{}, err
		}
	}

	return api.Cache().Lookup(ctx, j.request)
}

// Estimate asks the cluster how long the run would take, and where its modules
// would run.
func (j *Job) Estimate(ctx context.Context, api *client.Client) (wire.Estimate, error) {
	return api.Runs().Estimate(ctx, j.request)
}

func (j *Job) Close() { j.workspace.close() }

// Definition is the pipeline as a submission compiles it; nil if it was not checked. The caller must not change it.
func (j *Job) Definition() *pipeline.Pipeline { return j.definition }

// Git are the facts of the work tree that the pipeline's file lies in; empty if it lies
// in none, or git refuses to tell.
func (j *Job) Git() pipeline.Git {
	facts, err := j.source.git()
	if err != nil {
		return pipeline.Git{}
	}
	return facts
}
