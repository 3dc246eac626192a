package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"

	"github.com/pipelined/pipelined/pipeline"
)

// Command is the hidden command of this program that runs or removes containers; see
// Job.Run and Job.Remove.
const Command = "__container"

// The labels of everything that a Job makes.
const (
	labelNode    = "pipelined.node"
	labelAttempt = "pipelined.attempt"
)

// Job is the container of one process of an attempt, and what lies around it.
type Job struct {
	Engine Facts `json:"engine"`
	// Node and Attempt say whose it is.
	Node    string `json:"node"`
	Attempt string `json:"attempt"`
	// Image is the engine's ID of the image, Name what the pipeline calls it, Digest
	// what its content is known by.
	Image  string `json:"image"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// WorkDir is where the process begins. Mounts are paths of this machine that the
	// container has at the same place; ReadOnly are some that it cannot write to.
	WorkDir  string   `json:"workDir"`
	Mounts   []string `json:"mounts"`
	ReadOnly []string `json:"readOnly,omitempty"`
	// Memory (in bytes) and CPU (a number of processors) bound it; 0 means no bound.
	Memory int64   `json:"memory,omitempty"`
	CPU    float64 `json:"cpu,omitempty"`
	// Report is the file for what an exit code cannot say; "" for none.
	Report string `json:"report,omitempty"`
	// Services are there before the first process of the attempt starts, and until it
	// has ended.
	Services []Service `json:"services,omitempty"`
}

// Service is a container beside the module's, reached by its name.
type Service struct {
	pipeline.Service
	// ImageID is the engine's ID of its image, Digest what its content is known by.
	ImageID string `json:"imageId"`
	Digest  string `json:"digest"`
}

// Run gives the command line, of the given program, that runs argv in a container. It
// takes its environment to be that of argv.
func (j *Job) Run(program string, argv []string) ([]string, error) {
	return j.line(program, "run", argv)
}

// Remove gives the command line that removes all that the attempt has. It prints what
// the services wrote.
func (j *Job) Remove(program string) ([]string, error) {
	return (&Job{Engine: j.Engine, Node: j.Node, Attempt: j.Attempt}).line(program, "remove", nil)
}

func (j *Job) line(program, verb string, argv []string) ([]string, error) {
	raw, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("describe a container: %w", err)
	}
	return append([]string{program, Command, verb, string(raw)}, argv...), nil
}

// Report is what a process of an attempt says of itself besides its exit code.
type Report struct {
	// Digest is that of the image, Services those of the services' images, in order.
	Digest   string   `json:"digest,omitempty"`
	Services []string `json:"services,omitempty"`
	// Problem is why the process was not run to its end, for the user; Machine says
	// that the engine was the cause.
	Problem string `json:"problem,omitempty"`
	Machine bool   `json:"machine,omitempty"`
	// OutOfMemory says that the kernel killed a process of it for want of memory.
	OutOfMemory bool `json:"outOfMemory,omitempty"`
}

// maxReport bounds a report file.
const maxReport = 64 << 10

// ReadReport reads a report file; that of a process that was killed before it could
// write one is empty.
func ReadReport(path string) (Report, error) {
	var r Report
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxReport))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the report of a container: %w", err)
	}
	return r, nil
}

// write puts the report of a process into place of an earlier one of the attempt.
func (r Report) write(path string) error {
	if path == "" {
		return nil
	}
	earlier, err := ReadReport(path)
	if err == nil {
		r.OutOfMemory = r.OutOfMemory || earlier.OutOfMemory
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, raw, 0o600)
}
