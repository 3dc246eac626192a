package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// locked is a run whose first attempt works until it is killed; the second one says
// whether that has happened.
const locked = `pipeline "locked" {
  workspace { exclude = ["**"] }
  variable "out" {}
  module "m" {
    not_in_parallel = ["key"]
    script = <<-SH
      trap '' TERM
      if [ "$PIPELINED_ATTEMPT" = 1 ]; then
        echo $$ > ${var.out}/pid
        while :; do sleep 0.05; done
      fi
      case "$(cut -d' ' -f3 /proc/$(cat ${var.out}/pid)/stat)" in
        ""|X|Z) echo alone > ${var.out}/end;; # gone, or waiting for its parent to see it
        *) echo together > ${var.out}/end;;
      esac
    SH
  }
}
`

// A keeper that is paused, while its daemon is not, ends nothing when the lease
// lapses. Its daemon does, before the module is run again.
func TestLease_pausedKeeper(t *testing.T) {
	c := harness.Start(t, 1)
	n, out := c.Nodes[0], t.TempDir()
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", n.URL, "-var", "out="+out, c.WriteFile("locked.hcl", locked)))
	testutil.Eventually(t, harness.Wait, func() error { return numberIn(filepath.Join(out, "pid")) })

	keepers := n.Keepers()
	if len(keepers) != 1 {
		t.Fatalf("keepers %v", keepers)
	}
	if err := syscall.Kill(keepers[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(keepers[0], syscall.SIGKILL) }) // most likely gone

	if a := runIs(t, c, id, "succeeded").Modules[0].Attempts; len(a) != 2 {
		t.Errorf("attempts %+v", a)
	}
	if b, err := os.ReadFile(filepath.Join(out, "end")); err != nil || string(b) != "alone\n" {
		t.Errorf("the second attempt ran %q, %v", b, err)
	}
}

// numberIn reports whether a file holds a whole line with a number.
func numberIn(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	line, whole := strings.CutSuffix(string(b), "\n")
	if !whole {
		return fmt.Errorf("%s is not whole", file)
	}
	_, err = strconv.Atoi(line)
	return err
}
