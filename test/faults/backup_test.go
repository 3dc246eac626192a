package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// kept is a run with a log, an artifact and files of a workspace.
const kept = `pipeline "kept" {
  module "make" {
    script    = "cat input.txt; cp input.txt out.txt; echo made"
    outputs   = ["out.txt"]
  }
}
`

// held runs until a file exists, and uses a secret.
const held = `pipeline "held" {
  module "hold" {
    secrets = ["canary"]
    script  = "cat input.txt; test -n \"$canary\"; while [ ! -e %s ]; do sleep 0.1; done"
  }
}
`

// backedUp is a cluster with one finished run, one that is active, a secret and
// a token.
type backedUp struct {
	c              *harness.Cluster
	done, active   string
	release, token string
}

func newBackedUp(t *testing.T, n int, args ...string) *backedUp {
	t.Helper()
	b := &backedUp{c: harness.Start(t, n, args...)}
	c := b.c
	at := c.Leader().URL
	b.release = filepath.Join(c.Dir, "release")
	c.WriteFile("kept/input.txt", "some input\n")
	c.WriteFile("held/input.txt", "other input\n")
	secret := c.WriteFile("secret.txt", "tweet-tweet-tweet")
	c.OK("secrets", "set", "-address", at, "-file", secret, "canary")
	b.token = strings.TrimSpace(c.OK("token", "create", "-address", at, "-role", "read"))
	b.done = strings.TrimSpace(c.OK("submit", "-address", at, "-detach", c.WriteFile("kept/kept.hcl", kept)))
	runIs(t, b.c, b.done, "succeeded")
	b.active = strings.TrimSpace(c.OK("submit", "-address", at, "-detach", c.WriteFile("held/held.hcl", fmt.Sprintf(held, b.release))))
	runIs(t, b.c, b.active, "running")
	return b
}

// check verifies what must be there after a restore or a recovery.
func (b *backedUp) check(t *testing.T, at *harness.Node) {
	t.Helper()
	runIs(t, b.c, b.done, "succeeded")
	if got := b.c.OK("logs", "-address", at.URL, b.done, "make"); got != "some input\nmade\n" {
		t.Errorf("the log of the finished run: %q", got)
	}
	to := t.TempDir()
	b.c.OK("artifacts", "-address", at.URL, "-o", to, b.done)
	if got, err := os.ReadFile(filepath.Join(to, "make", "out.txt")); string(got) != "some input\n" {
		t.Errorf("the artifact: %q, %v", got, err)
	}
	if r := b.c.CLI("list", "-address", at.URL, "-token", b.token); r.Code != 0 {
		t.Errorf("the token: exit %d: %s", r.Code, r.Stderr)
	}

	// What ran is lost, and repeated to its end, with its secret.
	if err := os.WriteFile(b.release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run := runIs(t, b.c, b.active, "succeeded")
	if a := run.Modules[0].Attempts; len(a) != 2 || a[0].State != "lost" || a[1].State != "succeeded" {
		t.Errorf("attempts of the run that was active: %+v", a)
	}
	next := strings.TrimSpace(submit(b.c, at, "-detach", filepath.Join(b.c.Dir, "kept/kept.hcl")))
	runIs(t, b.c, next, "succeeded")
}

func clusterID(t *testing.T, c *harness.Cluster, at *harness.Node) string {
	t.Helper()
	var list wire.MemberList
	if err := json.Unmarshal([]byte(c.OK("members", "-json", "-address", at.URL)), &list); err != nil {
		t.Fatal(err)
	}
	return list.ClusterID
}

// A snapshot with its bytes brings everything back on machines that have nothing
// but the cluster key; what ran is lost and repeated; nodes of the old cluster
// are refused; and secrets are in it sealed.
func TestSnapshot_restoreElsewhere(t *testing.T) {
	b := newBackedUp(t, 3)
	c := b.c
	file := filepath.Join(c.Dir, "all.snapshot")
	c.OK("snapshot", "save", "-address", c.Nodes[1].URL, "-blobs", file)
	if got, err := os.ReadFile(file); err != nil || bytes.Contains(got, []byte("tweet-tweet")) {
		t.Fatalf("the file has the secret in clear, or %v", err)
	}
	if got := c.OK("snapshot", "inspect", file); !strings.Contains(got, "2, 1 of them active") || !strings.Contains(got, "1, sealed") {
		t.Errorf("inspect:\n%s", got)
	}
	was := clusterID(t, c, c.Nodes[0])
	for _, n := range c.Nodes {
		n.KillAll()
	}
	// Two disks are gone; the third node comes back later.
	for _, n := range c.Nodes[:2] {
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
	}
	c.Nodes[0].Start()
	c.Nodes[1].Start()
	first := c.Nodes[0]
	testutil.Eventually(t, harness.Wait, func() error {
		if h, err := first.Health(); err != nil || h.Status != "healthy" {
			return fmt.Errorf("%+v, %w", h, err)
		}
		return nil
	})

	c.OK("snapshot", "restore", "-address", first.URL, file)
	if now := clusterID(t, c, first); now == was || now == "" {
		t.Errorf("the cluster's id: %q, and it was %q", now, was)
	}
	b.check(t, first)

	// Once more is refused: there are runs now.
	if r := c.CLI("snapshot", "restore", "-address", first.URL, file); r.Code == 0 || !strings.Contains(r.Stderr, "which a restore would delete") {
		t.Errorf("a second restore: exit %d: %s", r.Code, r.Stderr)
	}

	// The old node is refused by both sides, and nodes of the new cluster start
	// again from their disks.
	old := c.Nodes[2]
	old.Start()
	testutil.Eventually(t, harness.Wait, func() error {
		if log := old.Log(); !strings.Contains(log, "belongs to cluster") {
			return fmt.Errorf("the old node's log does not say so")
		}
		return nil
	})
	old.KillAll()
	for _, n := range c.Nodes[:2] {
		n.Kill()
		n.Start()
	}
	runIs(t, b.c, b.active, "succeeded")
}

// What is wrong with a file, or with the cluster, is said before anything is
// changed.
func TestSnapshot_refused(t *testing.T) {
	c := harness.Start(t, 1)
	at := c.Nodes[0]
	whole := filepath.Join(c.Dir, "a.snapshot")
	c.OK("snapshot", "save", "-address", at.URL, whole)
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}

	state := bytes.Index(text, []byte{0x28, 0xb5, 0x2f, 0xfd}) // zstd's magic
	for name, change := range map[string]func([]byte) []byte{
		"a byte of the header": func(b []byte) []byte { return bytes.Replace(b, []byte(`"index":`), []byte(`"indeX":`), 1) },
		"a byte of the state":  func(b []byte) []byte { b[state+20] ^= 1; return b },
		"its end is cut off":   func(b []byte) []byte { return b[:len(b)-2048] },
		"nothing":              func(b []byte) []byte { return nil },
		"another file":         func(b []byte) []byte { return []byte("hello") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.snapshot")
			if err := os.WriteFile(path, change(bytes.Clone(text)), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"snapshot", "inspect", path}, {"snapshot", "restore", "-address", at.URL, path}} {
				if r := c.CLI(args...); r.Code == 0 || !strings.Contains(r.Stderr, "snapshot file") {
					t.Errorf("%s: exit %d: %s", args[1], r.Code, r.Stderr)
				}
			}
		})
	}

	t.Run("another key", func(t *testing.T) {
		other := harness.Start(t, 1)
		r := other.CLI("snapshot", "restore", "-address", other.Nodes[0].URL, whole)
		if r.Code == 0 || !strings.Contains(r.Stderr, "-key-file") {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
	})
}

// The leader saves snapshots to the directory of the configuration, keeps as many
// as it says, and each can be restored.
func TestSnapshot_scheduled(t *testing.T) {
	dir := t.TempDir()
	config := harness.ConfigFile(t, fmt.Sprintf("snapshot_dir = %q\nsnapshot_every = \"1s\"\nsnapshot_keep = 2\n", dir))
	c := harness.Start(t, 1, "-config", config)
	var first string
	testutil.Eventually(t, harness.Wait, func() error {
		files, err := filepath.Glob(filepath.Join(dir, "*.snapshot"))
		if err != nil || len(files) != 2 {
			return fmt.Errorf("%d files, %w", len(files), err)
		}
		if first == "" {
			first = files[0]
		}
		if _, err := os.Stat(first); err == nil {
			return fmt.Errorf("the oldest is still there")
		}
		return nil
	})

	// If the directory cannot be written, health says so.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	health := func(want string) {
		t.Helper()
		testutil.Eventually(t, harness.Wait, func() error {
			h, err := c.Nodes[0].Health()
			if err != nil || h.Status != want || want == "degraded" && !strings.Contains(fmt.Sprint(h.Reasons), "no snapshot is saved") {
				return fmt.Errorf("%s: %q, %w", h.Status, h.Reasons, err)
			}
			return nil
		})
	}
	health("degraded")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	health("healthy")
	c.Nodes[0].Term()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 1 || len(files) > 3 {
		t.Fatalf("%q, %v", files, err)
	}
	c.OK("snapshot", "inspect", files[0])
}

// A cluster of three that has lost two disks permanently continues on the third
// node, as another cluster, and takes new nodes in.
func TestRecover_twoOfThreeDisksGone(t *testing.T) {
	b := newBackedUp(t, 3)
	c := b.c
	was := clusterID(t, c, c.Nodes[0])
	// What two nodes have is lost with them: the leader has the workspaces that were
	// sent to it, and short logs.
	left := c.Leader()
	lost := c.Others(left)
	testutil.Eventually(t, harness.Wait, func() error {
		if h, err := left.Health(); err != nil || len(h.Voters) != 3 {
			return fmt.Errorf("the voters are %q, %w", h.Voters, err)
		}
		return nil
	})
	for _, n := range c.Nodes {
		n.KillAll()
	}
	for _, n := range lost {
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
	}

	dry := c.OK("operator", "recover", "-dry-run", "-data-dir", left.Data)
	if !strings.Contains(dry, was) || !strings.Contains(dry, "last entry") || !strings.Contains(dry, "voters     3") {
		t.Errorf("dry run:\n%s", dry)
	}
	c.OK("operator", "recover", "-yes", "-data-dir", left.Data)
	left.SetJoin("")
	left.Start()
	testutil.Eventually(t, harness.Wait, func() error {
		if h, err := left.Health(); err != nil || h.Leader != left.Name || !h.Quorum {
			return fmt.Errorf("%+v, %w", h, err)
		}
		return nil
	})
	if now := clusterID(t, c, left); now == was || now == "" {
		t.Errorf("the cluster's id: %q, and it was %q", now, was)
	}

	// New disks.
	for _, n := range lost {
		n.SetJoin(left.IP)
		n.Start()
	}
	c.Whole()
	b.check(t, left)
}

// The third node that is left joins the recovered one as a new node with the
// files that it has.
func TestRecover_otherNodeRejoins(t *testing.T) {
	b := newBackedUp(t, 3)
	c := b.c
	left := c.Leader()
	lost, other := c.Others(left)[0], c.Others(left)[1]
	for _, n := range c.Nodes {
		n.KillAll()
	}
	if err := os.RemoveAll(lost.Data); err != nil {
		t.Fatal(err)
	}

	// A majority is left: this is not needed, and works all the same.
	c.OK("operator", "recover", "-yes", "-data-dir", left.Data)
	c.OK("operator", "recover", "-yes", "-rejoin", "-data-dir", other.Data)
	left.SetJoin("")
	left.Start()
	for _, n := range []*harness.Node{other, lost} {
		n.SetJoin(left.IP)
		n.Start()
	}
	c.Whole()
	b.check(t, other)
}

// A running agent's directory, and one that is no node's, are left alone.
func TestRecover_refused(t *testing.T) {
	c := harness.Start(t, 1)
	for dir, want := range map[string]string{c.Nodes[0].Data: "is in use by process", t.TempDir(): "is no data directory of a node"} {
		if r := c.CLI("operator", "recover", "-yes", "-data-dir", dir); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: exit %d: %s", dir, r.Code, r.Stderr)
		}
	}
	c.Whole()
}
