package worker

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// sealed encodes a specification for the journal: without what must not reach a
// disk.
func sealed(s *pipeline.Spec) ([]byte, error) {
	if len(s.Secrets) == 0 && len(s.Mask) == 0 {
		return json.Marshal(s)
	}
	c := *s
	c.Secrets, c.Mask, c.Sealed = nil, nil, true
	c.Command, c.Script, c.Env, c.Hooks = nil, "", nil, pipeline.Hooks{}
	return json.Marshal(&c)
}

// hidden gives all values that must not show.
func hidden(s *pipeline.Spec) []string {
	if len(s.Secrets) == 0 {
		return s.Mask
	}
	return slices.AppendSeq(slices.Clip(s.Mask), maps.Values(s.Secrets))
}

// shows reports whether a text holds what must not show.
func shows(s *pipeline.Spec, text string) bool {
	return mask.New(hidden(s)).String(text) != text
}

// withSecrets gives what the pipeline declares as environment.
func withSecrets(s *pipeline.Spec) map[string]string {
	if len(s.Secrets) == 0 {
		return s.Env
	}
	env := make(map[string]string, len(s.Env)+len(s.Secrets))
	maps.Copy(env, s.Env)
	maps.Copy(env, s.Secrets)
	return env
}

// writeHooks writes the scripts of the hooks and says how to start them.
func writeHooks(dir attemptdir.Dir, h *pipeline.Hooks) ([]executor.Hook, error) {
	if *h == (pipeline.Hooks{}) {
		return nil, nil
	}
	var hooks []executor.Hook
	for _, one := range []struct {
		when   executor.When
		script string
	}{{executor.HookBefore, h.Before}, {executor.HookSuccess, h.OnSuccess}, {executor.HookFailure, h.OnFailure}, {executor.HookAfter, h.After}} {
		if one.script == "" {
			continue
		}
		argv, err := dir.WriteHook(one.when, one.script)
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, executor.Hook{When: one.when, Argv: argv, WorkDir: dir.Work()})
	}
	return hooks, nil
}
