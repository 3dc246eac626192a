package external

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// moduleOf translates a request of the protocol into a pipeline of one module and
// the tree of its input files.
func moduleOf(in wire.ExecuteRequest) (*pipeline.Pipeline, pipeline.Digest, error) {
	m, err := parseModule(in)
	if err != nil {
		return nil, "", err
	}

	mod := pipeline.Module{Name: m.Name, Command: m.Command, Script: m.Script, Env: map[string]string{}, InputsAll: true,
		Outputs: m.Outputs, OutputsOptional: m.OutputsOptional, Timeout: time.Duration(m.Timeout), Grace: time.Duration(m.Grace), WorkingDir: in.WorkingDirectory}
	if in.Timeout > 0 {
		mod.Timeout = time.Duration(in.Timeout)
	}
	if mod.Timeout == 0 {
		mod.Timeout = pipeline.DefaultTimeout
	}
	if mod.Grace == 0 {
		mod.Grace = pipeline.DefaultGrace
	}
	if err := addEnv(mod.Env, in); err != nil {
		return nil, "", err
	}
	return &pipeline.Pipeline{Name: m.Name, Modules: []pipeline.Module{mod}}, m.Inputs, nil
}

// parseModule reads the serialized module, which is an object or a string that
// contains one, and checks it.
func parseModule(in wire.ExecuteRequest) (wire.SerializedModule, error) {
	raw := in.SerializedModule
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = []byte(text)
	}
	var m wire.SerializedModule
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, pipeline.Errorf(pipeline.Invalid, "serializedModule: expected an object with name and command or script: %w", err)
	}
	if m.Name == "" {
		m.Name = in.ModuleTypeName
	}

	switch {
	case !pipeline.ValidName(m.Name):
		return m, pipeline.Errorf(pipeline.Invalid, "serializedModule.name %.80q: expected 1 to 63 letters, digits, _ or -", m.Name)
	case (len(m.Command) == 0) == (m.Script == ""):
		return m, pipeline.Errorf(pipeline.Invalid, "serializedModule: expected exactly one of command and script")
	case m.Timeout < 0 || m.Grace < 0 || in.Timeout < 0:
		return m, pipeline.Errorf(pipeline.Invalid, "timeout and grace must not be negative")
	}
	for _, path := range slices.Concat(m.Outputs, m.OutputsOptional, []string{in.WorkingDirectory}) {
		if strings.HasPrefix(path, "/") || strings.Contains("/"+path+"/", "/../") || strings.ContainsAny(path, "\\\x00") {
			return m, pipeline.Errorf(pipeline.Invalid, "path %.200q: expected one below the module's directory", path)
		}
	}
	return m, nil
}

// addEnv adds the variables of a request, and the results of what the module
// depends on.
func addEnv(env map[string]string, in wire.ExecuteRequest) error {
	for key, value := range in.EnvironmentVariables {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.HasPrefix(key, "PIPELINED_") || strings.Contains(value, "\x00") {
			return pipeline.Errorf(pipeline.Invalid, "environmentVariables: %.80q cannot be set", key)
		}
		env[key] = value
	}
	if len(in.DependencyResults) == 0 {
		return nil
	}

	raw, err := json.Marshal(in.DependencyResults)
	if err != nil || len(raw) > pipeline.MaxResultBytes {
		return pipeline.Errorf(pipeline.Invalid, "dependencyResults: at most %d bytes of JSON", pipeline.MaxResultBytes)
	}
	env["DEPENDENCY_RESULTS"] = string(raw)
	return nil
}
