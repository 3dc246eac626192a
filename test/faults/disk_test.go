package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// command runs a program of the system.
func command(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// ownDisk puts an agent's data directory on a small disk of its own.
func ownDisk(tb testing.TB, n *harness.Node) {
	tb.Helper()
	image := n.Data + ".img"
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 128<<20), os.MkdirAll(n.Data, 0o700)); err != nil {
		tb.Fatal(err)
	}
	command(tb, "mkfs.ext4", "-q", "-m", "0", "-F", image)
	if out, err := exec.Command("mount", "-o", "loop", image, n.Data).CombinedOutput(); err != nil {
		tb.Skipf("needs loop mounts: %s", out)
	}
	tb.Cleanup(func() {
		n.KillAll()
		if err := unix.Unmount(n.Data, unix.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
}

// needsRoot skips tests that mount filesystems or change attributes of files.
func needsRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root, to mount filesystems and change attributes of files")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "chattr", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("needs %s (packages e2fsprogs, mount and util-linux): %v", tool, err)
		}
	}
}

// sound fails the test if a daemon has ended or has printed a stack trace.
func sound(tb testing.TB, n *harness.Node) {
	tb.Helper()
	if !n.Running() {
		tb.Errorf("%s has ended", n.Name)
	}
	log, err := os.ReadFile(n.LogFile())
	if err != nil {
		tb.Fatal(err)
	}
	if trace := harness.CrashIn(log); trace != "" {
		tb.Errorf("%s panicked: %s", n.Name, trace)
	}
}

// degraded waits until a node gives a reason that contains text.
func degraded(tb testing.TB, n *harness.Node, text string) {
	tb.Helper()
	testutil.Eventually(tb, harness.Wait, func() error {
		h, err := n.Health()
		if err != nil {
			return err
		}
		if h.Status != "degraded" || !strings.Contains(strings.Join(h.Reasons, "\n"), text) {
			return fmt.Errorf("%s is %s: %q", n.Name, h.Status, h.Reasons)
		}
		return nil
	})
}

// submit runs a pipeline through an agent.
func submit(c *harness.Cluster, n *harness.Node, args ...string) string {
	return c.OK(append([]string{"submit", "-address", n.URL}, args...)...)
}

const short = `pipeline "p" {
  workspace { exclude = ["**"] }
  module "a" { command = ["true"] }
}
`

// A module fills the disk of a cluster of one: the daemon lives, the module's own
// files go when it has ended, and the next run works.
func TestDisk_filledByModule(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	c := harness.New(t)
	n := c.Add()
	ownDisk(t, n)
	n.Start()
	c.Whole()

	hog := c.WriteFile("hog.hcl", `pipeline "hog" {
  workspace { exclude = ["**"] }
  module "a" { script = "cat /dev/zero > big || true; sleep 4" }
}
`)
	id := strings.TrimSpace(submit(c, n, "-detach", hog))
	degraded(t, n, "disk low")
	sound(t, n)
	refused := c.WriteFile("refused.hcl", strings.Replace(short, `"p"`, `"refused"`, 1))
	meanwhile := c.Command(c.Dir, time.Minute, "submit", "-address", n.URL, refused)

	runIs(t, c, id, "succeeded")
	c.Whole()
	if r := meanwhile.Wait(); r.Code != 0 || !strings.Contains(r.Stderr, "disk low") {
		t.Errorf("submitted while the disk was full: exit %d\n%s", r.Code, r.Stderr)
	}
	submit(c, n, c.WriteFile("short.hcl", short))
	sound(t, n)
}

// The leader's disk fills up: another node leads, the daemon lives, and is healthy
// again when there is space.
func TestDisk_fullUnderLeader(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	c := harness.New(t)
	for range 3 {
		ownDisk(t, c.Add())
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	file := c.WriteFile("short.hcl", short)
	submit(c, c.Nodes[1], file)

	leader := c.Leader()
	filler := filepath.Join(leader.Data, "filler")
	_ = exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=1M").Run() // ends when the disk is full
	degraded(t, leader, "disk low")
	testutil.Eventually(t, harness.Wait, func() error {
		if h, err := c.Others(leader)[0].Health(); err != nil || h.Leader == "" || h.Leader == leader.Name {
			return fmt.Errorf("%q leads (%w)", h.Leader, err)
		}
		return nil
	})
	submit(c, c.Nodes[1], file)
	sound(t, leader)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c.Whole()
	submit(c, c.Nodes[1], file)
	sound(t, leader)
}

// A store of the only node refuses writes for a while: the daemon lives, gives the
// reason, and works again by itself. No run is lost.
func TestDisk_writesRefused(t *testing.T) {
	for _, store := range []struct{ file, reason string }{
		{"raft/log.db", "raft's log cannot be written"},
		{"state/state.db", "the state cannot be written"},
		{"journal.db", "attempts cannot be recorded"},
	} {
		t.Run(filepath.Base(store.file), func(t *testing.T) {
			t.Parallel()
			needsRoot(t)
			c := harness.Start(t, 1)
			n := c.Nodes[0]
			file := c.WriteFile("short.hcl", short)
			first := strings.TrimSpace(submit(c, n, "-detach", file))

			path := filepath.Join(n.Data, store.file)
			command(t, "chattr", "+i", path)
			repair := func() { command(t, "chattr", "-i", path) }
			t.Cleanup(repair)
			meanwhile := c.Command(c.Dir, time.Minute, "submit", "-address", n.URL, file)
			degraded(t, n, store.reason)
			sound(t, n)

			repair()
			c.Whole()
			if r := meanwhile.Wait(); r.Code != 0 {
				t.Errorf("submitted meanwhile: exit %d\n%s", r.Code, r.Stderr)
			}
			submit(c, n, file)
			if run, err := c.Run(first); err != nil || run.State != "succeeded" {
				t.Errorf("the first run: %s, %v", run.State, err)
			}
			sound(t, n)
		})
	}
}

// The leader's disk stands still: its heartbeats would continue, so it silences
// itself, another leads and starts modules. The daemon lives, and follows again.
func TestDisk_standsStill(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	c := harness.New(t)
	for range 3 {
		ownDisk(t, c.Add())
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	file := c.WriteFile("short.hcl", short)
	submit(c, c.Nodes[1], file)

	leader := c.Leader()
	began := time.Now()
	command(t, "fsfreeze", "-f", leader.Data)
	thaw := func() { _ = exec.Command("fsfreeze", "-u", leader.Data).Run() } // a second one fails
	t.Cleanup(thaw)
	submit(c, c.Others(leader)[0], file)
	t.Logf("a module was started by another leader and ended %v after the disk stood still", time.Since(began).Round(time.Millisecond))
	degraded(t, leader, "does not answer")
	sound(t, leader)

	thaw()
	c.Whole()
	sound(t, leader)
}

// A byte of every file is flipped while its node is down, the keeper too: each
// store skips, quarantines or renews what is damaged, and the node is back by
// itself.
func TestDisk_flippedBytes(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3)
	n := c.Nodes[1]
	file := c.WriteFile("many.hcl", `pipeline "many" {
  workspace { exclude = ["**"] }
  module "a" {
    matrix  = { i = ["1", "2", "3", "4", "5", "6"] }
    script  = "echo ${matrix.i} > f"
    outputs = ["f"]
  }
}
`)
	submit(c, n, file)

	// First all but raft's log and the identity, then the log.
	for _, isLog := range []bool{false, true} {
		n.KillAll()
		damaged := flipBytes(t, n.Data, func(name string) bool {
			return name != "node.json" && name != "format" && (name == "log.db") == isLog
		})
		if !slices.Contains(damaged, "journal.db") && !slices.Contains(damaged, "raft/log.db") {
			t.Fatalf("damaged only %q", damaged)
		}
		n.Start()
		submit(c, c.Nodes[0], file)
		c.Whole()
		submit(c, n, file)
		sound(t, n)
	}
}

// flipBytes flips bits of one byte of each file that is chosen by its name.
func flipBytes(tb testing.TB, dir string, choose func(name string) bool) (damaged []string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !choose(d.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		used := len(bytes.TrimRight(data, "\x00"))
		if err != nil || used == 0 {
			return err
		}
		at := used / 3
		if d.Name() == "log.db" {
			at = used - 1 // in an entry
		}
		data[at] ^= 0x41
		damaged = append(damaged, strings.TrimPrefix(path, dir+"/"))
		return os.WriteFile(path, data, 0o600)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return damaged
}
