package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

const containerPipeline = `pipeline "contained" {
  workspace { exclude = ["**"] }
  module "wait" {
    image  = "` + harness.Image + `"
    script = "echo begun; while [ ! -e /go ]; do sleep 0.1; done; echo ended"
  }
}`

// TestContainers has a module in a container survive its daemon, and run again,
// without a container left behind, when its keeper or its whole node dies.
func TestContainers(t *testing.T) {
	host := harness.Engine(t)
	cl := harness.Start(t, 3, "-config", harness.ConfigFile(t, "container_host = \""+host+"\"\n"))
	file := cl.WriteFile("contained.hcl", containerPipeline)

	containers := func() []string {
		return strings.Fields(harness.Docker(t, "ps", "-aq", "--no-trunc", "--filter", "label=pipelined.attempt"))
	}
	// running waits for the container of an attempt, and says where it is.
	running := func(id string, attempt int) (*harness.Node, string) {
		t.Helper()
		var node *harness.Node
		container := ""
		testutil.Eventually(t, harness.Wait, func() error {
			list := strings.Fields(harness.Docker(t, "ps", "-q", "--no-trunc", "--filter", fmt.Sprintf("label=pipelined.attempt=%s/wait/%d", id, attempt)))
			run, err := cl.Run(id)
			if err != nil || len(list) != 1 || len(run.Modules) == 0 {
				return fmt.Errorf("attempt %d: containers %v, %v", attempt, list, err)
			}
			last := run.Modules[0].Last()
			if last == nil || last.Number != attempt || last.StartedAt == nil {
				return fmt.Errorf("attempt %d is not running: %+v", attempt, last)
			}
			container = list[0]
			node = cl.Nodes[slices.IndexFunc(cl.Nodes, func(n *harness.Node) bool { return n.Name == last.Worker })]
			return nil
		})
		return node, container
	}
	gone := func(container string) {
		t.Helper()
		testutil.Eventually(t, harness.Wait, func() error {
			if slices.Contains(containers(), container) {
				return fmt.Errorf("container %.12s is still there", container)
			}
			return nil
		})
	}

	for _, tc := range []struct {
		name     string
		attempts int
		fault    func(n *harness.Node)
	}{
		{"daemon", 1, func(n *harness.Node) { n.Kill(); n.Start(); cl.Whole() }},
		{"keeper", 2, func(n *harness.Node) {
			for _, pid := range n.Keepers() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // the daemon lives
			}
		}},
		{"node", 2, func(n *harness.Node) { n.KillAll() }},
	} {
		var created wire.RunCreated
		if err := json.Unmarshal([]byte(cl.OK("submit", "-detach", "-json", "-address", cl.Nodes[0].URL+","+cl.Nodes[1].URL+","+cl.Nodes[2].URL, file)), &created); err != nil {
			t.Fatal(err)
		}
		id := string(created.ID)
		n, first := running(id, 1)
		tc.fault(n)
		if tc.attempts > 1 {
			_, second := running(id, 2)
			if tc.name == "node" {
				n.Start()
				cl.Whole()
			}
			gone(first)
			first = second
		}
		harness.Docker(t, "exec", first, "touch", "/go")
		testutil.Eventually(t, harness.Wait, func() error {
			run, err := cl.Run(id)
			if err != nil || run.State != "succeeded" || len(run.Modules[0].Attempts) != tc.attempts || run.Modules[0].Last().Image == "" {
				return fmt.Errorf("%s: %v, %+v", tc.name, err, run)
			}
			return nil
		})
		gone(first)
	}
}
