package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// An approval waits through the deaths of two leaders and a stop of the whole
// cluster, with the deadline that it began with, and takes no slot: on workers
// with one slot each something else runs meanwhile.
func TestApprovalOutlivesLeaders(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "1")
	file := c.WriteFile("gate.hcl", `pipeline "gate" {
  workspace {
    exclude = ["**"]
  }
  module "gate" {
    matrix = { n = range(5) }
    approval {
      message = "Number ${matrix.n}?"
      timeout = "10m"
    }
  }
  module "other" {
    command = ["true"]
  }
  module "after" {
    command = ["echo", module.gate["0"].result.approved_by, module.gate["0"].result.comment]
  }
}
`)
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[1].URL, file))
	began, last := waits(t, c, id, "gate[0]"), waits(t, c, id, "gate[4]")
	for range 2 {
		n := c.Leader()
		n.Kill()
		if m := waits(t, c, id, "gate[0]"); !m.Approval.Deadline.Equal(*began.Approval.Deadline) {
			t.Errorf("the deadline moved from %s to %s", began.Approval.Deadline, m.Approval.Deadline)
		}
		n.Start()
		c.Whole()
	}
	for i := range 4 {
		c.OK("approve", "-address", c.Nodes[i%3].URL, id, fmt.Sprintf("gate[%d]", i), "-comment", "fine")
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	if m := waits(t, c, id, "gate[4]"); !m.Approval.Deadline.Equal(*last.Approval.Deadline) {
		t.Errorf("the deadline moved from %s to %s", last.Approval.Deadline, m.Approval.Deadline)
	}
	if res := c.CLI("reject", "-address", c.Nodes[0].URL, id, "gate[0]"); res.Code != 1 || !strings.Contains(res.Stderr, "gate[0] was decided before: approved by") {
		t.Errorf("a rejection after the approval ended %d: %s", res.Code, res.Stderr)
	}
	c.OK("approve", "-address", c.Nodes[0].URL, id, "gate[0]", "-comment", "again")
	c.OK("approve", "-address", c.Nodes[2].URL, id) // the one that is left
	testutil.Eventually(t, time.Minute, func() error {
		r, err := c.Run(id)
		if err == nil && r.State != pipeline.RunSucceeded {
			err = fmt.Errorf("the run is %s: %s", r.State, r.Reason)
		}
		return err
	})
	if out := c.OK("logs", "-address", c.Nodes[0].URL, id, "after"); !strings.HasSuffix(out, " fine\n") {
		t.Errorf("what depends on it saw %q", out)
	}
}

// waits gives a module once it waits for its approval.
func waits(t *testing.T, c *harness.Cluster, id, module string) (found wire.Module) {
	t.Helper()
	testutil.Eventually(t, harness.Wait, func() error {
		r, err := c.Run(id)
		if err != nil {
			return err
		}
		for _, m := range r.Modules {
			if m.Name == module {
				found = m
			}
		}
		if found.State != pipeline.ModuleWaiting || !strings.HasPrefix(found.Reason, "waits for approval: ") || found.Approval == nil || found.Approval.Deadline == nil {
			return fmt.Errorf("%s is %s (%s)", module, found.State, found.Reason)
		}
		return nil
	})
	return found
}
