package pipeline

import (
	"fmt"
	"time"
)

// MaxChildDepth is how many levels of children a run may have below it.
const MaxChildDepth = 4

// Child is the pipeline that a module runs in the place of a process: as a run of its
// own, the child of the module's run.
type Child struct {
	// Name is that of the pipeline, File the path of its file, a key of Pipeline.Sources.
	Name string `json:"name"`
	File string `json:"file"`
	// Modules are the names of its module blocks.
	Modules []string `json:"modules"`
	// Variables are those of its variables that are known at submission, encoded as in
	// Scope. The others are Deferred["variables.NAME"].
	Variables map[string]string `json:"variables,omitempty"`
}

// Parent is the module that made a run.
type Parent struct {
	Run RunID `json:"run"`
	// Number is that of the run.
	Number uint64 `json:"number"`
	Module string `json:"module"`
}

// ChildRun is a run that a module made, as the record of the module has it.
type ChildRun struct {
	Run RunID `json:"run"`
	// Number is that of the run.
	Number   uint64 `json:"number"`
	Pipeline string `json:"pipeline"`
	// State and Reason are how the run ended when the module took its end; State is "" until
	// then.
	State      RunState  `json:"state,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// Retry, Ignored and Always are what its module says, for the entry that ends it.
	Retry   Retry `json:"retry,omitzero"`
	Ignored bool  `json:"ignored,omitempty"`
	Always  bool  `json:"always,omitempty"`
}

// RunsAs is what the reason of a module says while its child has not ended.
func (c *ChildRun) RunsAs() string { return fmt.Sprintf("runs as run %d (%s)", c.Number, c.Run) }

// LastChild is the newest child of the module; nil if it has none.
func (m *ModuleRecord) LastChild() *ChildRun {
	if len(m.Children) == 0 {
		return nil
	}
	return &m.Children[len(m.Children)-1]
}

// LiveChild is the child that has not ended; nil if there is none.
func (m *ModuleRecord) LiveChild() *ChildRun {
	if c := m.LastChild(); c != nil && c.State == "" {
		return c
	}
	return nil
}
