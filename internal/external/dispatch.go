package external

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

const (
	pathExecute = "/api/execution/execute"
	pathCancel  = "/api/execution/cancel"
	// maxErrorText bounds how much of a worker's refusal is read, in bytes.
	maxErrorText = 4 << 10
)

// Dispatch sends attempts to an external worker, one execution each. Sending one
// again is harmless: its id is the attempt's.
func (w *Workers) Dispatch(ctx context.Context, id pipeline.NodeID, in peer.DispatchRequest) error {
	rec, ok := w.Lookup(id)
	if !ok {
		return pipeline.Errorf(pipeline.NotFound, "no external worker %s", id)
	}
	if rec.Token != "" && !w.valid(rec.Token) {
		return pipeline.Errorf(pipeline.Forbidden, "the token of external worker %s has expired", rec.Name)
	}

	for i := range in.Specs {
		spec := &in.Specs[i]
		// The planner does not place these there; this holds if it ever does.
		if spec.Private && (rec.NoSecrets || !strings.HasPrefix(rec.Endpoint, "https://")) {
			return pipeline.Errorf(pipeline.Forbidden, "%s has secrets, which are not sent to %s", spec.ID, rec.Name)
		}
		if !pipeline.Admits(rec.Pipelines, spec.Pipeline) {
			return pipeline.Errorf(pipeline.Forbidden, "%s is of pipeline %s, which the token of %s does not admit", spec.ID, spec.Pipeline, rec.Name)
		}
		execution, err := w.execution(ctx, spec)
		if err != nil {
			return err
		}
		if err := w.call(ctx, rec, pathExecute, execution); err != nil {
			return err
		}
	}
	return nil
}

// Stop cancels attempts of an external worker.
func (w *Workers) Stop(ctx context.Context, id pipeline.NodeID, in peer.StopRequest) error {
	rec, ok := w.Lookup(id)
	if !ok {
		return nil // it was removed, with what it ran
	}

	for _, attempt := range in.IDs {
		cancel := wire.CancelExecution{ExecutionID: attempt.String(), Reason: in.Reason, Timestamp: time.Now().UTC()}
		if err := w.call(ctx, rec, pathCancel, cancel); err != nil {
			return err
		}
	}
	return nil
}

// execution translates an attempt into the protocol. The files that it needs are
// merged into one tree, which is stored here.
func (w *Workers) execution(ctx context.Context, spec *pipeline.Spec) (*wire.ExecuteRequest, error) {
	inputs, err := w.inputTree(ctx, spec)
	if err != nil {
		return nil, err
	}
	script := spec.Script
	if spec.Shell == pipeline.ShellBash && script != "" && !strings.HasPrefix(script, "#!") {
		script = "#!/usr/bin/env bash\nset -euo pipefail\n" + script // the protocol knows no other way to name a shell
	}

	module, err := json.Marshal(wire.SerializedModule{Name: spec.ID.Module, Command: spec.Command, Script: script, Inputs: inputs,
		Outputs: spec.Outputs, OutputsOptional: spec.OutputsOptional, Timeout: wire.Clock(spec.Timeout), Grace: wire.Clock(spec.Grace)})
	if err != nil {
		return nil, err
	}

	env := map[string]string{"CI": "true", "PIPELINED_RUN_ID": string(spec.ID.Run), "PIPELINED_PIPELINE": spec.Pipeline,
		"PIPELINED_MODULE": spec.ID.Module, "PIPELINED_ATTEMPT": fmt.Sprint(spec.ID.Attempt)}
	if spec.Tick != "" {
		env["PIPELINED_TICK"] = spec.Tick
	}
	for name, value := range spec.Env {
		switch {
		case value == pipeline.EnvUnset:
			delete(env, name)
		// The protocol has no caches: what would lie in one lies where the program puts it.
		case !strings.Contains(value, pipeline.CacheDir):
			env[name] = value
		}
	}
	maps.Copy(env, spec.Secrets)
	return &wire.ExecuteRequest{ExecutionID: spec.ID.String(), SerializedModule: module, ModuleTypeName: spec.ID.Module,
		EnvironmentVariables: env, WorkingDirectory: spec.WorkingDir, Timeout: wire.Clock(spec.Timeout), Timestamp: time.Now().UTC()}, nil
}

// inputTree merges the workspace and the outputs of what an attempt depends on;
// "" if it needs no files.
func (w *Workers) inputTree(ctx context.Context, spec *pipeline.Spec) (pipeline.Digest, error) {
	var base tree.Tree
	if spec.Workspace != "" && (spec.InputsAll || len(spec.Inputs) > 0) {
		tree, err := w.cfg.Down.ReadTree(ctx, spec.Holders, spec.Workspace)
		if err != nil {
			return "", err
		}
		if !spec.InputsAll {
			tree = tree.Filter(spec.Inputs)
		}
		base = tree
	}
	var over []layout.Named
	for _, u := range spec.Upstream {
		t, err := w.cfg.Down.ReadTree(ctx, u.Holders, u.Outputs)
		if err != nil {
			return "", err
		}
		if spec.Layout == "by-module" {
			t = t.Below(tree.DirectoryOf(u.Module))
		}
		over = append(over, layout.Named{Name: u.Module, Tree: t})
	}
	if len(base) == 0 && len(over) == 0 {
		return "", nil
	}

	merged, err := layout.Merge(base, over...)
	if err != nil {
		return "", err
	}
	raw, err := tree.Encode(merged)
	if err != nil {
		return "", err
	}
	return w.cfg.Blobs.PutBytes(ctx, raw)
}

// call sends a document to an external worker. A worker that does not know an
// execution answers 404: there is nothing to stop then, so that is no error.
func (w *Workers) call(ctx context.Context, rec fsm.WorkerRecord, path string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rec.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+rec.Secret)
	req.Header.Set("Prefer", "respond-async")

	client := w.elsewhere
	if rec.Loopback {
		client = w.loopback
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call external worker %s: %w", rec.Name, err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorText)) // only for the message
	if res.StatusCode >= 300 && res.StatusCode != http.StatusNotFound {
		return pipeline.Errorf(pipeline.Unavailable, "external worker %s answered %s: %.200s", rec.Name, res.Status, text)
	}
	return nil
}
