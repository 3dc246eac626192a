package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

// packedFiles lists the packed blobs of a node, and plainLarge its plain ones of
// more than 64 KiB.
func packedFiles(n *harness.Node) []string {
	found, _ := filepath.Glob(filepath.Join(n.Data, "blobs", "??", "*.zst")) // the pattern is right
	return found
}

func plainLarge(t *testing.T, n *harness.Node) (large []string) {
	for _, path := range blobFiles(t, n) {
		if info, err := os.Stat(path); err == nil && info.Size() > 64<<10 {
			large = append(large, path)
		}
	}
	return large
}

// packing is the file of a blob that is being packed.
func packing(n *harness.Node) string {
	found, _ := filepath.Glob(filepath.Join(n.Data, "blobs", "tmp", "*", "*")) // the pattern is right
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Size() > 16<<10 {
			return path
		}
	}
	return ""
}

const (
	packedLines = 300_000 // of the log and, with a longer text, of the artifact
	packedText  = "and the rest of a line that is like all others"
)

func packedPipeline() string {
	return fmt.Sprintf(`pipeline "packed" {
  workspace { exclude = ["**"] }
  module "make" {
    outputs = ["text", "noise"]
    script  = "seq 1 %[1]d; seq -f '%%g %[2]s' 1 %[1]d > text; head -c 3000000 /dev/urandom > noise; sha256sum text noise > sums; cat sums"
  }
  module "use" {
    depends_on = [module.make]
    requires = { tags = ["user"] }
    script = "sha256sum text noise"
  }
}`, packedLines, packedText)
}

// packedWant is the text and the part of the log before the sums.
func packedWant() (text, log string) {
	var t, l strings.Builder
	for i := 1; i <= packedLines; i++ {
		fmt.Fprintf(&t, "%d %s\n", i, packedText)
		fmt.Fprintln(&l, i)
	}
	return t.String(), l.String()
}

// checkPacked reads log, artifacts and ranges of them through each node.
func checkPacked(t *testing.T, c *harness.Cluster, nodes []*harness.Node, run, token string, ended bool) {
	t.Helper()
	text, log := packedWant()
	for _, n := range nodes {
		got := c.OK("logs", "-address", n.URL, run, "make")
		if !strings.HasPrefix(got, log) || !strings.HasSuffix(got, "noise\n") {
			t.Errorf("log through %s: %d bytes", n.Name, len(got))
		}
		if ended { // else it goes on
			if followed := c.OK("logs", "-f", "-address", n.URL, run, "make"); !strings.HasPrefix(followed, log) || !strings.Contains(followed, "noise\n") {
				t.Errorf("log followed through %s: %d bytes", n.Name, len(followed))
			}
		}
		dir := filepath.Join(c.Dir, "got-"+n.Name)
		c.OK("artifacts", "-address", n.URL, run, "-o", dir)
		if body, err := os.ReadFile(filepath.Join(dir, "make", "text")); err != nil || string(body) != text {
			t.Errorf("artifact through %s: %d bytes, %v", n.Name, len(body), err)
		}
		os.RemoveAll(dir)
		for _, at := range []int{0, 1000, 256<<10 - 10, 5 << 20, len(text) - 500} {
			body := ranged(t, n, "/api/v1/runs/"+run+"/artifacts/make/text", token, at, at+499)
			if string(body) != text[at:at+500] {
				t.Errorf("artifact from %d through %s: %q", at, n.Name, body)
			}
		}
	}
}

func ranged(t *testing.T, n *harness.Node, path, token string, from, to int) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusPartialContent {
		t.Fatalf("%s: %s %q %v", path, res.Status, body, err)
	}
	return body
}

// Logs and artifacts are packed on the disks of three nodes, which are killed in
// the middle of it, and a packed file is spoiled: every byte is right through every
// node, before, meanwhile and afterwards, and a new node fetches what it needs from
// packed files.
func TestPackedAtRest(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "1", "-pack-after", "2s", "-pack-rate", "128KiB")
	nodes := c.Nodes
	token := strings.TrimSpace(c.OK("token", "create", "-address", nodes[0].URL, "-role", "read"))
	file := c.WriteFile("packed.hcl", packedPipeline())
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", nodes[0].URL, file))
	harness.Eventually(t, 2*harness.Wait, func() error {
		if s := lastModule(t, c, run, "make").State; s != "succeeded" {
			return fmt.Errorf("make is %s", s)
		}
		return nil
	})
	for range 3 {
		var victim *harness.Node
		harness.Eventually(t, harness.Wait, func() error {
			for _, n := range nodes {
				if packing(n) != "" {
					victim = n
					return nil
				}
			}
			return fmt.Errorf("nobody packs")
		})
		victim.Kill()
		victim.Start()
		c.Whole()
		checkPacked(t, c, []*harness.Node{victim}, run, token, false)
	}
	for _, n := range nodes {
		n.Kill()
		n.Rearg("-pack-rate", "off")
		n.Start()
	}
	c.Whole()
	holders := 0
	harness.Eventually(t, 2*harness.Wait, func() error {
		holders = 0
		for _, n := range nodes {
			for _, path := range plainLarge(t, n) {
				if info, err := os.Stat(path); err == nil && info.Size() != 3_000_000 { // noise stays as it is
					return fmt.Errorf("%s of %s, %d bytes, is not packed", path, n.Name, info.Size())
				}
			}
			if len(packedFiles(n)) >= 2 {
				holders++
			}
			h, err := n.Health()
			if err != nil || h.Blobs == nil || len(packedFiles(n)) > 0 && h.Blobs.StoredBytes > h.Blobs.Bytes/2 {
				return fmt.Errorf("%s says %+v, %w", n.Name, h.Blobs, err)
			}
			if path := packing(n); path != "" {
				return fmt.Errorf("left over on %s: %s", n.Name, path)
			}
		}
		return nil
	})
	if holders < 2 {
		t.Fatalf("%d nodes have both packed", holders)
	}
	user := c.Add("-mode", "worker", "-tag", "user", "-max-parallel", "1", "-pack-after", "off")
	user.Start()
	if r := c.CLI("wait", "-address", nodes[0].URL, run); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	used, made := c.OK("logs", "-address", nodes[0].URL, run, "use"), c.OK("logs", "-address", nodes[0].URL, run, "make")
	if !strings.HasSuffix(made, used) || !strings.Contains(used, "text") {
		t.Errorf("used %q", used)
	}
	checkPacked(t, c, append(nodes[:3:3], user), run, token, true)
	bad := holder(nodes)
	for _, path := range packedFiles(bad) {
		flipByte(t, path)
	}
	checkPacked(t, c, []*harness.Node{bad}, run, token, true)
	if got := strings.Count(wholeLog(t, bad), "blob is damaged on this disk"); got < 2 {
		t.Errorf("%d corrupt blobs were reported", got)
	}
	format, err := os.ReadFile(filepath.Join(bad.Data, "format"))
	if err != nil || !bytes.Equal(format, []byte("pipelined 2\n")) {
		t.Errorf("the folder says %q, %v: an older program would take packed blobs for missing", format, err)
	}
}

// holder is a node with packed blobs.
func holder(nodes []*harness.Node) *harness.Node {
	for _, n := range nodes {
		if len(packedFiles(n)) >= 2 {
			return n
		}
	}
	return nil
}
