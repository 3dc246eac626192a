package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
	"github.com/pipelined/pipelined/storage"
)

// job is a run that is ready to be submitted.
type job struct {
	source    *source
	workspace *fileSet
	request   wire.SubmitRequest
	key       string
	// known is where earlier snapshots are remembered; "" where none are.
	known string
}

// prepare reads and checks the pipeline and takes the snapshot of its files.
func (c preparation) prepare(ctx context.Context, cmd *cli.Command) (*job, error) {
	j, err := c.check(ctx, cmd)
	if err == nil {
		err = j.takeFiles(ctx, c.env)
	}
	return j, err
}

// check reads and checks the pipeline.
func (c preparation) check(ctx context.Context, cmd *cli.Command) (*job, error) {
	s, err := c.readSource(ctx, cmd)
	if err != nil {
		return nil, err
	}
	cache, err := cacheMode(cmd)
	if err != nil {
		return nil, err
	}
	in := c.inputsOf(cmd, s)
	if err := s.check(ctx, in); err != nil {
		return nil, err
	}
	j := &job{source: s, workspace: &fileSet{}, key: client.NewKey()}
	if !cmd.Bool("no-stat-cache") {
		j.known = storage.SnapshotsDir(cmd.String("data-dir"))
	}
	j.request = wire.SubmitRequest{Source: string(s.text), FileName: s.name, Variables: s.variables(),
		Env: in.Env, Targets: in.Targets, Tags: in.Tags, Skip: in.Skip, Cache: cache}
	if in.Git != (pipeline.Git{}) {
		j.request.Git = &in.Git
	}
	return j, nil
}

// takeFiles takes the snapshot of the files that go along.
func (j *job) takeFiles(ctx context.Context, p *environment) error {
	w, err := preparation{p}.takeWorkspace(ctx, j.source, j.known)
	if err != nil {
		return err
	}
	j.workspace, j.request.Workspace = w, w.digest
	return nil
}

// submit sends the files and then asks for the run, both at one node; where
// that dies, at another one. The same key makes one run of it.
func (j *job) submit(ctx context.Context, api *client.Client) (wire.RunCreated, error) {
	return api.Runs().SubmitWith(ctx, j.key, &j.request, j.send)
}

// send sends the files; those that changed since the snapshot make another
// workspace.
func (j *job) send(ctx context.Context, at *client.Client) error {
	err := j.workspace.send(ctx, at)
	j.request.Workspace = j.workspace.digest
	return err
}

func (j *job) close() { j.workspace.close() }

// explainOnce tells that a pipeline with a schedule is run once.
func (c preparation) explainOnce(j *job) {
	if j.source.file.Scheduled() {
		c.env.tell("%s has a schedule; this runs it once and does not register it (pipelined submit -register %s does)", j.source.file.Name(), j.source.name)
	}
}

// compiled reads a pipeline and compiles it as a submission would.
func (c preparation) compiled(ctx context.Context, cmd *cli.Command) (*pipeline.Pipeline, error) {
	s, err := c.readSource(ctx, cmd)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, wrap("find own executable", err)
	}
	in := c.inputsOf(cmd, s)
	in.Variables, in.Evaluator = s.inputs, bounded.New(exe)
	def, diags := s.file.Compile(ctx, in)
	if len(diags) > 0 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, sourceError(diags)
	}
	return def, nil
}
