package external

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func request(tb testing.TB, m wire.SerializedModule) wire.ExecuteRequest {
	tb.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return wire.ExecuteRequest{ExecutionID: "e1", SerializedModule: raw}
}

func TestModuleOf(t *testing.T) {
	in := request(t, wire.SerializedModule{Name: "build", Command: []string{"make"}, Outputs: []string{"bin/x"}})
	in.Timeout = wire.Clock(time.Minute)
	in.EnvironmentVariables = map[string]string{"A": "b"}
	in.DependencyResults = map[string]json.RawMessage{"dep": json.RawMessage(`{"x":1}`)}
	def, _, err := moduleOf(in)
	if err != nil || len(def.Modules) != 1 {
		t.Fatalf("got %+v, %v", def, err)
	}
	m := def.Modules[0]
	if m.Name != "build" || m.Timeout != time.Minute || m.Grace != pipeline.DefaultGrace || m.Env["A"] != "b" || m.Env["DEPENDENCY_RESULTS"] != `{"dep":{"x":1}}` {
		t.Errorf("got %+v", m)
	}

	// The module may be a string that contains the object.
	text, err := json.Marshal(string(in.SerializedModule))
	if err != nil {
		t.Fatal(err)
	}
	in.SerializedModule = text
	if again, _, err := moduleOf(in); err != nil || again.Name != "build" {
		t.Errorf("as a string: %+v, %v", again, err)
	}
}

func TestModuleOf_refuses(t *testing.T) {
	ok := wire.SerializedModule{Name: "m", Command: []string{"true"}}
	for name, change := range map[string]func(*wire.SerializedModule, *wire.ExecuteRequest){
		"name":      func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.Name = "a b" },
		"both":      func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.Script = "true" },
		"neither":   func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.Command = nil },
		"grace":     func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.Grace = wire.Clock(-time.Second) },
		"absolute":  func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.Outputs = []string{"/etc/passwd"} },
		"above":     func(m *wire.SerializedModule, _ *wire.ExecuteRequest) { m.OutputsOptional = []string{"a/../../b"} },
		"directory": func(_ *wire.SerializedModule, in *wire.ExecuteRequest) { in.WorkingDirectory = ".." },
		"reserved": func(_ *wire.SerializedModule, in *wire.ExecuteRequest) {
			in.EnvironmentVariables = map[string]string{"PIPELINED_X": "1"}
		},
		"environment": func(_ *wire.SerializedModule, in *wire.ExecuteRequest) {
			in.EnvironmentVariables = map[string]string{"A=B": "1"}
		},
	} {
		m := ok
		var rest wire.ExecuteRequest
		change(&m, &rest)
		in := request(t, m)
		in.WorkingDirectory, in.EnvironmentVariables = rest.WorkingDirectory, rest.EnvironmentVariables
		if _, _, err := moduleOf(in); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestCheckRegistration(t *testing.T) {
	ok := wire.WorkerNode{ID: "w1", Endpoint: "https://host:1", Capabilities: pipeline.Capabilities{MaxParallelModules: 1, Tags: []string{"gpu"}}}
	if err := checkRegistration(ok, false); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*wire.WorkerNode){
		"id":       func(w *wire.WorkerNode) { w.ID = "a/b" },
		"scheme":   func(w *wire.WorkerNode) { w.Endpoint = "ftp://host:1" },
		"user":     func(w *wire.WorkerNode) { w.Endpoint = "http://u:p@host:1" },
		"path":     func(w *wire.WorkerNode) { w.Endpoint = "http://host:1/latest/meta-data" },
		"fragment": func(w *wire.WorkerNode) { w.Endpoint = "http://host:1#x" },
		"no host":  func(w *wire.WorkerNode) { w.Endpoint = "http://:8080" },
		"loopback": func(w *wire.WorkerNode) { w.Endpoint = "http://127.0.0.2:1" },
		"mapped":   func(w *wire.WorkerNode) { w.Endpoint = "http://[::ffff:127.0.0.1]:1" },
		"any":      func(w *wire.WorkerNode) { w.Endpoint = "http://0.0.0.0:1" },
		"named":    func(w *wire.WorkerNode) { w.Endpoint = "http://localhost:1" },
		"link":     func(w *wire.WorkerNode) { w.Endpoint = "http://169.254.169.254" },
		"link 6":   func(w *wire.WorkerNode) { w.Endpoint = "http://[fe80::1]:1" },
		"query":    func(w *wire.WorkerNode) { w.Endpoint = "http://host:1?x=1" },
		"parallel": func(w *wire.WorkerNode) { w.Capabilities.MaxParallelModules = 0 },
		"memory":   func(w *wire.WorkerNode) { w.Capabilities.Memory = -1 },
		"tags":     func(w *wire.WorkerNode) { w.Capabilities.Tags = nil },
		"name":     func(w *wire.WorkerNode) { w.Name = strings.Repeat("x", maxName+1) },
	} {
		w := ok
		change(&w)
		if err := checkRegistration(w, false); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestStateOf(t *testing.T) {
	for want, in := range map[pipeline.AttemptState]wire.ExecuteResponse{
		pipeline.AttemptSucceeded: {Success: true, ExceptionType: exceptionCancelled}, pipeline.AttemptCancelled: {ExceptionType: exceptionCancelled},
		pipeline.AttemptTimedOut: {ExceptionType: exceptionTimedOut}, pipeline.AttemptFailed: {ExceptionType: "Boom"}} {
		if got := stateOf(in); got != want {
			t.Errorf("%+v: got %s, want %s", in, got, want)
		}
	}
}
