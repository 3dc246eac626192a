package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
)

// TestWhy wants the evidence for each way of waiting, and for where something
// ran.
func TestWhy(t *testing.T) {
	nodes := openCluster(t, 3)
	c := nodes[0]
	made, err := c.Runs().Submit(t.Context(), client.NewKey(), wire.SubmitRequest{FileName: "test.hcl", Source: `pipeline "p" {
  on_failure = "continue"
  module "ran" { command = ["true"] }
  module "flaky" {
    command = ["false"]
    retry {
      attempts = 3
      backoff  = "10m"
      max_backoff = "10m"
    }
  }
  module "nobody" {
    command  = ["true"]
    requires = { os = "linux", tags = ["gpu"] }
  }
  module "holds" {
    depends_on      = [module.ran]
    command         = ["sleep", "1000"]
    not_in_parallel = ["key"]
  }
  module "waits" {
    depends_on      = [module.ran]
    command         = ["true"]
    not_in_parallel = ["key"]
  }
  module "gate" {
    approval { message = "Go?" }
  }
  module "behind" {
    depends_on = [module.gate]
    command    = ["true"]
  }
  module "never" {
    when    = false
    command = ["true"]
  }
}`})
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string][]string{
		"ran":    {"attempt 1 succeeded on n", "any of 3 workers can run it; the least busy was chosen"},
		"flaky":  {"attempt 1 failed on n", "exit code 1; retrying in ", "1 of 3 attempts failed"},
		"nobody": {"waiting: no worker has tag gpu (there is none)"},
		"holds":  {"attempt 1 is running on n"},
		"waits":  {`waits for lock "key", which holds of run ` + string(made.ID) + " holds"},
		"gate":   {"waiting: waits for approval: Go?"},
		"behind": {"it depends on gate (waiting)", "waits for gate"},
		"never":  {"skipped: when is false: false"},
	} {
		eventually(t, func() error {
			why, err := c.Runs().Why(t.Context(), made.ID, module)
			if err != nil {
				return err
			}
			text := strings.Join(why.Module[0].Because, "\n")
			for _, part := range want {
				if strings.Count(text, part) != 1 {
					return fmt.Errorf("why %s does not say %q, or says it twice:\n%s", module, part, text)
				}
			}
			return nil
		})
	}
	for range 2 { // what always runs too
		if _, err := c.Runs().Cancel(t.Context(), made.ID, "enough"); err != nil && !strings.Contains(err.Error(), "has finished") {
			t.Error(err)
		}
	}
}
