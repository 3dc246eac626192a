package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// A node that cannot ask the leader does not say that a secret is not set: it
// may have been set a moment ago, or long ago, by entries that are not here yet.
func TestCheckSecrets_behind(t *testing.T) {
	first, _, stop := startNode(t, Config{Name: "n1"})
	second, _ := openNode(t, Config{Name: "n2", Join: []string{first.cluster.Addresses().Gossip}})
	check := func() error {
		_, err := second.compile(t.Context(), api.Subject{Name: "test"}, "", wire.SubmitRequest{
			Source: "pipeline \"p\" {\n  module \"m\" {\n    secrets = [\"KEY\"]\n    command = [\"true\"]\n  }\n}\n"})
		return err
	}
	eventually(t, func() error {
		var refused *api.SourceError
		if err := check(); !second.state.HasState() || !errors.As(err, &refused) {
			return fmt.Errorf("under a leader: %v", err)
		}
		return nil
	})
	stop()
	if err := check(); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("without a leader: %s: %v", pipeline.KindOf(err), err)
	}
}
