package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// A cluster of agents with -dev is embedded, too. The next leader must not take the
// runs of the cluster for those that an earlier process of `pipelined run` left.
func TestNode_embeddedFailover(t *testing.T) {
	first, _, stopFirst := startNode(t, Config{Name: "n1"})
	join := []string{first.cluster.Addresses().Gossip}
	second, c := openNode(t, Config{Name: "n2", Join: join})
	openNode(t, Config{Name: "n3", Join: join})
	eventually(t, func() error {
		if h := second.Health(t.Context()); len(h.Voters) != 3 || h.Leader != "n1" {
			return fmt.Errorf("voters are %v, the leader is %s", h.Voters, h.Leader)
		}
		return nil
	})

	run, err := c.Runs().Submit(t.Context(), client.NewKey(), wire.SubmitRequest{FileName: "test.hcl",
		Source: "pipeline \"p\" {\n module \"ask\" {\n  approval {\n   message = \"continue?\"\n  }\n }\n}\n"})
	if err != nil {
		t.Fatal(err)
	}
	stopFirst()
	eventually(t, func() error {
		if h := second.Health(t.Context()); h.Leader == "n1" || h.Leader == "" {
			return errors.New("no other node leads")
		}
		return nil
	})

	eventually(t, func() error {
		r, err := c.Runs().Get(t.Context(), run.ID)
		if err == nil && r.State.Final() {
			t.Fatalf("run is %s: %s", r.State, r.Reason)
		}
		return err
	})
	if _, err := c.Modules().Approve(t.Context(), run.ID, "ask", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		r, err := c.Runs().Get(t.Context(), run.ID)
		if err == nil && r.State != pipeline.RunSucceeded {
			err = fmt.Errorf("run is %s: %s", r.State, r.Reason)
		}
		return err
	})
}
