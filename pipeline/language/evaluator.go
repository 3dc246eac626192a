package language

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pipelined/pipelined/pipeline"
)

// Evaluator does work of this package in a process that can be killed. Compile
// and Evaluate call it from their own goroutine, for expensive expressions
// only. The request makes what RunHelper reads, and is called once it is the turn of
// the work: what waits takes no memory for it. The answer is what RunHelper wrote. Do
// returns ErrTooExpensive (wrapped or not) if the work exceeded a limit, ctx's
// error if that ended, and any other error if the helper could not be run. It
// must be safe for concurrent use. Package bounded has the implementation for
// production.
type Evaluator interface {
	Do(ctx context.Context, request func() ([]byte, error)) ([]byte, error)
}

// ErrTooExpensive is returned if expressions exceeded the limits of time or
// memory, or if a value would be too large.
var ErrTooExpensive = errors.New(tooExpensive)

// HelperTooLarge is the exit code of a helper that found itself beyond its
// memory.
const HelperTooLarge = 43

// maxMessage bounds what goes to a helper and what comes back.
const maxMessage = 64 << 20

// request is what a helper is asked; one field is set.
type request struct {
	Compile  *compileRequest  `json:"compile,omitempty"`
	Evaluate *evaluateRequest `json:"evaluate,omitempty"`
}

type compileRequest struct {
	FileName string            `json:"fileName"`
	Source   []byte            `json:"source"`
	Imports  map[string]string `json:"imports,omitempty"`
	Inputs   Inputs            `json:"inputs"`
}

// evaluateRequest carries a pipeline of the one module only.
type evaluateRequest struct {
	Pipeline pipeline.Pipeline                  `json:"pipeline"`
	Module   string                             `json:"module"`
	Deps     map[string]pipeline.UpstreamResult `json:"deps"`
}

// answer is what a helper says.
type answer struct {
	Pipeline    *pipeline.Pipeline  `json:"pipeline,omitempty"`
	Diagnostics Diagnostics         `json:"diagnostics,omitempty"`
	Evaluated   *pipeline.Evaluated `json:"evaluated,omitempty"`
}

// ask sends a request through an evaluator.
func ask(ctx context.Context, e Evaluator, in request) (answer, error) {
	var out answer
	b, err := e.Do(ctx, func() ([]byte, error) { return json.Marshal(in) })
	if err != nil {
		return out, err
	}
	if err := out.read(b); err != nil {
		return out, fmt.Errorf("decode the helper's answer: %w", err)
	}
	return out, nil
}

// write writes an answer as read reads it: the modules of a pipeline follow the rest
// one by one, so that the text of all of them takes no memory of the helper.
func (a answer) write(w io.Writer) error {
	var modules []pipeline.Module
	if a.Pipeline != nil && len(a.Pipeline.Modules) > 0 {
		rest := *a.Pipeline
		modules, rest.Modules = rest.Modules, nil
		a.Pipeline = &rest
	}

	buffered := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(buffered)
	if err := encoder.Encode(a); err != nil {
		return err
	}
	for i := range modules {
		if err := encoder.Encode(&modules[i]); err != nil {
			return err
		}
	}

	return buffered.Flush()
}

func (a *answer) read(b []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	if err := decoder.Decode(a); err != nil {
		return err
	}

	for decoder.More() {
		if a.Pipeline == nil {
			return errors.New("modules without a pipeline")
		}
		var m pipeline.Module
		if err := decoder.Decode(&m); err != nil {
			return err
		}
		a.Pipeline.Modules = append(a.Pipeline.Modules, m)
	}

	return nil
}

// RunHelper is the main function of a helper process: it limits its own memory
// and processor time, reads one request, does the work and writes the answer.
// The process must exit when it returns; if the work exceeds the limits, it
// exits without an answer. Call it from a process that does nothing else: the
// limits cannot be lifted again.
func RunHelper(stdin io.Reader, stdout io.Writer) error {
	stop, err := limitProcess()
	if err != nil {
		return fmt.Errorf("limit the helper: %w", err)
	}
	defer stop()

	b, err := io.ReadAll(io.LimitReader(stdin, maxMessage+1))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}

	if len(b) > maxMessage {
		return fmt.Errorf("read the request: longer than %d MiB", maxMessage>>20)
	}

	var in request
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("decode the request: %w", err)
	}

	if err := serve(in).write(stdout); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}

	return nil
}

// serve does what a helper is asked.
func serve(in request) (out answer) {
	switch {
	case in.Compile != nil:
		f, diags := ParseWith(in.Compile.FileName, in.Compile.Source, Imported(in.Compile.Imports))
		if len(diags) == 0 {
			out.Pipeline, diags = f.compile(in.Compile.Inputs)
		}
		out.Diagnostics = diags
	case in.Evaluate != nil:
		out.Evaluated, out.Diagnostics = evaluate(&in.Evaluate.Pipeline, in.Evaluate.Module, in.Evaluate.Deps)
	}
	return out
}
