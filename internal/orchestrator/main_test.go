package orchestrator_test

import (
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// TestMain fails if a test leaves a goroutine behind. It uses the state machine once
// before: what that creates on first use, as the channels of a compressor, must not
// belong to the bubble of one test.
func TestMain(m *testing.M) {
	if err := warmUp(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func warmUp() error {
	dir, err := os.MkdirTemp("", "orchestrator")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := fsm.Open(dir, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	defer store.Close()

	p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "a", Command: []string{"true"}}}}
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		return err
	}
	cmd, err := fsm.Encode(&fsm.Command{Submit: &fsm.Submit{Definition: raw, Run: pipeline.Run{ID: "r", Pipeline: "p", Modules: 1}}})
	if err != nil {
		return err
	}
	store.Apply(&raft.Log{Index: 1, Term: 1, Type: raft.LogCommand, Data: cmd})
	return store.View(func(v *fsm.View) error {
		_, err := v.Definition("r")
		return err
	})
}
