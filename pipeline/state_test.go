package pipeline_test

import (
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

// An attempt whose worker reports after it was given up was lost all the same.
func TestAttemptState_Lost(t *testing.T) {
	for state, want := range map[pipeline.AttemptState]bool{pipeline.AttemptAssigned: false, pipeline.AttemptRunning: false, pipeline.AttemptSucceeded: false,
		pipeline.AttemptFailed: false, pipeline.AttemptCancelled: false, pipeline.AttemptLost: true, pipeline.AttemptSuperseded: true} {
		if got := state.Lost(); got != want {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
}
