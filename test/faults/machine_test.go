package faults

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/test/harness"
)

// limitDescriptors sets how many descriptors a process may have, and returns the
// earlier limit.
func limitDescriptors(tb testing.TB, pid int, soft uint64) uint64 {
	tb.Helper()
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: was.Max}, nil); err != nil {
		tb.Fatal(err)
	}
	return was.Cur
}

const atMostOnce = `pipeline "p" {
  workspace { exclude = ["**"] }
  module "a" {
    matrix  = { i = ["1", "2", "3", "4", "5", "6"] }
    on_lost = "fail"
    script  = "sleep 0.2"
  }
}
`

// A daemon, or a keeper, without descriptors fails no module: what it could not
// begin runs elsewhere, also with on_lost = "fail".
func TestMachine_noDescriptors(t *testing.T) {
	for name, pid := range map[string]func(n *harness.Node) int{
		"daemon": func(n *harness.Node) int { return n.PID() },
		"keeper": func(n *harness.Node) int { return n.Keepers()[0] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, 3)
			n := c.Others(c.Leader())[0]
			file := c.WriteFile("once.hcl", atMostOnce)
			submit(c, c.Leader(), file)

			was := limitDescriptors(t, pid(n), 3)
			for range 3 {
				submit(c, c.Leader(), file)
			}
			limitDescriptors(t, pid(n), was)
			c.Whole()
			sound(t, n)
		})
	}
}

// The only node may not make directories for a while: nothing fails, the node says
// why nothing starts, and the module starts when it may.
func TestMachine_notPermitted(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	file := c.WriteFile("short.hcl", short)
	submit(c, n, file)

	work := filepath.Join(n.Data, "work")
	command(t, "chattr", "+i", work)
	repair := func() { command(t, "chattr", "-i", work) }
	t.Cleanup(repair)
	meanwhile := c.Command(c.Dir, time.Minute, "submit", "-address", n.URL, file)
	degraded(t, n, "could not start an attempt")

	repair()
	if r := meanwhile.Wait(); r.Code != 0 {
		t.Errorf("submitted meanwhile: exit %d\n%s", r.Code, r.Stderr)
	}
	c.Whole()
}
