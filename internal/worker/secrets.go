package worker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// sealed encodes a specification for the journal, without what must not reach a
// disk: the secrets, and every text in which the leader has put one.
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

// withSecrets gives what the pipeline declares as environment, with the directory of the
// module's caches where values name it; a secret wins over a variable of the same name.
func withSecrets(s *pipeline.Spec, cache string) map[string]string {
	if len(s.Secrets) == 0 && cache == "" {
		return s.Env
	}

	env := make(map[string]string, len(s.Env)+len(s.Secrets))
	for name, value := range s.Env {
		if cache != "" {
			value = strings.ReplaceAll(value, pipeline.CacheDir, cache)
		}
		env[name] = value
	}
	for name, value := range s.Secrets {
		if name != s.Container.RegistryAuth { // which is the engine's, not the module's
			env[name] = value
		}
	}
	return env
}
