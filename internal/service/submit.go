package service

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// NewRunID makes a run's id. Ids sort by the time they were made.
func NewRunID() pipeline.RunID {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New() // without a clock sequence; it does not sort, and is as unique
	}
	return pipeline.RunID(strings.ReplaceAll(id.String(), "-", ""))
}

// Submit compiles a pipeline, makes sure that its workspace has two copies and
// commits a run of it. The order matters: once the run exists, everything that
// its attempts need is in the cluster.
func (r *Runs) Submit(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	if in.Cache != "" && in.Cache != pipeline.CacheOff && in.Cache != pipeline.CacheRefresh {
		return wire.RunCreated{}, pipeline.Errorf(pipeline.Invalid, "cache %.40q: expected %q, %q or nothing", in.Cache, pipeline.CacheRefresh, pipeline.CacheOff)
	}

	id := NewRunID()
	def, err := r.compiler.compile(ctx, by, id, in)
	if err != nil {
		return wire.RunCreated{}, err
	}
	holders, err := r.workspaces.Secure(ctx, in.Workspace)
	if err != nil {
		return wire.RunCreated{}, err
	}

	request, err := json.Marshal(in)
	if err != nil {
		return wire.RunCreated{}, fmt.Errorf("encode request: %w", err)
	}
	return r.Commit(ctx, by, def, pipeline.Run{ID: id, Key: key, Workspace: in.Workspace, Holders: holders, Cache: in.Cache, Git: gitOf(&in), Trace: in.Trace},
		request)
}

// gitOf are the facts of the commit that a submission is of.
func gitOf(in *wire.SubmitRequest) pipeline.Git {
	if in.Git == nil {
		return pipeline.Git{}
	}
	return *in.Git
}

// groupOf is the concurrency group of the runs of a pipeline; "" if they have none.
func groupOf(def *pipeline.Pipeline) (group string, cancels bool) {
	if c := def.Concurrency; c != nil {
		return c.Group, c.CancelInProgress
	}
	return "", false
}

// Commit makes a run of a pipeline exist on behalf of by. request is what the caller asked for:
// the same key with another request is a Conflict. A run without a key gets one
// of its own, so that the proposal can be repeated. A node whose disk is full
// makes no new run: a *api.NoSpaceError.
func (r *Runs) Commit(ctx context.Context, by api.Subject, def *pipeline.Pipeline, run pipeline.Run, request []byte) (wire.RunCreated, error) {
	made, err := r.commit(ctx, by, def, fsm.Submit{Run: run}, request)
	if err != nil {
		return wire.RunCreated{}, err
	}
	// A repeated proposal of this very call is no repeated submission.
	return wire.RunCreated{ID: made.ID, Number: made.Number, Repeated: made.ID != run.ID}, nil
}

// commit is Commit with what the run takes over of another one. It returns the run that
// the key has made.
func (r *Runs) commit(ctx context.Context, by api.Subject, def *pipeline.Pipeline, op fsm.Submit, request []byte) (pipeline.Run, error) {
	run := &op.Run
	if why := r.full(); why != "" && !r.exists(run.Key) {
		return pipeline.Run{}, &api.NoSpaceError{Reason: why}
	}
	raw, err := r.vault.encodeDefinition(def)
	if err != nil {
		return pipeline.Run{}, err
	}
	run.Submitter, run.Untrusted = by.Name, by.Untrusted
	run.Pipeline, run.Modules = def.Name, len(def.Modules)
	run.Group, run.Cancels = groupOf(def)
	if !r.noWebhooks {
		run.Notify = def.NotifyTargets()
	}
	if run.Key == "" {
		run.Key = "run:" + string(run.ID)
	}

	op.Definition, op.Fingerprint = raw, r.vault.requestDigest(request)
	reply, err := r.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Use: by.Use, Submit: &op})
	if err != nil {
		return pipeline.Run{}, tooLarge(err, len(raw))
	}
	return reply.Run, nil
}

// exists reports whether a key has made a run, as far as this node knows.
func (r *Runs) exists(key string) bool {
	_, yes := r.byKey(key)
	return yes
}

// tooLarge says what is too large about a command with a definition of n bytes.
func tooLarge(err error, n int) error {
	if pipeline.KindOf(err) != pipeline.TooLarge {
		return err
	}
	return pipeline.Errorf(pipeline.TooLarge, "the pipeline is too large: compressed it has %d bytes, and at most %d fit", n, fsm.MaxCommandBytes)
}
