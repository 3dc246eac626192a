package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// What waits of one token holds up no module of another: that one gets the next free
// slot, and the next free helper for its expressions.
func TestShares(t *testing.T) {
	const cheap = `pipeline "small" {
  workspace { exclude = ["**"] }
  module "a" { script = "echo k=v >> $PIPELINED_OUTPUT" }
  module "b" { command = ["echo", upper(module.a.result.k)] }
}
`
	many := func(i int) string {
		return fmt.Sprintf(`pipeline "many%d" {
  workspace { exclude = ["**"] }
  module "m" {
    matrix  = { i = ["1", "2", "3", "4"] }
    command = ["sleep", "1"]
  }
}
`, i)
	}
	expensive := func(n int) string {
		return fmt.Sprintf(`pipeline "expensive" {
  workspace { exclude = ["**"] }
  module "a" { script = "echo k=v >> $PIPELINED_OUTPUT" }
  module "m" {
    matrix         = { i = range(%d) }
    ignore_failure = true
    command        = ["echo", "${module.a.result.k}${length([for a in range(1000): [for b in range(1000): [for c in range(1000): 1]]])}"]
  }
}
`, n)
	}

	for name, submitAll := range map[string]func(submit func(text string) string) (last string){
		"runs": func(submit func(text string) string) (last string) {
			for i := range volume(t, 30) {
				last = submit(many(i))
			}
			return last
		},
		"expressions": func(submit func(text string) string) string { return submit(expensive(volume(t, 30))) },
	} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, 3)
			n := c.Leader()
			token := func(name string) string {
				return strings.TrimSpace(c.OK("token", "create", "-address", n.URL, "-role", "submit", "-name", name))
			}
			greedy, small := token("greedy"), token("small")
			file := c.WriteFile("small.hcl", cheap)
			alone := c.Command(c.Dir, harness.Wait, "submit", "-quiet", "-address", n.URL, "-token", small, file).Wait()
			last := submitAll(func(text string) string {
				file := c.WriteFile("greedy.hcl", text)
				return strings.Fields(c.OK("submit", "-detach", "-address", n.URL, "-token", greedy, file))[0]
			})

			var longest time.Duration
			for range 3 {
				r := c.Command(c.Dir, 2*harness.Wait, "submit", "-quiet", "-address", n.URL, "-token", small, file).Wait()
				if r.Code != 0 {
					t.Fatalf("exit %d\n%s", r.Code, r.Stderr)
				}
				longest = max(longest, r.Took)
			}
			run, err := c.Run(last)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("a run of two modules took %s alone and at most %s beside the others, of which %d of the last %d modules had ended then",
				alone.Took.Round(time.Millisecond), longest.Round(time.Millisecond), run.ModulesDone, run.ModuleCount)
			if run.State.Final() || longest > 8*time.Second {
				t.Error("the other token's came before it")
			}
		})
	}
}
