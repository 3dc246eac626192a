package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/pipelined/pipelined/executor"
)

// codeEngine is the exit code of a process that the engine kept from running.
const codeEngine = 125

// Main is the body of the hidden command. It returns the exit code of the process in
// the container, which then is that of this process.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) < 2 {
		fmt.Fprintln(stderr, "pipelined "+Command+" is for pipelined itself")
		return codeEngine
	}
	var j Job
	if err := json.Unmarshal([]byte(args[1]), &j); err != nil {
		fmt.Fprintf(stderr, "pipelined %s: %v\n", Command, err)
		return codeEngine
	}
	// From the first moment on, so that a stop finds the container or prevents it.
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	e, err := connect(j.Engine)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return codeEngine
	}
	defer e.Close()
	if args[0] == "remove" {
		ctx, cancel := context.WithTimeout(context.Background(), executor.CleanupTime)
		defer cancel()
		if err := e.removeAttempt(ctx, &j, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	return e.execute(&j, args[2:], stops, stdout, stderr)
}

// execute runs a process in a container, and writes the report.
func (e *Engine) execute(j *Job, argv []string, stops <-chan os.Signal, stdout, stderr io.Writer) int {
	report := Report{Digest: j.Digest}
	for i := range j.Services {
		report.Services = append(report.Services, j.Services[i].Digest)
	}
	if err := report.write(j.Report); err != nil { // for the case that this process is killed
		fmt.Fprintln(stderr, err)
	}

	code, err := e.run(j, argv, stops, stdout, &report)
	var p *problem
	switch {
	case err == nil:
	case errors.As(err, &p):
		code, report.Problem = p.code, p.Error()
	default:
		code, report.Problem, report.Machine = codeEngine, "container engine: "+err.Error(), true
	}
	if report.Problem != "" {
		fmt.Fprintln(stderr, report.Problem)
	}
	if err := report.write(j.Report); err != nil {
		fmt.Fprintln(stderr, err)
	}
	return code
}

// problem is the error of a module or of one of its services, not of the engine.
type problem struct {
	error
	code int
}

// Unwrap gives the cause.
func (p *problem) Unwrap() error { return p.error }

// environment is what the process in the container sees: that of this process, but
// for what the runner has added for itself.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, executor.CookieVariable+"=") {
			env = append(env, kv)
		}
	}
	return env
}
