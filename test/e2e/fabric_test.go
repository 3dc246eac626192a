package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// artifactPipeline makes n modules, each with an artifact whose bytes follow
// from its name: one of 300 KB, which has blocks, and a small one.
func artifactPipeline(n int) string {
	var b strings.Builder
	b.WriteString("pipeline \"files\" {\n  workspace {}\n")
	for i := range n {
		fmt.Fprintf(&b, "  module \"m%d\" {\n    outputs = [\"big\", \"small\"]\n    script = \"seq -f 'm%d-%%g' 1 30000 > big; cat note > small; echo m%d >> small; cat small; seq 1 200\"\n  }\n", i, i, i)
	}
	b.WriteString("}\n")
	return b.String()
}

// checkFiles fetches every artifact and log through each node and compares them.
func checkFiles(t *testing.T, c *harness.Cluster, nodes []*harness.Node, run string, n int) {
	t.Helper()
	var lines strings.Builder
	for i := 1; i <= 200; i++ {
		fmt.Fprintln(&lines, i)
	}
	for k, node := range nodes {
		dir := filepath.Join(c.Dir, fmt.Sprintf("got-%s-%d", node.Name, k))
		c.OK("artifacts", "-address", node.URL, run, "-o", dir)
		for i := range n {
			var big strings.Builder
			for x := 1; x <= 30000; x++ {
				fmt.Fprintf(&big, "m%d-%d\n", i, x)
			}
			small := fmt.Sprintf("a note\nm%d\n", i)
			for name, want := range map[string]string{"big": big.String(), "small": small} {
				got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("m%d", i), name))
				if err != nil || string(got) != want {
					t.Errorf("%s of m%d through %s: %d bytes, want %d (%v)", name, i, node.Name, len(got), len(want), err)
				}
			}
			if got := c.OK("logs", "-address", node.URL, run, fmt.Sprintf("m%d", i)); !strings.Contains(got, small) || !strings.Contains(got, lines.String()) {
				t.Errorf("log of m%d through %s: %d bytes", i, node.Name, len(got))
			}
		}
		os.RemoveAll(dir)
	}
}

// blobFiles lists the files of a node's blobs.
func blobFiles(t *testing.T, n *harness.Node) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(n.Data, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(d.Name()) == 64 {
			found[d.Name()] = path
		}
		return nil // files come and go meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// onTwo waits until every blob there is lies, right, on two of the nodes. What it ends
// with shows the beginning of a blob that does not, since its digest says nothing.
func onTwo(t *testing.T, nodes []*harness.Node, want map[string]bool) {
	t.Helper()
	testutil.Eventually(t, 2*harness.Wait, func() error {
		at := map[string][]string{}
		for _, n := range nodes {
			for d, path := range blobFiles(t, n) {
				at[d] = append(at[d], path)
			}
		}
		for d := range want {
			if len(at[d]) < 2 {
				return fmt.Errorf("blob %.12s is on %d nodes%s", d, len(at[d]), beginnings(at[d]))
			}
		}
		return nil
	})
}

// beginnings shows how files begin.
func beginnings(paths []string) string {
	var text strings.Builder
	for _, path := range paths {
		body, err := os.ReadFile(path)
		fmt.Fprintf(&text, "\n%s, %d bytes, %v: %.300q", path, len(body), err, body)
	}
	return text.String()
}

func allBlobs(t *testing.T, nodes []*harness.Node) map[string]bool {
	all := map[string]bool{}
	for _, n := range nodes {
		for d := range blobFiles(t, n) {
			all[d] = true
		}
	}
	return all
}

// Two of five nodes are lost for good, one after the other with time for repair
// between, each the one with the most blobs: nothing is missing.
func TestTwoOfFiveLost(t *testing.T) {
	const modules = 12
	c := harness.Start(t, 5, "-max-parallel", "2")
	c.WriteFile("p/note", "a note\n")
	file := c.WriteFile("p/files.hcl", artifactPipeline(modules))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[1].URL, file))
	c.OK("wait", "-address", c.Nodes[0].URL, run)
	all := allBlobs(t, c.Nodes)
	left := c.Nodes
	for range 2 {
		onTwo(t, left, all)
		most := left[0]
		for _, n := range left {
			if len(blobFiles(t, n)) > len(blobFiles(t, most)) {
				most = n
			}
		}
		most.KillAll()
		if err := os.RemoveAll(filepath.Join(most.Data, "blobs")); err != nil {
			t.Fatal(err)
		}
		left = c.Others(most)
	}
	onTwo(t, left, all)
	checkFiles(t, c, left, run, modules)
}

// A byte is flipped in every blob of one node: none of them is ever served, all
// are replaced by their copies, and the node says so.
func TestFlippedBytes(t *testing.T) {
	const modules = 6
	c := harness.Start(t, 3, "-max-parallel", "2", "-config", harness.ConfigFile(t, "scrub_every = \"2s\"\nscrub_rate = \"off\"\n"))
	c.WriteFile("p/note", "a note\n")
	file := c.WriteFile("p/files.hcl", artifactPipeline(modules))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[1].URL, file))
	c.OK("wait", "-address", c.Nodes[0].URL, run)
	onTwo(t, c.Nodes, allBlobs(t, c.Nodes))
	bad := c.Nodes[0]
	files := blobFiles(t, bad)
	if len(files) < modules {
		t.Fatalf("%d blobs on %s", len(files), bad.Name)
	}
	for _, path := range files {
		flipByte(t, path)
	}
	checkFiles(t, c, []*harness.Node{bad, c.Nodes[1], bad}, run, modules)
	// What nobody asked for is found by the scrub.
	bad.Kill()
	bad.Rearg("-config", harness.ConfigFile(t, "scrub_every = \"2s\"\nscrub_rate = \"1GB\"\n"))
	bad.Start()
	c.Whole()
	testutil.Eventually(t, harness.Wait, func() error {
		now := blobFiles(t, bad)
		for d := range files {
			body, err := os.ReadFile(now[d])
			if err != nil {
				return fmt.Errorf("blob %.12s is not there yet: %w", d, err)
			}
			if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != d {
				return fmt.Errorf("blob %.12s is bad still", d)
			}
		}
		return nil
	})
	if got := strings.Count(wholeLog(t, bad), "blob is damaged on this disk"); got < len(files) {
		t.Errorf("%d of %d corrupt blobs were reported", got, len(files))
	}
	checkFiles(t, c, c.Nodes, run, modules)

	testutil.Eventually(t, harness.Wait, func() error {
		seen := map[string]int{}
		for line := range strings.Lines(c.OK("events", "-since", "0", "-type", "data", "-address", c.Nodes[1].URL)) {
			for _, what := range []string{bad.Name + ": ", " damaged", " from " + c.Nodes[1].Name, " from " + c.Nodes[2].Name} {
				if strings.Contains(line, what) {
					seen[what]++
				}
			}
		}
		if seen[" damaged"] == 0 || seen[bad.Name+": "] < 2 || seen[" from "+c.Nodes[1].Name]+seen[" from "+c.Nodes[2].Name] == 0 {
			return fmt.Errorf("events of damage on %s: %v", bad.Name, seen)
		}
		return nil
	})
}

func wholeLog(t *testing.T, n *harness.Node) string {
	t.Helper()
	b, err := os.ReadFile(n.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func flipByte(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(body[len(body)/2:len(body)/2+1], int64(len(body)/2)); err != nil {
		t.Fatal(err)
	}
}

// rssKiB is the memory that a daemon has now, peakKiB the most it ever had.
func memory(t *testing.T, pid int) (rssKiB, peakKiB int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*int{"VmRSS": &rssKiB, "VmHWM": &peakKiB} {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("no %s in %s", name, b)
		}
		*to, _ = strconv.Atoi(string(m[1])) // digits
	}
	return rssKiB, peakKiB
}

// partial is how many blocks of large blobs have arrived at a node.
func partial(n *harness.Node) int {
	maps, _ := filepath.Glob(filepath.Join(n.Data, "blobs", "partial", "*.map"))
	count := 0
	for _, m := range maps {
		b, _ := os.ReadFile(m)
		count += bytes.Count(b, []byte{1})
	}
	return count
}

func lastModule(t *testing.T, c *harness.Cluster, run, name string) wire.Module {
	t.Helper()
	r, err := c.Run(run)
	if err != nil {
		t.Fatal(err)
	}
	return moduleOf(t, r, name)
}

// An artifact of 1 GiB made on one node is used on another. The transfer is cut
// three times, at both ends, and does not start over; no daemon's memory grows
// by 64 MiB.
func TestLargeArtifact(t *testing.T) {
	const size = 1 << 30
	c := harness.Start(t, 3, "-max-parallel", "1")
	start := map[int]int{}
	for _, n := range c.Nodes {
		start[n.PID()], _ = memory(t, n.PID())
	}
	file := c.WriteFile("p/large.hcl", fmt.Sprintf(`pipeline "large" {
  workspace { exclude = ["**"] }
  module "make" {
    outputs = ["large"]
    script  = "head -c %d /dev/urandom > large; sha256sum large"
  }
  module "use" {
    depends_on = [module.make]
    requires = { tags = ["user"] }
    script = "sha256sum large"
  }
}`, size))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	testutil.Eventually(t, 3*harness.Wait, func() error {
		r, err := c.Run(run)
		if err != nil {
			return err
		}
		if m := moduleOf(t, r, "make"); m.State != "succeeded" {
			return fmt.Errorf("make is %s", m.State)
		}
		return nil
	})
	for _, n := range c.Nodes {
		if _, peak := memory(t, n.PID()); peak-start[n.PID()] > 64<<10 {
			t.Errorf("the daemon of %s grew by %d KiB", n.Name, peak-start[n.PID()])
		}
	}
	user := c.Add("-mode", "worker", "-tag", "user", "-max-parallel", "1")
	user.Start()
	peaks := map[string]int{}
	cut := func(blocks int, victim *harness.Node) {
		testutil.Eventually(t, harness.Wait, func() error {
			if n := partial(user); n < blocks {
				return fmt.Errorf("%d blocks have arrived", n)
			}
			return nil
		})
		if victim == user {
			_, peaks[user.Name] = memory(t, user.PID())
		}
		victim.Kill()
		victim.Start()
	}
	cut(200, user)
	var holders []*harness.Node
	for _, n := range c.Nodes[:3] {
		for _, path := range blobFiles(t, n) {
			if info, err := os.Stat(path); err == nil && info.Size() == size {
				holders = append(holders, n)
			}
		}
	}
	if len(holders) != 2 {
		t.Fatalf("the artifact is on %d nodes", len(holders))
	}
	cut(800, holders[0])
	cut(1800, holders[1])
	if r := c.CLI("wait", "-address", c.Nodes[0].URL, run); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	made, used := c.OK("logs", "-address", c.Nodes[0].URL, run, "make"), c.OK("logs", "-address", c.Nodes[0].URL, run, "use")
	if made != used || !strings.Contains(made, "large") {
		t.Errorf("made %q, used %q", made, used)
	}
	if rss, peak := memory(t, user.PID()); max(peak, peaks[user.Name]) > 64<<10+30<<10 {
		t.Errorf("the user's daemon had %d KiB at its peak, %d at the end", peak, rss)
	}
	var came, before int64
	log := wholeLog(t, user)
	for _, m := range regexp.MustCompile(`transfer of a large blob ended:.* had=(\d+) received=(\d+)`).FindAllStringSubmatch(log, -1) {
		b, _ := strconv.ParseInt(m[1], 10, 64)
		n, _ := strconv.ParseInt(m[2], 10, 64)
		if came == 0 {
			before = b // what came before the user was killed has no line
		}
		came += n
	}
	if before < 100*256<<10 || came > size-before+32<<20 {
		t.Errorf("%d bytes came where %d were there: it was started over\n%s", came, before, log)
	}
	if attempts := states(lastModule(t, c, run, "use")); attempts != "succeeded" {
		t.Errorf("attempts of use: %s", attempts)
	}
}
